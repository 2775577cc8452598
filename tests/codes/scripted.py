"""An IMAP server with TLS on loopback, for what real ones do that pymap and dovecot do not."""

from __future__ import annotations

import base64
import socket
import threading
from contextlib import suppress
from typing import Self

from codes.mailserver import PATIENCE, USERNAME, certified

TOKEN = "not-a-real-token-6789"
DRIP = 0.005
"""Seconds between two bytes of a server that never comes to an end."""


class ScriptedServer:
    """Serves one mailbox. What is unusual about it is set before it is used."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self.capabilities = "IMAP4rev1"
        self.mails: list[bytes] = []
        self.date = "22-Nov-2026 12:13:44 +0000"
        self.date_first = True
        """Whether the date of a mail stands before the mail in an answer, or behind it."""
        self.login_answer = "OK done"
        self.introduced: list[str] = []
        self.wants_introduction = False
        self.id_answer = "OK done"
        self.tokens: list[str] = []
        self.dripping = ""
        """The command whose answer never ends, or "greeting"."""
        self.commands: list[str] = []
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self.over = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._context = certified()

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        with suppress(OSError), socket.create_connection((self.host, self.port), timeout=PATIENCE):
            pass
        for thread in self._threads:
            thread.join(PATIENCE)
        self._listener.close()

    def _accept(self) -> None:
        while not self.over.is_set():
            raw, _ = self._listener.accept()
            thread = threading.Thread(target=self._talk, args=(raw,))
            self._threads.append(thread)
            thread.start()

    def _talk(self, raw: socket.socket) -> None:
        raw.settimeout(PATIENCE)
        with (
            raw,
            suppress(OSError),
            self._context.wrap_socket(raw, server_side=True) as connection,
            connection.makefile("rwb", buffering=0) as stream,
        ):
            Conversation(self, stream).run()


class Conversation:
    """One connection. Each command has a method, which returns the rest of the answer."""

    def __init__(self, server: ScriptedServer, stream: socket.SocketIO) -> None:
        self._server = server
        self._stream = stream

    def run(self) -> None:
        self._answer("greeting", "* OK ready")
        while line := self._read():
            tag, command, rest = (*line.split(" ", 2), "")[:3]
            self._server.commands.append(command)
            self._answer(command, getattr(self, command.lower())(rest).replace("TAG ", f"{tag} "))

    def _answer(self, command: str, text: str) -> None:
        if command == self._server.dripping:
            self._say("* OK ", end="")
            while not self._server.over.wait(DRIP):
                self._say(".", end="")
        self._say(text)

    def _say(self, text: str, end: str = "\r\n") -> None:
        self._stream.write(text.encode() + end.encode())

    def _read(self) -> str:
        return self._stream.readline().decode().rstrip("\r\n")

    def capability(self, _: str) -> str:
        return f"* CAPABILITY {self._server.capabilities}\r\nTAG OK done"

    def login(self, rest: str) -> str:
        assert USERNAME in rest
        return f"TAG {self._server.login_answer}"

    def authenticate(self, mechanism: str) -> str:
        self._say("+ ")
        sent = base64.b64decode(self._read()).decode()
        if mechanism == "PLAIN":
            return f"TAG {self._server.login_answer}"
        self._server.tokens.append(sent)
        if sent == f"user={USERNAME}\1auth=Bearer {TOKEN}\1\1":
            return "TAG OK done"
        self._say("+ " + base64.b64encode(b'{"status": "400"}').decode())
        assert self._read() == ""
        return "TAG NO [AUTHENTICATIONFAILED] Invalid credentials"

    def id(self, rest: str) -> str:
        self._server.introduced.append(rest)
        return f"* ID NIL\r\nTAG {self._server.id_answer}"

    def examine(self, _: str) -> str:
        if self._server.wants_introduction and not self._server.introduced:
            return "TAG NO EXAMINE Unsafe Login. Please contact the provider"
        return f"* {len(self._server.mails)} EXISTS\r\n* OK [UIDVALIDITY 1] valid\r\nTAG OK [READ-ONLY] done"

    def noop(self, _: str) -> str:
        return "TAG OK done"

    def uid(self, rest: str) -> str:
        server = self._server
        if rest.startswith("SEARCH"):
            numbers = " ".join(str(number + 1) for number in range(len(server.mails)))
            return f"* SEARCH {numbers}\r\nTAG OK done"
        uid = int(rest.split()[1])
        mail = server.mails[uid - 1].decode()
        date = f'INTERNALDATE "{server.date}"'
        before, behind = (f"{date} ", "") if server.date_first else ("", f" {date}")
        return f"* {uid} FETCH (UID {uid} {before}BODY[]<0> {{{len(mail)}}}\r\n{mail}{behind})\r\nTAG OK done"

    def logout(self, _: str) -> str:
        return "* BYE bye\r\nTAG OK done"
