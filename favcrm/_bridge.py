"""How blocking callers run the flows, which are ``async def``."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

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


def awaitable(function: Callable[[A], R]) -> Callable[[A], Awaitable[R]]:
    """Return a blocking function as one that a flow can await; it never suspends."""

    async def call(argument: A) -> R:
        return function(argument)

    return call
