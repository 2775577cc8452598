"""A function in a thread of its own, and its result."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def start(function: Callable[[], T], *, name: str) -> tuple[Future[T], Thread]:
    """Run a function in a daemon thread, with the context of the caller.

    Where the system starts no thread, as while the process ends, the function runs at once in the caller's thread.

    Args:
        function: What to run.
        name: The name of the thread.

    Returns:
        The result, or what was raised, and the thread.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001  # raised where the result is asked for
            future.set_exception(error)

    thread = Thread(target=contextvars.copy_context().run, args=(run,), name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        run()
    return future, thread
