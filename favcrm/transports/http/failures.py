"""From httpx's errors to ours: what matters is whether the request can have reached the server."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from favcrm.errors import NotSentError, OutcomeUnknownError

if TYPE_CHECKING:
    from types import ModuleType

    from favcrm.errors import TransportError


def translate(error: Exception, httpx: ModuleType, timeout: float) -> TransportError:
    """Return our error for httpx's: what matters is whether the request can have reached the server."""
    never_sent = (
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.PoolTimeout,
        httpx.ProxyError,
        httpx.UnsupportedProtocol,
        httpx.LocalProtocolError,
        httpx.InvalidURL,
    )
    if isinstance(error, httpx.TimeoutException):
        if isinstance(error, never_sent):
            return NotSentError(f"No connection was made {within(timeout)}. Nothing was sent.")
        return OutcomeUnknownError(no_answer(timeout))
    if not isinstance(error, never_sent):
        return OutcomeUnknownError(
            "The connection broke before the answer came, and it may have been carried out."
        )
    reason = _tls_reason(error)
    if reason is None:
        return NotSentError("The endpoint cannot be reached. Nothing was sent.")
    return NotSentError(
        f"The endpoint's TLS certificate is not accepted: {reason}. Nothing was sent.",
        permanent=True,
        next_step="Check the endpoint's name and certificate; for an authority of your own, set SSL_CERT_FILE.",
    )


def _tls_reason(error: BaseException | None) -> str | None:
    """Return why the certificate was refused, if that is what lies behind the error."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message.rstrip(".")
        error = error.__cause__ or error.__context__
    return None


def no_answer(timeout: float) -> str:
    """Say that nothing came."""
    return f"No answer came {within(timeout)}, and it may have been carried out."


def within(seconds: float) -> str:
    """Say how long was waited, in tenths: of the caller's 30 seconds, the call itself may have had 29.98."""
    return f"within {round(seconds, 1):g} seconds"
