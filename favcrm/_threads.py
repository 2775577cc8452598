"""A blocking function in a thread of its own, and its result, for those who may have to leave it behind."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

T = TypeVar("T")

# ipykernel cancels a cell at the next turn of the event loop, and does not wake the loop for it.
LONGEST_TURN = 0.5


def start(function: Callable[[], T]) -> tuple[Future[T], threading.Thread]:
    """Run a function in a daemon thread, with the context of the caller.

    Where the system starts no thread, as while the process ends, the function runs at once in the caller's thread.

    Returns:
        The result, or what was raised, and the thread.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001  # raised where the result is asked for
            future.set_exception(error)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="favcrm", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        run()
    return future, thread


def result_within(seconds: float, function: Callable[[], T]) -> T | None:
    """Return what a function returns, or None where it takes longer; then its thread is left behind."""
    future, _ = start(function)
    # A TimeoutError from the future itself could not be told from one that the function raised.
    wait([future], timeout=min(seconds, threading.TIMEOUT_MAX))
    return future.result() if future.done() else None


async def result_of(function: Callable[[], T], *, interrupt: bool = False) -> T:
    """Return what a function returns, on asyncio or trio. A cancellation leaves its thread behind at once.

    On asyncio, the worker threads of anyio keep the process alive until their functions return, and a person may
    never answer. So a worker thread only waits for a daemon thread.

    Args:
        function: What to run.
        interrupt: Whether KeyboardInterrupt is raised in a thread that is left behind.
    """
    import anyio.to_thread

    future, thread = start(function)
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
