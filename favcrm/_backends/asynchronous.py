"""The asynchronous backend, on asyncio and on trio."""

from __future__ import annotations

import contextvars
import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from favcrm._backends import current_event_loop, on_trio
from favcrm._backends.clock import SYSTEM_CLOCK
from favcrm._backends.sections import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from favcrm._backends import Send
    from favcrm.transport import AsyncTransport, Clock

T = TypeVar("T")


class AsyncBackend:
    """The backend of the async side. A transport may bring a clock of its own, which a test moves.

    Attributes:
        request: Sends one request through the transport.
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self.transport = transport
        self.clock: Clock = getattr(transport, "clock", SYSTEM_CLOCK)
        self.request: Send = transport.request

    def home(self) -> object:
        """Return the process and the event loop that the caller runs in."""
        return os.getpid(), current_event_loop()

    async def sleep(self, seconds: float) -> None:
        """Wait on the transport's clock while other tasks run."""
        await self.clock.sleep_async(seconds)

    async def pause(self, seconds: float) -> None:
        """Wait on the real clock while other tasks run."""
        await SYSTEM_CLOCK.sleep_async(seconds)

    async def side_by_side(self, tasks: Sequence[Callable[[], Coroutine[None, None, T]]]) -> list[T]:
        """Run the tasks in a task group."""
        import anyio

        results: dict[int, T] = {}

        async def run(number: int, task: Callable[[], Coroutine[None, None, T]]) -> None:
            results[number] = await task()

        async with anyio.create_task_group() as group:
            for number, task in enumerate(tasks):
                group.start_soon(run, number, task)
        return [results[number] for number in range(len(tasks))]

    async def uncancelled(self, task: Callable[[], Coroutine[None, None, T]]) -> T:
        """Run the task to its end; a cancellation or an interrupt meanwhile is delivered after it."""
        if on_trio():
            return await uninterrupted(partial(_uncancelled_trio, task))
        import asyncio

        is_driven = asyncio.get_running_loop().is_running
        return await uninterrupted(partial(_uncancelled_asyncio, task), is_driven=is_driven)

    async def run_blocking(self, function: Callable[[], T]) -> T:
        """Run the function in a worker thread, or in this one where no thread can be started."""
        import anyio.to_thread

        begun = False

        def work() -> T:
            nonlocal begun
            begun = True
            return function()

        try:
            return await anyio.to_thread.run_sync(work)
        except RuntimeError:
            # The machine has no more threads, or the process is ending; the key in hand must be stored all the same.
            if begun:
                raise
            return function()


async def _uncancelled_asyncio(task: Callable[[], Coroutine[None, None, T]]) -> T:
    """Run the task as one of asyncio's own, which neither anyio's scopes nor ``Task.cancel`` of the caller reach."""
    import asyncio

    import anyio

    inner = asyncio.create_task(task())
    # A loop that shuts down cancels all tasks it knows. It cancels the caller's task, which waits for this one.
    asyncio.tasks._unregister_task(inner)  # noqa: SLF001  # documented, under "Extending"
    cancelled: asyncio.CancelledError | None = None
    # The scope keeps anyio, which cancels again and again, from doing that in a busy loop.
    with anyio.CancelScope(shield=True):
        while not inner.done():
            try:
                await asyncio.wait([inner])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is None:
        return inner.result()
    # Read, so that asyncio does not report an exception that nobody has read.
    with suppress(asyncio.CancelledError):
        inner.exception()
    raise cancelled


async def _uncancelled_trio(task: Callable[[], Coroutine[None, None, T]]) -> T:
    """Run the task as a system task of trio, in which Ctrl-C is not raised."""
    import outcome
    import trio

    outcomes: list[outcome.Outcome[T]] = []
    ended = trio.Event()

    async def work() -> None:
        with trio.CancelScope(shield=True):
            outcomes.append(await outcome.acapture(task))
        ended.set()

    trio.lowlevel.spawn_system_task(work, context=contextvars.copy_context())
    interrupt: KeyboardInterrupt | None = None
    with trio.CancelScope(shield=True):
        while not ended.is_set():
            try:
                await ended.wait()
            except KeyboardInterrupt as error:
                interrupt = error
    if interrupt is not None:
        raise interrupt
    return outcomes[0].unwrap()
