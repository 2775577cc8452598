"""What a flow reports while it runs: typed events for a callback, lines for the log ``favcrm``.

Neither carries a key, a code, an email or a masked email.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self

from attrs import asdict, frozen

__all__ = ["Event", "EventKind", "JsonlAuditLog"]

logger: logging.Logger = logging.getLogger("favcrm")
logger.addHandler(logging.NullHandler())


class State(StrEnum):
    """Where a registration is."""

    STORE_CHECKED = "store checked"
    CODE_REQUESTED = "code requested"
    CODE_READ = "code read"
    CODE_REFUSED = "code refused"
    VERIFY_SENT = "verify sent"
    KEY_RECEIVED = "key received"
    STORED = "stored"
    ESCROWED = "escrowed"
    DIAGNOSED = "diagnosed"
    ALREADY_REGISTERED = "already registered"
    OUTCOME_UNKNOWN = "outcome unknown"
    NOT_STORED = "not stored"


class EventKind(StrEnum):
    """What happened."""

    CODE_REQUESTED = "code_requested"
    CODE_REUSED = "code_reused"
    VERIFY_SENT = "verify_sent"
    OUTCOME_UNKNOWN = "outcome_unknown"
    KEY_RECEIVED = "key_received"
    KEY_STORED = "key_stored"
    STORE_FAILED = "store_failed"
    ESCROWED = "escrowed"
    DIAGNOSED = "diagnosed"
    STATE_CHANGED = "state_changed"


@frozen(kw_only=True)
class Event:
    """One thing that happened in a flow.

    Attributes:
        kind: What happened.
        time: When, in seconds since 1970.
        registration_id: The registration's ``request_id``, or None.
        organisation_id: The organisation, or None where it is not known yet.
        fingerprint: The end of the key, or None.
        ref: Where the key was stored, or None.
        error: The name of the error's class, or None.
        state: The state that a registration reached, or None.
        attempt: How many attempts were made, or None.
        duration: Seconds it took, or None.
        x_request_id: The server's id of the answer, or None.
    """

    kind: EventKind
    time: float
    registration_id: str | None = None
    organisation_id: str | None = None
    fingerprint: str | None = None
    ref: str | None = None
    error: str | None = None
    state: str | None = None
    attempt: int | None = None
    duration: float | None = None
    x_request_id: str | None = None


class JsonlAuditLog:
    """Appends each event to a file as one line of JSON, for ``on_event``.

    The file is made readable by its owner alone. Each line is written at once and whole, also where several
    threads and processes write to the same file. If a process died inside of a line, or the disk was full, the next
    line begins on a line of its own.

    Args:
        path: The file; it is made where there is none.

    Raises:
        OSError: The file cannot be opened for reading and writing.

    Example:
        >>> from favcrm.sandbox import Sandbox
        >>> with JsonlAuditLog("audit.jsonl") as log:
        ...     with FavCRMProvisioner(transport=Sandbox().transport(), on_event=log) as favcrm:
        ...         report = favcrm.diagnose()
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        # A pipe is only written to: whoever opens it for reading too keeps it open when its reader has gone.
        mode = os.O_WRONLY if _is_no_file(path) else os.O_RDWR
        self._file = os.open(path, mode | os.O_APPEND | os.O_CREAT, 0o600)

    def __call__(self, event: Event) -> None:
        """Write one event; what is None in it is left out."""
        told = {name: value for name, value in asdict(event).items() if value is not None}
        line = f"{json.dumps(told, ensure_ascii=False)}\n".encode()
        if self._ends_inside_a_line():
            line = b"\n" + line
        while line:
            line = line[os.write(self._file, line) :]

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _ends_inside_a_line(self) -> bool:
        """Look at the last byte; a pipe and an empty file have none. Writing is at the end, wherever this looks."""
        if not os.fstat(self._file).st_size:
            return False
        os.lseek(self._file, -1, os.SEEK_END)
        return os.read(self._file, 1) not in {b"\n", b""}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _is_no_file(path: str | PathLike[str]) -> bool:
    return Path(path).exists() and not Path(path).is_file()


class Emitter:
    """Sends events to the log and to the user's callback. Neither can make a flow fail by raising.

    Args:
        on_event: The callback, or None.
        now: Returns the time in seconds since 1970.
    """

    def __init__(self, on_event: Callable[[Event], None] | None, now: Callable[[], float]) -> None:
        self._on_event = on_event
        self._now = now

    def __call__(
        self,
        kind: EventKind,
        *,
        attempt: int | None = None,
        duration: float | None = None,
        **details: str | None,
    ) -> None:
        """Emit one event."""
        if logger.isEnabledFor(logging.INFO):
            told = {name: value for name, value in details.items() if value is not None}
            # A filter or handler of the log's may raise too.
            with suppress(Exception):
                logger.info("%s %s", kind, told)
        if self._on_event is None:
            return
        event = Event(kind=kind, time=self._now(), attempt=attempt, duration=duration, **details)
        try:
            self._on_event(event)
        except Exception:  # noqa: BLE001  # a mistake in the callback must not lose a key
            with suppress(Exception):
                logger.warning("the on_event callback failed at %s", kind)


def log_attempt(
    *, phase: str, tool: str, attempt: int, outcome: str, duration: float, request_id: str | None
) -> None:
    """Log one attempt at DEBUG, with every part as an attribute of the record too."""
    if logger.isEnabledFor(logging.DEBUG):
        told = {
            "phase": phase,
            "tool": tool,
            "attempt": attempt,
            "outcome": outcome,
            "duration": duration,
            "request_id": request_id,
        }
        # A filter or handler that raises must not lose an answer.
        with suppress(Exception):
            logger.debug(
                "%(phase)s %(tool)s attempt %(attempt)d: %(outcome)s after %(duration).3f s, request id %(request_id)s",
                told,
                extra=told,
            )
