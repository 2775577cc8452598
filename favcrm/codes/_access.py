"""Getting into a mailbox: connecting, signing in and opening a folder, or what stands in the way."""

from __future__ import annotations

import imaplib
import re
import ssl
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

from favcrm.codes._imap import Watch, capabilities_of, close, troubles
from favcrm.secret import Secret

if TYPE_CHECKING:
    from imap_tools import MailBox

__all__ = ["SILENT", "Fault", "open_folder"]

MISSING_EXTRA = 'A mailbox needs the extra "mailbox". Install it with: pip install "favcrm[mailbox]"'
LOGIN_DISABLED = "LOGINDISABLED"
# What Google, Microsoft, Yahoo and others answer where they take no password, or none but an app's own.
PASSWORDS_ARE_OFF = re.compile(
    rf"{LOGIN_DISABLED}|basic[ -]?auth|(?:app|application)[ -](?:specific[ -])?password|less secure|oauth"
    r"|(?:log|sign) ?in (?:via|with|using) (?:your )?(?:web|browser)|web ?login|webalert",
    re.IGNORECASE,
)


class Fault(NamedTuple):
    """What may be wrong with a mailbox, and what to do about it."""

    message: str
    advice: str


UNREACHABLE = Fault(
    "The mailbox's server {host} cannot be reached.",
    "Check host and port, and the network; or pass the code as code= to confirm.",
)
SILENT = Fault("The mailbox's server {host} did not answer in time.", UNREACHABLE.advice)
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


def open_folder(
    folder: str,
    *,
    host: str,
    port: int,
    ssl_context: ssl.SSLContext,
    username: str,
    password: Secret | None,
    token: Secret | None,
    seconds: float,
    watch: Watch,
) -> MailBox | Fault:
    """Return a connection that can only read the folder, or what is wrong.

    It raises nothing of the library's: what that says may quote a mail or a password.
    """
    try:
        from imap_tools import MailBox
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(MISSING_EXTRA, name=missing.name) from None
    box = None
    fault = UNREACHABLE
    try:
        box = MailBox(host, port, timeout=seconds, ssl_context=ssl_context)
        watch.follow(box.client.socket())
        if token is not None:
            fault = TOKEN_REFUSED
            _login_with_token(box, username, token)
        if password is not None:
            fault = PASSWORD_REFUSED
            _login_with_password(box, username, password)
        fault = NO_FOLDER
        _introduce(box)
        box.folder.set(folder, readonly=True)  # pyright: ignore[reportUnknownMemberType]  # a bare tuple
    except ssl.SSLCertVerificationError:
        fault = UNTRUSTED
    except troubles() as error:
        if fault is PASSWORD_REFUSED and PASSWORDS_ARE_OFF.search(str(error)):
            fault = PASSWORDS_OFF
    else:
        return box
    if box is not None:
        close(box)
    return fault


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
    """Say which program this is, where the server wants to know: some open no folder for a stranger."""
    if b"ID" in capabilities_of(box):
        with suppress(imaplib.IMAP4.error):
            box.client.xatom("ID", f'("name" "favcrm" "version" "{version("favcrm")}")')
