"""What is done to each network connection: its reads and writes end in time, and a fork closes its copy.

httpx calls its ``trace`` extension with each step of a request. Through the extension, `BlockingWatch` and `AsyncWatch`
see every connection that is opened, and how far a request came.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    from types import TracebackType

WRITTEN_PIECE = 64 * 1024
"""Bytes that are written before the time is looked at again. A socket takes about as many at once."""
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


# Time limits of the blocking side. httpx counts each read and each write by itself, so a server that sends a byte now
# and then could hold a request for ever. Here every read and write also looks at the limit of its thread.


class TimeIsUpError(TimeoutError):
    """Leads out of the block of a `TimeLimit`."""


class _Thread(threading.local):
    ends_at: float = math.inf
    now: Callable[[], float] = staticmethod(time.monotonic)


_thread = _Thread()


class TimeLimit:
    """Ends the network use of its block after some seconds, as anyio's ``move_on_after`` does.

    The read or write that is under way raises httpx's error for a timeout. The next one leaves the block.

    Args:
        seconds: How long the block may take. A limit around it still holds.
        now: Returns seconds that only go forward.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self._before = (math.inf, now)

    def __enter__(self) -> None:
        self._before = (_thread.ends_at, _thread.now)
        _thread.now = self._now
        _thread.ends_at = min(self._before[0], self._now() + self._seconds)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        _thread.ends_at, _thread.now = self._before
        return isinstance(error, TimeIsUpError)


def put_under_limits(stream: Any) -> None:
    """Make the reads and writes of a connection end in time, in every thread that is under a limit.

    Args:
        stream: A network stream of httpx. Without one, or with one that takes no attributes, nothing is done.
    """
    own = getattr(stream, "__dict__", None)
    if own is None or "read" in own:
        return
    read, write = stream.read, stream.write

    def read_in_time(max_bytes: int, timeout: float | None = None) -> bytes:
        received: bytes = read(max_bytes, _remaining(timeout))
        return received

    def write_in_time(buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), WRITTEN_PIECE):
            write(buffer[start : start + WRITTEN_PIECE], _remaining(timeout))

    stream.read, stream.write = read_in_time, write_in_time


def _remaining(timeout: float | None) -> float | None:
    """Return how long this thread may wait for one read or write."""
    ends_at = _thread.ends_at
    if ends_at == math.inf:
        return timeout
    left = ends_at - _thread.now()
    if left <= 0:
        raise TimeIsUpError
    return left if timeout is None or left < timeout else timeout


# After a fork, the child closes its copies of the blocking connections. Left open, they would keep a connection alive
# that the parent closes. Closing a copy sends nothing.

_opened: WeakSet[socket.socket] = WeakSet()


def close_after_fork(stream: Any) -> None:
    """Remember a connection, which is a network stream of httpx, so that a forked child closes its copy."""
    sock = stream.get_extra_info("socket")
    if isinstance(sock, socket.socket):
        _opened.add(sock)


def close_inherited() -> None:
    """Close this process's copy of every connection that was opened before the fork."""
    for sock in tuple(_opened):
        sock.close()


# Windows has no fork.
with suppress(AttributeError):
    os.register_at_fork(after_in_child=close_inherited)


class _Watch:
    """Knows how far a request came.

    Args:
        extensions: The extensions of the request, which hold the watch until the request is being sent.

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
                # The connection is open, and each further step would cost time.
                self._extensions.pop("trace", None)


class BlockingWatch(_Watch):
    """Watches a blocking request, and takes care of every connection that is opened for it."""

    def __call__(self, event: str, info: dict[str, Any]) -> None:
        """Take a step; called by httpx."""
        if event in OPENED:
            close_after_fork(info["return_value"])
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
        request: A request of httpx or httpx2, or None if none was made.
    """
    watch = None if request is None else request.extensions.get("trace")
    return isinstance(watch, _Watch) and watch.at_proxy
