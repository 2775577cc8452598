"""Seconds that only go forward, also while the machine sleeps: a code dies meanwhile."""

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


class SystemClock:
    """This machine's clock."""

    def monotonic(self) -> float:
        """Return seconds that only go forward, also while the machine sleeps."""
        return monotonic()

    def time(self) -> float:
        """Return seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait, blocking."""
        time.sleep(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Wait, letting other tasks run, on asyncio or trio."""
        import anyio

        await anyio.sleep(seconds)


SYSTEM_CLOCK = SystemClock()
