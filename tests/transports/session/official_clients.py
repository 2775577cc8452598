"""Sessions of the official library, opened as its users open them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx2
from mcp import Client, ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.server.lowlevel import Server

from favcrm.transport import Request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from favcrm.secret import Secret
    from favcrm.transports import Response
    from favcrm.transports.session import SessionTransport
    from favcrm.typing import JSON

Opener: TypeAlias = Callable[..., AbstractAsyncContextManager[Any]]

TIMEOUT = 10.0


def headers(key: Secret | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key.reveal()}"}


@asynccontextmanager
async def client(url: str, key: Secret | None = None) -> AsyncGenerator[Client, None]:
    async with (
        httpx2.AsyncClient(headers=headers(key), verify=False) as http,
        Client(streamable_http_client(url, http_client=http)) as opened,
    ):
        yield opened


@asynccontextmanager
async def client_session(url: str, key: Secret | None = None) -> AsyncGenerator[ClientSession, None]:
    async with (
        httpx2.AsyncClient(headers=headers(key), verify=False) as http,
        streamable_http_client(url, http_client=http) as (reading, writing),
        ClientSession(reading, writing) as opened,
    ):
        await opened.initialize()
        yield opened


KINDS: dict[str, Opener] = {"Client": client, "ClientSession": client_session}


def server_of(**handlers: Any) -> Server[Any]:
    """Return a server of the official library, for a client in the same process."""
    return Server[Any]("peer", **handlers)


async def call(
    transport: SessionTransport, tool: str, timeout: float = TIMEOUT, **arguments: JSON
) -> Response:
    """Call a tool through a transport."""
    params: dict[str, JSON] = {"name": tool, "arguments": arguments}
    return await transport.request(Request("tools/call", params, timeout=timeout))


async def listed(transport: SessionTransport, cursor: str | None = None) -> Response:
    """Ask for a page of the tools."""
    params = {} if cursor is None else {"cursor": cursor}
    return await transport.request(Request("tools/list", params, timeout=TIMEOUT))
