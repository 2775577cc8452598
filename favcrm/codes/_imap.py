"""Pieces of talking IMAP: one wait, what a server answers, and ending a connection."""

from __future__ import annotations

import imaplib
import re
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, cast

from favcrm.models import PendingRegistration

if TYPE_CHECKING:
    from imap_tools import MailBox

__all__ = ["Watch", "arrival_in", "close", "literal_in", "troubles"]

DATED = re.compile(rb'INTERNALDATE "([^"]+)"')
NUMBERED = re.compile(rb"UID (\d+)")


class Watch:
    """One wait for a code. Another thread may end it."""

    def __init__(self, pending: PendingRegistration) -> None:
        self.pending = pending
        self.unclear: set[int] = set()
        self._stopped = threading.Event()
        self._socket: socket.socket | None = None

    @property
    def over(self) -> bool:
        """True where waiting on is of no use."""
        return self.pending.expired or self._stopped.is_set()

    def within(self, seconds: float) -> float:
        """Return the seconds, or what is left of the code's life, but never 0, which would mean not to wait."""
        return max(0.001, min(seconds, self.pending.remaining()))

    def pause(self, seconds: float) -> None:
        """Wait, until the wait is over."""
        self._stopped.wait(self.within(seconds))

    def follow(self, connection: socket.socket) -> None:
        """Cut this connection when the wait is ended."""
        self._socket = connection
        if self._stopped.is_set():
            self.stop()

    def stop(self) -> None:
        """End the wait."""
        self._stopped.set()
        if self._socket is not None:
            with suppress(OSError):
                # TLS's own goodbye would wait for the thread that reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def arrival_in(line: object) -> tuple[int, datetime]:
    """Return a mail's number and when it arrived; 0 where the line is about something else."""
    text = line if isinstance(line, bytes) else b""
    uid, date = NUMBERED.search(text), DATED.search(text)
    if uid is None or date is None:
        return 0, datetime.min.replace(tzinfo=UTC)
    return int(uid[1]), parsedate_to_datetime(date[1].decode("ascii", "replace"))


def literal_in(parts: Iterable[object]) -> bytes:
    """Return the mail in the answer to a FETCH, nothing where there is none."""
    # A literal comes as a pair, with the line that announced it.
    literals = [cast("tuple[object, object]", part)[1] for part in parts if isinstance(part, tuple)]
    return b"".join(literal for literal in literals[:1] if isinstance(literal, bytes))


def close(box: MailBox) -> None:
    """Sign out, and close the connection in any case."""
    with suppress(*troubles()):
        box.logout()  # pyright: ignore[reportUnknownMemberType]  # a bare tuple
    # Saying goodbye fails where the connection is dead, and then leaves the socket open.
    with suppress(*troubles()):
        box.client.shutdown()


def troubles() -> tuple[type[Exception], ...]:
    """Return what a connection raises where something is wrong. What it says may quote a mail, so nobody sees it."""
    from imap_tools.errors import ImapToolsError

    # A line that was read in pieces has no number where one should be.
    return OSError, imaplib.IMAP4.error, ImapToolsError, ValueError
