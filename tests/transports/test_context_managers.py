"""Transports close at the end of a block."""

from __future__ import annotations

from typing import Any

import pytest
from servers import answers, serve

from favcrm import NotSentError
from favcrm.transport import Request
from favcrm.transports import AsyncHTTPTransport, HTTPTransport, SessionTransport

ASK = Request("tools/list", {}, timeout=10.0)


class Silent:
    """A session that lists no tools."""

    async def call_tool(self, name: str, arguments: Any) -> Any:
        return {}

    async def list_tools(self) -> Any:
        return {"tools": []}


def test_a_blocking_transport_is_closed_after_its_block() -> None:
    with serve(answers()) as server:
        with HTTPTransport(server.url, era="bare") as transport:
            assert transport.request(ASK).result == {}
        with pytest.raises(NotSentError, match="closed"):
            transport.request(ASK)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_an_asynchronous_transport_is_closed_after_its_block() -> None:
    with serve(answers()) as server:
        async with AsyncHTTPTransport(server.url, era="bare") as transport:
            assert (await transport.request(ASK)).result == {}
        with pytest.raises(NotSentError, match="closed"):
            await transport.request(ASK)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_session_stays_open_after_the_block_of_its_transport() -> None:
    async with SessionTransport(Silent()) as transport:
        assert (await transport.request(ASK)).result == {"tools": []}
    assert (await transport.request(ASK)).result == {"tools": []}
