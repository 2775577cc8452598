"""The two colours of waiting for what another thread does."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Signal(Protocol):
    """Wakes the one who waits for it. It may ring without a reason, so whoever wakes looks again."""

    def set(self) -> None:
        """Ring, from any thread."""
        ...

    async def wait(self, seconds: float) -> bool:
        """Wait, and return whether it rang."""
        ...


class Waiting(Protocol):
    """How one colour waits."""

    def signal(self) -> Signal:
        """Return a new signal for who is running now."""
        ...

    async def run(self, function: Callable[[], T]) -> T:
        """Run a function that blocks."""
        ...


class BlockingSignal:
    """Wakes a thread."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Ring."""
        self._event.set()

    async def wait(self, seconds: float) -> bool:
        """Wait, and return whether it rang."""
        rang = self._event.wait(min(max(0.0, seconds), threading.TIMEOUT_MAX))
        self._event.clear()
        return rang


class Blocking:
    """How a thread waits."""

    def signal(self) -> BlockingSignal:
        """Return a new signal for this thread."""
        return BlockingSignal()

    async def run(self, function: Callable[[], T]) -> T:
        """Run a function here."""
        return function()


class AsyncSignal:
    """Wakes a task of asyncio or trio."""

    def __init__(self) -> None:
        import anyio

        self._event = anyio.Event()
        self._soon = _call_soon()

    def set(self) -> None:
        """Ring, in the task's own event loop; where that has ended, nobody waits any more."""
        with suppress(RuntimeError):
            self._soon(self._ring)

    def _ring(self) -> None:
        self._event.set()

    async def wait(self, seconds: float) -> bool:
        """Wait, and return whether it rang."""
        import anyio

        with anyio.move_on_after(max(0.0, seconds)):
            await self._event.wait()
        rang = self._event.is_set()
        if rang:
            self._event = anyio.Event()
        return rang


def _call_soon() -> Callable[[Callable[[], None]], object]:
    """Return what runs a function in the event loop that is running now, from any thread."""
    from sniffio import current_async_library

    if current_async_library() == "trio":
        import trio

        return trio.lowlevel.current_trio_token().run_sync_soon
    import asyncio

    return asyncio.get_running_loop().call_soon_threadsafe


class Asynchronous:
    """How a task waits."""

    def signal(self) -> AsyncSignal:
        """Return a new signal for this task."""
        return AsyncSignal()

    async def run(self, function: Callable[[], T]) -> T:
        """Run a function in a worker thread."""
        import anyio.to_thread

        return await anyio.to_thread.run_sync(function)
