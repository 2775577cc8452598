"""What threads ask of the one that waits for them, because only that one may do it."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    # Who waits for it, and the function; None where a thread is done.
    Errand: TypeAlias = tuple[Future[Any], Callable[[], object] | None]

T = TypeVar("T")


class Errands:
    """Functions to be run in the waiting thread, such as those of a store that is bound to it."""

    def __init__(self) -> None:
        self._asked: SimpleQueue[Errand] = SimpleQueue()
        self._closed = False

    def run(self, function: Callable[[], T]) -> T:
        """Let the waiting thread run a function, and return or raise what that does.

        Raises:
            concurrent.futures.CancelledError: Nobody waits any more.
        """
        future: Future[T] = Future()
        self._asked.put((future, function))
        # Looked at after it was put: either this sees that nobody waits, or `close` sees what was put.
        if self._closed:
            future.cancel()
        return future.result()

    def run_until_done(self, threads: Sequence[Future[Any]]) -> None:
        """Run what is asked for until every thread is done."""
        for thread in threads:
            thread.add_done_callback(lambda done: self._asked.put((done, None)))
        left = len(threads)
        while left:
            future, function = self._asked.get()
            if function is None:
                left -= 1
            else:
                _run(future, function)

    def close(self) -> None:
        """Run nothing any more, and tell those who wait for it."""
        self._closed = True
        with suppress(Empty):
            while True:
                self._asked.get_nowait()[0].cancel()


def _run(future: Future[T], function: Callable[[], T]) -> None:
    try:
        future.set_result(function())
    except BaseException as error:
        future.set_exception(error)
        # Ctrl-C is meant for this thread.
        if not isinstance(error, Exception):
            raise


class OfThread(threading.local):
    """Whom the current thread asks, if it is one of several that run side by side."""

    errands: Errands | None = None


of_thread = OfThread()
