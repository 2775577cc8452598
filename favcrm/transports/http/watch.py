"""Watching a request on its way: httpx's ``trace`` extension, which it calls with each step and its details."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from favcrm.transports.http.inherited import note
from favcrm.transports.http.time_limit import put_under_limits

OPENED = frozenset(
    {
        "connection.connect_tcp.complete",
        "connection.connect_unix_socket.complete",
        "connection.start_tls.complete",
        "proxy.start_tls.complete",
        "socks.connect_tcp.complete",
        "socks.start_tls.complete",
    }
)
"""The steps that bring a connection, each directly or through a proxy."""
SENDING = ".send_request_headers.started"
ASKING_SOCKS = "socks.setup_socks5_connection.started"


class _Watch:
    """Knows how far a request came.

    Args:
        extensions: The request's own, which hold the watch until the request is being sent.

    Attributes:
        at_proxy: Whether a proxy was asked for a connection.
    """

    def __init__(self, extensions: MutableMapping[str, Any]) -> None:
        self._extensions = extensions
        self.at_proxy: bool = False

    def note(self, event: str, info: dict[str, Any]) -> None:
        """Note a step."""
        if event == ASKING_SOCKS:
            self.at_proxy = True
        elif event.endswith(SENDING):
            if info["request"].method == b"CONNECT":
                self.at_proxy = True
            else:
                # The connection is there, and being told of all that follows costs time.
                self._extensions.pop("trace", None)


class BlockingWatch(_Watch):
    """Watches a blocking request, and puts every connection that is opened for it under the time limits."""

    def __call__(self, event: str, info: dict[str, Any]) -> None:
        """Take a step; called by httpx."""
        if event in OPENED:
            note(info["return_value"])
            put_under_limits(info["return_value"])
        else:
            self.note(event, info)


class AsyncWatch(_Watch):
    """Watches an asynchronous request."""

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        """Take a step; called by httpx."""
        self.note(event, info)


def stopped_at_proxy(request: Any) -> bool:
    """Tell whether a request that failed certainly came no further than the proxy.

    Args:
        request: A request of httpx or httpx2, or None where there is none.
    """
    watch = None if request is None else request.extensions.get("trace")
    return isinstance(watch, _Watch) and watch.at_proxy
