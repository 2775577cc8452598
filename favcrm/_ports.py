"""The two colours of `favcrm._core.ports.Port`, and the real clock."""

from __future__ import annotations

import contextvars
import time
from typing import TYPE_CHECKING, TypeVar

from favcrm._bridge import run_sync

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from favcrm._core.transport import AsyncTransport, Clock, Response, Transport
    from favcrm.secret import Secret
    from favcrm.typing import JSON

T = TypeVar("T")


class SystemClock:
    """This machine's clock."""

    def monotonic(self) -> float:
        """Return seconds that only go forward."""
        return time.monotonic()

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
        self, method: str, params: Mapping[str, JSON], *, api_key: Secret | None, timeout: float
    ) -> Response:
        """Send one request through the transport."""
        return self.transport.request(method, params, api_key=api_key, timeout=timeout)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        self.clock.sleep(seconds)

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
        from threading import Thread

        future: Future[T] = Future()

        def work() -> None:
            try:
                future.set_result(_run(task))
            except BaseException as error:  # noqa: BLE001  # raised below, in the caller's thread
                future.set_exception(error)

        thread = Thread(target=contextvars.copy_context().run, args=(work,), name="favcrm")
        thread.start()
        interrupt: KeyboardInterrupt | None = None
        while thread.is_alive():
            try:
                thread.join()
            except KeyboardInterrupt as error:
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
        self, method: str, params: Mapping[str, JSON], *, api_key: Secret | None, timeout: float
    ) -> Response:
        """Send one request through the transport."""
        return await self.transport.request(method, params, api_key=api_key, timeout=timeout)

    async def sleep(self, seconds: float) -> None:
        """Wait, letting other tasks run."""
        await self.clock.sleep_async(seconds)

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
        """Run the task in a shielded scope; a cancellation meanwhile is delivered after it."""
        import anyio

        results: list[T] = []
        with anyio.CancelScope(shield=True):
            results.append(await task())
        return results[0]

    async def blocking(self, function: Callable[[], T]) -> T:
        """Run the function in a worker thread."""
        import anyio.to_thread

        return await anyio.to_thread.run_sync(function)
