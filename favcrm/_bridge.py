"""How blocking callers run the flows, which are ``async def``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

A = TypeVar("A")
R = TypeVar("R")


def run_sync(flow: Coroutine[None, None, R]) -> R:
    """Run a flow whose port never suspends, by stepping it once: no event loop, so also inside a running one.

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
    """Return a blocking function as what a flow can await; it never suspends."""

    async def call() -> R:
        return function()

    return call


def on_trio() -> bool:
    """Tell whether this runs in a task of trio's; httpx and anyio no longer bring sniffio, which would tell."""
    trio = sys.modules.get("trio")
    if trio is None:
        return False
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True


def current_event_loop() -> object:
    """Return the event loop that this runs in, of asyncio or trio."""
    if on_trio():
        import trio

        return trio.lowlevel.current_trio_token()
    import asyncio

    return asyncio.get_running_loop()


class Awaitable(Generic[A, R]):
    """A blocking function, and its ``check`` if it has one, as what a flow can await; it never suspends.

    Args:
        function: The function.
    """

    def __init__(self, function: Callable[[A], R]) -> None:
        self._function = function

    async def __call__(self, argument: A) -> R:
        """Call the function."""
        return self._function(argument)

    async def check(self) -> None:
        """Let the function find out whether it can work."""
        check: Callable[[], object] | None = getattr(self._function, "check", None)
        if check is not None:
            check()
