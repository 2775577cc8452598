"""A FavCRM that costs next to nothing: keep-alive HTTP and JSON, the same for every client, in a process of its own.

It prints its port and serves until its standard input ends. The path of a request says how many milliseconds its
answer takes, ``/mcp/0`` or ``/mcp/50``; others do not wait for it.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import sys
from email.utils import formatdate

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
MODERN = "2026-07-28"
PENDING = {
    "requestId": "signup_req_1",
    "expiresAt": "2099-01-01T00:00:00.000Z",
    "maskedEmail": "yo*@example.com",
    "instructions": "Ask the user for the code.",
}
WORKSPACE = {
    # A key that looks like one and opens nothing: made up for each run.
    "apiKey": f"fav_mcp_{secrets.token_urlsafe(24)}",
    "organisationId": "org_1",
    "companyId": "co_1",
    "userId": "user_1",
    "loginUrl": "https://app.favcrm.io",
    "nextSteps": ["Save the key."],
}
PAYLOADS: dict[str, tuple[object, str]] = {
    "register_organisation_request": (PENDING, "A code was sent."),
    "register_organisation_verify": (WORKSPACE, "The workspace is ready."),
    "list_my_companies": ({"companies": [{"name": "Stretch + Breathe", "isCurrent": True}]}, "One company."),
    "get_plan_status": ({"planStatus": "active"}, "The plan is active."),
    "get_whatsapp_connection_status": ({"connected": False}, "WhatsApp is not connected."),
    "favcrm_doctor": ({"mcpEndpointStatus": "active", "authStatus": "configured"}, "All is well."),
    "list_services": ({"services": []}, "No services."),
}
# What the official client asks for before the first call of a tool.
OPENING: dict[str, dict[str, object]] = {
    "server/discover": {
        "supportedVersions": [MODERN],
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "FavCRM", "version": "1"},
    },
    "tools/list": {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in PAYLOADS]},
}


def _called(name: str) -> dict[str, object]:
    data, summary = PAYLOADS[name]
    return {
        "content": [{"type": "text", "text": json.dumps(data)}],
        "structuredContent": {"data": data, "summary": summary, "renderType": "text"},
    }


# A modern result says that it is one; other clients do not look.
MARKS: dict[str, object] = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
RESULTS = {
    name: json.dumps(MARKS | result)
    for name, result in (OPENING | {name: _called(name) for name in PAYLOADS}).items()
}


def answer(body: bytes) -> bytes:
    """Return the whole HTTP answer to one JSON-RPC request."""
    message = json.loads(body)
    method = message["method"]
    result = RESULTS[message["params"]["name"] if method == "tools/call" else method]
    content = f'{{"jsonrpc":"2.0","id":{json.dumps(message["id"])},"result":{result}}}'.encode()
    head = (
        f"HTTP/1.1 200 OK\r\nDate: {formatdate(usegmt=True)}\r\nContent-Type: application/json\r\n"
        f"X-Request-Id: req_1\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


class Connection(asyncio.Protocol):
    """One connection: a client sends a request on it only after the answer to the one before."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not end or (length and len(body) < int(length[1])):
            return
        self._received = b""
        wait = int(head.split(b" ", 2)[1].rpartition(b"/")[2]) / 1000
        if wait:
            asyncio.get_running_loop().call_later(wait, self._transport.write, answer(body))
        else:
            self._transport.write(answer(body))


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
