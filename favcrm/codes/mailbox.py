"""Reading the code from a mailbox of the agent's own, over IMAP with TLS."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from favcrm._boundary import boundaries
from favcrm._threads import result_of, result_within
from favcrm.codes._imap import SILENT, Wait, find_mails, opened_folder, read_mail, troubles
from favcrm.codes._mails import codes_in
from favcrm.errors import CodeExpiredError, CodeUnavailableError
from favcrm.models import PendingRegistration
from favcrm.registration import EMAIL, raise_problems
from favcrm.secret import Secret

if TYPE_CHECKING:
    from imap_tools import MailBox

__all__ = ["AsyncMailboxCode", "MailboxCode"]

MOST_MAILS = 50
HIGHEST_PORT = 65535
CLOCK_TOLERANCE = timedelta(minutes=2)


@boundaries
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
        self._senders = frozenset(sender.strip().lower() for sender in senders)
        self._port = port
        self._folder = folder
        self._poll_interval = poll_interval
        self._timeout = timeout
        self._lifetime = timedelta(seconds=code_lifetime)
        raise_problems(self._problems(one_text=isinstance(senders, str)))
        # Without a context, imaplib trusts every certificate.
        self._ssl_context = ssl_context or ssl.create_default_context()
        self._read: set[tuple[bytes, int]] = set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._folder} at {self._host}>"

    def _problems(self, *, one_text: bool) -> Mapping[str, str | None]:
        addresses = self._senders and not one_text and all(map(EMAIL.fullmatch, self._senders))
        seconds = {
            "poll_interval": self._poll_interval,
            "timeout": self._timeout,
            "code_lifetime": self._lifetime.total_seconds(),
        }
        return {
            "host": None if self._host.strip() else "must be the name of the IMAP server",
            "senders": None if addresses else "must be a list with each address that codes come from",
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

    def _try(self, wait: Wait) -> bool:
        with self._open(self._timeout, wait):
            return True

    def _poll(self, pending: PendingRegistration, wait: Wait) -> str | None:
        """Return the code of the newest mail that has one, as soon as there is one; None where the wait is over."""
        # The expiry and the arrivals are of the servers' clocks, so the clock of this machine does not matter.
        lifetime = max(self._lifetime, timedelta(seconds=pending.remaining()))
        since = pending.expires_at - lifetime - CLOCK_TOLERANCE
        connected = False
        while not wait.over:
            try:
                with self._open(wait.limit(self._timeout), wait) as box:
                    connected = True
                    if (code := self._poll_folder(box, wait, since)) is not None:
                        return code
            except CodeUnavailableError:
                if not connected:
                    raise
            wait.pause(self._poll_interval)
        return None

    def _poll_folder(self, box: MailBox, wait: Wait, since: datetime) -> str | None:
        """Return the code; None where the wait is over or the connection is lost."""
        judged: set[int] = set()
        # A lost connection loses no mail, since the next connection looks at all of them again.
        with suppress(*troubles()):
            validity = box.client.response("UIDVALIDITY")[1][0]
            while not wait.over:
                box.client.socket().settimeout(wait.limit(self._timeout))
                if (code := self._look(box, wait, since, validity, judged)) is not None:
                    return code
                wait.pause(self._poll_interval)
        return None

    def _look(
        self, box: MailBox, wait: Wait, since: datetime, validity: bytes, judged: set[int]
    ) -> str | None:
        """Return the code of the newest mail that was not looked at before."""
        # The server searches by days, in a time zone of its own.
        found = find_mails(box, self._senders, (since - timedelta(days=1)).date())
        for uid in sorted(found - judged, reverse=True)[:MOST_MAILS]:
            judged.add(uid)
            mail = None if (validity, uid) in self._read else read_mail(box, uid)
            if mail is None or mail[0] < since:
                continue
            codes = codes_in(mail[1], self._senders)
            if codes is not None and len(codes) == 1 and not wait.over:
                self._read.add((validity, uid))
                return min(codes)
            if codes is not None:
                wait.unclear.add(uid)
        return None

    def _open(self, seconds: float, wait: Wait) -> AbstractContextManager[MailBox]:
        return opened_folder(
            self._folder,
            host=self._host,
            port=self._port,
            ssl_context=self._ssl_context,
            username=self._username,
            password=self._password,
            token=self._current_token(),
            seconds=seconds,
            wait=wait,
        )

    def _current_token(self) -> Secret | None:
        if self._oauth_token is None or isinstance(self._oauth_token, Secret):
            return self._oauth_token
        token = _secret(self._oauth_token())
        raise_problems({"oauth_token": _check_text(token.reveal())})
        return token


@boundaries
class MailboxCode(_Mailbox):
    """Reads the code from a mailbox of the agent's own, so that nobody has to. Needs the extra ``mailbox``.

    Pass it as ``read_code``. It looks into the mailbox every ``poll_interval`` seconds, until a mail has the code or
    the code has expired. The mailbox stays as it is: nothing is marked as read.

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
        poll_interval: Seconds between two looks, and before connecting again.
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
            CodeUnavailableError: The server cannot be reached, is not trusted, is too slow, or refuses the login.
            ModuleNotFoundError: The extra is not installed.
        """
        with closing(Wait()) as wait:
            checked = result_within(self._timeout, partial(self._try, wait))
        if not checked:
            raise SILENT.error(host=self._host)

    def __call__(self, pending: PendingRegistration) -> str:
        """Wait for the mail with the code.

        Args:
            pending: The registration that waits for the code.

        Returns:
            The six digits.

        Raises:
            CodeUnavailableError: The mailbox cannot be read from the start. A connection that is lost later is
                made again.
            CodeExpiredError: No mail with a code came while the code lived.
            ModuleNotFoundError: The extra is not installed.
        """
        with closing(Wait(pending)) as wait:
            code = result_within(pending.remaining(), partial(self._poll, pending, wait))
        return _in_time(code, wait)


@boundaries
class AsyncMailboxCode(_Mailbox):
    """Does what `MailboxCode` does, on asyncio and trio. Cancelling it closes its connection at once."""

    async def check(self) -> None:
        """Find out what `MailboxCode.check` finds out, with the same errors."""
        from anyio import move_on_after

        checked = False
        with closing(Wait()) as wait, move_on_after(self._timeout):
            checked = await result_of(partial(self._try, wait))
        if not checked:
            raise SILENT.error(host=self._host)

    async def __call__(self, pending: PendingRegistration) -> str:
        """Wait for the mail with the code, as `MailboxCode` does, with the same errors."""
        from anyio import move_on_after

        code = None
        with closing(Wait(pending)) as wait, move_on_after(pending.remaining()):
            code = await result_of(partial(self._poll, pending, wait))
        return _in_time(code, wait)


def _check_text(text: str) -> str | None:
    return None if text and text.isprintable() else "must be text in one line"


def _secret(text: str | Secret) -> Secret:
    return text if isinstance(text, Secret) else Secret(text)


def _in_time(code: str | None, wait: Wait) -> str:
    if code is not None:
        return code
    came = f" {len(wait.unclear)} came without a code or with several." if wait.unclear else ""
    raise CodeExpiredError(f"No mail with the code came in time.{came} Nothing was created.")
