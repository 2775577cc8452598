"""State that belongs to one process and, on the async side, to one event loop: connections, locks, sessions.

After a fork, two processes would read each other's answers from one socket. In a second event loop, a connection of the
first one fails or never answers. So each process and each event loop makes its own state.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from favcrm._backends import current_event_loop
from favcrm.errors import NotSentError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

Home: TypeAlias = tuple[int, object]
"""A process, and the event loop in it, or None on the sync side."""


def this_process() -> Home:
    """Return where a blocking caller runs."""
    return os.getpid(), None


def this_event_loop() -> Home:
    """Return where an asynchronous caller runs."""
    return os.getpid(), current_event_loop()


class Bound(Generic[T]):
    """A state that each home makes for itself at the first use.

    The states of other homes are kept and left alone. After a fork, closing the parent's client could wait for a lock
    that nobody releases, or end a connection that the parent uses. No lock is taken here for the same reason.

    Args:
        make: Makes a state. It is called once at the beginning, so that wrong options are refused there.
        home: Returns where the caller runs.
        lent: The client that a user handed over for all states, so that there may be a state in one home only.
    """

    def __init__(self, make: Callable[[], T], home: Callable[[], Home], lent: object | None = None) -> None:
        self._make = make
        self._home = home
        self._lent = lent
        self._unused = [make()]
        self._states: dict[Home, T] = {}
        self._closed = False

    def here(self) -> T:
        """Return the state of the home that the caller runs in.

        Raises:
            NotSentError: It was closed, or the client that was handed over belongs to another home.
        """
        home = self._home()
        state = self._states.get(home)
        if state is not None:
            return state
        if self._closed:
            raise closed_error()
        if self._lent is not None:
            keep_at_home(self._lent, home)
        self._drop_closed_loops()
        try:
            state = self._unused.pop()
        except IndexError:
            state = self._make()
        # Of two threads that come here at once, both go on with the state of the first.
        return self._states.setdefault(home, state)

    def take(self) -> T | None:
        """Forget the state of the caller's home, and return it if there is one."""
        return self._states.pop(self._home(), None)

    def close(self) -> T | None:
        """Return what `take` returns, for the caller to close. A client that was handed over stays usable."""
        self._closed = self._lent is None
        self._drop_closed_loops()
        return self.take()

    def _drop_closed_loops(self) -> None:
        """Forget the states of event loops that were closed with connections open. Only Python can close these."""
        for process, loop in tuple(self._states):
            is_closed: Callable[[], bool] | None = getattr(loop, "is_closed", None)
            if process == os.getpid() and is_closed is not None and is_closed():
                self._states.pop((process, loop), None)


_first_used: WeakKeyDictionary[object, Home] = WeakKeyDictionary()


def keep_at_home(client: object, home: Home) -> None:
    """Refuse a client that was handed over in any home but its first, because its connections cannot be told apart.

    Raises:
        NotSentError: It was used in another process or event loop.
    """
    check_home("HTTP client", _first_used.setdefault(client, home), home)


def check_home(what: str, own: Home, home: Home) -> None:
    """Refuse a thing that belongs to another home.

    Args:
        what: The name of the thing in an error.
        own: Where it belongs.
        home: Where it is to be used.

    Raises:
        NotSentError: These are not the same.
    """
    if own == home:
        return
    where = "event loop" if own[0] == home[0] else "process"
    raise NotSentError(
        f"The {what} that was handed over belongs to another {where}. Nothing was sent.",
        permanent=True,
        next_step=f"Make a new {what} in this {where}, and hand that over.",
    )


def closed_error() -> NotSentError:
    """Return the error for a call after closing."""
    return NotSentError(
        "The HTTP client is closed. Nothing was sent.",
        permanent=True,
        next_step="Use the object inside its with block, or make a new one.",
    )
