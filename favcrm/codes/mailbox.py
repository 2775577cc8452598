"""Reading the code from a mailbox of the agent's own, over IMAP with TLS."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from favcrm.codes._imap import Watch, arrival_in, close, literal_in, troubles
from favcrm.codes._mails import codes_in
from favcrm.codes._threads import in_daemon_thread
from favcrm.errors import CodeExpiredError, NoCodeError
from favcrm.inputs import EMAIL, raise_problems
from favcrm.models import PendingRegistration
from favcrm.secret import Secret

if TYPE_CHECKING:
    from imap_tools import MailBox

__all__ = ["AsyncMailboxCode", "MailboxCode"]

MISSING_EXTRA = 'A mailbox needs the extra "mailbox". Install it with: pip install "favcrm[mailbox]"'
MOST_MAILS = 50
MOST_BYTES = 256 * 1024
HIGHEST_PORT = 65535
CLOCKS_DIFFER = timedelta(minutes=2)
# A notice can come before the waiting for it has begun, and a connection can be dead without a word.
LONGEST_IDLE = 30.0


class _Mailbox:
    def __init__(
        self,
        host: str,
        *,
        username: str,
        password: str | Secret,
        senders: Sequence[str],
        port: int = 993,
        folder: str = "INBOX",
        ssl_context: ssl.SSLContext | None = None,
        poll_interval: float = 5.0,
        timeout: float = 30.0,
        code_lifetime: float = 600.0,
    ) -> None:
        self._host = host
        self._username = username
        self._password = password if isinstance(password, Secret) else Secret(password)
        # A traceback with locals shows this frame where a check fails.
        del password
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
        texts = {"username": self._username, "password": self._password.reveal(), "folder": self._folder}
        seconds = {
            "poll_interval": self._poll_interval,
            "timeout": self._timeout,
            "code_lifetime": self._lifetime.total_seconds(),
        }
        return {
            "host": None if self._host.strip() else "must be the name of the IMAP server",
            "senders": None if good else "must be a list with each address that codes come from",
            "port": None if 0 < self._port <= HIGHEST_PORT else "must be a port, usually 993",
            **{name: _check_text(text) for name, text in texts.items()},
            **{name: None if value > 0 else "must be more than 0" for name, value in seconds.items()},
        }

    def _check(self) -> None:
        box = self._open(self._timeout)
        if isinstance(box, NoCodeError):
            raise box
        close(box)

    def _wait(self, watch: Watch) -> str:
        """Return the code of the newest mail that has one, as soon as there is one."""
        connected = False
        while not watch.over:
            box = self._open(watch.within(self._timeout), watch)
            if not isinstance(box, NoCodeError):
                connected = True
                try:
                    code = self._wait_on(box, watch)
                finally:
                    close(box)
                if code is not None:
                    return code
            elif not connected:
                raise box
            watch.pause(self._poll_interval)
        came = f" {len(watch.unclear)} came without a code or with several." if watch.unclear else ""
        raise CodeExpiredError(f"No mail with the code came in time.{came} No workspace was created.")

    def _wait_on(self, box: MailBox, watch: Watch) -> str | None:
        """Return the code, or None where it is too late or the connection ended."""
        judged: set[int] = set()
        # The next connection looks at everything again, so nothing is lost with this one.
        with suppress(*troubles()):
            _, capabilities = box.client.capability()
            idles = b"IDLE" in b" ".join(filter(None, capabilities)).upper().split()
            era = box.client.response("UIDVALIDITY")[1][0]
            while not watch.over:
                box.client.socket().settimeout(watch.within(self._timeout))
                code = self._look(box, watch, era, judged)
                if code is not None:
                    return code
                if idles:
                    box.idle.wait(watch.within(LONGEST_IDLE))
                else:
                    watch.pause(self._poll_interval)
        return None

    def _look(self, box: MailBox, watch: Watch, era: bytes, judged: set[int]) -> str | None:
        from imap_tools import AND, OR

        # By the clocks of FavCRM and of the mailbox; this machine's does not matter.
        since = watch.pending.expires_at - max(self._lifetime, timedelta(seconds=watch.pending.remaining()))
        since -= CLOCKS_DIFFER
        # The server counts in days, of a time zone of its own.
        criteria = AND(OR(from_=sorted(self._senders)), date_gte=(since - timedelta(days=1)).date())
        # A server may tell what is new only after a command.
        box.client.noop()
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

    def _open(self, seconds: float, watch: Watch | None = None) -> MailBox | NoCodeError:
        """Return a connection that can only read, or what is wrong: an error is raised where no reason is seen."""
        try:
            from imap_tools import MailBox
        except ModuleNotFoundError as missing:
            raise ModuleNotFoundError(MISSING_EXTRA, name=missing.name) from None
        box = None
        at_fault = f"The mailbox's server {self._host} cannot be reached."
        advice = "Check host and port, and the network; or pass the code as code= to confirm."
        try:
            box = MailBox(self._host, self._port, timeout=seconds, ssl_context=self._ssl_context)
            if watch is not None:
                watch.follow(box.client.socket())
            at_fault = "The mailbox refused the login."
            advice = "Check username and password. Many providers want a password made for one app."
            login = box.login if (self._username + self._password.reveal()).isascii() else box.login_utf8
            login(self._username, self._password.reveal(), None)
            at_fault = f"The mailbox has no folder {self._folder} that can be read."
            advice = "Check folder."
            box.folder.set(self._folder, readonly=True)  # pyright: ignore[reportUnknownMemberType]  # a bare tuple
        except ssl.SSLCertVerificationError:
            at_fault = f"The certificate of the mailbox's server {self._host} is not trusted."
            advice = "Check host; where the authority is your own, pass an ssl_context that trusts it."
        except troubles():
            pass
        else:
            return box
        if box is not None:
            close(box)
        return NoCodeError(at_fault, next_step=advice)


class MailboxCode(_Mailbox):
    """Reads the code from a mailbox of the agent's own, so that nobody has to. Needs the extra ``mailbox``.

    Pass it as ``read_code``. It waits with IMAP's IDLE where the server has it, and looks again and again where
    not, until a mail has the code or the code is dead. The mailbox stays as it is: nothing is marked as read.

    Only mails from ``senders`` count, by the address in their From header; whether it is genuine is for the mail
    server to find out, so give an address that strangers do not know. Only mails count that came after the
    request: not earlier than the code's lifetime before its expiry, by the mailbox's own clock, give or take two
    minutes. A mail counts where one six-digit number in its text is called a code, or is alone on its line, or is the
    only one; and the newest one wins. No mail is read twice: asked again, it takes the last code for wrong and waits for
    another. So use an object for one registration at a time. At most the newest 50 mails are looked at, and the first 256 KiB of each.

    Args:
        host: The name of the IMAP server. The connection is encrypted from the start.
        username: Who signs in.
        password: The password, or one made for this app.
        senders: The addresses that codes come from.
        port: The port.
        folder: The folder that the mails arrive in.
        ssl_context: Which authorities to trust. By default those of this machine.
        poll_interval: Seconds between two looks where the server has no IDLE, and before connecting again.
        timeout: Seconds that the server may take for an answer.
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
            NoCodeError: It cannot be reached, its certificate is not trusted, or it refuses.
            ModuleNotFoundError: The extra is not installed.
        """
        self._check()

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
        return self._wait(Watch(pending))


class AsyncMailboxCode(_Mailbox):
    """The twin of `MailboxCode` for asyncio and trio. Cancelling it closes its connection at once."""

    async def check(self) -> None:
        """Find out whether the mailbox can be read, before a code is asked for.

        Raises:
            NoCodeError: It cannot be reached, its certificate is not trusted, or it refuses.
            ModuleNotFoundError: The extra is not installed.
        """
        await in_daemon_thread(self._check)

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
        watch = Watch(pending)
        try:
            return await in_daemon_thread(partial(self._wait, watch))
        finally:
            watch.stop()


def _check_text(text: str) -> str | None:
    return None if text and text.isprintable() else "must be text in one line"
