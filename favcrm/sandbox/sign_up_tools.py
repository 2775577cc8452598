"""The tools that make a key: signing up, and joining a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from favcrm.sandbox.forms import Refusal, RefusalReason, ToolAnswer
from favcrm.sandbox.state import HOUR, PORTAL, AccountCheck, Company, Invite, SignUp, new_id, not_found
from favcrm.sandbox.tools import fields, text, tool, whole

if TYPE_CHECKING:
    from favcrm.sandbox.state import State
    from favcrm.sandbox.tools import CallContext
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
    context: CallContext,
    *,
    email: str,
    organisation_name: str,
    industry: str | None = None,
    country: str | None = None,
    timezone: str | None = None,
) -> ToolAnswer:
    """Request a new organisation. Emails a 6-digit code that register_organisation_verify takes."""
    state = context.state
    state.count_request(context.ip)
    if state.rules.account_check is AccountCheck.AT_REQUEST:
        _refuse_account(state, email)
    if state.rules.one_request_each:
        state.sign_ups = {key: each for key, each in state.sign_ups.items() if each.email != email.casefold()}
    sign_up = SignUp(
        request_id=new_id("signup_req_"),
        email=email.casefold(),
        organisation_name=organisation_name,
        industry=industry,
        country=country,
        timezone=timezone or TIMEZONES.get((country or "").upper(), "UTC"),
        emailed=state.email_code(email, f"Your FavCRM code for {organisation_name}"),
    )
    state.sign_ups[sign_up.request_id] = sign_up
    data: dict[str, JSON] = {
        "requestId": sign_up.request_id,
        "expiresAt": state.iso(sign_up.emailed.expires_at),
        "maskedEmail": mask(email),
        "instructions": ASK + "register_organisation_verify.",
    }
    return ToolAnswer(data, f"A 6-digit code was sent to {mask(email)}.")


@tool(
    fields("requestId code", requestId=text(1), code=CODE),
    needs_key=False,
)
def register_organisation_verify(context: CallContext, *, request_id: str, code: str) -> ToolAnswer:
    """Verify the emailed code. Creates the organisation and shows its API key, once."""
    state = context.state
    sign_up = state.sign_ups.get(request_id)
    if sign_up is None:
        raise not_found("Sign-up request")
    state.check_code(sign_up.emailed, code)
    _refuse_account(state, sign_up.email)
    del state.sign_ups[request_id]
    state.accounts.add(sign_up.email)
    company = Company(
        name=sign_up.organisation_name,
        industry=sign_up.industry,
        country=sign_up.country,
        timezone=sign_up.timezone,
    )
    return _welcome(state, company, role="owner")


@tool(
    fields(
        "email",
        email=EMAIL,
        name=text(1, 120),
        role=text(enum=["manager", "staff"], default="staff"),
        expiresInHours={**whole(1, 336), "default": 72},
    ),
)
def create_team_member_invite(
    context: CallContext,
    *,
    email: str,
    name: str | None = None,  # noqa: ARG001 - the sandbox shows no profile
    role: str = "staff",
    expires_in_hours: int = 72,
) -> ToolAnswer:
    """Invite somebody to this workspace. Returns a one-time token."""
    state = context.state
    token = new_id("invite_")
    expires_at = state.clock.time() + expires_in_hours * HOUR
    company = context.access.company
    state.invites[token] = Invite(email=email, role=role, company=company, expires_at=expires_at)
    data: dict[str, JSON] = {
        "inviteId": new_id("inv_"),
        "token": token,
        "inviteUrl": f"{PORTAL}/join/{token}",
        "email": email,
        "role": role,
        "expiresAt": state.iso(expires_at),
    }
    return ToolAnswer(data, f"{mask(email)} is invited to {company.name}.")


@tool(
    fields("token", token=text(1)),
    needs_key=False,
)
def accept_team_invite_request(context: CallContext, *, token: str) -> ToolAnswer:
    """Accept an invitation. Emails a 6-digit code that accept_team_invite_verify takes."""
    state = context.state
    invite = _find_invite(state, token)
    invite.emailed = state.email_code(invite.email, f"Your FavCRM code to join {invite.company.name}")
    data: dict[str, JSON] = {
        "expiresAt": state.iso(invite.emailed.expires_at),
        "maskedEmail": mask(invite.email),
        "instructions": ASK + "accept_team_invite_verify.",
    }
    return ToolAnswer(data, f"A 6-digit code was sent to {mask(invite.email)}.")


@tool(
    fields("token code", token=text(1), code=CODE, name=text(1, 120)),
    needs_key=False,
)
def accept_team_invite_verify(
    context: CallContext,
    *,
    token: str,
    code: str,
    name: str | None = None,  # noqa: ARG001 - the sandbox shows no profile
) -> ToolAnswer:
    """Verify the emailed code of an invitation. Joins the workspace and shows an API key, once."""
    state = context.state
    invite = _find_invite(state, token)
    if invite.emailed is None:
        raise Refusal(RefusalReason.CODE_NOT_REQUESTED, "No code was requested for this invitation yet.")
    state.check_code(invite.emailed, code)
    del state.invites[token]
    state.accounts.add(invite.email.casefold())
    return _welcome(state, invite.company, role=invite.role)


def mask(email: str) -> str:
    """Return an address that shows the first two letters of its name."""
    name, _, domain = email.rpartition("@")
    return f"{name[:2]}*@{domain}"


def _refuse_account(state: State, email: str) -> None:
    if email.casefold() in state.accounts:
        advice = f"Sign in at {PORTAL} and create a key under Settings, MCP Keys."
        words = f"An account already exists for this email. {advice}"
        raise Refusal(RefusalReason.ACCOUNT_EXISTS, words, {"loginUrl": PORTAL})


def _find_invite(state: State, token: str) -> Invite:
    invite = state.invites.get(token)
    if invite is None:
        raise not_found("Invitation")
    if state.clock.time() >= invite.expires_at:
        raise Refusal(
            RefusalReason.INVITATION_EXPIRED, "This invitation has expired. Please ask for a new one."
        )
    return invite


def _welcome(state: State, company: Company, *, role: str) -> ToolAnswer:
    key, access = state.create_key(company, role=role)
    data: dict[str, JSON] = {
        "organisationId": company.organisation_id,
        "companyId": company.company_id,
        "userId": access.user_id,
        "apiKey": key,
        "loginUrl": PORTAL,
        "nextSteps": "Save the API key: it is shown only once. Then call list_my_companies.",
    }
    return ToolAnswer(data, f"{company.name} is ready.", "card")


TOOLS = (
    register_organisation_request,
    register_organisation_verify,
    create_team_member_invite,
    accept_team_invite_request,
    accept_team_invite_verify,
)
