"""Lists of tools in several pages, and challenges that come with a refusal, as servers send them over HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import colours
import pytest
from servers import (
    Peer,
    Request,
    Script,
    answers,
    resets,
    sends,
    serve,
    whole,
)
from transports import speakers
from transports.speakers import (
    NO_SUCH_METHOD,
    all_said,
    refuses,
    requests_of,
    speaks,
)

from favcrm import (
    AuthenticationError,
    NotSentError,
    RefusedError,
    RetryPolicy,
    UnexpectedAnswerError,
)

if TYPE_CHECKING:
    from colours import Colour, Facade
    from servers import Server

    from favcrm.secret import Secret

pytestmark = pytest.mark.anyio

TEXT = [{"type": "text", "text": "3"}]


@asynccontextmanager
async def open_client(colour: Colour, url: str, **options: Any) -> AsyncGenerator[Facade, None]:
    """Open a client that finds out what the server speaks, and calls once."""
    crm = colours.client(colour, url, retry=RetryPolicy.never(), **{"era": "auto", **options})
    try:
        yield crm
    finally:
        await crm.end()


def bare(call: Script) -> Script:
    """Return a server without a handshake."""
    return speaks({**speakers.BARE, "tools/call": call, "tools/list": call})


def modern(call: Script) -> Script:
    """Return a server of the newest protocol."""
    return speaks({**speakers.MODERN, "tools/call": call, "tools/list": call})


def in_session(call: Script) -> Script:
    """Return a server of sessions."""
    return speaks(speakers.session("one", tools_call=call, tools_list=call))


ERAS: dict[str, Callable[[Script], Script]] = {"bare": bare, "legacy": in_session, "modern": modern}


@pytest.fixture(params=list(ERAS))
def era(request: pytest.FixtureRequest) -> Callable[[Script], Script]:
    """Returns a server of one era, given what answers its calls."""
    return ERAS[request.param]


async def test_401_with_a_challenge(colour: Colour, key: Secret) -> None:
    # In two headers of one name, as servers with several schemes send it.
    schemes = 'Basic realm="a"\r\nwww-authenticate: Bearer error="invalid_token", resource_metadata="https://a.example/m"'
    with serve(sends(whole(b'{"error":"invalid_token"}', 401, {"www-authenticate": schemes}))) as server:
        async with open_client(colour, server.url, api_key=key) as crm:
            with pytest.raises(AuthenticationError) as raised:
                await crm.call_tool("count")
    assert raised.value.server_code == "invalid_token"
    assert raised.value.challenge == {
        "error": "invalid_token",
        "resource_metadata": "https://a.example/m",
    }
    assert all_said(server) == ["server/discover"], "no other era was tried"


async def test_403_for_want_of_a_scope(colour: Colour, key: Secret, era: Callable[[Script], Script]) -> None:
    challenge = {"www-authenticate": 'Bearer error="insufficient_scope", scope="crm:write"'}
    with serve(era(sends(whole(b"", 403, challenge)))) as server:
        async with open_client(colour, server.url, api_key=key) as crm:
            with pytest.raises(AuthenticationError, match="The key has no scope for the request") as raised:
                await crm.call_tool("count")
    assert raised.value.server_code == 403
    assert raised.value.challenge == {"error": "insufficient_scope", "scope": "crm:write"}
    assert 'lacks the scope "crm:write"' in raised.value.next_step
    assert len(requests_of(server, "tools/call")) == 1


def listing(names: str, cursor: str | None = None) -> Script:
    """Return a script that answers with a page of tools, one for each letter."""
    tools = [{"name": name, "description": f"of {names}", "inputSchema": {}} for name in names]
    return answers({"tools": tools} | ({} if cursor is None else {"nextCursor": cursor}))


CURSOR_IS_OVER = refuses(-32602, "Invalid cursor", 200)
AB, BC = listing("ab", "2"), listing("bc")


def cursors(server: Server) -> list[str | None]:
    """Return what each request for a page asked for."""
    return [request.json["params"].get("cursor") for request in requests_of(server, "tools/list")]


async def test_pages_that_overlap(colour: Colour) -> None:
    with serve(speaks({**speakers.BARE, "tools/list": [AB, BC]})) as server:
        async with open_client(colour, server.url) as crm:
            tools = await crm.list_tools()
    # The first of each is kept.
    assert [(tool.name, tool.description) for tool in tools] == [
        ("a", "of ab"),
        ("b", "of ab"),
        ("c", "of bc"),
    ]


async def test_a_cursor_that_is_over(colour: Colour) -> None:
    old = listing("ax", "2")
    with serve(speaks({**speakers.BARE, "tools/list": [old, CURSOR_IS_OVER, AB, BC]})) as server:
        async with open_client(colour, server.url) as crm:
            assert [tool.name for tool in await crm.list_tools()] == ["a", "b", "c"]
    assert cursors(server) == [None, "2", None, "2"]


@pytest.mark.parametrize(
    ("pages", "asked"),
    [
        pytest.param([AB, CURSOR_IS_OVER, AB, CURSOR_IS_OVER], [None, "2", None, "2"], id="once only"),
        pytest.param([CURSOR_IS_OVER], [None], id="without a cursor"),
        pytest.param([AB, refuses(-32001, "No", 200)], [None, "2"], id="another refusal"),
    ],
)
async def test_a_list_that_is_refused(colour: Colour, pages: list[Script], asked: list[str | None]) -> None:
    with serve(speaks({**speakers.BARE, "tools/list": pages})) as server:
        async with open_client(colour, server.url) as crm:
            with pytest.raises(RefusedError):
                await crm.list_tools()
    assert cursors(server) == asked


async def test_a_circle_after_a_cursor_that_is_over(colour: Colour) -> None:
    with serve(speaks({**speakers.BARE, "tools/list": [AB, CURSOR_IS_OVER, AB, AB]})) as server:
        async with open_client(colour, server.url) as crm:
            with pytest.raises(UnexpectedAnswerError, match="does not end"):
                await crm.list_tools()
    assert cursors(server) == [None, "2", None, "2"]


async def test_empty_cursor(colour: Colour, era: Callable[[Script], Script]) -> None:
    def script(peer: Peer, request: Request) -> None:
        first = "cursor" not in request.json.get("params", {})
        tool = {"name": "first" if first else "second", "inputSchema": {"type": "object"}}
        answers({"tools": [tool]} | ({"nextCursor": ""} if first else {}))(peer, request)

    with serve(era(script)) as server:
        async with open_client(colour, server.url) as crm:
            assert [tool.name for tool in await crm.list_tools()] == ["first", "second"]
    assert requests_of(server, "tools/list")[1].json["params"]["cursor"] == ""


class Mortal:
    """A server that a question it does not know kills, as it does a stateless one of mcp 1.8.1."""

    def __init__(self) -> None:
        self._scripts = speaks({**speakers.CALLS, "initialize": NO_SUCH_METHOD})
        self._dead = False

    def __call__(self, peer: Peer, request: Request) -> None:
        self._dead = self._dead or speakers.said(request) == "server/discover"
        (resets if self._dead else self._scripts)(peer, request)


async def test_server_that_dies_of_the_probe(colour: Colour) -> None:
    with serve(Mortal()) as server:
        async with open_client(colour, server.url, era="bare") as crm:
            assert (await crm.call_tool("count")).content == tuple(TEXT)
        async with open_client(colour, server.url) as crm:
            with pytest.raises(NotSentError, match="The call was not sent"):
                await crm.call_tool("count")
