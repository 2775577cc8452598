"""The two colours of waiting for what another thread does."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

from favcrm._backends import on_trio

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

T = TypeVar("T")

GLANCE = 0.2
"""Seconds that a thread waits at a time: a Ctrl-C that comes just before it begins is seen after it."""


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
        ends_at = time.monotonic() + seconds
        while not self._event.wait(max(0.0, min(ends_at - time.monotonic(), GLANCE))):
            if time.monotonic() >= ends_at:
                return False
        self._event.clear()
        return True


class Blocking:
    """How a thread waits."""

    def signal(self) -> BlockingSignal:
        """Return a new signal for this thread."""
        return BlockingSignal()

    async def run(self, function: Callable[[], T]) -> T:
        """Run a function in a thread, which Ctrl-C does not reach: after it, the function goes on to its end."""
        from concurrent.futures import Future

        future: Future[T] = Future()
        try:
            # No daemon: the program ends after it.
            arguments = (future, function)
            threading.Thread(target=_settle, args=arguments, name="favcrm-run", daemon=False).start()
        except RuntimeError:
            # At the end of the interpreter no thread can be started any more.
            _settle(future, function)
        return future.result()


def _settle(future: Future[T], function: Callable[[], T]) -> None:
    """Put what a function returns or raises into a future."""
    try:
        future.set_result(function())
    except BaseException as error:  # noqa: BLE001  # raised where the future is waited for
        future.set_exception(error)


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
    if on_trio():
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
