"""The sandbox's time, which tests move."""

from __future__ import annotations

import threading
import time as system

__all__ = ["SandboxClock"]


class SandboxClock:
    """A clock that stands still until it is moved.

    It is the clock of the sandbox and of the flows that use one of its transports: codes expire, rate limits
    end and retries wait on it. A sleep moves it on and returns at once.

    Args:
        start: The time at first, in seconds since 1970; by default the real time.
        running: Let time also run by itself, for a sandbox that serves people.

    Attributes:
        sleeps: How long each sleep was, in seconds, in order.

    Example:
        >>> clock = SandboxClock(start=1000.0)
        >>> clock.advance(600)
        >>> clock.time()
        1600.0
    """

    def __init__(self, start: float | None = None, *, running: bool = False) -> None:
        self.sleeps: list[float] = []
        self._start = system.time() if start is None else start
        self._began = system.monotonic() if running else None
        self._moved = 0.0
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        """Return the seconds since this clock was made."""
        ran = 0.0 if self._began is None else system.monotonic() - self._began
        return self._moved + ran

    def time(self) -> float:
        """Return the seconds since 1970."""
        return self._start + self.monotonic()

    def advance(self, seconds: float) -> None:
        """Move the time forward.

        Args:
            seconds: By how much; not less than zero, since time does not go back.

        Raises:
            ValueError: The number is negative.
        """
        if seconds < 0:
            raise ValueError("a clock only moves forward")
        with self._lock:
            self._moved += seconds

    def sleep(self, seconds: float) -> None:
        """Move the time forward and return at once."""
        self.sleeps.append(seconds)
        self.advance(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Move the time forward, and give other tasks their turn."""
        # Imported here so that blocking users do not pay for it. It comes with httpx.
        from anyio.lowlevel import checkpoint

        self.sleep(seconds)
        await checkpoint()
