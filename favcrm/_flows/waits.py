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
WAIT_FIELDS = ("retryAfter", "retry_after", "retryAfterSeconds", "retry_after_seconds")
RESET_HEADERS = ("ratelimit-reset", "x-ratelimit-reset")


def server_time(response: Response) -> float | None:
    """Return the server's time in seconds since 1970 from its ``Date`` header, or None."""
    return _http_date(response.headers.get("date", ""))


def retry_after(response: Response, now: float) -> float | None:
    """Return the seconds of the ``Retry-After`` header (RFC 9110, section 10.2.3), which is a number or a date."""
    return _delay(response.headers.get("retry-after", ""), server_time(response) or now)


def told_wait(
    response: Response, now: float, details: Mapping[str, JSON], texts: Iterable[str]
) -> float | None:
    """Return the seconds that a refusal asks to wait: by its header, its payload, its words, or its limit's reset."""
    now = server_time(response) or now
    wait = retry_after(response, now)
    if wait is None:
        given = (details.get(name) for name in WAIT_FIELDS)
        told = (_delay(str(value), now) for value in given if _is_number_or_text(value))
        wait = next((seconds for seconds in told if seconds is not None), None)
    if wait is None:
        wait = next((_delay_in_words(found) for text in texts if (found := WAIT_IN_WORDS.search(text))), None)
    return _reset(response, now) if wait is None else wait


def _reset(response: Response, now: float) -> float | None:
    """Return the seconds until a limit ends; some servers send these, and some send the time in seconds since 1970."""
    for name in RESET_HEADERS:
        if SECONDS.fullmatch(value := response.headers.get(name, "").strip()):
            seconds = float(value)
            seconds = seconds if seconds < LONGEST_DELAY else max(0.0, seconds - now)
            return seconds if seconds < LONGEST_DELAY else None
    return None


def _delay(value: str, now: float) -> float | None:
    value = value.strip()
    if SECONDS.fullmatch(value):
        return min(float(value), LONGEST_DELAY)
    date = _http_date(value)
    return None if date is None else min(max(0.0, date - now), LONGEST_DELAY)


def _delay_in_words(found: re.Match[str]) -> float:
    return float(found[1]) * UNITS[found[2].lower()]


def _is_number_or_text(value: JSON) -> bool:
    return isinstance(value, int | float | str) and not isinstance(value, bool)


def _http_date(value: str) -> float | None:
    try:
        moment = parsedate_to_datetime(value)
        return moment.timestamp() if moment.year in YEARS else None
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
