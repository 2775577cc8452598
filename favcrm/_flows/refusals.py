"""From any wire form of a failure to one of our errors.

Which form FavCRM uses is not known, so every form is first brought into one shape, a `Failure`, and that is
looked up in one table: the server's code first, then its words, then the HTTP status.
"""

from __future__ import annotations

import re
from functools import cache, partial
from typing import TYPE_CHECKING

from attrs import frozen

from favcrm._flows.challenges import INSUFFICIENT_SCOPE, read_challenge
from favcrm._flows.reasons import LONGEST_TEXT, is_code, read_reason
from favcrm._flows.redaction import mask_fields
from favcrm._flows.refusal_rules import LACKS_SCOPE, RULES
from favcrm._flows.waits import WAIT_FIELDS, told_wait
from favcrm._mcp import payloads
from favcrm._patterns import lazy_pattern
from favcrm._text import clean, mask, without_emails, without_query
from favcrm.errors import (
    AlreadyRegisteredError,
    AuthenticationError,
    PlanLimitError,
    RefusedError,
    ServerBusyError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from favcrm._flows.refusal_rules import Rule
    from favcrm.errors import FavCRMError
    from favcrm.transport import Response
    from favcrm.typing import JSON

HTTP_OK = range(200, 300)
HTTP_REDIRECT = range(300, 400)
SOMETHING = "*"
"""Promised by calls whose payload has no certain field, but is never empty."""

REASON_FIELDS = {
    "success",
    "error",
    "errors",
    "errorCode",
    "error_code",
    "error_description",
    "code",
    "message",
    "detail",
    "reason",
    *WAIT_FIELDS,
    "loginUrl",
    "upgradeAction",
}


# An error in the server, or on the way behind it.
FAULT_CODES: frozenset[int | str] = frozenset(
    {-32603, 408, 444, 499, "INTERNAL", "INTERNAL_ERROR", "INTERNAL_SERVER_ERROR", "TIMEOUT", "SERVER_ERROR"}
)
FAULT_WORDS = lazy_pattern(
    r"internal (server )?error|\btimed[ -]?out\b|\b(request|operation|gateway|read|connection) time-?out\b"
    r"|connection (was )?(closed|reset|lost)",
    re.IGNORECASE,
)


@frozen(kw_only=True, eq=False, repr=False)
class Failure:
    """One failure, whatever form it came in.

    Attributes:
        codes: The server's own codes, the most specific first.
        texts: Its words, the first of which are shown.
        hints: What says less than codes and words: a status in the payload, and last the HTTP status.
        details: The fields of the payload.
        retry_after: Seconds to wait, or None.
        status: An HTTP status that tells of a failure by itself, or None.
    """

    codes: tuple[int | str, ...]
    texts: tuple[str, ...]
    hints: tuple[int | str, ...]
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
    if (error := response.error) is not None:
        return _failure(response, now, error.data, before=error.message, code=error.code)
    if response.status is not None and response.status not in HTTP_OK:
        return _from_body(response, now)
    if response.result is not None:
        return _from_result(response, now, promised)
    # A REST refusal sent with status 200. Words alone may as well tell of a success.
    told = payloads.as_json(response.body)
    failure = _from_body(response, now)
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
    summary = shown(failure.texts[0]) if failure.texts else ""
    told = read_challenge(response.headers.get("www-authenticate", ""))
    challenge = {name: shown(value) for name, value in told.items()}
    request_id = response.x_request_id
    code = failure.codes[0] if failure.codes else failure.status
    code = shown(code) if isinstance(code, str) else code
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
    _add_details(error, failure, challenge, shown)
    if response.error is not None and not private:
        error.data = payloads.masked(mask_fields(response.error.data), mask)
    return error


def tells_of_a_fault(failure: Failure) -> bool:
    """Tell whether a failure is the server's own fault, so that nobody knows how far it came."""
    codes = {_as_code(code) if isinstance(code, str) else code for code in (*failure.codes, *failure.hints)}
    return bool(codes & FAULT_CODES) or any(FAULT_WORDS.search(text) for text in failure.texts)


def _shown(words: str, *, hide: tuple[str, ...], private: bool) -> str:
    return clean(without_emails(words) if private else words, hide=hide)


def _ask_for_scope(challenge: Mapping[str, str]) -> str:
    """Say what to do about a key that is good, and not for this."""
    scope = challenge.get("scope", "").replace('"', "'")
    lacking = f'lacks the scope "{scope}"' if scope else "lacks a scope that this needs"
    return f"The key itself is good, but it {lacking}: ask the user for one that may do this, or do without this call."


def _add_details(
    error: RefusedError, failure: Failure, challenge: Mapping[str, str], shown: Callable[[str], str]
) -> None:
    if isinstance(error, AuthenticationError):
        error.challenge = challenge
    if isinstance(error, AlreadyRegisteredError):
        told = without_query(_text(failure.details, "loginUrl", "login_url"))
        error.login_url = shown(told) or error.login_url
    if isinstance(error, PlanLimitError):
        error.upgrade_action = shown(_text(failure.details, "upgradeAction", "upgrade_action")) or None


def _from_body(response: Response, now: float) -> Failure:
    """Read an HTTP refusal: JSON of several shapes, HTML, or nothing."""
    told = payloads.as_json(response.body)
    if isinstance(told, dict):
        summary = told.get("summary")
        return _failure(response, now, told, after=summary if isinstance(summary, str) else "")
    # The words of an HTML page are a proxy's, for people; its status says enough.
    return _failure(response, now, "" if response.body.lstrip().startswith("<") else response.body)


def _from_result(response: Response, now: float, promised: str | None) -> Failure | None:
    """Read a tool's own refusal: ``isError``, or a result without what it promises."""
    result = response.result
    refused = isinstance(result, dict) and result.get("isError") is True
    # Most answers tell of no failure, and that is seen before their words are read.
    if not refused and promised not in {None, SOMETHING} and payloads.payload(result, promised) is not None:
        return None
    details = payloads.payload(_without_null(result))
    if not refused and not _may_refuse(details, promised):
        return None
    summary = payloads.summary(result)
    if refused:
        return _failure(response, now, details, before=summary)
    failure = _failure(response, now, details, after=summary)
    # A good-looking sentence beside a payload that only lacks a field is a defect, not a refusal.
    certain = promised is None or (promised != SOMETHING and _gives_reason(details, summary))
    return failure if certain or _match(failure, sign_up=promised != SOMETHING) else None


def _may_refuse(details: JSON, promised: str | None) -> bool:
    """Tell whether a payload can be a refusal; that of a tool that may answer anything has to say so."""
    if promised is None:
        return _says_no(details) or _by_code(_rules(sign_up=False), _own_code(details)) is not None
    return promised != SOMETHING or _is_bare(details)


def _gives_reason(details: JSON, summary: str) -> bool:
    reason = read_reason(details)
    return bool(reason.codes or reason.texts or (summary and _is_bare(details)))


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
    return bool(details.get("error") or details.get("errors")) or details.get("success") is False


def _own_code(details: JSON) -> Iterable[int | str]:
    """Return what a payload, or the error in it, names as its code, and nothing that may be something else."""
    while isinstance(details, dict) and isinstance(inner := details.get("error"), dict):
        details = inner
    code = details.get("code") if isinstance(details, dict) else None
    return [code] if isinstance(code, int | str) else []


def _failure(
    response: Response,
    now: float,
    details: JSON,
    *,
    before: str = "",
    after: str = "",
    code: int | None = None,
) -> Failure:
    """Return a failure with the reason that a payload gives, and with words that stand beside it."""
    reason = read_reason(details)
    alone = details if isinstance(details, str) else ""
    # A code among the words is shown where there is nothing else.
    words = [before, *reason.texts, after, alone]
    texts = tuple(text[:LONGEST_TEXT] for text in sorted(words, key=is_code) if text)
    status = None if response.status in HTTP_OK else response.status
    return Failure(
        codes=reason.codes if code is None else (*reason.codes, code),
        texts=texts,
        hints=reason.hints if status is None else (*reason.hints, status),
        details=reason.details,
        retry_after=told_wait(response, now, reason.details, texts),
        status=status,
    )


def _match(failure: Failure, *, sign_up: bool) -> Rule | None:
    """Look a failure up: its own codes, then its words, then what says least, such as the HTTP status."""
    rules = _rules(sign_up=sign_up)
    return (
        _by_code(rules, failure.codes)
        or _by_words(rules, failure.texts)
        # A code of several words, such as EMAIL_ALREADY_IN_USE; elsewhere PLAN_NOT_FOUND would tell of a limit.
        or _by_words([rule for rule in rules if rule.only_sign_up], map(_as_words, failure.codes))
        or _by_code(rules, failure.hints)
    )


@cache
def _rules(*, sign_up: bool) -> tuple[Rule, ...]:
    return tuple(rule for rule in RULES if sign_up or not rule.only_sign_up)


def _by_code(rules: Iterable[Rule], codes: Iterable[int | str]) -> Rule | None:
    known = [_as_code(code) if isinstance(code, str) else code for code in codes]
    return next((rule for code in known for rule in rules if code in rule.codes), None)


def _by_words(rules: Iterable[Rule], texts: Iterable[str]) -> Rule | None:
    return next(
        (rule for text in texts for rule in rules if re.search(rule.words, text, re.IGNORECASE)), None
    )


def _as_code(code: str) -> str:
    return _as_words(code).replace(" ", "_").upper()


def _as_words(code: int | str) -> str:
    """Return the words that a code such as ``EMAIL_TAKEN``, ``email-taken`` or ``emailTaken`` is made of."""
    return re.sub(r"[^A-Za-z0-9]+|(?<=[a-z])(?=[A-Z])", " ", str(code)).strip()


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


def _text(details: Mapping[str, JSON], *names: str) -> str:
    values = (details.get(name) for name in names)
    return next((value for value in values if isinstance(value, str) and value), "")
