"""Signing up, diagnosing and working, against servers built on other people's code, each a process of its own."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from colours import Colour, client, provisioner
from peers.catalogue import IN_BOTH_ERAS, SERVERS, WITH_SESSIONS
from peers.processes import Peer, serving

from favcrm import FavCRMClient, InvalidCodeError
from favcrm.sandbox import Sandbox
from favcrm.sandbox.server import Server

pytestmark = pytest.mark.anyio

SESSION_ID = "mcp-session-id"


def grouped(peers: Iterable[Peer]) -> list[Any]:
    """Let the tests of a server run in one process of xdist's, where it is started once."""
    return [pytest.param(peer, id=peer.name, marks=pytest.mark.xdist_group(peer.name)) for peer in peers]


@pytest.fixture(scope="module", params=grouped(SERVERS))
def url(
    request: pytest.FixtureRequest, upstream: Server, tmp_path_factory: pytest.TempPathFactory
) -> Generator[str]:
    """The address of a server, started once."""
    peer: Peer = request.param
    with serving(peer, upstream.url, tmp_path_factory.mktemp("peer") / "stderr.txt") as address:
        yield address


@pytest.fixture
def answers() -> list[httpx.Response]:
    """What a server answered."""
    return []


@pytest.fixture
def http(answers: list[httpx.Response]) -> Generator[httpx.Client]:
    """A client that keeps what is answered. It is blocking: what a server does is the same for both colours."""
    with httpx.Client(event_hooks={"response": [answers.append]}) as opened:
        yield opened


async def test_an_agent_signs_up_and_works(url: str, colour: Colour, sandbox: Sandbox) -> None:
    await sign_up_and_work(sandbox, colour, url)


@pytest.mark.parametrize("url", grouped(IN_BOTH_ERAS), indirect=True)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_agent_signs_up_and_works_in_a_session(
    url: str, http: httpx.Client, answers: list[httpx.Response], sandbox: Sandbox
) -> None:
    await sign_up_and_work(sandbox, "blocking", url, era="legacy", http_client=http)
    asked = [answer.request for answer in answers]
    assert b'"initialize"' in asked[0].content
    assert {request.headers.get("mcp-protocol-version") for request in asked} == {None, "2025-11-25"}


@pytest.mark.parametrize("url", grouped(WITH_SESSIONS), indirect=True)
def test_a_session_that_is_lost_is_begun_anew(
    url: str, http: httpx.Client, answers: list[httpx.Response], sandbox: Sandbox
) -> None:
    with FavCRMClient(url, era="legacy", http_client=http, api_key=sandbox.add_organisation()) as crm:
        crm.call_tool("list_services")
        (lost,) = ids_of(answers)
        assert httpx.delete(url, headers={SESSION_ID: lost}).is_success
        created: Any = crm.call_tool("create_member", {"name": "Ada Å"}).data
        found: Any = crm.call_tool("search_members", {"query": "Ada"}).data
    assert found["members"] == [created["member"]]
    assert len(ids_of(answers)) == 2


def ids_of(answers: Iterable[httpx.Response]) -> set[str]:
    """Return the ids of the sessions that were begun."""
    return {answer.headers[SESSION_ID] for answer in answers if SESSION_ID in answer.headers}


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
