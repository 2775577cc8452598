"""From httpx's errors to ours. They differ by whether the request can have reached the server."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING, NamedTuple

from favcrm._patterns import lazy_pattern
from favcrm.errors import NotSentError, OutcomeUnknownError

if TYPE_CHECKING:
    from types import ModuleType

    from favcrm.errors import TransportError

# Reasons of OpenSSL for bytes that are no TLS.
NO_TLS = frozenset({"HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "WRONG_VERSION_NUMBER"})
PERHAPS_TLS = (
    "Look whether it happened before you call again. If the port takes TLS, nothing happened: write the endpoint with "
    "https://."
)
PLAIN_PROXY = "Check the proxy's address: most proxies take plain HTTP, so that it begins with http://."


class ProxyRefusal(NamedTuple):
    """What a proxy refused, by what httpx says of it: an HTTP status first, or words about SOCKS."""

    told: re.Pattern[str]
    message: str
    next_step: str | None
    permanent: bool


PROXY_REFUSALS = (
    ProxyRefusal(
        lazy_pattern(r"407 |Requested |Invalid username"),
        "{proxy} asks for a user name and a password, or does not accept the ones it was given",
        "Put them into the proxy's address, percent-encoded: http://user:password@proxy.example:3128.",
        permanent=True,
    ),
    ProxyRefusal(
        lazy_pattern(r"4(?!08|29)\d\d |.*not allowed"),
        "{proxy} does not allow a connection to the endpoint",
        "Ask whoever runs the proxy to allow the endpoint, or put the endpoint's host into NO_PROXY.",
        permanent=True,
    ),
    ProxyRefusal(
        lazy_pattern(""),
        "{proxy} could not make a connection to the endpoint",
        None,
        permanent=False,
    ),
)


def translate(
    error: Exception, httpx: ModuleType, timeout: float, *, proxy: str, encrypted: bool
) -> TransportError:
    """Return our error for one of httpx, by whether the request can have reached the server.

    Args:
        error: What httpx or httpx2 raised.
        httpx: The library that it is of.
        timeout: Seconds that were given.
        proxy: The address of the proxy, as it may be shown; empty where none is known.
        encrypted: Whether the endpoint was spoken to in TLS.
    """
    never_sent = (
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.PoolTimeout,
        httpx.ProxyError,
        httpx.UnsupportedProtocol,
        httpx.LocalProtocolError,
        httpx.InvalidURL,
    )
    through = f" through the proxy {proxy}" if proxy else ""
    if isinstance(error, httpx.TimeoutException):
        if isinstance(error, never_sent):
            return NotSentError(f"No connection was made{through} {time_given(timeout)}. Nothing was sent.")
        return OutcomeUnknownError(no_answer(timeout))
    if isinstance(error, httpx.ProxyError):
        return _refused_by_proxy(str(error), proxy)
    if isinstance(error, never_sent):
        return _tls_failure(error, proxy) or NotSentError(
            f"The endpoint cannot be reached{through}. Nothing was sent."
        )
    return OutcomeUnknownError(
        "The connection broke before the answer came, and the request may have been carried out.",
        next_step=None if encrypted else PERHAPS_TLS,
    )


def _refused_by_proxy(told: str, proxy: str) -> NotSentError:
    refusal = next(known for known in PROXY_REFUSALS if known.told.match(told))
    status = f" (HTTP {told[:3]})" if told[:3].isdecimal() else ""
    message = refusal.message.format(proxy=_name(proxy))
    return NotSentError(
        f"{message}{status}. Nothing was sent.", permanent=refusal.permanent, next_step=refusal.next_step
    )


def no_tunnel(proxy: str) -> NotSentError:
    """Return the error for a proxy that gave no usable answer before the request was sent."""
    return NotSentError(f"{_name(proxy)} did not answer, or broke the connection. Nothing was sent.")


def _name(proxy: str) -> str:
    return f"The proxy {proxy}".rstrip()


def _tls_failure(error: BaseException, proxy: str) -> NotSentError | None:
    """Return the error for a failed TLS handshake, if one is the cause of httpx's error."""
    reason = _tls_error(error)
    if reason is None:
        return None
    encrypted_proxy = proxy.startswith("https:")
    what = f"{_name(proxy)}, or the endpoint behind it," if encrypted_proxy else "The endpoint"
    if isinstance(reason, ssl.SSLCertVerificationError):
        whose = "The proxy's or the endpoint's" if encrypted_proxy else "The endpoint's"
        told = reason.verify_message.rstrip(".")
        return NotSentError(
            f"{whose} TLS certificate is not accepted: {told}. Nothing was sent.",
            permanent=True,
            next_step="Check the endpoint's name and certificate; for an authority of your own, set SSL_CERT_FILE.",
        )
    if reason.reason in NO_TLS:
        return NotSentError(
            f"{what} does not speak TLS, although the address begins with https://. Nothing was sent.",
            permanent=True,
            next_step=PLAIN_PROXY if encrypted_proxy else "Check the endpoint's address and port.",
        )
    return NotSentError(
        f"The TLS handshake failed: {reason.reason or 'no reason was given'}. Nothing was sent."
    )


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None


def no_answer(timeout: float) -> str:
    """Say that no answer came."""
    return f"No answer came {time_given(timeout)}, and the request may have been carried out."


def time_given(seconds: float) -> str:
    """Say how many seconds were given, in tenths, because of 30 seconds the call itself may have had 29.98."""
    return f"within {round(seconds, 1):g} seconds"
