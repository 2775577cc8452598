"""Ways to reach the tools. A transport of your own has the methods of `Transport` or `AsyncTransport`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from favcrm._core.transport import (
    AsyncHTTPClient,
    AsyncTransport,
    Clock,
    HTTPClient,
    JSONRPCError,
    Response,
    Transport,
)
from favcrm.models import Progress
from favcrm.typing import JSON, Era

if TYPE_CHECKING:
    from favcrm.transports.http import AsyncHTTPTransport, HTTPTransport

__all__ = [
    "JSON",
    "AsyncHTTPClient",
    "AsyncHTTPTransport",
    "AsyncTransport",
    "Clock",
    "Era",
    "HTTPClient",
    "HTTPTransport",
    "JSONRPCError",
    "Progress",
    "Response",
    "Transport",
]


def __getattr__(name: str) -> object:
    # Who brings a transport of another kind does not pay for loading httpx.
    if name in {"AsyncHTTPTransport", "HTTPTransport"}:
        from favcrm.transports import http

        return getattr(http, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
