"""Signing up, diagnosing and working, against servers built on other people's code, each a process of its own."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from colours import Colour, Facade, client, provisioner
from peers.catalogue import HTTP, STDIO
from peers.processes import Peer, serving

from favcrm import InvalidCodeError
from favcrm.sandbox import Sandbox
from favcrm.sandbox.server import Server
from favcrm.transports import AsyncStdioTransport, StdioTransport

pytestmark = pytest.mark.anyio

STDIO_TRANSPORTS = {"blocking": StdioTransport, "asynchronous": AsyncStdioTransport}


# The tests of a server run in one process of xdist's, where it is started once.
GROUPED = [pytest.param(peer, id=peer.name, marks=pytest.mark.xdist_group(peer.name)) for peer in HTTP]


@pytest.fixture(scope="module", params=GROUPED)
def url(
    request: pytest.FixtureRequest, upstream: Server, tmp_path_factory: pytest.TempPathFactory
) -> Generator[str]:
    """A server over HTTP, started once."""
    peer: Peer = request.param
    with serving(peer, upstream.url, tmp_path_factory.mktemp("peer") / "stderr.txt") as address:
        yield address


async def test_over_http(url: str, colour: Colour, sandbox: Sandbox) -> None:
    await sign_up_and_work(sandbox, colour, url)


@pytest.mark.parametrize("peer", STDIO, ids=lambda peer: peer.name)
async def test_over_stdio(peer: Peer, colour: Colour, sandbox: Sandbox, upstream: Server) -> None:
    program, *arguments = peer.command
    transport = STDIO_TRANSPORTS[colour](program, arguments, env={"FAVCRM_UPSTREAM": upstream.url})
    try:
        await sign_up_and_work(sandbox, colour, transport=transport)
    finally:
        await Facade(transport).end()


async def sign_up_and_work(sandbox: Sandbox, colour: Colour, *args: Any, **options: Any) -> None:
    email = f"{secrets.token_hex(8)}@example.com"
    async with AsyncExitStack() as opened:
        favcrm = provisioner(colour, *args, **options)
        opened.push_async_callback(favcrm.end)
        pending = await favcrm.initiate(email=email, organisation_name="Stretch + Breathe")
        code = sandbox.inbox.code_for(email)
        with pytest.raises(InvalidCodeError):
            await favcrm.confirm(pending, code=f"{(int(code) + 1) % 1_000_000:06}")
        workspace = await favcrm.confirm(pending, code=code)
        report = await favcrm.diagnose()
        report.raise_if_not_ready()
        assert (report.auth_configured, report.tool_count) == (True, len(sandbox.tools))

        crm = client(colour, *args, api_key=workspace.api_key, **options)
        opened.push_async_callback(crm.end)
        listed = {tool.name: tool.input_schema for tool in await crm.list_tools()}
        assert listed == {name: tool.entry["inputSchema"] for name, tool in sandbox.tools.items()}
        created = await crm.call_tool("create_member", {"name": "Ada Å", "email": email})
        found = await crm.call_tool("search_members", {"query": email})
        assert found.data["members"] == [created.data["member"]]
