"""The two colours of `favcrm._core.ports.Port`, and the real clock."""

from __future__ import annotations

import contextvars
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from favcrm._bridge import on_trio, run_sync
from favcrm._clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from favcrm._core.transport import AsyncTransport, Clock, Response, Transport
    from favcrm.models import Progress
    from favcrm.secret import Secret
    from favcrm.typing import JSON

T = TypeVar("T")


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


def _clock_of(transport: Transport | AsyncTransport) -> Clock:
    """Return the transport's own clock, if it has one: a test moves it."""
    clock: Clock = getattr(transport, "clock", SYSTEM_CLOCK)
    return clock


class BlockingPort:
    """The blocking colour: every method returns without suspending."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.clock = _clock_of(transport)

    async def request(
        self,
        method: str,
        params: Mapping[str, JSON],
        *,
        api_key: Secret | None,
        timeout: float,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Response:
        """Send one request through the transport."""
        return self.transport.request(
            method, params, api_key=api_key, timeout=timeout, on_progress=on_progress
        )

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        self.clock.sleep(seconds)

    async def pause(self, seconds: float) -> None:
        """Wait for what others do, on the real clock."""
        SYSTEM_CLOCK.sleep(seconds)

    async def side_by_side(self, tasks: Sequence[Callable[[], Coroutine[None, None, T]]]) -> list[T]:
        """Run each task in a thread of its own."""
        from concurrent.futures import ThreadPoolExecutor

        pool = ThreadPoolExecutor(max_workers=len(tasks), thread_name_prefix="favcrm")
        try:
            # Each thread sees the caller's context, as tracing libraries expect.
            futures = [pool.submit(contextvars.copy_context().run, _run, task) for task in tasks]
            return [future.result() for future in futures]
        finally:
            # After Ctrl-C nobody waits for the answers.
            pool.shutdown(wait=False, cancel_futures=True)

    async def uncancelled(self, task: Callable[[], Coroutine[None, None, T]]) -> T:
        """Run the task in a thread, which Ctrl-C does not reach; an interrupt meanwhile is delivered after it."""
        from concurrent.futures import Future
        from threading import Event, Lock, Thread

        future: Future[T] = Future()
        ended, begun = Event(), Lock()

        def work() -> None:
            # Taken by whoever comes first: this thread, or an interrupt before it has begun.
            if not begun.acquire(blocking=False):
                return
            try:
                future.set_result(_run(task))
            except BaseException as error:  # noqa: BLE001  # raised below, in the caller's thread
                future.set_exception(error)
            ended.set()

        thread = Thread(target=contextvars.copy_context().run, args=(work,), name="favcrm")
        interrupt: KeyboardInterrupt | None = None
        started = False
        while not ended.is_set():
            try:
                if not started:
                    started = True
                    thread.start()
                # Not thread.join(): interrupted, it takes a thread that runs for one that has ended (bpo-46726).
                ended.wait()
            except KeyboardInterrupt as error:
                if begun.acquire(blocking=False):
                    raise
                interrupt = error
        if interrupt is not None:
            raise interrupt
        return future.result()

    async def blocking(self, function: Callable[[], T]) -> T:
        """Run the function."""
        return function()


def _run(task: Callable[[], Coroutine[None, None, T]]) -> T:
    return run_sync(task())


class AsyncPort:
    """The asynchronous colour, on asyncio and on trio."""

    def __init__(self, transport: AsyncTransport) -> None:
        self.transport = transport
        self.clock = _clock_of(transport)

    async def request(
        self,
        method: str,
        params: Mapping[str, JSON],
        *,
        api_key: Secret | None,
        timeout: float,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Response:
        """Send one request through the transport."""
        return await self.transport.request(
            method, params, api_key=api_key, timeout=timeout, on_progress=on_progress
        )

    async def sleep(self, seconds: float) -> None:
        """Wait, letting other tasks run."""
        await self.clock.sleep_async(seconds)

    async def pause(self, seconds: float) -> None:
        """Wait for what others do, on the real clock, letting other tasks run."""
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
        """Run the task to its end; a cancellation or Ctrl-C meanwhile is delivered after it."""
        return await (_uncancelled_trio if on_trio() else _uncancelled_asyncio)(task)

    async def blocking(self, function: Callable[[], T]) -> T:
        """Run the function in a worker thread."""
        import anyio.to_thread

        return await anyio.to_thread.run_sync(function)


async def _uncancelled_asyncio(task: Callable[[], Coroutine[None, None, T]]) -> T:
    """Run the task as one of asyncio's own, which neither anyio's scopes nor ``Task.cancel`` of the caller reach."""
    import asyncio

    import anyio

    inner = asyncio.create_task(task())
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
    # Taken, so that asyncio does not complain that nobody did.
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
