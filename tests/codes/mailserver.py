"""Real IMAP servers with TLS on loopback: pymap, and Debian's dovecot where it is installed."""

from __future__ import annotations

import asyncio
import base64
import getpass
import grp
import imaplib
import os
import pwd
import shutil
import socket
import ssl
import subprocess
import tempfile
import textwrap
import threading
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from functools import cache
from pathlib import Path
from typing import Self

import trustme

USERNAME = "agent"
PASSWORD = 'p ss"w\\rd-not-real'
SENDER = "no-reply@favcrm.example"
PATIENCE = 60.0
DOVECOT = shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@cache
def authority() -> trustme.CA:
    return trustme.CA()


@cache
def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)  # pyright: ignore[reportUnknownMemberType]
    return context


def mail(text: str | None = None, *, html: str | None = None, sender: str = SENDER) -> bytes:
    message = EmailMessage()
    message["From"] = sender
    message["To"] = "agent@example.com"
    message["Subject"] = "Your FavCRM code"
    message.set_content(text if text is not None else html, subtype="plain" if text is not None else "html")
    if text is not None and html is not None:
        message.add_alternative(html, subtype="html")
    return message.as_bytes(policy=SMTP)


class MailServer:
    """What a test does with a server, over IMAP like everybody."""

    host = "127.0.0.1"
    port: int

    def drop_connections(self) -> None:
        """End every connection without a word."""
        raise NotImplementedError

    def _login(self) -> imaplib.IMAP4_SSL:
        client = imaplib.IMAP4_SSL(self.host, self.port, ssl_context=trusting(), timeout=PATIENCE)
        client.login(USERNAME, PASSWORD)
        return client

    def deliver(self, raw: bytes, *, age: float = 0) -> None:
        """Put a mail in, as if it arrived so many seconds ago."""
        with self._login() as client:
            when = datetime.now(UTC) - timedelta(seconds=age)
            status, _ = client.append("INBOX", "", when, raw)
            assert status == "OK"

    def state(self) -> Sequence[object]:
        """Return the flags of every mail, and what is recent, without changing it."""
        with self._login() as client:
            counts = client.status("INBOX", "(MESSAGES RECENT UNSEEN UIDNEXT)")
            client.select("INBOX", readonly=True)
            return counts, client.fetch("1:*", "(UID FLAGS)")


class Pymap(MailServer):
    """pymap, with mails in memory, in a thread of this process."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._writers: list[asyncio.StreamWriter] = []
        self._ready = threading.Event()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(PATIENCE)
        self._loop.close()

    def drop_connections(self) -> None:
        def drop() -> None:
            while self._writers:
                self._writers.pop().transport.abort()

        self._loop.call_soon_threadsafe(drop)

    async def _serve(self) -> None:
        from proxyprotocol.sock import SocketInfoLocal
        from pymap.backend.dict import Config, DictBackend, Login
        from pymap.imap import IMAPServer
        from pysasl.hashing import BuiltinHash

        config = Config(
            Namespace(passlib_cfg=None, proxy_protocol=None),
            host=None,
            port=0,
            tls_enabled=False,
            hash_context=BuiltinHash(rounds=1),
            demo_data=False,
            demo_user=USERNAME,
            demo_password=PASSWORD,
        )
        config.apply_context()
        login = Login(config)
        await DictBackend._add_demo_user(config, login)
        answer = IMAPServer(login, config)

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.append(writer)
            # A client that hangs up is what some tests are about.
            with suppress(OSError):
                await answer(reader, writer, SocketInfoLocal(writer))

        server = await asyncio.start_server(accept, self.host, 0, ssl=certified())
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()
        while self._writers:
            self._writers.pop().transport.abort()
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=PATIENCE)


class Dovecot(MailServer):
    """Debian's dovecot, with a Maildir and a configuration of its own."""

    def __init__(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="favcrm-dovecot-"))
        with socket.socket() as free:
            free.bind((self.host, 0))
            self.port = free.getsockname()[1]
        self._config = self._home / "dovecot.conf"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        assert DOVECOT is not None
        own, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
        # Started by root, it wants users without rights, which its package made, and they must get in here.
        inner, login, group = ("dovecot", "dovenull", "dovecot") if os.getuid() == 0 else (own, own, group)
        self._home.chmod(0o711)
        # Nor does it keep mails for root.
        owner = pwd.getpwnam("nobody" if os.getuid() == 0 else own)
        mails = self._home / "mails"
        mails.mkdir()
        os.chown(mails, owner.pw_uid, owner.pw_gid)
        certificate = authority().issue_cert(self.host)
        (self._home / "key.pem").write_bytes(certificate.private_key_pem.bytes())
        chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        (self._home / "certificate.pem").write_bytes(chain)
        password = base64.b64encode(PASSWORD.encode()).decode()
        (self._home / "users").write_text(
            f"{USERNAME}:{{PLAIN.b64}}{password}:{owner.pw_uid}:{owner.pw_gid}::{mails}::\n"
        )
        self._config.write_text(
            textwrap.dedent(f"""
                base_dir = {self._home}/run
                state_dir = {self._home}/state
                log_path = {self._home}/log
                instance_name = favcrm-test
                default_internal_user = {inner}
                default_login_user = {login}
                default_internal_group = {group}
                first_valid_uid = 1
                first_valid_gid = 1
                protocols = imap
                listen = {self.host}
                ssl = required
                ssl_cert = <{self._home}/certificate.pem
                ssl_key = <{self._home}/key.pem
                disable_plaintext_auth = yes
                auth_failure_delay = 0
                auth_mechanisms = plain
                mail_location = maildir:{mails}/Maildir
                passdb {{
                  driver = passwd-file
                  args = {self._home}/users
                }}
                userdb {{
                  driver = passwd-file
                  args = {self._home}/users
                }}
                namespace inbox {{
                  inbox = yes
                }}
                service imap-login {{
                  chroot =
                  inet_listener imap {{
                    port = 0
                  }}
                  inet_listener imaps {{
                    port = {self.port}
                    ssl = yes
                  }}
                }}
                service anvil {{
                  chroot =
                }}
                service stats {{
                  chroot =
                }}
            """)
        )
        self._process = subprocess.Popen([DOVECOT, "-F", "-c", str(self._config)])
        for _ in range(300):
            with suppress(OSError), socket.create_connection((self.host, self.port), timeout=PATIENCE):
                return self
            assert self._process.poll() is None, (self._home / "log").read_text()
            threading.Event().wait(0.1)
        raise AssertionError("dovecot does not answer")

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(PATIENCE)
        shutil.rmtree(self._home)

    def drop_connections(self) -> None:
        assert DOVECOT is not None
        subprocess.run(["/usr/bin/doveadm", "-c", str(self._config), "kick", USERNAME], check=True)


def certified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(MailServer.host).configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    return context
