"""The tools that make a key: signing up, and joining a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from favcrm.sandbox.forms import Answered, Reason, Refused
from favcrm.sandbox.rules import HOUR, Moment
from favcrm.sandbox.schema import fields, text, whole
from favcrm.sandbox.tool import tool
from favcrm.sandbox.world import PORTAL, Invite, SignUp, new_id, not_found

if TYPE_CHECKING:
    from collections.abc import Sequence

    from favcrm.sandbox.tool import Caller
    from favcrm.sandbox.world import Company, World
    from favcrm.typing import JSON

INDUSTRIES = ["beauty", "fitness", "tutoring", "retail", "hospitality", "services", "other"]
TIMEZONES = {
    "AU": "Australia/Sydney",
    "GB": "Europe/London",
    "HK": "Asia/Hong_Kong",
    "JP": "Asia/Tokyo",
    "MY": "Asia/Kuala_Lumpur",
    "SG": "Asia/Singapore",
    "TH": "Asia/Bangkok",
    "TW": "Asia/Taipei",
    "US": "America/New_York",
}
"""The default time zones of a few countries; the others' is UTC."""

ASK = "Ask the user for the 6-digit code from the email, then call "
EMAIL = text(format="email")
CODE = text(pattern="[0-9]{6}", description="The 6 digits from the email.")


@tool(
    fields(
        "email organisationName",
        email=EMAIL,
        organisationName=text(2, 80),
        industry=text(enum=[*INDUSTRIES]),
        country=text(2, 2, description="ISO 3166-1 alpha-2."),
        timezone=text(format="iana-time-zone", description="IANA name; by default the country's."),
    ),
    needs_key=False,
)
def register_organisation_request(
    caller: Caller,
    *,
    email: str,
    organisation_name: str,
    industry: str | None = None,
    country: str | None = None,
    timezone: str | None = None,
) -> Answered:
    """Request a new organisation. Emails a 6-digit code that register_organisation_verify takes."""
    world = caller.world
    world.count_request(caller.ip)
    if world.rules.account_found is Moment.AT_REQUEST:
        _refuse_account(world, email)
    if world.rules.one_request_each:
        world.sign_ups = {key: each for key, each in world.sign_ups.items() if each.email != email.casefold()}
    sign_up = SignUp(
        request_id=new_id("signup_req_"),
        email=email.casefold(),
        organisation_name=organisation_name,
        industry=industry,
        country=country,
        timezone=timezone or TIMEZONES.get((country or "").upper(), "UTC"),
        challenge=world.challenge(email, f"Your FavCRM code for {organisation_name}"),
    )
    world.sign_ups[sign_up.request_id] = sign_up
    data: dict[str, JSON] = {
        "requestId": sign_up.request_id,
        "expiresAt": world.iso(sign_up.challenge.expires_at),
        "maskedEmail": mask(email),
        "instructions": ASK + "register_organisation_verify.",
    }
    return Answered(data, f"A 6-digit code was sent to {mask(email)}.")


@tool(
    fields("requestId code", requestId=text(1), code=CODE),
    needs_key=False,
)
def register_organisation_verify(caller: Caller, *, request_id: str, code: str) -> Answered:
    """Verify the emailed code. Creates the organisation and shows its API key, once."""
    world = caller.world
    sign_up = world.sign_ups.get(request_id)
    if sign_up is None:
        raise not_found("Sign-up request")
    world.check(sign_up.challenge, code)
    _refuse_account(world, sign_up.email)
    del world.sign_ups[request_id]
    world.accounts.add(sign_up.email)
    company = world.open_company(name=sign_up.organisation_name, timezone=sign_up.timezone)
    company.industry, company.country = sign_up.industry, sign_up.country
    return _welcome(world, company, role="owner")


@tool(
    fields(
        "email",
        email=EMAIL,
        name=text(1, 120),
        role=text(enum=["manager", "staff"], default="staff"),
        expiresInHours={**whole(1, 336), "default": 72},
        modules={"type": "array", "items": {"type": "string"}},
        permissions={"type": "array", "items": {"type": "string"}},
    ),
)
def create_team_member_invite(
    caller: Caller,
    *,
    email: str,
    name: str | None = None,
    role: str = "staff",
    expires_in_hours: int = 72,
    modules: Sequence[str] = (),
    permissions: Sequence[str] = (),
) -> Answered:
    """Invite somebody to this workspace. Returns a one-time token."""
    world = caller.world
    token = new_id("invite_")
    expires_at = world.clock.time() + expires_in_hours * HOUR
    company = caller.member.company
    world.invites[token] = Invite(email=email, name=name, role=role, company=company, expires_at=expires_at)
    data: dict[str, JSON] = {
        "inviteId": new_id("inv_"),
        "token": token,
        "inviteUrl": f"{PORTAL}/join/{token}",
        "email": email,
        "role": role,
        "modules": [*modules],
        "permissions": [*permissions],
        "expiresAt": world.iso(expires_at),
    }
    return Answered(data, f"{mask(email)} is invited to {company.name}.")


@tool(
    fields("token", token=text(1)),
    needs_key=False,
)
def accept_team_invite_request(caller: Caller, *, token: str) -> Answered:
    """Accept an invitation. Emails a 6-digit code that accept_team_invite_verify takes."""
    world = caller.world
    invite = _find_invite(world, token)
    invite.challenge = world.challenge(invite.email, f"Your FavCRM code to join {invite.company.name}")
    data: dict[str, JSON] = {
        "expiresAt": world.iso(invite.challenge.expires_at),
        "maskedEmail": mask(invite.email),
        "instructions": ASK + "accept_team_invite_verify.",
    }
    return Answered(data, f"A 6-digit code was sent to {mask(invite.email)}.")


@tool(
    fields("token code", token=text(1), code=CODE, name=text(1, 120)),
    needs_key=False,
)
def accept_team_invite_verify(
    caller: Caller,
    *,
    token: str,
    code: str,
    name: str | None = None,  # noqa: ARG001 - the sandbox shows no profile
) -> Answered:
    """Verify the emailed code of an invitation. Joins the workspace and shows an API key, once."""
    world = caller.world
    invite = _find_invite(world, token)
    if invite.challenge is None:
        raise Refused(Reason.INVALID_CODE, "Invalid code: none was requested yet.")
    world.check(invite.challenge, code)
    del world.invites[token]
    world.accounts.add(invite.email.casefold())
    return _welcome(world, invite.company, role=invite.role)


def mask(email: str) -> str:
    """Return an address that shows the first two letters of its name."""
    name, _, domain = email.rpartition("@")
    return f"{name[:2]}*@{domain}"


def _refuse_account(world: World, email: str) -> None:
    if email.casefold() in world.accounts:
        advice = f"Sign in at {PORTAL} and create a key under Settings, MCP Keys."
        words = f"An account already exists for this email. {advice}"
        raise Refused(Reason.ACCOUNT_EXISTS, words, {"loginUrl": PORTAL})


def _find_invite(world: World, token: str) -> Invite:
    invite = world.invites.get(token)
    if invite is None:
        raise not_found("Invitation")
    if world.clock.time() >= invite.expires_at:
        raise Refused(Reason.CODE_EXPIRED, "This invitation has expired. Please ask for a new one.")
    return invite


def _welcome(world: World, company: Company, *, role: str) -> Answered:
    key, access = world.grant(company, role=role)
    data: dict[str, JSON] = {
        "organisationId": company.organisation_id,
        "companyId": company.company_id,
        "userId": access.user_id,
        "apiKey": key,
        "loginUrl": PORTAL,
        "nextSteps": "Save the API key: it is shown only once. Then call list_my_companies.",
    }
    return Answered(data, f"{company.name} is ready.", "card")


TOOLS = (
    register_organisation_request,
    register_organisation_verify,
    create_team_member_invite,
    accept_team_invite_request,
    accept_team_invite_verify,
)
