"""One connection to a mailbox: signing in, opening a folder, and reading mails; and what stands in the way."""

from __future__ import annotations

import imaplib
import re
import socket
import ssl
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple, cast

from favcrm.errors import CodeUnavailableError
from favcrm.models import PendingRegistration
from favcrm.secret import Secret

if TYPE_CHECKING:
    from imap_tools import MailBox

__all__ = ["SILENT", "Wait", "find_mails", "opened_folder", "read_mail", "troubles"]

MOST_BYTES = 256 * 1024
MISSING_EXTRA = 'A mailbox needs the extra "mailbox". Install it with: pip install "favcrm[mailbox]"'
LOGIN_DISABLED = "LOGINDISABLED"
# What Google, Microsoft, Yahoo and others answer where they take no password, or none but an app's own.
PASSWORDS_ARE_OFF = re.compile(
    rf"{LOGIN_DISABLED}|basic[ -]?auth|(?:app|application)[ -](?:specific[ -])?password|less secure|oauth"
    r"|(?:log|sign) ?in (?:via|with|using) (?:your )?(?:web|browser)|web ?login|webalert",
    re.IGNORECASE,
)
ARRIVAL = re.compile(rb'INTERNALDATE "([^"]+)"', re.IGNORECASE)


class Fault(NamedTuple):
    """What may be wrong with a mailbox, and what to do about it."""

    message: str
    next_step: str

    def error(self, **names: str) -> CodeUnavailableError:
        """Make the error, with the names of the host or the folder."""
        return CodeUnavailableError(self.message.format(**names), next_step=self.next_step)


UNREACHABLE = Fault(
    "The mailbox's server {host} cannot be reached.",
    "Check host and port, and the network; or pass the code as code= to confirm.",
)
SILENT = Fault("The mailbox's server {host} did not answer in time.", UNREACHABLE.next_step)
UNTRUSTED = Fault(
    "The certificate of the mailbox's server {host} is not trusted.",
    "Check host; where the authority is your own, pass an ssl_context that trusts it.",
)
PASSWORD_REFUSED = Fault(
    "The mailbox refused the login.",
    "Check username and password. Many providers want a password made for one app, and some want an oauth_token.",
)
PASSWORDS_OFF = Fault(
    "The mailbox takes no password of an account: its provider has switched such logins off.",
    "Pass an oauth_token in place of the password; or a password made for one app, where the provider has such.",
)
TOKEN_REFUSED = Fault(
    "The mailbox refused the login with the OAuth token.",
    "Check username, and that the token is for IMAP. Tokens live for about an hour: pass a function as oauth_token "
    "that returns a fresh one.",
)
NO_FOLDER = Fault(
    "The mailbox has no folder {folder} that can be read.",
    "Check folder, and the provider's settings: some let a program read mails only where IMAP was allowed.",
)


class Wait:
    """One wait for a code, or one trial of a mailbox. Another thread may end it."""

    def __init__(self, pending: PendingRegistration | None = None) -> None:
        self._pending = pending
        self.unclear: set[int] = set()
        """The mails of the senders in which no code was found, or several."""
        self._ended = threading.Event()
        self._socket: socket.socket | None = None

    @property
    def over(self) -> bool:
        """Whether the wait was ended or the code has expired."""
        return self._ended.is_set() or (self._pending is not None and self._pending.expired)

    def limit(self, seconds: float) -> float:
        """Return the seconds, or what is left of the code's life; never 0, which sockets take for "do not wait"."""
        return seconds if self._pending is None else max(0.001, min(seconds, self._pending.remaining()))

    def pause(self, seconds: float) -> None:
        """Sleep until the time or the wait is over."""
        self._ended.wait(self.limit(seconds))

    def follow(self, connection: socket.socket) -> None:
        """Cut this connection when the wait is ended."""
        self._socket = connection
        if self._ended.is_set():
            self.close()

    def close(self) -> None:
        """End the wait, and cut its connection, since a server may keep the thread that reads from it for ever."""
        self._ended.set()
        if self._socket is not None:
            with suppress(OSError):
                # The shutdown of a TLS socket would wait for that thread.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


@contextmanager
def opened_folder(
    folder: str,
    *,
    host: str,
    port: int,
    ssl_context: ssl.SSLContext,
    username: str,
    password: Secret | None,
    token: Secret | None,
    seconds: float,
    wait: Wait,
) -> Generator[MailBox]:
    """Yield a connection that can only read the folder, and close the connection at the end.

    Raises:
        CodeUnavailableError: The mailbox cannot be read. The error has none of the library's own words, because they
            may quote a password.
        ModuleNotFoundError: The extra is not installed.
    """
    try:
        from imap_tools import MailBox
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(MISSING_EXTRA, name=missing.name) from None
    with _raising(UNREACHABLE.error(host=host), untrusted=UNTRUSTED.error(host=host)):
        box = MailBox(host, port, timeout=seconds, ssl_context=ssl_context)
    try:
        wait.follow(box.client.socket())
        if token is not None:
            with _raising(TOKEN_REFUSED.error()):
                _login_with_token(box, username, token)
        if password is not None:
            with _raising(PASSWORD_REFUSED.error(), passwords_off=PASSWORDS_OFF.error()):
                _login_with_password(box, username, password)
        with _raising(NO_FOLDER.error(folder=folder)):
            _introduce(box)
            box.folder.set(folder, readonly=True)  # pyright: ignore[reportUnknownMemberType]  # a bare tuple
        yield box
    finally:
        _close(box)


@contextmanager
def _raising(
    error: CodeUnavailableError,
    *,
    untrusted: CodeUnavailableError | None = None,
    passwords_off: CodeUnavailableError | None = None,
) -> Generator[None]:
    """Raise an error in place of the library's."""
    try:
        yield
    except troubles() as trouble:
        if untrusted is not None and isinstance(trouble, ssl.SSLCertVerificationError):
            raise untrusted from None
        if passwords_off is not None and PASSWORDS_ARE_OFF.search(str(trouble)):
            raise passwords_off from None
        raise error from None


def _login_with_password(box: MailBox, username: str, password: Secret) -> None:
    """Sign in, in a way that the server offers. Where it offers none, the password is not sent."""
    disabled = LOGIN_DISABLED in box.client.capabilities
    if disabled and "AUTH=PLAIN" not in box.client.capabilities:
        raise imaplib.IMAP4.error(LOGIN_DISABLED)
    plain = disabled or not (username + password.reveal()).isascii()
    login = box.login_utf8 if plain else box.login
    login(username, password.reveal(), None)


def _login_with_token(box: MailBox, username: str, token: Secret) -> None:
    """Sign in with an OAuth token. A server that refuses it says why first, and waits for an empty line."""
    answers = iter([f"user={username}\1auth=Bearer {token.reveal()}\1\1".encode()])
    box.client.authenticate("XOAUTH2", lambda _: next(answers, b""))


def _introduce(box: MailBox) -> None:
    """Say which program this is, where the server asks for that: some open no folder for a stranger."""
    _, lines = box.client.capability()
    if b"ID" in b" ".join(filter(None, lines)).upper().split():
        with suppress(imaplib.IMAP4.error):
            box.client.xatom("ID", f'("name" "favcrm" "version" "{version("favcrm")}")')


def find_mails(box: MailBox, senders: Iterable[str], since: date) -> set[int]:
    """Return the numbers of the senders' mails of that day and later."""
    from imap_tools import AND, OR

    # A server may tell of new mails only after a command.
    box.client.noop()
    return {int(uid) for uid in box.uids(AND(OR(from_=sorted(senders)), date_gte=since), None)}


def read_mail(box: MailBox, uid: int) -> tuple[datetime, bytes] | None:
    """Return when a mail arrived and how it begins; None where the answer does not say both."""
    _, parts = box.client.uid("FETCH", str(uid), f"(INTERNALDATE BODY.PEEK[]<0.{MOST_BYTES}>)")
    return _arrival_and_mail(parts)


def _arrival_and_mail(parts: Iterable[object]) -> tuple[datetime, bytes] | None:
    # A mail comes as a pair, with the line before it. The date is in that line, or in a line behind the mail.
    pairs = [cast("tuple[bytes, bytes]", part) for part in parts if isinstance(part, tuple)]
    lines = [part for part in parts if isinstance(part, bytes)]
    found = ARRIVAL.search(b" ".join([*(line for line, _ in pairs), *lines]))
    arrival = _time_in(found[1].decode("ascii", "replace")) if found else None
    return (arrival, pairs[0][1]) if arrival and pairs else None


def _time_in(text: str) -> datetime | None:
    # Some servers leave the zone out.
    for form in (text, f"{text} +0000"):
        with suppress(ValueError, OverflowError):
            time = parsedate_to_datetime(form)
            # The zone "-0000" says that the zone is not known, and the time is UTC.
            return time if time.tzinfo else time.replace(tzinfo=UTC)
    return None


def _close(box: MailBox) -> None:
    """Sign out, and close the connection in any case."""
    with suppress(*troubles()):
        box.logout()  # pyright: ignore[reportUnknownMemberType]  # a bare tuple
    # Where the connection is dead, signing out fails and leaves the socket open.
    with suppress(*troubles()):
        box.client.shutdown()


def troubles() -> tuple[type[Exception], ...]:
    """Return what a connection raises where something is wrong. What it says may quote a mail, so nobody sees it."""
    from imap_tools.errors import ImapToolsError

    # A line that was read in pieces has no number where one should be.
    return OSError, imaplib.IMAP4.error, ImapToolsError, ValueError
