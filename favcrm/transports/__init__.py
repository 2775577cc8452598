"""Ways to reach the tools. A transport of your own has the methods of `Transport` or `AsyncTransport`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from favcrm.models import Progress
from favcrm.transport import (
    AsyncHTTPClient,
    AsyncTransport,
    Clock,
    HTTPClient,
    JSONRPCError,
    Request,
    Response,
    Transport,
)
from favcrm.typing import JSON, Era

if TYPE_CHECKING:
    from favcrm.transports.http import AsyncHTTPTransport, HTTPTransport
    from favcrm.transports.session import Session, SessionTransport

# Loaded when they are first used: who brings a transport of one kind does not pay for the others.
_MODULES = {
    "AsyncHTTPTransport": "http",
    "HTTPTransport": "http",
    "Session": "session",
    "SessionTransport": "session",
}

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
    "Request",
    "Response",
    "Session",
    "SessionTransport",
    "Transport",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(import_module(f"favcrm.transports.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
