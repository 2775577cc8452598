"""`SessionTransport` over the client of whichever library is installed beside this package: mcp 1, mcp 2 or fastmcp.

Run it with ``--noconftest``, because the fixtures beside it need mcp 2. The sandbox's own server needs mcp 2 too, so a
script stands in front of a sandbox here.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import pytest
from servers import Peer, Request, answers, serve, whole

from favcrm import (
    AsyncFavCRMClient,
    AsyncFavCRMProvisioner,
    AuthenticationError,
    InvalidCodeError,
    NotSentError,
    RefusedError,
)
from favcrm.sandbox import Sandbox
from favcrm.transports.session import SessionTransport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

pytestmark = pytest.mark.anyio

PROTOCOL, INFO = "2025-06-18", {"name": "front", "version": "1"}


def major(library: str) -> int | None:
    """Return the major version of a library, or None where it is not installed."""
    try:
        return int(version(library).partition(".")[0])
    except PackageNotFoundError:
        return None


# fastmcp brings mcp along, and its client knows asyncio only. On trio the session of mcp 1 loses answers by itself
# where several calls are under way, as they are in a diagnosis.
LIBRARY = "fastmcp" if major("fastmcp") else f"mcp {major('mcp')}"
LOOPS = ["asyncio", "trio"] if LIBRARY == "mcp 2" else ["asyncio"]


@pytest.fixture(params=LOOPS)
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    return backend


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.fixture
def url(sandbox: Sandbox) -> Iterator[str]:
    """The address of a server that speaks the handshake and leaves the tools to the sandbox."""

    def front(peer: Peer, request: Request) -> None:
        if request.method != "POST":
            peer.send(whole(b"", 405))
        elif "id" not in request.json:
            peer.send(whole(b"", 202))
        elif request.json["method"] == "initialize":
            answers({"protocolVersion": PROTOCOL, "capabilities": {"tools": {}}, "serverInfo": INFO})(
                peer, request
            )
        else:
            key = request.headers.get("authorization", "").removeprefix("Bearer ")
            reply = sandbox.handle(request.body, key=key or None, ip="127.0.0.1")
            peer.send(whole(reply.body, reply.status))

    with serve(front) as server:
        yield server.url


@asynccontextmanager
async def fastmcp_client(url: str, headers: dict[str, str]) -> AsyncGenerator[Any, None]:
    # By name: type checkers see one environment, in which it is not installed.
    library: Any = import_module("fastmcp")
    transports: Any = import_module("fastmcp.client.transports")
    async with library.Client(transports.StreamableHttpTransport(url, headers=headers)) as session:
        yield session


@asynccontextmanager
async def mcp_2_client(url: str, headers: dict[str, str]) -> AsyncGenerator[Any, None]:
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    async with (
        httpx2.AsyncClient(headers=headers) as http,
        Client(streamable_http_client(url, http_client=http)) as session,
    ):
        yield session


@asynccontextmanager
async def mcp_1_session(url: str, headers: dict[str, str]) -> AsyncGenerator[Any, None]:
    import httpx
    from mcp import ClientSession

    # Type checkers see the one of mcp 2, which takes a client of httpx2.
    over_http: Any = import_module("mcp.client.streamable_http")
    async with (
        httpx.AsyncClient(headers=headers) as http,
        over_http.streamable_http_client(url, http_client=http) as streams,
        ClientSession(streams[0], streams[1]) as session,
    ):
        await session.initialize()
        yield session


OPENERS = {"fastmcp": fastmcp_client, "mcp 2": mcp_2_client, "mcp 1": mcp_1_session}


def opened(url: str, key: str | None = None) -> AbstractAsyncContextManager[Any]:
    """Open a session of the library under test."""
    return OPENERS[LIBRARY](url, {} if key is None else {"Authorization": f"Bearer {key}"})


async def test_an_agent_signs_up_and_works(url: str, sandbox: Sandbox) -> None:
    async with opened(url) as session:
        transport = SessionTransport(session)
        favcrm = AsyncFavCRMProvisioner(transport=transport)
        pending = await favcrm.initiate(email="you@example.com", organisation_name="Stretch + Breathe")
        with pytest.raises(InvalidCodeError):
            await favcrm.confirm(pending, code="000000")
        workspace = await favcrm.confirm(pending, code=sandbox.inbox[-1].code or "")
        assert workspace.problems == ()
        crm = AsyncFavCRMClient(transport=transport, api_key=workspace.api_key)
        with pytest.raises(AuthenticationError):
            await crm.call_tool("list_services")
    async with opened(url, workspace.api_key.reveal()) as session:
        transport = SessionTransport(session)
        crm = AsyncFavCRMClient(transport=transport, api_key=workspace.api_key)
        assert (await crm.call_tool("list_services")).data == {"services": []}
        with pytest.raises(RefusedError, match="Unknown tool"):
            await crm.call_tool("no_such_tool")
        tools = {tool.name: tool.input_schema for tool in await crm.list_tools()}
        assert tools == {name: tool.schema for name, tool in sandbox.tools.items()}
        favcrm = AsyncFavCRMProvisioner(transport=transport, api_key=workspace.api_key)
        (await favcrm.diagnose()).raise_if_not_ready()
    for ask in (crm.call_tool("list_services"), crm.list_tools()):
        with pytest.raises(NotSentError, match="The session is closed"):
            await ask
