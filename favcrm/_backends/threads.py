"""What threads that run side by side ask of the thread that waits for them."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    # A function and the future of its result; where there is no function, the future is of a thread that has ended.
    Errand: TypeAlias = tuple[Future[Any], Callable[[], object] | None]

T = TypeVar("T")


def _settle(future: Future[T], function: Callable[[], T]) -> BaseException | None:
    """Run a function, give its result or its exception to a future, and return the exception."""
    try:
        result = function()
    except BaseException as error:  # noqa: BLE001  # raised where the result is awaited
        future.set_exception(error)
        return error
    future.set_result(result)
    return None


class Errands:
    """Functions that run in the waiting thread, such as those of a store that is bound to its thread."""

    def __init__(self) -> None:
        self._asked: SimpleQueue[Errand] = SimpleQueue()
        self._closed = False
        self._waiting_thread = threading.get_ident()

    def run(self, function: Callable[[], T]) -> T:
        """Let the waiting thread run a function, and return or raise what the function does.

        Raises:
            concurrent.futures.CancelledError: Nobody waits any more.
        """
        if threading.get_ident() == self._waiting_thread:
            return function()
        future: Future[T] = Future()
        self._asked.put((future, function))
        # Looked at after the put: either this sees that nobody waits, or `close` sees the errand.
        if self._closed:
            future.cancel()
        return future.result()

    def run_until_done(self, threads: Sequence[Future[Any]]) -> None:
        """Run what the threads ask for until every one of them is done."""
        for thread in threads:
            thread.add_done_callback(lambda done: self._asked.put((done, None)))
        left = len(threads)
        while left:
            future, function = self._asked.get()
            if function is None:
                left -= 1
                continue
            error = _settle(future, function)
            # Ctrl-C is meant for this thread.
            if error is not None and not isinstance(error, Exception):
                raise error

    def close(self) -> None:
        """Run nothing any more, and cancel what still waits."""
        self._closed = True
        with suppress(Empty):
            while True:
                self._asked.get_nowait()[0].cancel()
