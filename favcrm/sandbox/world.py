"""The state of the sandbox's FavCRM: who signed up, who may do what, and what was written."""

from __future__ import annotations

import math
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from attrs import Factory, define, field

from favcrm.sandbox.forms import Reason, Refused
from favcrm.sandbox.inbox import Mail

if TYPE_CHECKING:
    from favcrm.sandbox.clock import SandboxClock
    from favcrm.sandbox.inbox import Inbox
    from favcrm.sandbox.rules import Rules
    from favcrm.typing import JSON

PORTAL = "https://app.favcrm.io"
UPGRADE = f"{PORTAL}/settings/plan"


@define(kw_only=True)
class Challenge:
    """A code that was mailed and waits to be typed."""

    code: str = field(repr=False)
    expires_at: float
    wrong: int = 0


@define(kw_only=True)
class SignUp:
    """A sign-up request."""

    request_id: str
    email: str = field(repr=False)
    organisation_name: str
    industry: str | None
    country: str | None
    timezone: str
    challenge: Challenge


@define(kw_only=True)
class Company:
    """A workspace and what is written in it."""

    company_id: str
    organisation_id: str
    name: str
    industry: str | None = None
    country: str | None = None
    timezone: str = "UTC"
    members: dict[str, dict[str, JSON]] = Factory(dict[str, "dict[str, JSON]"])
    services: dict[str, dict[str, JSON]] = Factory(dict[str, "dict[str, JSON]"])
    bookings: dict[str, dict[str, JSON]] = Factory(dict[str, "dict[str, JSON]"])


@define(kw_only=True)
class Access:
    """What a key opens."""

    user_id: str
    role: str
    companies: list[Company]
    company: Company


@define(kw_only=True)
class Invite:
    """An invitation to join a workspace."""

    email: str = field(repr=False)
    name: str | None
    role: str
    company: Company
    expires_at: float
    challenge: Challenge | None = None


@define(kw_only=True)
class World:
    """Everything that the tools read and write."""

    clock: SandboxClock
    inbox: Inbox
    rules: Rules
    plan_status: str = "active"
    whatsapp_connected: bool = False
    accounts: set[str] = field(factory=set[str], repr=False)
    sign_ups: dict[str, SignUp] = Factory(dict[str, SignUp])
    invites: dict[str, Invite] = field(factory=dict[str, Invite], repr=False)
    keys: dict[str, Access] = field(factory=dict[str, Access], repr=False)
    requests: dict[str, list[float]] = field(factory=dict[str, "list[float]"], repr=False)
    used_calls: dict[tuple[str, str], int] = field(factory=dict[tuple[str, str], int], repr=False)

    def challenge(self, email: str, subject: str) -> Challenge:
        """Mail a new code."""
        code = f"{secrets.randbelow(10**6):06}"
        now = self.clock.time()
        body = f"Your code is {code}. It is valid for {self.rules.code_ttl / 60:g} minutes."
        self.inbox.deliver(Mail(to=email, subject=subject, body=body, code=code, sent_at=now))
        return Challenge(code=code, expires_at=now + self.rules.code_ttl)

    def check(self, challenge: Challenge, code: str) -> None:
        """Let a right code through, and count a wrong one.

        Raises:
            Refused: It is expired, was wrong too often, or is wrong.
        """
        if self.clock.time() >= challenge.expires_at:
            raise Refused(Reason.CODE_EXPIRED, "This code has expired. Please request a new one.")
        if challenge.wrong >= self.rules.code_attempts:
            raise Refused(Reason.TOO_MANY_ATTEMPTS, "Too many failed attempts. Please request a new code.")
        if not secrets.compare_digest(challenge.code, code):
            challenge.wrong += 1
            raise Refused(Reason.INVALID_CODE, "Invalid code. Please check your email and try again.")

    def open_company(
        self, *, name: str, organisation_id: str | None = None, timezone: str = "UTC"
    ) -> Company:
        """Make a company, in a new organisation unless one is given."""
        return Company(
            company_id=new_id("co_"),
            organisation_id=organisation_id or new_id("org_"),
            name=name,
            timezone=timezone,
        )

    def grant(self, company: Company, *, role: str) -> tuple[str, Access]:
        """Make a key that opens a company."""
        key = new_key()
        access = Access(user_id=new_id("usr_"), role=role, companies=[company], company=company)
        self.keys[key] = access
        return key, access

    def count_request(self, ip: str) -> None:
        """Count a sign-up request.

        Raises:
            Refused: There were too many from this address.
        """
        now = self.clock.time()
        times = self.requests.setdefault(ip, [])
        waits = [
            earlier + seconds - now
            for seconds, most in self.rules.windows()
            if most <= len(times) and (earlier := times[-most]) + seconds > now
        ]
        if waits:
            wait = math.ceil(max(waits))
            words = f"Rate limit exceeded for sign-up requests. Try again in {math.ceil(wait / 60)} minutes."
            raise Refused(Reason.RATE_LIMITED, words, {"retryAfter": wait})
        times.append(now)

    def count_call(self, access: Access) -> None:
        """Count a call with a key.

        Raises:
            Refused: The plan's calls of this month are used up.
        """
        used_in = access.company.organisation_id, self.iso(self.clock.time())[:7]
        used = self.used_calls.get(used_in, 0)
        most = self.rules.calls_per_month
        if most is not None and used >= most:
            raise over_limit(f"Plan limit reached: {most} MCP calls a month.")
        self.used_calls[used_in] = used + 1

    def iso(self, seconds: float) -> str:
        """Return a time as FavCRM writes it."""
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_id(prefix: str) -> str:
    """Return a new id."""
    return prefix + secrets.token_hex(10)


def new_key() -> str:
    """Return a new key."""
    return "fav_mcp_" + secrets.token_urlsafe(32)


def unauthorized() -> Refused:
    """Return the refusal of a key that is missing or opens nothing."""
    return Refused(Reason.UNAUTHORIZED, "Unauthorized: a valid API key is required.")


def over_limit(words: str) -> Refused:
    """Return the refusal of something that the plan does not allow."""
    return Refused(Reason.PLAN_LIMIT, f"{words} Upgrade your plan to continue.", {"upgradeAction": UPGRADE})


def not_found(what: str) -> Refused:
    """Return the refusal of something that is not there."""
    return Refused(Reason.NOT_FOUND, f"{what} not found.")
