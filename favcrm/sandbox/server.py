"""The sandbox over real HTTP, on the official ``mcp`` package, so that MCP clients of any era can talk to it.

mcp reads the protocol and writes the answers. Around it stands a small ASGI application that gives each
request its fault and refuses where the refusal is HTTP's. The only importer of mcp and uvicorn.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, cast

from mcp import MCPError
from mcp.server.lowlevel import Server as MCPServer
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import CallToolRequestParams, PaginatedRequestParams
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from favcrm.sandbox.forms import Page, json_page
from favcrm.sandbox.wire import read_body, send_page, send_reply

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator, MutableMapping
    from types import TracebackType
    from typing import TypeVar

    from mcp.server.context import ServerRequestContext
    from starlette.types import Message, Receive, Scope, Send

    from favcrm.sandbox.sandbox import Sandbox
    from favcrm.sandbox.visit import Visit
    from favcrm.typing import JSON

    T = TypeVar("T")

__all__ = ["Server"]

HOST = "127.0.0.1"
ENDPOINT = "/mcp"
CARD = "/.well-known/mcp/server-card.json"
VISIT = "favcrm.visit"
STOP_SECONDS = 5.0
MODERN: dict[str, JSON] = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
"""What results must also have from 2026-07-28 on. mcp leaves it out for older clients."""


class Server:
    """A sandbox that is served on loopback, from a thread of its own. Made by `Sandbox.serve`.

    Attributes:
        port: The port.
        url: The MCP endpoint.

    Example:
        >>> from favcrm.sandbox import Sandbox
        >>> with Sandbox().serve() as server:
        ...     server.url.startswith("http://127.0.0.1:")
        True
    """

    def __init__(self, sandbox: Sandbox, *, port: int = 0, latency: float = 0.0) -> None:
        self._sandbox = sandbox
        self._latency = latency
        self._state = ServerState()
        first = _listening_socket(port)
        self.port: int = first.getsockname()[1]
        self.url: str = f"http://{HOST}:{self.port}{ENDPOINT}"
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._serve, args=(first, started), name="favcrm-sandbox", daemon=True
        )
        self._thread.start()
        failure = started.exception()
        if failure is not None:
            self._thread.join()
            raise failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Server: {self.url}>"

    def close(self) -> None:
        """Stop. Connections that are open are reset; the sandbox keeps its state and can be served again."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    def wait(self) -> None:
        """Block until the server is closed, from another thread or by Ctrl-C here."""
        # In steps, because a wait without an end cannot be interrupted on every system.
        while self._thread.is_alive():
            self._thread.join(timeout=0.2)

    @contextmanager
    def refusing(self) -> Generator[None]:
        """Refuse connections for a while: the port is closed, and idle connections are too.

        Example:
            >>> from favcrm.sandbox import Sandbox
            >>> with Sandbox().serve() as server, server.refusing():
            ...     pass  # clients get "connection refused" here
        """
        self._do(self._stop_listening())
        try:
            yield
        finally:
            self._do(self._listen(_listening_socket(self.port)))

    def _do(self, task: Coroutine[object, object, T]) -> T:
        """Run something in the server's thread and wait for it."""
        return asyncio.run_coroutine_threadsafe(task, self._loop).result()

    def _serve(self, first: socket.socket, started: Future[None]) -> None:
        try:
            asyncio.run(self._run(first, started))
        except BaseException as error:
            if started.done():
                raise
            # Whoever waits for the start is told.
            first.close()
            started.set_exception(error)

    async def _run(self, first: socket.socket, started: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        # Made in this thread: locks belong to the event loop in which they are made.
        front = _Front(self._sandbox, self._latency)
        self._config = Config(
            front, http=_Protocol, ws="none", lifespan="off", log_config=None, proxy_headers=False
        )
        self._config.load()
        async with front.sessions.run():
            await self._listen(first)
            started.set_result(None)
            await self._stopping.wait()
            await self._stop_listening()
            self._abort_connections()
            if self._state.tasks:
                await asyncio.wait(self._state.tasks, timeout=STOP_SECONDS)
            # One more turn: a connection may have been accepted as the listening ended.
            await asyncio.sleep(0)
            self._abort_connections()
        await self._listener.wait_closed()

    async def _listen(self, listening: socket.socket) -> None:
        def connect() -> asyncio.Protocol:
            return _Protocol(self._config, self._state, {})

        self._listener = await self._loop.create_server(connect, sock=listening, backlog=self._config.backlog)

    def _abort_connections(self) -> None:
        for connection in list(self._state.connections):
            connection.transport.abort()

    async def _stop_listening(self) -> None:
        self._listener.close()
        for connection in list(self._state.connections):
            # This closes it where it is idle, else after its answer.
            connection.shutdown()
        # One turn of the loop closes the sockets.
        await asyncio.sleep(0)


def _listening_socket(port: int) -> socket.socket:
    """Return a listening socket. asyncio sends small answers at once only where TCP is named as the protocol."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening


class _Protocol(H11Protocol):
    """uvicorn's HTTP, which tells the application the connection, so that a fault can break it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {"connection": transport}


class _Front:
    """The ASGI application."""

    def __init__(self, sandbox: Sandbox, latency: float) -> None:
        self._sandbox = sandbox
        self._latency = latency
        # By default mcp lists the tools before each call, to see the schema, and that would count as a call.
        server = MCPServer[dict[str, Any]](
            "favcrm-sandbox",
            get_tool_input_schema=lambda name: self._entries().get(name, {}).get("inputSchema"),
        )
        server.add_request_handler("tools/list", PaginatedRequestParams, _act)
        server.add_request_handler("tools/call", CallToolRequestParams, _act)
        own = [f"{host}:*" for host in (HOST, "localhost")]
        security = TransportSecuritySettings(
            allowed_hosts=own, allowed_origins=[f"http://{host}" for host in own]
        )
        self.sessions = StreamableHTTPSessionManager(
            server, json_response=True, stateless=True, security_settings=security
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["path"] == CARD:
            await send_page(json_page(200, self._card()), send)
        elif scope["path"] != ENDPOINT:
            await send_page(Page(404, "text/plain", b"Not found"), send)
        elif scope["method"] == "POST":
            await self._post(scope, receive, send)
        else:
            await self.sessions.handle_request(scope, receive, send)

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        visit = self._sandbox.visit(_parse(body), key=_bearer(scope), ip=scope["client"][0])
        await asyncio.sleep(self._latency)
        reply = visit.early_reply()
        if reply is None:
            scope[VISIT] = visit
            reply = visit.reply(await self._ask_mcp(scope, body, receive))
        await send_reply(reply, scope, receive, send)

    async def _ask_mcp(self, scope: Scope, body: bytes, receive: Receive) -> Page:
        """Let mcp answer, and keep the answer back."""
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        written: list[Message] = []

        async def read() -> Message:
            return unread.pop() if unread else await receive()

        async def write(message: Message) -> None:
            written.append(message)

        await self.sessions.handle_request(scope, read, write)
        start, *parts = written
        headers = {
            name.decode(): value.decode() for name, value in start["headers"] if name != b"content-length"
        }
        whole = b"".join(part.get("body", b"") for part in parts)
        return Page(start["status"], headers.pop("content-type", ""), whole, headers)

    def _entries(self) -> dict[str, Any]:
        return {name: tool.entry for name, tool in self._sandbox.tools.items()}

    def _card(self) -> JSON:
        tools: list[JSON] = list(self._entries().values())
        info: JSON = {"name": "favcrm-sandbox", "version": "1"}
        return {"serverInfo": info, "tools": tools, "resources": [], "prompts": []}


async def _act(context: ServerRequestContext[dict[str, Any]], _params: object) -> dict[str, Any]:
    """Answer ``tools/list`` and ``tools/call``: the visit knows what is asked."""
    assert context.request is not None
    visit: Visit = context.request.scope[VISIT]
    message = cast("dict[str, Any]", visit.act())
    if "error" in message:
        raise MCPError(**message["error"])
    return {**MODERN, **message["result"]}


def _parse(body: bytes) -> dict[str, JSON]:
    """Return the message, or an empty one where mcp will complain about it."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, JSON]", message) if isinstance(message, dict) else {}


def _bearer(scope: MutableMapping[str, Any]) -> str | None:
    for name, value in scope["headers"]:
        kind, _, key = value.decode("latin-1").partition(" ")
        if name == b"authorization" and kind.lower() == "bearer":
            return str(key.strip())
    return None
