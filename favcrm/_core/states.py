"""The states of one registration, and the moves between them, as data."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from favcrm.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Callable


class State(StrEnum):
    """Where a registration is."""

    STARTED = "started"
    STORE_CHECKED = "store checked"
    CODE_REQUESTED = "code requested"
    CODE_READ = "code read"
    VERIFY_SENT = "verify sent"
    KEY_RECEIVED = "key received"
    STORED = "stored"
    ESCROWED = "escrowed"
    DIAGNOSED = "diagnosed"
    ALREADY_REGISTERED = "already registered"
    OUTCOME_UNKNOWN = "outcome unknown"
    NOT_STORED = "not stored"


MOVES: dict[State, frozenset[State]] = {
    State.STARTED: frozenset({State.STORE_CHECKED}),
    # A key that is there already, or that is handed over, is stored.
    State.STORE_CHECKED: frozenset({State.CODE_REQUESTED, State.STORED, State.ALREADY_REGISTERED}),
    # A fresh code is requested when one has expired.
    State.CODE_REQUESTED: frozenset({State.CODE_READ, State.CODE_REQUESTED, State.ALREADY_REGISTERED}),
    State.CODE_READ: frozenset({State.VERIFY_SENT, State.CODE_REQUESTED}),
    # A wrong code is asked for again.
    State.VERIFY_SENT: frozenset(
        {State.KEY_RECEIVED, State.CODE_REQUESTED, State.ALREADY_REGISTERED, State.OUTCOME_UNKNOWN}
    ),
    State.KEY_RECEIVED: frozenset({State.STORED, State.ESCROWED, State.NOT_STORED}),
    State.STORED: frozenset({State.DIAGNOSED}),
    State.ESCROWED: frozenset(),
    State.DIAGNOSED: frozenset(),
    State.ALREADY_REGISTERED: frozenset(),
    State.OUTCOME_UNKNOWN: frozenset(),
    State.NOT_STORED: frozenset(),
}


class Journey:
    """The way of one registration through the states.

    Args:
        tell: Called with each state that is reached.
    """

    def __init__(self, tell: Callable[[State], None]) -> None:
        self.state = State.STARTED
        self._tell = tell

    def move(self, to: State) -> None:
        """Go to a state.

        Raises:
            StateError: There is no such move; the error names both states.
        """
        if to not in MOVES[self.state]:
            raise StateError(self.state, to)
        self.state = to
        self._tell(to)
