"""Waiting for something that blocks, without being bound to it."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def in_daemon_thread(function: Callable[[], T]) -> T:
    """Run a blocking function, on asyncio or trio; a cancellation leaves it behind at once.

    anyio's own worker threads keep the process alive on asyncio until what they run returns, and a person may
    never answer. So they only wait for a thread that does not.
    """
    import anyio.to_thread

    future: Future[T] = Future()
    done = threading.Event()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            future.set_exception(error)
        done.set()

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name="favcrm-code", daemon=True).start()
    try:
        await anyio.to_thread.run_sync(done.wait, abandon_on_cancel=True)
    finally:
        done.set()
    return future.result()
