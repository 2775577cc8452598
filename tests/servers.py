"""A scripted HTTP server on loopback: a test decides which bytes are sent, when, and what becomes of the connection."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Never, TypeAlias

from attrs import field, frozen

PATIENCE = 60.0
"""Seconds after which a test that waits for something has failed."""

RESET_AT_CLOSE = struct.pack("ii", 1, 0)
TLS_HANDSHAKE = b"\x16"


@frozen
class Request:
    """A request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    connection: int
    """The number of the connection that it came on, from 1."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Peer:
    """The server's end of one connection, for a script to use."""

    def __init__(self, number: int, sock: socket.socket, gates: _Gates) -> None:
        self.number = number
        self._socket = sock
        self._gates = gates
        self._unread = b""

    def send(self, *pieces: bytes) -> None:
        """Send each piece in a packet of its own."""
        for piece in pieces:
            self._socket.sendall(piece)

    def wait_for(self, gate: threading.Event) -> None:
        """Wait until the test opens the gate; leave the script where the test is over first."""
        self._gates.wait(gate)

    def stall(self) -> Never:
        """Send nothing more, and leave the script when the client hangs up or the test is over."""
        while self._socket.recv(4096):
            pass
        raise ConnectionAbortedError

    def hang_up(self) -> Never:
        """Close the connection in good order, and leave the script."""
        raise ConnectionAbortedError

    def reset(self) -> Never:
        """Break the connection, and leave the script."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        raise ConnectionResetError

    def join(self, other: socket.socket) -> Never:
        """Pass all that comes to another connection, and all that comes from there back, until either ends."""
        other.settimeout(PATIENCE)
        back = threading.Thread(target=_pass_on, args=(other, self._socket))
        back.start()
        _pass_on(self._socket, other)
        back.join(PATIENCE)
        raise ConnectionAbortedError

    def read_request(self) -> Request | None:
        """Return the next request, or None where the client hung up."""
        while b"\r\n\r\n" not in self._unread:
            if not self._receive():
                return None
            if self._unread.startswith(TLS_HANDSHAKE):
                self.send(whole(b"", 400))
                self.hang_up()
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        first, *lines = head.decode("ascii").split("\r\n")
        method, path, _ = first.split(" ")
        pairs = [line.partition(":") for line in lines]
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        assert len(headers) == len(pairs), "a header was sent twice"
        length = int(headers.get("content-length", "0"))
        while len(self._unread) < length:
            if not self._receive():
                return None
        body, self._unread = self._unread[:length], self._unread[length:]
        return Request(method, path, headers, body, self.number)

    def _receive(self) -> bytes:
        received = self._socket.recv(65536)
        self._unread += received
        return received


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """Send on what arrives until either side ends."""
    with suppress(OSError):
        while received := source.recv(65536):
            target.sendall(received)
    for sock in (source, target):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


class _Gates:
    """What scripts wait for. At the end of a test every gate opens, and leads out of the script."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: list[threading.Event] = []
        self._over = False

    def wait(self, gate: threading.Event) -> None:
        with self._lock:
            self._known.append(gate)
            if self._over:
                gate.set()
        assert gate.wait(PATIENCE), "the test did not open a gate"
        if self._over:
            raise ConnectionAbortedError

    def open_all(self) -> None:
        with self._lock:
            self._over = True
            for gate in self._known:
                gate.set()


Script: TypeAlias = Callable[[Peer, Request], object]
"""Answers one request. After it the connection waits for the next request, unless the script closed it."""


@frozen
class Server:
    """A running server."""

    url: str
    requests: list[Request] = field(factory=list[Request], init=False)
    """Every request that arrived in full, in this order."""
    greeted: list[int] = field(factory=list[int], init=False)
    """The number of every connection that was opened, and got through TLS where there is TLS."""
    _opened: list[int] = field(factory=list[int], init=False)

    @property
    def tried(self) -> int:
        """How many connections were opened."""
        return len(self._opened)

    @property
    def bodies(self) -> list[Any]:
        return [request.json for request in self.requests]


@contextmanager
def serve(
    *scripts: Script, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> Generator[Server, None, None]:
    """Serve each request with the next script; the last one serves all that follow."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family, backlog=512) as listener:
        shown = f"[{host}]" if ":" in host else host
        server = Server(f"{'https' if tls else 'http'}://{shown}:{listener.getsockname()[1]}/mcp")
        running = _Running(listener, server, scripts, tls)
        try:
            yield server
        finally:
            running.end()


class _Running:
    """The threads behind a server: one that accepts, and one for each connection."""

    def __init__(
        self, listener: socket.socket, server: Server, scripts: tuple[Script, ...], tls: ssl.SSLContext | None
    ) -> None:
        self._listener = listener
        self._server = server
        self._scripts = scripts
        self._tls = tls
        self._ending = False
        self._gates = _Gates()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def end(self) -> None:
        """Close every connection and wait for every thread; a script's own mistake is raised here."""
        self._ending = True
        self._gates.open_all()
        # A thread that waits in accept() is woken by a connection, on every system.
        with suppress(OSError):
            socket.create_connection(self._listener.getsockname()[:2], timeout=PATIENCE).close()
        self._threads[0].join(PATIENCE)
        with self._lock:
            for sock in self._open:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a script did not end"
        if self._failures:
            raise self._failures[0]

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            if self._ending:
                sock.close()
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.add(sock)
            self._server._opened.append(len(self._threads))
            thread = threading.Thread(target=self._talk, args=(len(self._threads), sock))
            self._threads.append(thread)
            thread.start()

    def _talk(self, number: int, sock: socket.socket) -> None:
        try:
            # The client's leaving, at any moment, is no mistake of a script's.
            with suppress(OSError):
                if self._tls is not None:
                    secured = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                    with self._lock:
                        self._open.remove(sock)
                        self._open.add(secured)
                    sock = secured
                    secured.do_handshake()
                self._server.greeted.append(number)
                self._answer(Peer(number, sock, self._gates))
        except Exception as error:  # noqa: BLE001  # told to the test by end()
            self._failures.append(error)
        finally:
            with self._lock:
                self._open.discard(sock)
                sock.close()

    def _answer(self, peer: Peer) -> None:
        while (request := peer.read_request()) is not None:
            with self._lock:
                script = self._scripts[min(len(self._server.requests), len(self._scripts) - 1)]
                self._server.requests.append(request)
            script(peer, request)


@contextmanager
def unused_address() -> Generator[str, None, None]:
    """Give an endpoint where nobody listens, and nobody else begins to."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}/mcp"


def head(status: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    """Return a status line and headers, with the blank line after them."""
    lines = [f"HTTP/1.1 {status} Told", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def whole(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    """Return an answer with a body of known length; JSON unless the headers say otherwise."""
    return (
        head(
            status, {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
        )
        + body
    )


def chunk(data: bytes) -> bytes:
    """Return one chunk of a chunked body; the empty one ends it."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunked(
    pieces: Iterable[bytes], status: int = 200, headers: Mapping[str, str] | None = None
) -> list[bytes]:
    """Return an answer in chunks, a packet each; an event stream unless the headers say otherwise."""
    start = head(
        status, {"content-type": "text/event-stream", "transfer-encoding": "chunked", **(headers or {})}
    )
    return [start, *map(chunk, pieces), chunk(b"")]


def message(request: Request | int, result: object) -> bytes:
    """Return the JSON-RPC answer to a request, or to the request with an id."""
    number = request if isinstance(request, int) else request.json["id"]
    return json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode()


def event(data: bytes) -> bytes:
    """Return a server-sent event."""
    return b"event: message\ndata: %b\n\n" % data


def sends(*pieces: bytes) -> Script:
    """Return a script that sends these bytes, whatever was asked."""
    return lambda peer, _: peer.send(*pieces)


def answers(
    result: object = None, *, stream: bool = False, headers: Mapping[str, str] | None = None
) -> Script:
    """Return a script that answers with a result (an empty object by default), as JSON or as an event stream."""

    def script(peer: Peer, request: Request) -> None:
        told = message(request, {} if result is None else result)
        peer.send(*(chunked([event(told)], headers=headers) if stream else [whole(told, headers=headers)]))

    return script


def resets(peer: Peer, _: Request) -> None:
    """Break the connection."""
    peer.reset()


def hangs_up(peer: Peer, _: Request) -> None:
    """Close the connection in good order."""
    peer.hang_up()


def stalls(peer: Peer, _: Request) -> None:
    """Send nothing more."""
    peer.stall()


def redirects(target: str, status: int = 307) -> Script:
    """Return a script that redirects."""
    return sends(whole(b"", status, {"location": target}))


def tunnels_to(server: Server) -> Script:
    """Return the script of a proxy that leads to a server, once the proxy was asked for a connection."""
    port = int(server.url.rpartition(":")[2].removesuffix("/mcp"))

    def script(peer: Peer, _: Request) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as onward:
            peer.send(head())
            peer.join(onward)

    return script
