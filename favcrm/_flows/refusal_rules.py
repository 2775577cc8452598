"""Which error a refusal is: a table that is looked up by the server's codes, then by its words, then by hints."""

from __future__ import annotations

import re
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from attrs import frozen

from favcrm._patterns import lazy_pattern
from favcrm.errors import (
    AlreadyRegisteredError,
    AuthenticationError,
    CodeExpiredError,
    InvalidCodeError,
    PlanLimitError,
    RateLimitError,
    TooManyAttemptsError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from favcrm._flows.reasons import Failure
    from favcrm.errors import RefusedError, ServerBusyError
    from favcrm.typing import JSON


@frozen(eq=False, repr=False)
class Rule:
    """One row of the table: what a failure looks like, and which error says so."""

    error: type[RefusedError | ServerBusyError]
    codes: frozenset[int | str]
    words: str
    message: str
    only_sign_up: bool = False


def _rule(
    error: type[RefusedError | ServerBusyError],
    codes: Iterable[int | str],
    words: str,
    message: str,
    *,
    only_sign_up: bool = False,
) -> Rule:
    return Rule(error, frozenset(codes), words, message, only_sign_up)


RULES = (
    _rule(
        CodeExpiredError,
        ["CODE_EXPIRED", "OTP_EXPIRED", "EXPIRED", "REQUEST_EXPIRED", "EXPIRED_CODE", HTTPStatus.GONE],
        r"expired|no longer valid",
        "The code has expired. No workspace was created.",
        only_sign_up=True,
    ),
    _rule(
        TooManyAttemptsError,
        [
            "TOO_MANY_ATTEMPTS",
            "MAX_ATTEMPTS",
            "ATTEMPTS_EXCEEDED",
            "MAX_ATTEMPTS_EXCEEDED",
            "LOCKED",
            HTTPStatus.LOCKED,
        ],
        r"too many (\w+ ){0,8}(attempts|tries|codes)|attempts? exceeded|no (more )?attempts",
        "Too many wrong codes were given. No workspace was created.",
        only_sign_up=True,
    ),
    _rule(
        InvalidCodeError,
        ["INVALID_CODE", "INCORRECT_CODE", "WRONG_CODE", "CODE_INVALID", "CODE_MISMATCH", "INVALID_OTP"],
        r"\b(invalid|incorrect|wrong)\b[^.]{0,40}\bcode\b"
        r"|\bcode\b[^.]{0,40}\b(invalid|incorrect|wrong|not match|not correct)",
        "The code is wrong. No workspace was created.",
        only_sign_up=True,
    ),
    _rule(
        AlreadyRegisteredError,
        [
            "ALREADY_REGISTERED",
            "ALREADY_EXISTS",
            "ACCOUNT_EXISTS",
            "EMAIL_EXISTS",
            "EMAIL_TAKEN",
            "CONFLICT",
            HTTPStatus.CONFLICT,
        ],
        r"already (\w+ ){0,8}(registered|exists?|taken|in use|associated|account)\b"
        r"|(account|user|email) (exists|is (registered|taken|in use))",
        "The email has an account already, so this request created nothing.",
        only_sign_up=True,
    ),
    _rule(
        RateLimitError,
        [
            "RATE_LIMITED",
            "RATE_LIMIT",
            "RATE_LIMIT_EXCEEDED",
            "TOO_MANY_REQUESTS",
            HTTPStatus.TOO_MANY_REQUESTS,
        ],
        r"rate.?limit|too many (\w+ ){0,8}requests|slow down",
        "The server takes no more requests for now. Nothing was done.",
    ),
    _rule(
        AuthenticationError,
        [
            "UNAUTHORIZED",
            "UNAUTHENTICATED",
            "INVALID_API_KEY",
            "INVALID_TOKEN",
            "FORBIDDEN",
            HTTPStatus.UNAUTHORIZED,
            HTTPStatus.FORBIDDEN,
        ],
        r"unauthori[sz]ed|unauthenticated|not authenticated|authentication (is )?required|forbidden"
        r"|(invalid|revoked|missing|unknown) (\w+ )?(key|token)",
        "The server refused the key. Nothing was done.",
    ),
    _rule(
        PlanLimitError,
        [
            "PLAN_LIMIT",
            "PLAN_LIMIT_REACHED",
            "QUOTA_EXCEEDED",
            "UPGRADE_REQUIRED",
            "PAYMENT_REQUIRED",
            HTTPStatus.PAYMENT_REQUIRED,
        ],
        r"\bplan\b|quota|upgrade",
        "The plan does not allow the request. Nothing was done.",
    ),
)

# An error in the server or on the way behind it. 444 and 499 are nginx's own, for a connection that was closed.
FAULT_CODES: frozenset[int | str] = frozenset(
    {
        -32603,
        HTTPStatus.REQUEST_TIMEOUT,
        444,
        499,
        "INTERNAL",
        "INTERNAL_ERROR",
        "INTERNAL_SERVER_ERROR",
        "TIMEOUT",
        "SERVER_ERROR",
    }
)
FAULT_WORDS = lazy_pattern(
    r"internal (server )?error|\btimed[ -]?out\b|\b(request|operation|gateway|read|connection) time-?out\b"
    r"|connection (was )?(closed|reset|lost)",
    re.IGNORECASE,
)


def find_rule(failure: Failure, *, sign_up: bool) -> Rule | None:
    """Return the row of a failure, or None: its codes count first, then its words, then its hints.

    Args:
        failure: What the server said.
        sign_up: Whether the call is part of a registration; elsewhere "expired" or "exists" mean other things.
    """
    rules = _rules(sign_up=sign_up)
    return (
        _by_code(rules, failure.codes)
        or _by_words(rules, failure.texts)
        # A code of several words, such as EMAIL_ALREADY_IN_USE; elsewhere PLAN_NOT_FOUND would tell of a limit.
        or _by_words([rule for rule in rules if rule.only_sign_up], map(_as_words, failure.codes))
        or _by_code(rules, failure.hints)
    )


def names_a_refusal(details: JSON) -> bool:
    """Tell whether the code of a payload, or of the error in it, is that of a refusal outside a registration."""
    while isinstance(details, dict) and isinstance(inner := details.get("error"), dict):
        details = inner
    code = details.get("code") if isinstance(details, dict) else None
    return isinstance(code, int | str) and _by_code(_rules(sign_up=False), [code]) is not None


def tells_of_a_fault(failure: Failure) -> bool:
    """Tell whether a failure is the server's own fault, so that nobody knows how far the request came."""
    codes = {_as_code(code) if isinstance(code, str) else code for code in (*failure.codes, *failure.hints)}
    return bool(codes & FAULT_CODES) or any(FAULT_WORDS.search(text) for text in failure.texts)


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
