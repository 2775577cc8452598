"""Servers of every protocol era, for `servers.serve`: each answers by what is said, not by the order."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import anyio.to_thread
from servers import Peer, Request, Script, Server, answers, message, sends, whole

from favcrm.transport import Request as MCPRequest

if TYPE_CHECKING:
    from colours import Colour
    from transports.harness import Wire

    from favcrm.transports import Response

MODERN_VERSION = "2026-07-28"
SESSION_ID = "mcp-session-id"
RESULT: dict[str, Any] = {"content": [{"type": "text", "text": "3"}]}
TOOLS: dict[str, Any] = {"tools": [{"name": "count", "inputSchema": {"type": "object"}}]}
CALL: dict[str, Any] = {"name": "count", "arguments": {"of": "words"}}

Scripts: TypeAlias = Mapping[str, Script | Sequence[Script]]
"""A script for each method, or several: each serves once, the last one all that follow."""


def said(request: Request) -> str:
    """Return the method of MCP, or of HTTP where there is no message; ``answer`` for an answer of the client's."""
    if request.method != "POST":
        return request.method
    method: str = request.json.get("method", "answer")
    return method


def all_said(server: Server) -> list[str]:
    """Return what was said, in this order."""
    return [said(request) for request in server.requests]


def requests_of(server: Server, what: str) -> list[Request]:
    """Return the requests that said something."""
    return [request for request in server.requests if said(request) == what]


def speaks(scripts: Scripts) -> Script:
    """Return a script that chooses by what is said. What has no script must not be said."""
    waiting = {what: [each] if callable(each) else list(each) for what, each in scripts.items()}
    lock = threading.Lock()

    def choose(peer: Peer, request: Request) -> None:
        with lock:
            left = waiting.get(said(request))
            assert left, f"{said(request)} was not expected"
            script = left.pop(0) if len(left) > 1 else left[0]
        script(peer, request)

    return choose


def refuses(
    code: int,
    words: str = "",
    status: int = 400,
    *,
    data: object = None,
    headers: Mapping[str, str] | None = None,
) -> Script:
    """Return a script that answers with an error of JSON-RPC, which has no id, as most have."""
    error = {"code": code, "message": words} | ({} if data is None else {"data": data})
    return sends(whole(json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode(), status, headers))


def page(status: int) -> Script:
    """Return a script that answers with a page for people."""
    return sends(whole(b"<html>Not here</html>", status, {"content-type": "text/html"}))


TAKEN = sends(whole(b"", 202))
NO_SUCH_METHOD = refuses(-32601, "Method not found", 200)
NO_SESSION = refuses(
    -32600, "Bad Request: Missing session ID", headers={SESSION_ID: "of-an-error", "x-other": "1"}
)
DISCOVERED = answers({"supportedVersions": [MODERN_VERSION], "capabilities": {}, "resultType": "complete"})
NAMES_ITS_VERSION = refuses(-32022, "Unsupported", data={"supported": [MODERN_VERSION], "requested": "?"})
CALLS: Scripts = {"tools/call": answers(RESULT), "tools/list": answers(TOOLS)}


def initialized(session_id: str | None = None, version: str = "2025-11-25", **options: Any) -> Script:
    """Return a script that begins a session."""
    result = {"protocolVersion": version, "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
    return answers(result, headers={SESSION_ID: session_id} if session_id else None, **options)


BARE: Scripts = {"server/discover": NO_SUCH_METHOD, "initialize": NO_SUCH_METHOD, **CALLS}
MODERN: Scripts = {
    "server/discover": DISCOVERED,
    "initialize": NAMES_ITS_VERSION,
    "GET": page(405),
    **CALLS,
}


def session(session_id: str | None = None, **scripts: Script | Sequence[Script]) -> Scripts:
    """Return a server of sessions; ``scripts`` replace its own, by names such as ``tools_call``."""
    own: Scripts = {
        "server/discover": NO_SESSION,
        "initialize": initialized(session_id),
        "notifications/initialized": TAKEN,
        "notifications/cancelled": TAKEN,
        "answer": TAKEN,
        "DELETE": TAKEN,
        **CALLS,
    }
    return {**own, **{what.replace("_", "/"): script for what, script in scripts.items()}}


def echoes(peer: Peer, request: Request) -> None:
    """Answer a call with its arguments."""
    data = request.json["params"]["arguments"]
    peer.send(whole(message(request, {"content": [], "structuredContent": {"data": data, "summary": ""}})))


def numbers_sessions() -> Script:
    """Return a script that begins a session with an id of its own each time: ``session-1``, ``session-2``."""
    numbers = itertools.count(1)

    def begin(peer: Peer, request: Request) -> None:
        initialized(f"session-{next(numbers)}")(peer, request)

    return begin


def echoing(era: str, **scripts: Script) -> Script:
    """Return a server of an era that answers each call with its arguments."""
    eras = {"bare": BARE, "modern": MODERN, "legacy": session(initialize=numbers_sessions())}
    replaced = {what.replace("_", "/"): script for what, script in scripts.items()}
    return speaks({**eras[era], "tools/call": echoes, **replaced})


async def call(wire: Wire, **options: Any) -> Response:
    """Make a call."""
    return await wire.request("tools/call", CALL, **options)


async def many(colour: Colour, wire: Wire, count: int, started: Callable[[], object]) -> list[Any]:
    """Make calls at once, and tell when all have started."""
    results: list[Any] = []
    if colour == "blocking":
        barrier = threading.Barrier(count + 1)

        def one() -> Any:
            barrier.wait()
            return wire.inner.inner.request(MCPRequest("tools/call", CALL, timeout=10.0))

        with ThreadPoolExecutor(count) as pool:
            futures = [pool.submit(one) for _ in range(count)]
            barrier.wait()
            started()
            results = [future.result() for future in futures]
        return results

    async def another() -> None:
        results.append(await call(wire))

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(another)
        await anyio.wait_all_tasks_blocked()
        started()
    return results


async def beside(colour: Colour, wire: Wire, *, timeout: float) -> Response:
    """Make a call beside others, which a blocking one does in a thread."""
    if colour == "asynchronous":
        return await call(wire, timeout=timeout)
    request = partial(wire.inner.inner.request, MCPRequest("tools/call", CALL, timeout=timeout))
    response: Response = await anyio.to_thread.run_sync(request)
    return response
