"""Count the HTTP requests of a first and a second call: ``python -m peers.round_trips [PAGE]`` prints the table.

Between client and server stands a relay that counts the requests. The script fails where the page of the documentation
has another table.
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import anyio
import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from peers.processes import Peer, serving
from servers import PATIENCE, Request, serve, whole
from servers import Peer as Connection

from favcrm import AsyncFavCRMClient
from favcrm.sandbox import Sandbox
from favcrm.secret import Secret
from favcrm.typing import Era

TOOL = "list_services"
METHOD_NOT_FOUND = {"code": -32601, "message": "Method not found"}
INITIALIZED = {
    "protocolVersion": "2024-11-05",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "favcrm-like", "version": "1"},
}
RESULTS: Mapping[str, Any] = {
    "tools/list": {"tools": [{"name": TOOL, "inputSchema": {"type": "object"}}]},
    "tools/call": {"content": [], "structuredContent": {"data": {}, "summary": "", "renderType": "card"}},
}

Visit: TypeAlias = Callable[[str, Secret, int], Awaitable[None]]
"""Opens a client for an address, makes a number of calls with a key, and closes it."""


async def visit_with_favcrm(url: str, key: Secret, calls: int, *, era: Era) -> None:
    async with AsyncFavCRMClient(url, api_key=key, era=era) as client:
        for _ in range(calls):
            await client.call_tool(TOOL)


async def visit_with_official(url: str, key: Secret, calls: int) -> None:
    headers = {"Authorization": f"Bearer {key.reveal()}"}
    async with httpx2.AsyncClient(headers=headers) as http_client:
        transport = streamable_http_client(url, http_client=http_client)
        async with Client(transport) as client:
            for _ in range(calls):
                await client.call_tool(TOOL)


CLIENTS: Mapping[str, Visit] = {
    'favcrm, `era="bare"`': partial(visit_with_favcrm, era="bare"),
    'favcrm, `era="auto"`': partial(visit_with_favcrm, era="auto"),
    "`mcp` 2.3": visit_with_official,
}


def relay(connection: Connection, request: Request, *, to: str) -> None:
    """Send a request on to a server, and all that comes back to the client."""
    target = urlsplit(to)
    headers = {**request.headers, "host": target.netloc, "connection": "close"}
    lines = [f"{request.method} {request.path} HTTP/1.1", *map(": ".join, headers.items()), "", ""]
    with socket.create_connection((str(target.hostname), target.port or 80), timeout=PATIENCE) as server:
        server.sendall("\r\n".join(lines).encode("latin-1") + request.body)
        connection.join(server)


async def count(visit: Visit, url: str, key: Secret) -> str:
    """Return how much one call asks, and how much more two ask. Ending a session is no part of a call."""
    asked: list[int] = []
    for calls in (1, 2):
        with serve(partial(relay, to=url)) as counted:
            try:
                await visit(counted.url, key, calls)
            except* MCPError:
                counted.requests.clear()
        asked.append(sum(request.method != "DELETE" for request in counted.requests))
    first, both = asked
    return f"{first} / {both - first}" if first else "cannot connect"


def answer_like_favcrm(connection: Connection, request: Request, *, methods: Mapping[str, Any]) -> None:
    """Answer one message with no handshake before it, as FavCRM does, and close the connection."""
    body, status = b"", HTTPStatus.METHOD_NOT_ALLOWED
    if request.method == "POST":
        status = HTTPStatus.ACCEPTED
        if "id" in request.json:
            status, method = HTTPStatus.OK, request.json["method"]
            answer = {"result": methods[method]} if method in methods else {"error": METHOD_NOT_FOUND}
            body = json.dumps({"jsonrpc": "2.0", "id": request.json["id"], **answer}).encode()
    connection.send(whole(body, status, {"connection": "close"}))
    connection.hang_up()


@contextmanager
def like_favcrm(*_: object, methods: Mapping[str, Any]) -> Generator[str]:
    with serve(partial(answer_like_favcrm, methods=methods)) as server:
        yield server.url


SERVERS: Mapping[str, Callable[[str, Path], AbstractContextManager[str]]] = {
    "like FavCRM, without `initialize`": partial(like_favcrm, methods=RESULTS),
    "like FavCRM, with `initialize`": partial(like_favcrm, methods={**RESULTS, "initialize": INITIALIZED}),
    "`mcp` 2.3, stateful": partial(serving, Peer("mcp-2.3", "mcp_2.py", "stateful")),
    "`mcp` 2.3, stateless": partial(serving, Peer("mcp-2.3", "mcp_2.py", "stateless")),
    "TypeScript SDK 2, modern only": partial(serving, Peer("typescript", "typescript_2.mjs", "modern")),
    "`mcp` 1.28, stateful": partial(serving, Peer("mcp-1.28", "mcp_1.py", "stateful")),
    "`mcp` 1.28, stateless": partial(serving, Peer("mcp-1.28", "mcp_1.py", "stateless")),
}


async def table() -> str:
    """Return the table: of each server and client the first call, and the second."""
    sandbox = Sandbox()
    key = sandbox.add_organisation()
    rows = [["Server", *CLIENTS], ["---"] * (1 + len(CLIENTS))]
    with sandbox.serve() as upstream, tempfile.TemporaryDirectory() as folder:
        for name, start in SERVERS.items():
            with start(upstream.url, Path(folder) / "stderr.txt") as url:
                rows.append([name, *[await count(visit, url, key) for visit in CLIENTS.values()]])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main(page: str | None = None) -> None:
    """Print the table, and compare it with a page's."""
    counted = anyio.run(table)
    sys.stdout.write(counted)
    if page is not None and counted not in Path(page).read_text(encoding="utf-8"):
        sys.exit(f"{page} does not hold this table.")


if __name__ == "__main__":
    main(*sys.argv[1:])
