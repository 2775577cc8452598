"""What people at a terminal read of an error. The next step names a command where the error is meant for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from favcrm._error_codes import ERROR_CODES, PORTAL
from favcrm.errors import InvalidInputError

if TYPE_CHECKING:
    from favcrm.errors import FavCRMError

__all__ = ["sentences"]

FRESH_CODE = (
    'Ask for a fresh code with "favcrm signup request" or "favcrm team invite accept-request", '
    "and give the code in the new email."
)
NEW_KEY = f'Sign in at {PORTAL}, create a key under Settings, MCP Keys, and save the key with "favcrm login".'
NEXT_STEPS = {
    "rate_limited": "Wait before you run the command again.",
    "refused": "Read what the server says, and correct the command.",
    "invalid_code": "Read the newest email from FavCRM again, and give the code that stands there.",
    "code_expired": FRESH_CODE,
    "too_many_attempts": f"{FRESH_CODE} Check each digit.",
    "already_registered": NEW_KEY,
    "authentication_failed": NEW_KEY,
    "plan_limit": f'See the plans with "favcrm tool call list_plan_options", and choose another one at {PORTAL}.',
    "input_required": "This command cannot answer the server. Call the tool from an MCP host that can ask you.",
}
OPTIONS = {"endpoint": "--url", "api_key": "--api-key"} | {
    name: f"--{name.replace('_', '-')}"
    for name in (
        "code",
        "country",
        "email",
        "expires_in_hours",
        "industry",
        "name",
        "organisation_name",
        "request_id",
        "role",
        "timezone",
        "token",
    )
}


def sentences(error: FavCRMError) -> dict[str, str]:
    """Return the parts of an error that people read, by their headings."""
    usual = error.next_step == ERROR_CODES[error.code].next_step
    told = {
        "Error": _message(error),
        "Next step": NEXT_STEPS.get(error.code, error.next_step) if usual else error.next_step,
        "Key from": _key_source(error),
        "Wait": "" if error.retry_after is None else f"{error.retry_after:.0f} seconds",
        "Request id": error.request_id,
    }
    return {heading: words for heading, words in told.items() if words}


def _key_source(error: FavCRMError) -> str:
    source = getattr(error, "key_source", None) or ""
    return OPTIONS["api_key"] if source == "the argument api_key" else source


def _message(error: FavCRMError) -> str:
    if not isinstance(error, InvalidInputError):
        return error.message
    listed = "; ".join(f"{OPTIONS.get(field, field)}: {problem}" for field, problem in error.problems)
    return f"{error.subject} is not valid, so nothing was sent: {listed}."
