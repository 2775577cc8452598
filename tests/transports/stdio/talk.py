"""The stdio transport of either colour with a scripted server."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from favcrm.transports.stdio import AsyncStdioTransport, StdioTransport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from colours import Colour

    from favcrm.models import Progress
    from favcrm.secret import Secret
    from favcrm.transports import Response
    from favcrm.transports.stdio.child import Child

SERVER = Path(__file__).with_name("scripted.py")

TIMEOUT = 60.0
"""Seconds for what is answered at once."""

SHORT = 0.5
"""Seconds for what is never answered: the timeout under test."""


class Talk:
    """A transport, called from a thread where it blocks, so that several calls can be under way."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport

    async def request(
        self,
        method: str,
        params: Any,
        *,
        api_key: Secret | None = None,
        timeout: float = TIMEOUT,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Response:
        send = partial(
            self.transport.request, method, params, api_key=api_key, timeout=timeout, on_progress=on_progress
        )
        response: Response = await (
            anyio.to_thread.run_sync(send) if isinstance(self.transport, StdioTransport) else send()
        )
        return response

    async def call(self, tool: str, arguments: Any = None, **options: Any) -> Response:
        return await self.request("tools/call", {"name": tool, "arguments": arguments or {}}, **options)

    async def data(self, tool: str, arguments: Any = None, **options: Any) -> Any:
        response = await self.call(tool, arguments, **options)
        assert isinstance(response.result, dict), response
        content: Any = response.result["structuredContent"]
        return content["data"]

    async def raw(self, *lines: str, **options: Any) -> Response:
        """Have the server write lines; ID in them becomes the id of the call."""
        return await self.call("raw", {"lines": lines}, **options)

    async def methods(self) -> list[str]:
        """Return the methods of what the server got before this."""
        return [message.get("method", "an answer") for message in await self.data("received")][:-1]

    async def close(self) -> None:
        if isinstance(self.transport, StdioTransport):
            await anyio.to_thread.run_sync(self.transport.close)
        else:
            await self.transport.aclose()

    @property
    def child(self) -> Child:
        child: Child = self.transport._supervisor._dialogue._child
        return child


def make(colour: Colour, behaviour: Any = None, **options: Any) -> Any:
    """Return a transport to a scripted server, which speaks the modern era unless told otherwise."""
    kind = StdioTransport if colour == "blocking" else AsyncStdioTransport
    arguments = [str(SERVER), json.dumps({"era": "modern", **(behaviour or {})})]
    return kind(sys.executable, arguments, **options)


@asynccontextmanager
async def talking(colour: Colour, behaviour: Any = None, **options: Any) -> AsyncGenerator[Talk, None]:
    """Talk to a scripted server, and see to it that nothing is left of it."""
    talk = Talk(make(colour, behaviour, **options))
    try:
        yield talk
    finally:
        await talk.close()
        dialogue = talk.transport._supervisor._dialogue
        if dialogue is not None:
            assert not lives(dialogue._child._process.pid)


def lives(pid: int) -> bool:
    """Tell whether a process is there, be it a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until_held(talk: Talk, number: int) -> None:
    """Wait until so many calls of `hold` have arrived."""
    while True:
        received = await talk.data("received")
        if sum(message.get("params", {}).get("name") == "hold" for message in received) >= number:
            return


class Gate:
    """Something for another process to wait for: it reads a file that nobody writes until the gate is opened."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "gate")
        os.mkfifo(self.path)

    async def open(self) -> None:
        await anyio.to_thread.run_sync(Path(self.path).write_bytes, b"")
