"""What a workspace is registered with, checked before anything is sent: every problem at once, each with its field."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import cast

from attrs import field, frozen

from favcrm._boundary import boundaries
from favcrm._patterns import lazy_pattern
from favcrm._text import is_text
from favcrm._warn import warn
from favcrm.errors import raise_problems

__all__ = ["Industry", "Registration"]

SHORTEST_NAME, LONGEST_NAME = 2, 80
# The server's own rule: no leading dot, no double dot, a top level of two letters or more. An A-label, the
# ASCII form of an international name, ends in letters and digits.
EMAIL = lazy_pattern(
    r"(?!\.)(?!.*\.\.)[A-Za-z0-9_'+\-.]*[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9-]*\.)+([A-Za-z]{2,}|xn--[A-Za-z0-9-]+)"
)
# With a lower similarity, catering would be taken for tutoring.
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


def ascii_domain(value: str) -> str:
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


def _industry(value: Industry | str | None) -> Industry | None:
    """Return the industry that a text names, and `Industry.OTHER`, with a warning, for an unknown one."""
    value = _trimmed_if_any(value)
    if value is None or isinstance(value, Industry):
        return value
    if not _is_text(value) or not re.search(r"\w", value):
        return cast("Industry", value)  # the check refuses it, with all other problems at once
    if value.lower() in set(Industry):
        return Industry(value.lower())
    if _near_industries(value):
        return cast("Industry", value)  # as above
    warn(SENT_AS_OTHER, UserWarning)
    return Industry.OTHER


def _near_industries(text: str) -> list[str]:
    from difflib import get_close_matches

    return get_close_matches(text.casefold(), list(Industry), cutoff=CLOSE)


@boundaries
@frozen(kw_only=True)
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

    email: str = field(converter=ascii_domain, repr=_hidden)
    organisation_name: str = field(converter=_trimmed)
    industry: Industry | None = field(default=None, converter=_industry)
    country: str | None = field(default=None, converter=_upper)
    timezone: str | None = field(default=None, converter=_trimmed_if_any)

    def __attrs_post_init__(self) -> None:
        raise_problems(
            {
                "email": check_email(self.email),
                "organisation_name": _check_name(self.organisation_name),
                "industry": _check_industry(self.industry),
                "country": _check_country(self.country),
                "timezone": _check_timezone(self.timezone),
            }
        )


def registration_of(  # noqa: PLR0917  # the arguments of Registration, in its order
    registration: Registration | None,
    email: str | None,
    organisation_name: str | None,
    industry: Industry | str | None,
    country: str | None,
    timezone: str | None,
) -> Registration:
    """Return the registration that was given as an object, or make one of the fields that were given by name.

    Raises:
        InvalidInputError: Both were given, or a field is wrong.
    """
    fields = {
        "email": email,
        "organisation_name": organisation_name,
        "industry": industry,
        "country": country,
        "timezone": timezone,
    }
    if registration is None:
        # A missing field is one of the problems that the registration reports.
        return Registration(**cast("dict[str, str]", fields))
    if not isinstance(cast("object", registration), Registration):
        what = "must be a Registration; give the fields by name, such as email=..., organisation_name=..."
        raise_problems({"registration": what})
    both = "give either a Registration or its fields"
    raise_problems({name: both for name, value in fields.items() if value is not None})
    return registration


def check_email(value: object) -> str | None:
    """Return what is wrong with an address, or None."""
    if isinstance(value, str) and EMAIL.fullmatch(value):
        return None
    return "must be an email address: a name, an @ and a domain"


def _check_name(value: object) -> str | None:
    if is_text(value) and SHORTEST_NAME <= len(value) <= LONGEST_NAME:
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
