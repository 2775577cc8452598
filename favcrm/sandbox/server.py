"""The sandbox over real HTTP, on the official ``mcp`` package, so that MCP clients of any era can use it.

mcp reads the protocol and writes the answers. Around it is a small ASGI application that applies the faults and
the refusals that HTTP itself has. The only importer of mcp and uvicorn.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self, cast

from mcp import MCPError
from mcp.server.lowlevel import Server as MCPServer
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import CallToolRequestParams, PaginatedRequestParams
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from favcrm.sandbox.forms import Ending, HTTPAnswer, text_page

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from types import TracebackType

    from mcp.server.context import ServerRequestContext
    from starlette.types import Message, Receive, Scope, Send

    from favcrm.sandbox.handler import RequestHandler
    from favcrm.sandbox.sandbox import Sandbox
    from favcrm.typing import JSON

__all__ = ["Server"]

HOST = "127.0.0.1"
ENDPOINT = "/mcp"
HANDLER = "favcrm.handler"
STOP_SECONDS = 5.0
MODERN: dict[str, JSON] = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
"""Fields that results must also have from 2026-07-28 on. mcp leaves them out for older clients."""


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
        listening = _listening_socket(port)
        self.port: int = listening.getsockname()[1]
        self.url: str = f"http://{HOST}:{self.port}{ENDPOINT}"
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._serve, args=(listening, started), name="favcrm-sandbox", daemon=True
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
        """Stop. Open connections are closed; the sandbox keeps its state and can be served again."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    def _serve(self, listening: socket.socket, started: Future[None]) -> None:
        try:
            asyncio.run(self._run(listening, started))
        except BaseException as error:
            if started.done():
                raise
            # The thread that waits for the start raises the error.
            listening.close()
            started.set_exception(error)

    async def _run(self, listening: socket.socket, started: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        # Made in this thread, because locks belong to the event loop in which they are made.
        app = _App(self._sandbox, self._latency)
        config = Config(app, http=_Protocol, ws="none", lifespan="off", log_config=None, proxy_headers=False)
        config.load()
        state = ServerState()
        async with app.sessions.run():
            listener = await self._loop.create_server(
                lambda: _Protocol(config, state, {}), sock=listening, backlog=config.backlog
            )
            started.set_result(None)
            await self._stopping.wait()
            listener.close()
            _abort_connections(state)
            if state.tasks:
                await asyncio.wait(state.tasks, timeout=STOP_SECONDS)
            # One more turn of the loop, because a connection may have been accepted as the listening ended.
            await asyncio.sleep(0)
            _abort_connections(state)
        await listener.wait_closed()


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


def _abort_connections(state: ServerState) -> None:
    for connection in list(state.connections):
        connection.transport.abort()


class _Protocol(H11Protocol):
    """uvicorn's HTTP, which gives the application the connection, so that a fault can break it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {"connection": transport}


class _App:
    """The ASGI application."""

    def __init__(self, sandbox: Sandbox, latency: float) -> None:
        self._sandbox = sandbox
        self._latency = latency
        # Without this function mcp lists the tools before each call to see the schema, which counts as a call.
        server = MCPServer[dict[str, Any]](
            "favcrm-sandbox",
            get_tool_input_schema=lambda name: self._entries().get(name, {}).get("inputSchema"),
        )
        server.add_request_handler("tools/list", PaginatedRequestParams, _handle)
        server.add_request_handler("tools/call", CallToolRequestParams, _handle)
        own = [f"{host}:*" for host in (HOST, "localhost")]
        security = TransportSecuritySettings(
            allowed_hosts=own, allowed_origins=[f"http://{host}" for host in own]
        )
        self.sessions = StreamableHTTPSessionManager(
            server, json_response=True, stateless=True, security_settings=security
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["path"] != ENDPOINT:
            await _send(text_page(404, "Not found"), send)
        elif scope["method"] == "POST":
            await self._post(scope, receive, send)
        else:
            await self.sessions.handle_request(scope, receive, send)

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read_body(receive)
        handler = self._sandbox.receive(_parse(body), key=_bearer(scope), ip=scope["client"][0])
        await asyncio.sleep(self._latency)
        answer = handler.fail_early()
        if answer is None:
            scope[HANDLER] = handler
            answer = handler.finish(await self._ask_mcp(scope, body, receive))
        if answer.ending in {Ending.WHOLE, Ending.CUT}:
            await _send(answer, send)
        if answer.ending in {Ending.REFUSED, Ending.BROKEN, Ending.CUT}:
            scope["state"]["connection"].close()
        if answer.ending is not Ending.WHOLE:
            # The request was read whole, so the next message says that the client is gone.
            await receive()

    async def _ask_mcp(self, scope: Scope, body: bytes, receive: Receive) -> HTTPAnswer:
        """Let mcp answer, and return the answer instead of sending it."""
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
        return HTTPAnswer(status=start["status"], headers=headers, body=whole)

    def _entries(self) -> dict[str, Any]:
        return {name: tool.entry for name, tool in self._sandbox.tools.items()}


async def _handle(context: ServerRequestContext[dict[str, Any]], _params: object) -> dict[str, Any]:
    """Answer ``tools/list`` and ``tools/call`` with the handler of the HTTP request."""
    assert context.request is not None
    handler: RequestHandler = context.request.scope[HANDLER]
    message = cast("dict[str, Any]", handler.handle())
    if "error" in message:
        raise MCPError(**message["error"])
    return {**MODERN, **message["result"]}


async def _read_body(receive: Receive) -> bytes:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _send(answer: HTTPAnswer, send: Send) -> None:
    """Send an answer; where it is cut, its length promises more than comes."""
    length = len(answer.body) + (answer.ending is Ending.CUT)
    pairs = {**answer.headers, "content-length": str(length)}
    headers = [(name.encode(), value.encode()) for name, value in pairs.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": answer.ending is Ending.CUT})


def _parse(body: bytes) -> dict[str, JSON]:
    """Return the message, or an empty one where mcp will refuse the body."""
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
