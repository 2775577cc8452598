"""What goes in, checked before anything is called: all problems at once, each with its field."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import cast

from attrs import field, frozen

from favcrm._boundary import boundary
from favcrm._patterns import lazy_pattern
from favcrm._warn import warn
from favcrm.errors import InvalidInputError, Problem
from favcrm.secret import Secret
from favcrm.typing import JSON

__all__ = ["Industry", "Registration"]

SHORTEST_NAME, LONGEST_NAME = 2, 80
LONGEST_REQUEST_ID = 512
LONGEST_PERSON = 120
LONGEST_INVITE = 336
ROLES = ("manager", "staff")
# The server's own rule: no leading dot, no double dot, a top level of two letters or more. An A-label, the
# ASCII form of an international name, ends in letters and digits.
EMAIL = lazy_pattern(
    r"(?!\.)(?!.*\.\.)[A-Za-z0-9_'+\-.]*[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9-]*\.)+([A-Za-z]{2,}|xn--[A-Za-z0-9-]+)"
)
CODE = lazy_pattern(r"[0-9]{6}")
# Less alike, catering is taken for tutoring.
CLOSE = 0.8


class Industry(StrEnum):
    """What a business does, as FavCRM knows it."""

    BEAUTY = "beauty"
    FITNESS = "fitness"
    TUTORING = "tutoring"
    RETAIL = "retail"
    HOSPITALITY = "hospitality"
    SERVICES = "services"
    OTHER = "other"


SENT_AS_OTHER = (
    f"The industry is not one of {', '.join(Industry)}, so it is sent as other. "
    "The list is FavCRM's and may have grown: a newer version of this package may know the industry."
)


def _hidden(_: object) -> str:
    return "'...'"


def _is_text(value: object) -> bool:
    """Tell what a type checker promised; without one, anything may come, and the checks name it."""
    return isinstance(value, str)


def _trimmed(value: str) -> str:
    return value.strip() if _is_text(value) else value


def _trimmed_if_any(value: str | None) -> str | None:
    return None if value is None else _trimmed(value)


def _ascii_domain(value: str) -> str:
    """Turn an international domain into its ASCII form; leave what is no address to the check."""
    value = _trimmed(value)
    if not _is_text(value) or value.isascii():
        return value
    # idna comes with httpx, which cannot be installed without it.
    import idna

    name, at, domain = value.rpartition("@")
    try:
        return f"{name}{at}{idna.encode(domain, uts46=True).decode()}"
    except idna.IDNAError:
        return value


def _upper(value: str | None) -> str | None:
    value = _trimmed_if_any(value)
    return value.upper() if value is not None and _is_text(value) else value


def _industry(value: Industry | str | None) -> Industry | str | None:
    """Return the industry that a text names; leave what is no text, or nearly names one, to the check."""
    value = _trimmed_if_any(value)
    if value is None or not _is_text(value):
        return value
    if value.lower() in set(Industry):
        return Industry(value.lower())
    names_another = re.search(r"\w", value) and not _near_industries(value)
    return Industry.OTHER if names_another else value


def _near_industries(text: str) -> list[str]:
    from difflib import get_close_matches

    return get_close_matches(text.casefold(), list(Industry), cutoff=CLOSE)


@frozen(kw_only=True, init=False)
class Registration:
    """What a workspace is registered with.

    Args:
        email: Where the 6-digit code goes. International domains are turned into their ASCII form.
        organisation_name: 2 to 80 characters after trimming.
        industry: One of `Industry`, or its text. Any other text is sent as ``other``, with a `UserWarning`, unless it
            nearly names one of them: then it is a problem.
        country: An ISO 3166-1 alpha-2 code such as ``HK``, or ``XK``.
        timezone: An IANA name such as ``Asia/Hong_Kong``. The country's default where it is None. Whether there is a
            zone of that name is for the server to decide.

    Raises:
        InvalidInputError: With every problem found, each with its field.

    Example:
        >>> Registration(email="you@example.com", organisation_name="Stretch + Breathe", country="hk")
        Registration(email='...', organisation_name='Stretch + Breathe', industry=None, country='HK', timezone=None)
    """

    email: str = field(converter=_ascii_domain, repr=_hidden)
    organisation_name: str = field(converter=_trimmed)
    industry: Industry | str | None = field(default=None, converter=_industry)
    country: str | None = field(default=None, converter=_upper)
    timezone: str | None = field(default=None, converter=_trimmed_if_any)

    @boundary
    def __init__(
        self,
        *,
        email: str,
        organisation_name: str,
        industry: Industry | str | None = None,
        country: str | None = None,
        timezone: str | None = None,
    ) -> None:
        # attrs makes this method, which pyright does not know.
        self.__attrs_init__(  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
            email=email,
            organisation_name=organisation_name,
            industry=industry,
            country=country,
            timezone=timezone,
        )
        # No frame that an error passes through shows the email.
        del email
        checks = {
            "email": _check_email(self.email),
            "organisation_name": _check_name(self.organisation_name),
            "industry": _check_industry(self.industry),
            "country": _check_country(self.country),
            "timezone": _check_timezone(self.timezone),
        }
        raise_problems(checks)
        if self.industry is Industry.OTHER and str(industry).strip().lower() != Industry.OTHER:
            warn(SENT_AS_OTHER, UserWarning)


def registration_of(registration: Registration | None, fields: dict[str, str | None]) -> Registration:
    """Return the registration that was given as an object, or make one of the fields that were given by name.

    Raises:
        InvalidInputError: Both were given, or a field is wrong.
    """
    if registration is None:
        # A missing email is one of the problems that it reports.
        return Registration(**cast("Mapping[str, str]", _emptied(fields)))
    both = "give either a Registration or its fields"
    raise_problems({name: both for name, value in _emptied(fields).items() if value is not None})
    return registration


def _emptied(fields: dict[str, str | None]) -> dict[str, str | None]:
    """Return the fields and leave none behind: no frame that an error passes through shows the email."""
    taken = dict(fields)
    fields.clear()
    return taken


def read_code(code: object) -> tuple[Secret, str | None]:
    """Return a one-time code as six digits, without the blanks and hyphens that people paste, or what is wrong with it.

    It raises nothing: a code that is nearly right would stand in the frames.
    """
    if not isinstance(code, str):
        return Secret(""), "must be text: a number would lose its leading zeros"
    digits = re.sub(r"[\s-]", "", code)
    return (Secret(digits), None) if CODE.fullmatch(digits) else (Secret(""), "must be exactly six digits")


def check_request_id(request_id: object) -> str:
    """Return the id of a registration.

    Raises:
        InvalidInputError: It is not text, empty, or longer than any id.
    """
    problem = None
    if not isinstance(request_id, str) or not request_id.strip():
        problem = "must be the request_id of a pending registration"
    elif len(request_id) > LONGEST_REQUEST_ID:
        problem = f"must be at most {LONGEST_REQUEST_ID} characters"
    raise_problems({"request_id": problem})
    return str(request_id).strip()


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


def read_invite(
    email: str, *, name: str | None, role: str | None, expires_in_hours: int | None
) -> tuple[dict[str, JSON], dict[str, str | None]]:
    """Return the arguments of ``create_team_member_invite``, and what is wrong with each.

    It raises nothing: the email would stand in the frames.
    """
    address = _ascii_domain(email)
    hours = expires_in_hours
    problems = {
        "email": _check_email(address),
        "name": None
        if name is None or 1 <= len(name.strip()) <= LONGEST_PERSON
        else "must be 1 to 120 characters",
        "role": None if role in {None, *ROLES} else f"must be one of {', '.join(ROLES)}",
        "expires_in_hours": None
        if hours is None or 1 <= hours <= LONGEST_INVITE
        else f"must be 1 to {LONGEST_INVITE}",
    }
    fields: dict[str, JSON] = {"email": address, "name": name, "role": role, "expiresInHours": hours}
    return {field: value for field, value in fields.items() if value is not None}, problems


def check_question(
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


def check_interval(seconds: float) -> float:
    """Return the seconds between two diagnoses.

    Raises:
        InvalidInputError: It is no time that can be waited.
    """
    fine = seconds > 0 and math.isfinite(seconds)
    raise_problems({"interval": None if fine else "must be a number of seconds above 0"})
    return seconds


def check_plan(*, code_attempts: int, fresh_codes: int) -> None:
    """Check how often codes may be asked for.

    Raises:
        InvalidInputError: No code may be tried, or less than none asked for.
    """
    raise_problems(
        {
            "code_attempts": None if code_attempts >= 1 else "must be 1 or more",
            "fresh_codes": None if fresh_codes >= 0 else "must be 0 or more",
        }
    )


def raise_problems(checks: Mapping[str, str | None]) -> None:
    """Raise one `InvalidInputError` for every check that found something."""
    if found := [Problem(name, message) for name, message in checks.items() if message]:
        raise InvalidInputError(found)


def _check_email(value: object) -> str | None:
    if isinstance(value, str) and EMAIL.fullmatch(value):
        return None
    return "must be an email address: a name, an @ and a domain"


def _check_name(value: object) -> str | None:
    if isinstance(value, str) and SHORTEST_NAME <= len(value) <= LONGEST_NAME:
        return None
    return f"must be {SHORTEST_NAME} to {LONGEST_NAME} characters"


def _check_industry(value: object) -> str | None:
    if value is None or isinstance(value, Industry):
        return None
    near = _near_industries(value) if isinstance(value, str) else []
    return f"must be one of {', '.join(Industry)}{_hint(near)}"


def _check_country(value: object) -> str | None:
    if value is None:
        return None
    from favcrm.countries import COUNTRIES, near_match

    if isinstance(value, str) and value in COUNTRIES:
        return None
    match = near_match(value) if isinstance(value, str) else None
    return f"must be an ISO 3166-1 alpha-2 code such as HK{_hint([match] if match else [])}"


def _check_timezone(value: object) -> str | None:
    if value is None:
        return None
    from favcrm.timezones import can_be_zone, find_near_zones

    if isinstance(value, str) and can_be_zone(value):
        return None
    near = find_near_zones(value) if isinstance(value, str) else []
    return f"must be an IANA time zone such as Asia/Hong_Kong{_hint(near)}"


def _hint(near: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(near)}?" if near else ""
