"""The blocking backend: none of its methods suspends, so `run_sync` can step a flow over it."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from favcrm._backends import AsyncFunction, run_sync
from favcrm._backends.clock import SYSTEM_CLOCK
from favcrm._backends.sections import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from favcrm._backends import Send
    from favcrm._backends.threads import Errands
    from favcrm.transport import Clock, Transport

T = TypeVar("T")


class _OfThread(threading.local):
    """Where the current thread has functions run that may block, if several threads run side by side."""

    errands: Errands | None = None


_of_thread = _OfThread()


class BlockingBackend:
    """The backend of the sync side. A transport may bring a clock of its own, which a test moves.

    Args:
        transport: The transport.
        request: What sends a request, if not the transport's own method: a function whose coroutine never suspends.

    Attributes:
        request: Sends one request.
    """

    def __init__(self, transport: object, request: Send | None = None) -> None:
        self.transport = transport
        self.clock: Clock = getattr(transport, "clock", SYSTEM_CLOCK)
        self.request: Send = request or AsyncFunction(cast("Transport", transport).request)

    def home(self) -> object:
        """Return the process that the caller runs in."""
        return os.getpid()

    async def sleep(self, seconds: float) -> None:
        """Wait on the transport's clock."""
        self.clock.sleep(seconds)

    async def pause(self, seconds: float) -> None:
        """Wait on the real clock."""
        SYSTEM_CLOCK.sleep(seconds)

    async def side_by_side(self, tasks: Sequence[Callable[[], Coroutine[None, None, T]]]) -> list[T]:
        """Run each task in a thread of its own.

        What may block runs in this thread, because a store may be bound to it.
        """
        from favcrm._backends.threads import Errands
        from favcrm._threads import start

        errands = Errands()
        try:
            futures = [start(partial(_run_with, errands, task))[0] for task in tasks]
            errands.run_until_done(futures)
            return [future.result() for future in futures]
        finally:
            # After Ctrl-C nobody waits for the answers.
            errands.close()

    async def uncancelled(self, task: Callable[[], Coroutine[None, None, T]]) -> T:
        """Run the task; what a signal handler raises meanwhile is raised after it."""
        return await uninterrupted(task)

    async def run_blocking(self, function: Callable[[], T]) -> T:
        """Run the function in the caller's thread."""
        errands = _of_thread.errands
        return function() if errands is None else errands.run(function)


def _run_with(errands: Errands, task: Callable[[], Coroutine[None, None, T]]) -> T:
    _of_thread.errands = errands
    try:
        return run_sync(task())
    finally:
        # The caller's own thread runs this where no thread can be started.
        _of_thread.errands = None
