"""The real clock. Seconds also pass while the machine sleeps, because a code expires meanwhile."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

COUNT_SLEEP = {"linux": "CLOCK_BOOTTIME", "darwin": "CLOCK_MONOTONIC"}
"""The clock of each system that counts the time of sleep, where ``time.monotonic`` does not."""


def clock_of(platform: str) -> Callable[[], float]:
    """Return the clock of a system."""
    clock: int | None = getattr(time, COUNT_SLEEP.get(platform, ""), None)
    return time.monotonic if clock is None else partial(time.clock_gettime, clock)


monotonic: Callable[[], float] = clock_of(sys.platform)
"""Return seconds that only go forward."""


class SystemClock:
    """This machine's clock, as `favcrm.transport.Clock`."""

    def __init__(self) -> None:
        self.monotonic = monotonic

    def time(self) -> float:
        """Return seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait, blocking."""
        time.sleep(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Wait while other tasks run, on asyncio or trio."""
        import anyio

        await anyio.sleep(seconds)


SYSTEM_CLOCK = SystemClock()
