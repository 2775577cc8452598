"""Sending replies over HTTP, each with the ending it is to have. Speaks ASGI with uvicorn."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

from favcrm.sandbox.faults import Ending, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import TypeAlias

    from starlette.types import Receive, Scope, Send

    from favcrm.sandbox.forms import Page

    Breaker: TypeAlias = Callable[[Reply, asyncio.Transport, Send], Coroutine[None, None, None]]

DRIP_SECONDS = 0.05
AT_ONCE = struct.pack("ii", 1, 0)
"""For SO_LINGER: closing resets the connection instead of saying goodbye."""


async def read_body(receive: Receive) -> bytes:
    """Return the body of a request."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def send_page(page: Page, send: Send) -> None:
    """Send a page."""
    headers = {"content-type": page.content_type, **page.headers}
    await _send_whole(Reply(status=page.status, headers=headers, body=page.body), send)


async def send_reply(reply: Reply, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a reply as far as it goes, and break the connection where that is its ending."""
    if reply.ending is Ending.WHOLE:
        await _send_whole(reply, send)
        return
    await BROKEN[reply.ending](reply, scope["state"]["connection"], send)
    gone = False
    while not gone:
        gone = (await receive())["type"] == "http.disconnect"


async def _start(reply: Reply, send: Send) -> None:
    headers = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})


async def _send_whole(reply: Reply, send: Send) -> None:
    length = {"content-length": str(len(reply.body))}
    await _start(Reply(status=reply.status, headers={**reply.headers, **length}), send)
    await send({"type": "http.response.body", "body": reply.body})


async def _reset(_reply: Reply, connection: asyncio.Transport, _send: Send) -> None:
    connection.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    connection.abort()


async def _stall(_reply: Reply, _connection: asyncio.Transport, _send: Send) -> None:
    """Send nothing until the client goes."""


async def _cut(reply: Reply, connection: asyncio.Transport, send: Send) -> None:
    await _start(reply, send)
    await send({"type": "http.response.body", "body": reply.body, "more_body": True})
    connection.close()


async def _drip(reply: Reply, connection: asyncio.Transport, send: Send) -> None:
    await _start(reply, send)
    for byte in reply.body:
        if connection.is_closing():
            return
        await send({"type": "http.response.body", "body": bytes([byte]), "more_body": True})
        await asyncio.sleep(DRIP_SECONDS)


BROKEN: dict[Ending, Breaker] = {
    # The connection is there already, so it can only be reset.
    Ending.REFUSED: _reset,
    Ending.RESET: _reset,
    Ending.STALLED: _stall,
    Ending.CUT: _cut,
    Ending.DRIPPED: _drip,
}
