"""A session in another event loop than its own: its streams would wait there for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import trio

from favcrm import NotSentError
from favcrm.transport import Request
from favcrm.transports import Response, SessionTransport

RUN: dict[str, Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]] = {
    "asyncio": lambda task: asyncio.run(task()),
    "trio": trio.run,
}


class Counting:
    """A session that counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def call_tool(self, name: str, arguments: dict[str, object]) -> object:
        self.asked += 1
        return {"content": []}

    async def list_tools(self) -> object:
        self.asked += 1
        return {"tools": []}


async def call(transport: SessionTransport) -> Response:
    return await transport.request(Request("tools/call", {"name": "any"}, timeout=10.0))


@pytest.mark.parametrize("first", RUN)
@pytest.mark.parametrize("second", RUN)
@pytest.mark.parametrize("inside", [False, True], ids=["made before", "made inside"])
def test_a_session_is_used_in_its_own_event_loop_only(first: str, second: str, inside: bool) -> None:
    session = Counting()
    transports = [] if inside else [SessionTransport(session)]

    async def begin() -> None:
        if inside:
            transports.append(SessionTransport(session))
        else:
            await call(transports[0])
            await call(transports[0])

    RUN[first](begin)
    asked = session.asked
    with pytest.raises(
        NotSentError, match=r"session .* belongs to another event loop\. Nothing was sent"
    ) as raised:
        RUN[second](lambda: call(transports[0]))
    assert raised.value.permanent
    assert raised.value.next_step == "Make a new session in this event loop, and hand that over."
    assert session.asked == asked
    RUN[second](transports[0].aclose)
