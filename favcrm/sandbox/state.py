"""The state of the sandbox's FavCRM: its rules, its mails, who signed up, what a key opens, and what was written."""

from __future__ import annotations

import math
import secrets
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING

from attrs import Factory, define, field, frozen, validators

from favcrm.sandbox.forms import Refusal, RefusalReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from favcrm.sandbox.clock import SandboxClock
    from favcrm.typing import JSON

__all__ = ["AccountCheck", "Inbox", "Mail", "Rules"]

PORTAL = "https://app.favcrm.io"
UPGRADE = f"{PORTAL}/settings/plan"
HOUR = 3600.0
DAY = 24 * HOUR


class AccountCheck(Enum):
    """When FavCRM refuses an email that has an account, which is not publicly known."""

    AT_REQUEST = "request"
    AT_VERIFY = "verify"


@define(kw_only=True)
class Rules:
    """The limits and decisions of one sandbox. They can be changed at any time.

    Attributes:
        code_ttl: How long a code lives, in seconds.
        code_attempts: How many wrong codes are answered as wrong; after that no code is taken.
        requests_per_hour: Sign-up requests that one IP address has in an hour; at least 1.
        requests_per_day: The same, in 24 hours.
        plan_status: The status of every plan. With another word than ``active``, nothing can be written.
        customers: Members that the plan allows in one workspace.
        calls_per_month: Calls with a key that the plan allows in a calendar month; None for no limit.
        whatsapp_connected: Whether WhatsApp is connected.
        account_check: When an email that has an account is refused.
        one_request_each: A new sign-up request for the same email cancels the one before.
        list_checks_key: ``tools/list`` refuses a key that is wrong. It never needs a key.
        page_size: Tools on a page of ``tools/list``; None for all of them on one page.
    """

    code_ttl: float = 600.0
    code_attempts: int = 5
    requests_per_hour: int = field(default=3, validator=validators.ge(1))
    requests_per_day: int = field(default=20, validator=validators.ge(1))
    plan_status: str = "active"
    customers: int = 100
    calls_per_month: int | None = 1000
    whatsapp_connected: bool = False
    account_check: AccountCheck = AccountCheck.AT_REQUEST
    one_request_each: bool = False
    list_checks_key: bool = False
    page_size: int | None = None


@frozen(kw_only=True)
class Mail:
    """One mail.

    Attributes:
        to: The address.
        subject: The subject.
        body: The text.
        code: The 6-digit code in the text, or None.
        sent_at: When the mail was sent, in seconds since 1970 on the sandbox's clock.
    """

    to: str = field(repr=False)
    subject: str
    body: str = field(repr=False)
    code: str | None = field(repr=False)
    sent_at: float


class Inbox(list[Mail]):
    """Every mail that the sandbox sent, the oldest first. Nobody else receives them.

    Attributes:
        on_mail: Called with each mail as it is sent, or None.
    """

    def __init__(self, on_mail: Callable[[Mail], None] | None = None) -> None:
        super().__init__()
        self.on_mail = on_mail

    def deliver(self, mail: Mail) -> None:
        """Put a mail in."""
        self.append(mail)
        if self.on_mail is not None:
            self.on_mail(mail)

    def last_to(self, email: str) -> Mail:
        """Return the last mail to an address.

        Raises:
            LookupError: No mail was sent there.
        """
        for mail in reversed(self):
            if mail.to.casefold() == email.casefold():
                return mail
        raise LookupError("no mail was sent to this address")

    def code_for(self, email: str) -> str:
        """Return the code in the last mail to an address that has a code.

        Raises:
            LookupError: No code was sent there.
        """
        for mail in reversed(self):
            if mail.code is not None and mail.to.casefold() == email.casefold():
                return mail.code
        raise LookupError("no code was sent to this address")


@define(kw_only=True)
class EmailedCode:
    """A code that was mailed, and was not confirmed yet."""

    code: str = field(repr=False)
    expires_at: float
    wrong_attempts: int = 0


@define(kw_only=True)
class SignUp:
    """A sign-up request."""

    request_id: str
    email: str = field(repr=False)
    organisation_name: str
    industry: str | None
    country: str | None
    timezone: str
    emailed: EmailedCode


@define(kw_only=True)
class Company:
    """A workspace, and what is written in it."""

    name: str
    industry: str | None = None
    country: str | None = None
    timezone: str = "UTC"
    company_id: str = field(factory=lambda: new_id("co_"))
    organisation_id: str = field(factory=lambda: new_id("org_"))
    members: dict[str, dict[str, JSON]] = Factory(dict[str, "dict[str, JSON]"])


@define(kw_only=True)
class KeyAccess:
    """What a key opens."""

    user_id: str
    role: str
    company: Company


@define(kw_only=True)
class Invite:
    """An invitation to join a workspace."""

    email: str = field(repr=False)
    role: str
    company: Company
    expires_at: float
    emailed: EmailedCode | None = None


@define(kw_only=True)
class State:
    """Everything that the tools read and write."""

    clock: SandboxClock
    inbox: Inbox
    rules: Rules
    accounts: set[str] = field(factory=set[str], repr=False)
    sign_ups: dict[str, SignUp] = Factory(dict[str, SignUp])
    invites: dict[str, Invite] = field(factory=dict[str, Invite], repr=False)
    keys: dict[str, KeyAccess] = field(factory=dict[str, KeyAccess], repr=False)
    requests: dict[str, list[float]] = field(factory=dict[str, "list[float]"], repr=False)
    used_calls: dict[tuple[str, str], int] = field(factory=dict[tuple[str, str], int], repr=False)

    def email_code(self, email: str, subject: str) -> EmailedCode:
        """Mail a new code."""
        code = f"{secrets.randbelow(10**6):06}"
        now = self.clock.time()
        body = f"Your code is {code}. It is valid for {self.rules.code_ttl / 60:g} minutes."
        self.inbox.deliver(Mail(to=email, subject=subject, body=body, code=code, sent_at=now))
        return EmailedCode(code=code, expires_at=now + self.rules.code_ttl)

    def check_code(self, emailed: EmailedCode, code: str) -> None:
        """Count a wrong code. Raises a `Refusal` where the code is expired, was wrong too often, or is wrong."""
        if self.clock.time() >= emailed.expires_at:
            raise Refusal(RefusalReason.CODE_EXPIRED, "This code has expired. Please request a new one.")
        if emailed.wrong_attempts >= self.rules.code_attempts:
            text = "Too many failed attempts. Please request a new code."
            raise Refusal(RefusalReason.TOO_MANY_ATTEMPTS, text)
        if not secrets.compare_digest(emailed.code, code):
            emailed.wrong_attempts += 1
            text = "Invalid code. Please check your email and try again."
            raise Refusal(RefusalReason.INVALID_CODE, text)

    def create_key(self, company: Company, *, role: str) -> tuple[str, KeyAccess]:
        """Make a key that opens a company."""
        key = "fav_mcp_" + secrets.token_urlsafe(32)
        access = KeyAccess(user_id=new_id("usr_"), role=role, company=company)
        self.keys[key] = access
        return key, access

    def count_request(self, ip: str) -> None:
        """Count a sign-up request. Raises a `Refusal` where this address made too many."""
        now = self.clock.time()
        times = self.requests.setdefault(ip, [])
        windows = (HOUR, self.rules.requests_per_hour), (DAY, self.rules.requests_per_day)
        waits = [
            earlier + seconds - now
            for seconds, most in windows
            if most <= len(times) and (earlier := times[-most]) + seconds > now
        ]
        if waits:
            wait = math.ceil(max(waits))
            text = f"Rate limit exceeded for sign-up requests. Try again in {math.ceil(wait / 60)} minutes."
            raise Refusal(RefusalReason.RATE_LIMITED, text, {"retryAfter": wait})
        times.append(now)

    def count_call(self, access: KeyAccess) -> None:
        """Count a call with a key. Raises a `Refusal` where the plan's calls of this month are used up."""
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


def unauthorized() -> Refusal:
    """Return the refusal of a key that is missing or opens nothing."""
    return Refusal(RefusalReason.UNAUTHORIZED, "Unauthorized: a valid API key is required.")


def over_limit(text: str) -> Refusal:
    """Return the refusal of something that the plan does not allow."""
    text = f"{text} Upgrade your plan to continue."
    return Refusal(RefusalReason.PLAN_LIMIT, text, {"upgradeAction": UPGRADE})


def not_found(kind: str) -> Refusal:
    """Return the refusal of something that does not exist."""
    return Refusal(RefusalReason.NOT_FOUND, f"{kind} not found.")
