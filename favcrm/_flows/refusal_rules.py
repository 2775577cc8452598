"""What a failure looks like, and which error says so: one row for each kind of refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

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

    from favcrm.errors import RefusedError, ServerBusyError


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
        ["CODE_EXPIRED", "OTP_EXPIRED", "EXPIRED", "REQUEST_EXPIRED", "EXPIRED_CODE", 410],
        r"expired|no longer valid",
        "The code has expired. No workspace was created.",
        only_sign_up=True,
    ),
    _rule(
        TooManyAttemptsError,
        ["TOO_MANY_ATTEMPTS", "MAX_ATTEMPTS", "ATTEMPTS_EXCEEDED", "MAX_ATTEMPTS_EXCEEDED", "LOCKED", 423],
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
            409,
        ],
        r"already (\w+ ){0,8}(registered|exists?|taken|in use|associated|account)\b"
        r"|(account|user|email) (exists|is (registered|taken|in use))",
        "The email has an account already, so this call created nothing.",
        only_sign_up=True,
    ),
    _rule(
        RateLimitError,
        ["RATE_LIMITED", "RATE_LIMIT", "RATE_LIMIT_EXCEEDED", "TOO_MANY_REQUESTS", 429],
        r"rate.?limit|too many (\w+ ){0,8}requests|slow down",
        "The server takes no more requests for now. Nothing was done.",
    ),
    _rule(
        AuthenticationError,
        ["UNAUTHORIZED", "UNAUTHENTICATED", "INVALID_API_KEY", "INVALID_TOKEN", "FORBIDDEN", 401, 403],
        r"unauthori[sz]ed|unauthenticated|not authenticated|authentication (is )?required|forbidden"
        r"|(invalid|revoked|missing|unknown) (\w+ )?(key|token)",
        "The server refused the key. Nothing was done.",
    ),
    _rule(
        PlanLimitError,
        ["PLAN_LIMIT", "PLAN_LIMIT_REACHED", "QUOTA_EXCEEDED", "UPGRADE_REQUIRED", "PAYMENT_REQUIRED", 402],
        r"\bplan\b|quota|upgrade",
        "The plan does not allow this. Nothing was done.",
    ),
)
LACKS_SCOPE = "The key has no scope for this. Nothing was done."
"""Told of an `AuthenticationError` whose challenge says so."""
