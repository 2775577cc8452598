"""The server's time, and how long it asks to wait: in headers, in a payload, and in words."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from favcrm._patterns import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from favcrm.transport import Response
    from favcrm.typing import JSON

LONGEST_DELAY = 1e9
YEARS = range(1970, 9000)
"""Of a clock that tells something; Python's dates end soon after."""
# RFC 9110 has whole seconds, and servers send fractions of them too.
SECONDS = lazy_pattern(r"[0-9]+(\.[0-9]*)?")
WAIT_IN_WORDS = lazy_pattern(r"\b(?:in|after|for) (\d{1,6}) (second|minute|hour)s?\b", re.IGNORECASE)
UNITS = {"second": 1, "minute": 60, "hour": 3600}
WAIT_FIELDS = ("retryAfter", "retry_after")


def server_time(response: Response) -> float | None:
    """Return the server's time in seconds since 1970 from its ``Date`` header, or None."""
    return _http_date(response.headers.get("date", ""))


def retry_after(response: Response, now: float) -> float | None:
    """Return the seconds of the ``Retry-After`` header (RFC 9110, section 10.2.3), which is a number or a date."""
    return _delay(response.headers.get("retry-after", ""), server_time(response) or now)


def told_wait(
    response: Response, now: float, details: Mapping[str, JSON], texts: Iterable[str]
) -> float | None:
    """Return the seconds that a refusal asks to wait: by its header, its payload, or its words."""
    now = server_time(response) or now
    waits = [retry_after(response, now)]
    waits += [_delay(str(details.get(name)), now) for name in WAIT_FIELDS]
    waits += [_delay_in_words(found) for text in texts if (found := WAIT_IN_WORDS.search(text))]
    return next((seconds for seconds in waits if seconds is not None), None)


def _delay(value: str, now: float) -> float | None:
    value = value.strip()
    if SECONDS.fullmatch(value):
        return min(float(value), LONGEST_DELAY)
    date = _http_date(value)
    return None if date is None else min(max(0.0, date - now), LONGEST_DELAY)


def _delay_in_words(found: re.Match[str]) -> float:
    return float(found[1]) * UNITS[found[2].lower()]


def _http_date(value: str) -> float | None:
    try:
        moment = parsedate_to_datetime(value)
        return moment.timestamp() if moment.year in YEARS else None
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
