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

__all__ = [
    "Watch",
    "arrival_in",
    "capabilities_of",
    "close",
    "literal_in",
    "take_notice",
    "troubles",
    "wait_for_notice",
]

DATED = re.compile(rb'INTERNALDATE "([^"]+)"', re.IGNORECASE)
NUMBERED = re.compile(rb"UID (\d+)", re.IGNORECASE)


class Watch:
    """One wait for a code, or for a mailbox that is only tried. Another thread may end it."""

    def __init__(self, pending: PendingRegistration | None = None) -> None:
        self._pending = pending
        self.unclear: set[int] = set()
        self._stopped = threading.Event()
        self._socket: socket.socket | None = None

    @property
    def over(self) -> bool:
        """True where waiting on is of no use."""
        return self._stopped.is_set() or (self._pending is not None and self._pending.expired)

    def within(self, seconds: float) -> float:
        """Return the seconds, or what is left of the code's life, but never 0, which would mean not to wait."""
        return seconds if self._pending is None else max(0.001, min(seconds, self._pending.remaining()))

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


def capabilities_of(box: MailBox) -> frozenset[bytes]:
    """Return what the server can do now: it may be more after the login."""
    _, lines = box.client.capability()
    return frozenset(b" ".join(filter(None, lines)).upper().split())


def take_notice(box: MailBox) -> bool:
    """Take the server's notice of a mail, and tell whether there was one since it was taken before."""
    return box.client.response("EXISTS")[1] != [None]


def wait_for_notice(box: MailBox, seconds: float) -> None:
    """Wait with IDLE until the server tells of something, unless it has told of a mail already."""
    if take_notice(box):
        return
    with box.idle as idle:
        if not _has_line(box):
            idle.poll(seconds)


def _has_line(box: MailBox) -> bool:
    """Tell whether a line has been received and not been read: polling the socket does not show it."""
    connection = box.client.socket()
    timeout = connection.gettimeout()
    connection.settimeout(0)
    try:
        return bool(box.client.readline())
    except OSError:
        return False
    finally:
        connection.settimeout(timeout)


def arrival_in(line: object) -> tuple[int, datetime]:
    """Return a mail's number and when it arrived; 0 where the line does not say both."""
    text = line if isinstance(line, bytes) else b""
    uid, date = NUMBERED.search(text), DATED.search(text)
    time = _time_in(date[1].decode("ascii", "replace")) if date else None
    if uid is None or time is None:
        return 0, datetime.min.replace(tzinfo=UTC)
    return int(uid[1]), time


def _time_in(date: str) -> datetime | None:
    # Some servers leave the zone out.
    for text in (date, f"{date} +0000"):
        with suppress(ValueError, OverflowError):
            time = parsedate_to_datetime(text)
            # The zone "-0000" says that the zone is not known, and the time is UTC.
            return time if time.tzinfo else time.replace(tzinfo=UTC)
    return None


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
