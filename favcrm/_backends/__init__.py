"""The one seam between sync and async: each flow is written once, as an ``async def`` over a `Backend`.

The async side awaits a flow over the backend in `favcrm._backends.asynchronous`. The sync side steps the same flow
once, with `run_sync`, over the backend in `favcrm._backends.blocking`, whose methods never suspend.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from favcrm.transport import Clock, Request, Response

    Send: TypeAlias = Callable[[Request], Coroutine[None, None, Response]]

A = TypeVar("A")
R = TypeVar("R")


class Backend(Protocol):
    """All that a flow awaits: the transport, the clock, and whatever may block."""

    clock: Clock

    @property
    def transport(self) -> object:
        """The transport that requests go through."""
        ...

    @property
    def request(self) -> Send:
        """Sends one request through the transport."""
        ...

    def home(self) -> object:
        """Return the process and, on the async side, the event loop that the caller runs in."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait on the transport's clock."""
        ...

    async def pause(self, seconds: float) -> None:
        """Wait on the real clock, because other threads and processes do not know the transport's."""
        ...

    async def side_by_side(self, tasks: Sequence[Callable[[], Coroutine[None, None, R]]]) -> list[R]:
        """Run the tasks at the same time, and return their results in the order of the tasks."""
        ...

    async def uncancelled(self, task: Callable[[], Coroutine[None, None, R]]) -> R:
        """Run the task to its end; a cancellation or an interrupt takes effect afterwards."""
        ...

    async def run_blocking(self, function: Callable[[], R]) -> R:
        """Run a function that may block, such as a store's."""
        ...


def run_sync(flow: Coroutine[None, None, R]) -> R:
    """Run a flow over the blocking backend by stepping it once. No event loop is needed, so one may be running.

    Raises:
        RuntimeError: The flow suspended, which is a bug in this package.
    """
    try:
        flow.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # a coroutine's return value is typed Any in StopIteration
    finally:
        flow.close()
    raise RuntimeError("a flow suspended on the blocking side; please report this")


def as_coroutine(function: Callable[[], R]) -> Callable[[], Coroutine[None, None, R]]:
    """Return a blocking function as one that a flow can await."""

    async def call() -> R:
        return function()

    return call


class AsyncFunction(Generic[A, R]):
    """A blocking function, with its ``check`` if it has one, as one that a flow can await.

    Args:
        function: The function.

    Attributes:
        check: Lets the function find out whether it can work. It is there only where the function has one.
    """

    def __init__(self, function: Callable[[A], R]) -> None:
        self._function = function
        check: Callable[[], object] | None = getattr(function, "check", None)
        if check is not None:
            self.check = as_coroutine(check)

    async def __call__(self, argument: A) -> R:
        """Call the function."""
        return self._function(argument)


def on_trio() -> bool:
    """Tell whether a task of trio runs this. httpx and anyio do not bring sniffio, which would tell."""
    trio = sys.modules.get("trio")
    if trio is None:
        return False
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True


def current_event_loop() -> object:
    """Return the event loop that runs this, of asyncio or trio."""
    if on_trio():
        import trio

        return trio.lowlevel.current_trio_token()
    import asyncio

    return asyncio.get_running_loop()
