"""Waiting for something that blocks, without being bound to it."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

T = TypeVar("T")

# ipykernel cancels a cell at the next turn of the event loop, and does not wake the loop for it.
LONGEST_TURN = 0.5


def for_seconds(seconds: float, function: Callable[[], T]) -> T | None:
    """Run a blocking function, and leave it behind when the time is over; then return None."""
    future, _ = _start(function)
    # Unlike the future's own timeout, this one is not taken for an error of the function.
    wait([future], timeout=min(seconds, threading.TIMEOUT_MAX))
    return future.result() if future.done() else None


async def in_daemon_thread(function: Callable[[], T], *, interrupt: bool = False) -> T:
    """Run a blocking function, on asyncio or trio; a cancellation leaves it behind at once.

    anyio's own worker threads keep the process alive on asyncio until what they run returns, and a person may
    never answer. So they only wait for a thread that does not.

    Args:
        function: What blocks.
        interrupt: Whether a function that is left behind gets a KeyboardInterrupt, which ends what runs in Python.
    """
    import anyio.to_thread

    future, thread = _start(function)
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    try:
        while not future.done():
            await anyio.to_thread.run_sync(done.wait, LONGEST_TURN, abandon_on_cancel=True)
    finally:
        done.set()
        if interrupt and not future.done():
            _interrupt(thread)
    return future.result()


def _interrupt(thread: threading.Thread) -> None:
    """Raise KeyboardInterrupt in another thread, as Ctrl-C does in the main one. Only CPython can."""
    import ctypes

    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(KeyboardInterrupt)
    )


def _start(function: Callable[[], T]) -> tuple[Future[T], threading.Thread]:
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            future.set_exception(error)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="favcrm-code", daemon=True)
    thread.start()
    return future, thread
