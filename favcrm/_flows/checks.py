"""Arguments of calls, checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping

from favcrm._patterns import is_number, lazy_pattern
from favcrm._text import is_text
from favcrm.errors import raise_problems
from favcrm.models import PendingRegistration
from favcrm.registration import ascii_domain, check_email
from favcrm.secret import Secret
from favcrm.typing import JSON

LONGEST_REGISTRATION_ID = 512
LONGEST_PERSON = 120
LONGEST_INVITE = 336
ROLES = ("manager", "staff")
SIX_DIGITS = lazy_pattern(r"[0-9]{6}")


def parse_code(code: object) -> Secret:
    """Return a one-time code as six digits, without the blanks and hyphens that people paste.

    Raises:
        InvalidInputError: The code is not text, or not six digits.
    """
    if not isinstance(code, str):
        number = ": a number would lose its leading zeros" if isinstance(code, int) else ""
        raise_problems({"code": f"must be text{number}"})
    digits = re.sub(r"[\s-]", "", str(code))
    raise_problems({"code": None if SIX_DIGITS.fullmatch(digits) else "must be exactly six digits"})
    return Secret(digits)


def check_request_id(request_id: object) -> str:
    """Return the id of a registration.

    Raises:
        InvalidInputError: The id is not text, is empty, or is longer than any id.
    """
    problem = None
    if not is_text(request_id) or not request_id.strip():
        problem = "must be the request_id of a pending registration"
    elif len(request_id) > LONGEST_REGISTRATION_ID:
        problem = f"must be at most {LONGEST_REGISTRATION_ID} characters"
    raise_problems({"request_id": problem})
    return str(request_id).strip()


def check_joining(pending: object, person: object) -> None:
    """Check what goes with the token and the code of an invitation.

    Raises:
        InvalidInputError: The one is no `PendingRegistration`, or the other no text.
    """
    known = pending is None or isinstance(pending, PendingRegistration)
    raise_problems(
        {
            "pending": None if known else "must be what request_invite_code returned",
            "person": None if person is None or is_text(person) else "must be text",
        }
    )


def check_tool_call(name: object, arguments: object) -> None:
    """Check what a tool is called with, as far as that does not depend on the tool.

    Raises:
        InvalidInputError: The name is no text or empty, or the arguments are no mapping.
    """
    named = isinstance(name, str) and name.strip()
    raise_problems(
        {
            "name": None if named else "must be the name of a tool",
            "arguments": None if isinstance(arguments, Mapping) else "must be a mapping of names to values",
        }
    )


def invite_arguments(
    email: str, *, name: str | None, role: str | None, expires_in_hours: int | None
) -> dict[str, JSON]:
    """Return the arguments of ``create_team_member_invite``.

    Raises:
        InvalidInputError: An argument is wrong.
    """
    address = ascii_domain(email)
    hours = expires_in_hours
    name_fits = name is None or (is_text(name) and 1 <= len(name.strip()) <= LONGEST_PERSON)
    hours_fit = hours is None or is_number(hours, least=1, most=LONGEST_INVITE)
    raise_problems(
        {
            "email": check_email(address),
            "name": None if name_fits else f"must be 1 to {LONGEST_PERSON} characters",
            "role": None if role in (None, *ROLES) else f"must be one of {', '.join(ROLES)}",
            "expires_in_hours": None if hours_fit else f"must be 1 to {LONGEST_INVITE}",
        }
    )
    fields: dict[str, JSON] = {"email": address, "name": name, "role": role, "expiresInHours": hours}
    return {field: value for field, value in fields.items() if value is not None}


def plan_question(
    *, tool: str | None, quota: str | None, module: str | None, delta: int | None
) -> dict[str, JSON]:
    """Return the arguments of ``check_plan_operation``.

    Raises:
        InvalidInputError: Nothing is asked.
    """
    fields: dict[str, JSON] = {"toolName": tool, "quotaCode": quota, "moduleCode": module, "delta": delta}
    asked: dict[str, JSON] = {field: value for field, value in fields.items() if value is not None}
    raise_problems({"tool": None if asked.keys() - {"delta"} else "name a tool, a quota or a module"})
    return asked
