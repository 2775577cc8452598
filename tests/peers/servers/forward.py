"""What the Python servers have in common: FavCRM's tools from a sandbox that a test serves, and a port to listen on."""

from __future__ import annotations

import json
import os
import socket
import sys
import urllib.request
from collections.abc import Mapping
from typing import Any

import anyio

UPSTREAM = os.environ["FAVCRM_UPSTREAM"]
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


async def forward(method: str, params: Mapping[str, Any], request: Any = None) -> dict[str, Any]:
    """Ask the sandbox with the key of the caller's request, if there is one, and return its JSON-RPC answer."""
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    if request is not None and (authorization := request.headers.get("authorization")):
        headers["Authorization"] = authorization
    outgoing = urllib.request.Request(UPSTREAM, json.dumps(message).encode(), headers)  # noqa: S310

    def exchange() -> dict[str, Any]:
        with OPENER.open(outgoing) as answer:
            told: dict[str, Any] = json.load(answer)
            return told

    return await anyio.to_thread.run_sync(exchange)


def listen(path: str = "/mcp") -> socket.socket:
    """Listen on a free port, and tell the test where."""
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"READY http://127.0.0.1:{listener.getsockname()[1]}{path}\n")
    sys.stdout.flush()
    return listener


def serve_app(app: Any, path: str = "/mcp") -> None:
    """Serve an ASGI application until the process is ended."""
    import uvicorn

    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listen(path)])
