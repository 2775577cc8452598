"""Time limits of the blocking colour.

httpx counts each read and each write by itself, so a server that sends a byte now and then could hold a request for
ever. Here every read and write of a connection looks at the limit that its thread is under, too.
"""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

WRITTEN_PIECE = 64 * 1024
"""How much is written before the time is looked at again; a socket mostly takes so much at once, or nothing."""


class TimeIsUpError(TimeoutError):
    """Leads out of the block of a `TimeLimit`."""


class _Thread(threading.local):
    ends_at = math.inf


_thread = _Thread()


class TimeLimit:
    """Ends what its block does on a network after some seconds, as anyio's ``move_on_after`` does.

    The read or write that is under way raises httpx's error for a timeout; the next one leaves the block.

    Args:
        seconds: How long the block may take. A limit around it still holds.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._before = math.inf

    def __enter__(self) -> None:
        self._before = _thread.ends_at
        _thread.ends_at = min(self._before, time.monotonic() + self._seconds)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        _thread.ends_at = self._before
        return isinstance(error, TimeIsUpError)


def put_under_limits(stream: Any) -> None:
    """Make the reads and writes of a connection end in time, in every thread that is under a limit.

    Args:
        stream: What httpx calls a network stream. Nothing is done where there is none, or none that can be watched.
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
    left = ends_at - time.monotonic()
    if left <= 0:
        raise TimeIsUpError
    return left if timeout is None or left < timeout else timeout
