"""What the sandbox's FavCRM allows, and how it decides what is not publicly known."""

from __future__ import annotations

from enum import Enum

from attrs import define, field, validators

__all__ = ["AccountCheck", "Rules"]

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
        bookings_per_month: Bookings that the plan allows in a calendar month.
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
    bookings_per_month: int = 200
    calls_per_month: int | None = 1000
    whatsapp_connected: bool = False
    account_check: AccountCheck = AccountCheck.AT_REQUEST
    one_request_each: bool = False
    list_checks_key: bool = False
    page_size: int | None = None

    def windows(self) -> tuple[tuple[float, int], ...]:
        """Return the rate limits of sign-up requests: seconds, and how many requests in them."""
        return (HOUR, self.requests_per_hour), (DAY, self.requests_per_day)
