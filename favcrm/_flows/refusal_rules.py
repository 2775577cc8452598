"""Which error a refusal is: three tables, looked up by the server's codes, then by its words, then by its status."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from favcrm._patterns import lazy_pattern
from favcrm.errors import (
    AlreadyRegisteredError,
    AuthenticationError,
    CodeExpiredError,
    InvalidCodeError,
    PlanLimitError,
    RateLimitError,
    RefusedError,
    TooManyAttemptsError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from favcrm._flows.reasons import Failure
    from favcrm.errors import ServerBusyError
    from favcrm.typing import JSON


class Rule(NamedTuple):
    """One row of a table: which error a failure is, and what tells so.

    Attributes:
        error: The error.
        message: What the error says.
        words: A pattern that is searched for in the server's words.
        statuses: The HTTP statuses.
        codes: A pattern that a whole code of the server's fits.
        next_step: What the caller does, if not what the error's own step says.
    """

    error: type[RefusedError | ServerBusyError]
    message: str
    words: str
    statuses: frozenset[int] = frozenset()
    codes: str | None = None
    next_step: str | None = None


INVITATION_RULES = (
    Rule(
        RefusedError,
        "The invitation has expired. Nothing was created.",
        words=r"^(?!.*\bcode\b).*\binvit\w*\b[^.]{0,40}\b(expired|no longer valid)",
        next_step="Ask whoever sent the invitation for a new one: a fresh code does not help.",
    ),
    Rule(
        RefusedError,
        "No code was requested for the invitation yet, so no code is right. Nothing was created.",
        words=r"\bcode\b[^.]{0,20}\b(not|never)\b( been)? requested|\b(no code|none)\b[^.]{0,20}\brequested",
        next_step="Request the code of the invitation, then confirm with the code in that email.",
    ),
)
"""Asked before the others, because the same code of a server's may speak of an invitation or of a one-time code."""

SIGN_UP_RULES = (
    Rule(
        CodeExpiredError,
        "The code has expired. Nothing was created.",
        words=r"expired|no longer valid",
        statuses=frozenset({HTTPStatus.GONE}),
    ),
    Rule(
        TooManyAttemptsError,
        "Too many wrong codes were given. Nothing was created.",
        words=r"too many (\w+ ){0,8}(attempts|tries|codes)|max attempts|attempts? exceeded|no (more )?attempts",
        statuses=frozenset({HTTPStatus.LOCKED}),
    ),
    Rule(
        InvalidCodeError,
        "The code is wrong. Nothing was created.",
        words=r"\b(invalid|incorrect|wrong)\b[^.]{0,40}\b(code|otp)\b"
        r"|\b(code|otp)\b[^.]{0,40}\b(invalid|incorrect|wrong|mismatch|not match|not correct)",
    ),
    Rule(
        AlreadyRegisteredError,
        "The email has an account already, so this request created nothing.",
        words=r"already (\w+ ){0,8}(registered|exists?|taken|in use|associated|account)\b"
        r"|(account|user|email) (exists|(is )?(registered|taken|in use))",
        statuses=frozenset({HTTPStatus.CONFLICT}),
    ),
)
"""Their words mean other things in other calls: a membership expires, and a member exists already."""

GENERAL_RULES = (
    Rule(
        RateLimitError,
        "The server takes no more requests for now. Nothing was done.",
        words=r"rate.?limit|too many (\w+ ){0,8}requests|slow down",
        statuses=frozenset({HTTPStatus.TOO_MANY_REQUESTS}),
        codes=r"RATE_LIMIT(ED|_EXCEEDED)?|TOO_MANY_REQUESTS",
    ),
    Rule(
        AuthenticationError,
        "The server refused the key. Nothing was done.",
        words=r"unauthori[sz]ed|unauthenticated|not authenticated|authentication (is )?required|forbidden"
        r"|(invalid|revoked|missing|unknown) (\w+ )?(key|token)",
        statuses=frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}),
        codes=r"UNAUTHORI[SZ]ED|UNAUTHENTICATED|FORBIDDEN|INVALID_(API_KEY|TOKEN)",
    ),
    Rule(
        PlanLimitError,
        "The plan does not allow the request. Nothing was done.",
        words=r"\bplan\b|quota|upgrade",
        statuses=frozenset({HTTPStatus.PAYMENT_REQUIRED}),
        codes=r"PLAN_LIMIT(_REACHED)?|QUOTA_EXCEEDED|(UPGRADE|PAYMENT)_REQUIRED",
    ),
)

# 444 and 499 are nginx's own, for a connection that was closed; -32603 is JSON-RPC's "internal error".
FAULT_NUMBERS = frozenset({HTTPStatus.REQUEST_TIMEOUT, 444, 499, -32603})
FAULT_WORDS = lazy_pattern(
    r"internal (server )?error|\btimed[ -]?out\b|\b(request|operation|gateway|read|connection) time-?out\b"
    r"|connection (was )?(closed|reset|lost)",
    re.IGNORECASE,
)


def find_rule(failure: Failure, *, sign_up: bool) -> Rule | None:
    """Return the row of a failure, or None: its codes count first, then its words, then its HTTP status.

    Args:
        failure: What the server said.
        sign_up: Whether the call is part of a registration; elsewhere "expired" or "exists" mean other things.
    """
    rules = SIGN_UP_RULES + GENERAL_RULES if sign_up else GENERAL_RULES
    return (
        (_by_words(INVITATION_RULES, [*failure.texts, *map(_as_words, failure.codes)]) if sign_up else None)
        or _by_code(rules, failure.codes)
        # A code of a sign-up counts by its words, such as EMAIL_TAKEN; elsewhere PLAN_NOT_FOUND would tell of a limit.
        or (_by_words(SIGN_UP_RULES, map(_as_words, failure.codes)) if sign_up else None)
        or _by_words(rules, failure.texts)
        or _by_code(rules, [failure.status])
    )


def names_a_refusal(code: JSON) -> bool:
    """Tell whether a code is that of a refusal outside a registration."""
    return _by_code(GENERAL_RULES, [code]) is not None


def tells_of_a_fault(failure: Failure) -> bool:
    """Tell whether a failure is an error in the server or behind it, so that nobody knows how far the request came."""
    told = [*failure.texts, *map(_as_words, failure.codes)]
    numbers = FAULT_NUMBERS.intersection([*failure.codes, failure.status])
    return bool(numbers) or any(FAULT_WORDS.search(text) for text in told)


def _by_code(rules: Iterable[Rule], codes: Iterable[JSON]) -> Rule | None:
    return next((rule for code in codes for rule in rules if _has_code(rule, code)), None)


def _has_code(rule: Rule, code: JSON) -> bool:
    if isinstance(code, str) and rule.codes is not None:
        return re.fullmatch(rule.codes, _as_words(code).replace(" ", "_"), re.IGNORECASE) is not None
    return isinstance(code, int) and code in rule.statuses


def _by_words(rules: Iterable[Rule], texts: Iterable[str]) -> Rule | None:
    return next(
        (rule for text in texts for rule in rules if re.search(rule.words, text, re.IGNORECASE)), None
    )


def _as_words(code: int | str) -> str:
    """Return the words that a code such as ``EMAIL_TAKEN``, ``email-taken`` or ``emailTaken`` is made of."""
    return re.sub(r"[^A-Za-z0-9]+|(?<=[a-z])(?=[A-Z])", " ", str(code)).strip()
