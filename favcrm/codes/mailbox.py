"""Reading the code from a mailbox of the agent's own, over IMAP with TLS."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from favcrm.codes._access import SILENT, Fault, open_folder
from favcrm.codes._imap import (
    Watch,
    arrival_in,
    capabilities_of,
    close,
    literal_in,
    take_notice,
    troubles,
    wait_for_notice,
)
from favcrm.codes._mails import codes_in
from favcrm.codes._threads import for_seconds, in_daemon_thread
from favcrm.errors import CodeExpiredError, NoCodeError
from favcrm.models import PendingRegistration
from favcrm.registration import EMAIL, raise_problems
from favcrm.secret import Secret

if TYPE_CHECKING:
    from imap_tools import MailBox

__all__ = ["AsyncMailboxCode", "MailboxCode"]

MOST_MAILS = 50
MOST_BYTES = 256 * 1024
HIGHEST_PORT = 65535
CLOCKS_DIFFER = timedelta(minutes=2)
# A connection can be dead without a word.
LONGEST_IDLE = 30.0

"""An access token, or what returns one that is good now."""


class _Mailbox:
    def __init__(
        self,
        host: str,
        *,
        username: str,
        senders: Sequence[str],
        password: str | Secret | None = None,
        oauth_token: str | Secret | Callable[[], str | Secret] | None = None,
        port: int = 993,
        folder: str = "INBOX",
        ssl_context: ssl.SSLContext | None = None,
        poll_interval: float = 5.0,
        timeout: float = 30.0,
        code_lifetime: float = 600.0,
    ) -> None:
        self._host = host
        self._username = username
        self._password = _secret(password) if isinstance(password, str) else password
        self._oauth_token = _secret(oauth_token) if isinstance(oauth_token, str) else oauth_token
        # A traceback with locals shows this frame where a check fails.
        del password, oauth_token
        self._senders = frozenset(sender.strip().lower() for sender in senders)
        self._port = port
        self._folder = folder
        self._poll_interval = poll_interval
        self._timeout = timeout
        self._lifetime = timedelta(seconds=code_lifetime)
        raise_problems(self._checks(one_address=isinstance(senders, str)))
        # Without one, imaplib would trust every certificate.
        self._ssl_context = ssl_context or ssl.create_default_context()
        self._read: set[tuple[bytes, int]] = set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._folder} at {self._host}>"

    def _checks(self, *, one_address: bool) -> Mapping[str, str | None]:
        good = (
            bool(self._senders)
            and all(EMAIL.fullmatch(sender) for sender in self._senders)
            and not one_address
        )
        seconds = {
            "poll_interval": self._poll_interval,
            "timeout": self._timeout,
            "code_lifetime": self._lifetime.total_seconds(),
        }
        return {
            "host": None if self._host.strip() else "must be the name of the IMAP server",
            "senders": None if good else "must be a list with each address that codes come from",
            "port": None if 0 < self._port <= HIGHEST_PORT else "must be a port, usually 993",
            "username": _check_text(self._username),
            "password": self._check_credential(),
            "folder": _check_text(self._folder),
            **{name: None if value > 0 else "must be more than 0" for name, value in seconds.items()},
        }

    def _check_credential(self) -> str | None:
        if (self._password is None) == (self._oauth_token is None):
            return "give either a password or an oauth_token"
        credential = self._password or self._oauth_token
        return _check_text(credential.reveal()) if isinstance(credential, Secret) else None

    def _check(self, watch: Watch) -> bool:
        box = self._open(self._timeout, watch)
        if isinstance(box, NoCodeError):
            raise box
        close(box)
        return True

    def _error(self, fault: Fault) -> NoCodeError:
        return NoCodeError(fault.message.format(host=self._host, folder=self._folder), next_step=fault.advice)

    def _wait(self, pending: PendingRegistration, watch: Watch) -> str | None:
        """Return the code of the newest mail that has one, as soon as there is one; None where it is too late."""
        # By the clocks of FavCRM and of the mailbox; this machine's does not matter.
        lifetime = max(self._lifetime, timedelta(seconds=pending.remaining()))
        since = pending.expires_at - lifetime - CLOCKS_DIFFER
        connected = False
        while not watch.over:
            box = self._open(watch.within(self._timeout), watch)
            if not isinstance(box, NoCodeError):
                connected = True
                try:
                    code = self._wait_on(box, watch, since)
                finally:
                    close(box)
                if code is not None:
                    return code
            elif not connected:
                raise box
            watch.pause(self._poll_interval)
        return None

    def _wait_on(self, box: MailBox, watch: Watch, since: datetime) -> str | None:
        """Return the code, or None where it is too late or the connection ended."""
        judged: set[int] = set()
        # The next connection looks at everything again, so nothing is lost with this one.
        with suppress(*troubles()):
            idles = b"IDLE" in capabilities_of(box)
            era = box.client.response("UIDVALIDITY")[1][0]
            while not watch.over:
                box.client.socket().settimeout(watch.within(self._timeout))
                code = self._look(box, watch, since, era, judged)
                if code is not None:
                    return code
                if idles:
                    wait_for_notice(box, watch.within(LONGEST_IDLE))
                else:
                    watch.pause(self._poll_interval)
        return None

    def _look(self, box: MailBox, watch: Watch, since: datetime, era: bytes, judged: set[int]) -> str | None:
        from imap_tools import AND, OR

        # The server counts in days, of a time zone of its own.
        criteria = AND(OR(from_=sorted(self._senders)), date_gte=(since - timedelta(days=1)).date())
        # A server may tell what is new only after a command. What it tells from here on may be newer than the look.
        box.client.noop()
        take_notice(box)
        found = {int(uid) for uid in box.uids(criteria, None)} - judged
        newest = sorted(found, reverse=True)[:MOST_MAILS]
        if not newest:
            return None
        _, lines = box.client.uid("FETCH", ",".join(map(str, newest)), "(INTERNALDATE)")
        came = dict(arrival_in(line) for line in lines)
        for uid in [uid for uid in newest if uid in came]:
            judged.add(uid)
            if (era, uid) in self._read or came[uid] < since:
                continue
            _, parts = box.client.uid("FETCH", str(uid), f"(BODY.PEEK[]<0.{MOST_BYTES}>)")
            codes = codes_in(literal_in(parts), self._senders)
            if codes is not None and len(codes) == 1 and not watch.over:
                self._read.add((era, uid))
                return min(codes)
            if codes is not None:
                watch.unclear.add(uid)
        return None

    def _open(self, seconds: float, watch: Watch) -> MailBox | NoCodeError:
        """Return a connection that can only read, or what is wrong: an error is raised where no reason is seen."""
        opened = open_folder(
            self._folder,
            host=self._host,
            port=self._port,
            ssl_context=self._ssl_context,
            username=self._username,
            password=self._password,
            token=self._current_token(),
            seconds=seconds,
            watch=watch,
        )
        return self._error(opened) if isinstance(opened, Fault) else opened

    def _current_token(self) -> Secret | None:
        """Return the OAuth token that is good now, outside of what hides errors: those of a callable are its own."""
        if self._oauth_token is None or isinstance(self._oauth_token, Secret):
            return self._oauth_token
        token = _secret(self._oauth_token())
        raise_problems({"oauth_token": _check_text(token.reveal())})
        return token


class MailboxCode(_Mailbox):
    """Reads the code from a mailbox of the agent's own, so that nobody has to. Needs the extra ``mailbox``.

    Pass it as ``read_code``. It waits with IMAP's IDLE where the server has it, and looks again and again where
    not, until a mail has the code or the code is dead. The mailbox stays as it is: nothing is marked as read.

    Only mails from ``senders`` count, by the address in their From header; whether it is genuine is for the mail
    server to find out, so give an address that strangers do not know. Only mails count that came after the
    request: not earlier than the code's lifetime before its expiry, by the mailbox's own clock, give or take two
    minutes. A mail counts where one six-digit number in its text is called a code, or is alone on its line, or is the
    only one; and the newest one wins. No mail is read twice: asked again, it takes the last code for wrong and waits
    for another. So use an object for one registration at a time. At most the newest 50 mails are looked at, and the
    first 256 KiB of each.

    Args:
        host: The name of the IMAP server. The connection is encrypted from the start.
        username: Who signs in.
        password: The password, or one made for this app. Give either this or ``oauth_token``.
        oauth_token: An OAuth access token for IMAP, for providers that have switched passwords off; or a function that
            returns one, which is called at each login.
        senders: The addresses that codes come from.
        port: The port.
        folder: The folder that the mails arrive in.
        ssl_context: Which authorities to trust. By default those of this machine.
        poll_interval: Seconds between two looks where the server has no IDLE, and before connecting again.
        timeout: Seconds that the server may take for an answer, and ``check`` for all of it.
        code_lifetime: Seconds that a code lives, as FavCRM has it.

    Raises:
        InvalidInputError: An argument is wrong.

    Example:
        >>> read_code = MailboxCode(
        ...     "imap.example.com", username="agent", password="not-a-real-one", senders=["no-reply@example.com"]
        ... )
        >>> read_code
        <MailboxCode: INBOX at imap.example.com>
    """

    def check(self) -> None:
        """Find out whether the mailbox can be read, before a code is asked for.

        Raises:
            NoCodeError: It cannot be reached, its certificate is not trusted, it is too slow, or it refuses.
            ModuleNotFoundError: The extra is not installed.
        """
        watch = Watch()
        try:
            if for_seconds(self._timeout, partial(self._check, watch)) is None:
                raise self._error(SILENT)
        finally:
            watch.stop()

    def __call__(self, pending: PendingRegistration) -> str:
        """Wait for the mail with the code.

        Args:
            pending: The registration that waits for the code.

        Returns:
            The six digits.

        Raises:
            NoCodeError: The mailbox cannot be read from the start. A connection that is lost later is made again.
            CodeExpiredError: No mail with a code came while the code lived.
            ModuleNotFoundError: The extra is not installed.
        """
        watch = Watch(pending)
        try:
            code = for_seconds(pending.remaining(), partial(self._wait, pending, watch))
        finally:
            watch.stop()
        return _in_time(code, watch)


class AsyncMailboxCode(_Mailbox):
    """The twin of `MailboxCode` for asyncio and trio. Cancelling it closes its connection at once."""

    async def check(self) -> None:
        """Find out whether the mailbox can be read, before a code is asked for.

        Raises:
            NoCodeError: It cannot be reached, its certificate is not trusted, it is too slow, or it refuses.
            ModuleNotFoundError: The extra is not installed.
        """
        from anyio import move_on_after

        watch = Watch()
        checked = False
        try:
            with move_on_after(self._timeout):
                checked = await in_daemon_thread(partial(self._check, watch))
        finally:
            watch.stop()
        if not checked:
            raise self._error(SILENT)

    async def __call__(self, pending: PendingRegistration) -> str:
        """Wait for the mail with the code.

        Args:
            pending: The registration that waits for the code.

        Returns:
            The six digits.

        Raises:
            NoCodeError: The mailbox cannot be read from the start. A connection that is lost later is made again.
            CodeExpiredError: No mail with a code came while the code lived.
            ModuleNotFoundError: The extra is not installed.
        """
        from anyio import move_on_after

        watch = Watch(pending)
        code = None
        try:
            with move_on_after(pending.remaining()):
                code = await in_daemon_thread(partial(self._wait, pending, watch))
        finally:
            watch.stop()
        return _in_time(code, watch)


def _check_text(text: str) -> str | None:
    return None if text and text.isprintable() else "must be text in one line"


def _secret(text: str | Secret) -> Secret:
    return text if isinstance(text, Secret) else Secret(text)


def _in_time(code: str | None, watch: Watch) -> str:
    if code is not None:
        return code
    came = f" {len(watch.unclear)} came without a code or with several." if watch.unclear else ""
    raise CodeExpiredError(f"No mail with the code came in time.{came} No workspace was created.")
