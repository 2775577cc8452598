"""Work that may wait for somebody who never answers, done within a deadline."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import TypeVar

from favcrm._boundary import bare
from favcrm.errors import StoreError
from favcrm.stores._services import Reason, told

T = TypeVar("T")


class Turn:
    """Who may still act: the thread may write until the caller gives up, and not after."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._given_up = False
        self.writing = False

    def begin_to_write(self) -> bool:
        """Say whether writing is still allowed."""
        with self._lock:
            self.writing = not self._given_up
            return self.writing

    def give_up(self) -> bool:
        """Allow no write from now on, and say whether one was begun."""
        with self._lock:
            self._given_up = True
            return self.writing


def within(
    timeout: float,
    work: Callable[[Turn], T],
    why: Callable[[BaseException], Reason],
    *,
    late: Reason,
    failing: str,
    doubtful: str | None,
) -> T:
    """Do the work in a thread of its own, and wait for it until the deadline.

    What fails becomes an error in that thread: what was raised, and its frames, may have seen the key. Once a
    write was begun, nothing is certain.
    """
    turn = Turn()
    results: SimpleQueue[tuple[T] | StoreError] = SimpleQueue()

    def run() -> None:
        result: tuple[T] | StoreError
        try:
            result = (work(turn),)
        except StoreError as error:
            result = bare(error)
        except BaseException as error:  # noqa: BLE001  # anything may be raised there, and somebody waits
            reason = why(error)._replace(certain=not turn.writing)
            result = told(reason, failing=failing, doubtful=doubtful)
        results.put(result)

    try:
        Thread(target=run, name="favcrm-store", daemon=True).start()
    except RuntimeError:
        # The machine has no more threads, or the process is ending: late is better than never.
        run()
    result: tuple[T] | StoreError
    try:
        result = results.get(timeout=timeout)
    except Empty:
        result = told(late._replace(certain=not turn.give_up()), failing=failing, doubtful=doubtful)
    finally:
        turn.give_up()
    if isinstance(result, StoreError):
        # It is ours, and bare: the queue's own exception must not become its context.
        raise result
    return result[0]
