"""From any wire form of a failure to one of our errors.

Which form FavCRM uses is not known, so every form is first brought into one shape, a `Failure`, and that is
looked up in one table: the server's code first, then its words, then the HTTP status.
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING

from attrs import frozen

from favcrm._core import payloads
from favcrm._core.challenges import INSUFFICIENT_SCOPE, read_challenge
from favcrm._core.refusal_rules import LACKS_SCOPE, RULES
from favcrm._core.text import clean, mask, without_emails
from favcrm.errors import (
    AlreadyRegisteredError,
    AuthenticationError,
    PlanLimitError,
    RefusedError,
    ServerBusyError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from favcrm._core.refusal_rules import Rule
    from favcrm._core.transport import Response
    from favcrm.errors import FavCRMError
    from favcrm.typing import JSON

HTTP_OK = range(200, 300)
HTTP_REDIRECT = range(300, 400)
SOMETHING = "*"
"""Promised by calls whose payload has no certain field, but is never empty."""

REASON_FIELDS = {
    "success",
    "error",
    "code",
    "message",
    "detail",
    "reason",
    "retryAfter",
    "loginUrl",
    "upgradeAction",
}
LONGEST_DELAY = 1e9
YEARS = range(1970, 9000)
"""Of a clock that tells something; Python's dates end soon after."""
# Much longer than what is shown of it: where the rest is left, half a secret may stand.
LONGEST_REASON = 64 * 1024
WAIT_IN_WORDS = re.compile(r"\b(?:in|after|for) (\d{1,6}) (second|minute|hour)s?\b", re.IGNORECASE)
SECONDS = {"second": 1, "minute": 60, "hour": 3600}


@frozen(kw_only=True, eq=False)
class Failure:
    """One failure, whatever form it came in; ``status`` is an HTTP status that says so by itself."""

    code: int | str | None
    text: str
    details: Mapping[str, JSON]
    retry_after: float | None
    status: int | None


def find_failure(response: Response, *, now: float, promised: str | None = None) -> Failure | None:
    """Return the failure that an answer tells of, or None where it tells of none.

    Args:
        response: What came back.
        now: This machine's time, in seconds since 1970, for where the server does not tell its own.
        promised: The field that a good payload has. Where it is given, a result without it is a failure if
            it gives a reason.
    """
    wait = retry_after(response, now)
    if (error := response.error) is not None:
        return _failure(response, error.data, code=error.code, text=error.message, wait=wait)
    if response.status is not None and response.status not in HTTP_OK:
        return _from_body(response, wait)
    if response.result is not None:
        return _from_result(response, promised, wait)
    # A REST refusal sent with status 200. Words alone may as well tell of a success.
    told = payloads.as_json(response.body)
    failure = _from_body(response, wait)
    refused = isinstance(told, dict) and (
        bool(told.get("error")) or told.get("success") is False or _match(failure, sign_up=True) is not None
    )
    return failure if refused else None


def to_error(
    failure: Failure, response: Response, *, sign_up: bool, hide: tuple[str, ...] = ()
) -> FavCRMError:
    """Return the error for a failure.

    Args:
        failure: What was found.
        response: The answer it was found in.
        sign_up: Whether the call is part of a registration; elsewhere "expired" or "exists" mean other things.
        hide: Values of the request that the server may repeat and that must not be shown.
    """
    # Where something is hidden, as in a sign-up, there is one email to name, and nobody is to see it in an error.
    private = sign_up or bool(hide)
    shown = partial(_shown, hide=hide, private=private)
    summary = shown(failure.text)
    told = read_challenge(response.headers.get("www-authenticate", ""))
    challenge = {name: shown(value) for name, value in told.items()}
    request_id = response.x_request_id
    code = failure.status if failure.code is None else failure.code
    rule = _match(failure, sign_up=sign_up)
    if rule is None:
        message, step = _told(_plain_message(failure, response), summary), _next_step(failure)
        error = RefusedError(message, code=code, summary=summary, next_step=step, request_id=request_id)
    elif issubclass(rule.error, ServerBusyError):
        message = _told(rule.message, summary)
        return rule.error(message, retry_after=failure.retry_after, request_id=request_id)
    else:
        lacks_scope = rule.error is AuthenticationError and challenge.get("error") == INSUFFICIENT_SCOPE
        message = _told(LACKS_SCOPE if lacks_scope else rule.message, summary)
        step = _ask_for_scope(challenge) if lacks_scope else None
        error = rule.error(message, code=code, summary=summary, next_step=step, request_id=request_id)
    _add_details(error, failure, challenge)
    if response.error is not None and not private:
        error.data = payloads.masked(response.error.data, mask)
    return error


def _shown(words: str, *, hide: tuple[str, ...], private: bool) -> str:
    return clean(without_emails(words) if private else words, hide=hide)


def _ask_for_scope(challenge: Mapping[str, str]) -> str:
    """Say what to do about a key that is good, and not for this."""
    scope = challenge.get("scope", "").replace('"', "'")
    lacking = f'lacks the scope "{scope}"' if scope else "lacks a scope that this needs"
    return f"The key itself is good, but it {lacking}: ask the user for one that may do this, or do without this call."


def _add_details(error: RefusedError, failure: Failure, challenge: Mapping[str, str]) -> None:
    if isinstance(error, AuthenticationError):
        error.challenge = challenge
    if isinstance(error, AlreadyRegisteredError):
        error.login_url = _text(failure.details, "loginUrl", "login_url") or error.login_url
    if isinstance(error, PlanLimitError):
        error.upgrade_action = _text(failure.details, "upgradeAction", "upgrade_action")


def server_time(response: Response) -> float | None:
    """Return the server's time in seconds since 1970 from its ``Date`` header, or None."""
    return _http_date(response.headers.get("date", ""))


def retry_after(response: Response, now: float) -> float | None:
    """Return the seconds of the ``Retry-After`` header (RFC 9110, section 10.2.3), which is a number or a date."""
    value = response.headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_DELAY)
    date = _http_date(value)
    return None if date is None else min(max(0.0, date - (server_time(response) or now)), LONGEST_DELAY)


def _http_date(value: str) -> float | None:
    try:
        moment = parsedate_to_datetime(value)
        return moment.timestamp() if moment.year in YEARS else None
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _from_body(response: Response, wait: float | None) -> Failure:
    """Read an HTTP refusal: JSON of several shapes, HTML, or nothing."""
    told = payloads.as_json(response.body)
    if isinstance(told, dict):
        return _failure(response, told, wait=wait)
    # The words of an HTML page are a proxy's, for people; its status says enough.
    text = "" if response.body.lstrip().startswith("<") else response.body
    return _failure(response, {}, text=text, wait=wait)


def _from_result(response: Response, promised: str | None, wait: float | None) -> Failure | None:
    """Read a tool's own refusal: ``isError``, or a result without what it promises."""
    result = response.result
    details = payloads.payload(_without_null(result))
    refused = isinstance(result, dict) and result.get("isError") is True
    reason = _failure(response, details, wait=wait)
    if promised is None and not refused:
        return reason if _says_no(details) or _by_code(_rules(sign_up=False), reason.code) else None
    told = payloads.summary(result)
    spoken = _failure(response, details, text=told, wait=wait)
    if refused:
        return spoken
    if promised == SOMETHING:
        return next(
            (told for told in (reason, spoken) if _is_bare(details) and _match(told, sign_up=False)), None
        )
    if payloads.payload(result, promised) is not None:
        return None
    if reason.code is not None or reason.text:
        return reason
    # A good-looking sentence beside a payload that only lacks a field is a defect, not a refusal.
    return spoken if told and (_is_bare(details) or _match(spoken, sign_up=True)) else None


def _without_null(result: JSON) -> JSON:
    """Take away a structured content of null: it gives no reason, and what stands beside it may."""
    if isinstance(result, dict) and result.get("structuredContent") is None:
        return {name: value for name, value in result.items() if name != "structuredContent"}
    return result


def _is_bare(details: JSON) -> bool:
    """Tell whether a payload holds nothing, or nothing but a reason."""
    return not isinstance(details, dict) or details.keys() <= REASON_FIELDS


def _says_no(details: JSON) -> bool:
    """Tell whether a payload of a tool that may answer anything says, beyond doubt, that it failed."""
    if not isinstance(details, dict) or not _is_bare(details):
        return False
    return bool(details.get("error")) or details.get("success") is False


def _failure(
    response: Response, details: JSON, *, code: int | str | None = None, text: str = "", wait: float | None
) -> Failure:
    known = details if isinstance(details, dict) else {}
    told_code, told_text = _reason(known)
    words = (text or told_text or (details if isinstance(details, str) else ""))[:LONGEST_REASON]
    if wait is None:
        wait = _told_wait(known, words)
    return Failure(
        code=code if told_code is None else told_code,
        text=words,
        details=known,
        retry_after=wait,
        status=None if response.status in HTTP_OK else response.status,
    )


def _told_wait(details: Mapping[str, JSON], words: str) -> float | None:
    """Return the seconds to wait that a payload names, in a field or in words such as "in 12 minutes"."""
    seconds = details.get("retryAfter", details.get("retry_after"))
    if isinstance(seconds, int | float) and 0 <= seconds < LONGEST_DELAY:
        return float(seconds)
    found = WAIT_IN_WORDS.search(words)
    return float(found[1]) * SECONDS[found[2].lower()] if found else None


def _reason(told: Mapping[str, JSON]) -> tuple[int | str | None, str]:
    """Return the code and the words with which a payload or a REST body gives its reason."""
    while isinstance(inner := told.get("error"), dict):
        told = inner
    code = told.get("code")
    words = [told.get(name) for name in ("message", "detail", "reason")] + [inner]
    text = next((word for word in words if isinstance(word, str) and word), "")
    return (code if isinstance(code, int | str) and code != "" else None), text


def _match(failure: Failure, *, sign_up: bool) -> Rule | None:
    """Look a failure up: its own code, then its words, then the HTTP status, which is the least specific."""
    rules = _rules(sign_up=sign_up)
    return (
        _by_code(rules, failure.code)
        or next((rule for rule in rules if re.search(rule.words, failure.text, re.IGNORECASE)), None)
        or _by_code(rules, failure.status)
    )


def _rules(*, sign_up: bool) -> list[Rule]:
    return [rule for rule in RULES if sign_up or not rule.only_sign_up]


def _by_code(rules: Iterable[Rule], code: int | str | None) -> Rule | None:
    known = re.sub(r"[^A-Z0-9]+", "_", code.upper()) if isinstance(code, str) else code
    return next((rule for rule in rules if known in rule.codes), None)


def _told(message: str, words: str) -> str:
    return f'{message} The server says: "{words.rstrip(".")}".' if words else message


def _plain_message(failure: Failure, response: Response) -> str:
    if failure.status is None:
        return "The server refused this. Nothing was done."
    redirect = f", which {response.defect}" if failure.status in HTTP_REDIRECT else ""
    return f"The server answered HTTP {failure.status}{redirect}. Nothing was done."


def _next_step(failure: Failure) -> str | None:
    """Say what to do about a bare HTTP status, which tells of the endpoint rather than of the tool."""
    if failure.status is None:
        return None
    if failure.status in HTTP_REDIRECT:
        return "Set the endpoint to the address that the server really has: redirects elsewhere are not followed."
    return "Check that the endpoint is the address of a FavCRM MCP endpoint."


def _text(details: Mapping[str, JSON], *names: str) -> str | None:
    for name in names:
        if isinstance(value := details.get(name), str) and value:
            return clean(value)
    return None
