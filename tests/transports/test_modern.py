"""MCP 2026-07-28: input that is asked for, arguments in headers, kinds of results, progress."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

import colours
import pytest
from servers import Peer, Request, Script, answers, chunked, event, message, resets, serve
from transports.harness import MovedClock, reach
from transports.mcp_servers import (
    CALL,
    MODERN,
    RESULT,
    TOOLS,
    all_said,
    call,
    refuses,
    requests_of,
    session,
    speaks,
)

import favcrm
from favcrm import InputRequiredError, RetryPolicy
from favcrm.transports.http.limits import Limits
from favcrm.typing import Era

if TYPE_CHECKING:
    from collections.abc import Mapping

    from colours import Colour

    from favcrm.models import Progress
    from favcrm.secret import Secret
    from favcrm.typing import JSON

pytestmark = pytest.mark.anyio

ONCE = RetryPolicy.never()
CALLED, LISTED = "tools/call", "tools/list"
META = "io.modelcontextprotocol/"
OUR_META = {
    f"{META}protocolVersion": "2026-07-28",
    f"{META}clientCapabilities": {},
    f"{META}clientInfo": {"name": "favcrm-python", "version": favcrm.__version__},
}
MISMATCH = refuses(-32020, "Mcp-Param-Region is missing")


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


async def test_every_request_names_its_version_method_and_client(colour: Colour, key: Secret) -> None:
    with serve(speaks(MODERN)) as server:
        async with reach(colour, server.url, era="auto") as wire:
            await call(wire, api_key=key)
            await wire.request(LISTED, {"cursor": "2"}, api_key=key)
    discover, called, listed = server.requests
    assert [request.headers.get("mcp-method") for request in server.requests] == [
        "server/discover",
        CALLED,
        LISTED,
    ]
    assert [request.headers.get("mcp-name") for request in server.requests] == [None, "count", None]
    assert {request.headers["mcp-protocol-version"] for request in server.requests} == {"2026-07-28"}
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {key.reveal()}"}
    assert discover.json["params"] == {"_meta": OUR_META}
    assert called.json["params"] == {**CALL, "_meta": OUR_META}
    assert listed.json["params"] == {"cursor": "2", "_meta": OUR_META}


# Input that is asked for

ASKED = {"who": {"method": "elicitation/create", "params": {"message": "Who are you?"}}}


def asks(state: object = None, requests: object = None) -> Script:
    """Return a script that asks for input before it completes a call."""
    result: dict[str, Any] = {"resultType": "input_required"}
    if requests is not None:
        result["inputRequests"] = requests
    if state is not None:
        result["requestState"] = state
    return answers(result)


def params_of(server: Any) -> list[dict[str, Any]]:
    """Return the parameters of the calls, without what every request has."""
    found = [request.json["params"] for request in requests_of(server, CALLED)]
    return [{name: value for name, value in each.items() if name != "_meta"} for each in found]


@pytest.mark.parametrize("later", [False, True], ids=["at once", "awaited"])
async def test_answers_to_questions_are_sent_with_the_state_in_another_round(
    colour: Colour, later: bool
) -> None:
    seen: list[Mapping[str, JSON]] = []

    def on_input(requests: Mapping[str, JSON]) -> Any:
        seen.append(requests)
        given = {"who": {"action": "accept", "content": {"name": "Ann"}}}

        async def give() -> Any:
            return given

        return give() if later and colour == "asynchronous" else given

    state = "kept \u2028 as it is"
    scripts = [asks(state, ASKED), asks(None, ASKED), asks("third"), answers(RESULT)]
    with serve(speaks({**MODERN, CALLED: scripts})) as server:
        async with reach(colour, server.url, era="modern", on_input=on_input) as wire:
            assert (await call(wire)).result == RESULT
            assert (await call(wire)).result == RESULT
    given = {"inputResponses": {"who": {"action": "accept", "content": {"name": "Ann"}}}}
    assert seen == [ASKED, ASKED]
    assert params_of(server) == [
        CALL,
        {**CALL, **given, "requestState": state},
        # An answer without a state takes the old one away, and input is given once.
        {**CALL, **given},
        {**CALL, "requestState": "third"},
        CALL,
    ]
    numbers = [request.json["id"] for request in server.requests]
    assert len(set(numbers)) == 5
    capabilities = {
        request.json["params"]["_meta"][f"{META}clientCapabilities"].get("elicitation") is not None
        for request in server.requests
    }
    assert capabilities == {True}


async def test_a_question_that_nobody_answers_raises_input_required_error(
    colour: Colour, key: Secret
) -> None:
    with serve(speaks({**MODERN, CALLED: asks("state", ASKED)})) as server:
        crm = colours.client(colour, server.url, era="modern", api_key=key)
        with pytest.raises(InputRequiredError) as raised:
            await crm.call_tool("count")
        await crm.end()
    assert raised.value.input_requests == ASKED
    assert len(server.requests) == 1


# Arguments in headers

REGION = {"type": "string", "x-mcp-header": "Region"}
COUNT = {"name": "count", "inputSchema": {"type": "object", "properties": {"region": REGION}}}
BAD = {"name": "bad", "inputSchema": {"type": "object", "x-mcp-header": "Root"}}
PLAIN = {"name": "plain", "inputSchema": {"type": "object"}}
REGIONAL: dict[str, Any] = {"name": "count", "arguments": {"region": "Köln"}}


async def test_a_tool_that_was_listed_is_called_with_its_headers(colour: Colour) -> None:
    pages = [answers({"tools": [PLAIN, BAD], "nextCursor": ""}), answers({"tools": [COUNT]})]
    with serve(speaks({**MODERN, LISTED: pages})) as server:
        crm = colours.client(colour, server.url, era="modern")
        assert [tool.name for tool in await crm.list_tools()] == ["plain", "count"]
        await crm.call_tool("count", REGIONAL["arguments"])
        await crm.call_tool("count", {"region": None})
        await crm.end()
    first, second = requests_of(server, CALLED)
    assert first.headers["mcp-param-region"] == "=?base64?S8O2bG4=?="
    assert first.json["params"]["arguments"] == {"region": "Köln"}
    assert "mcp-param-region" not in second.headers


async def test_a_call_that_lacks_headers_lists_the_tools_and_is_sent_again(colour: Colour) -> None:
    pages = [answers({"tools": [PLAIN], "nextCursor": ""}), answers({"tools": [COUNT]})]
    with serve(speaks({**MODERN, CALLED: [MISMATCH, answers(RESULT)], LISTED: pages})) as server:
        async with reach(colour, server.url, era="modern") as wire:
            assert (await wire.request(CALLED, REGIONAL)).result == RESULT
            assert (await wire.request(CALLED, REGIONAL)).result == RESULT
    assert all_said(server) == [CALLED, LISTED, LISTED, CALLED, CALLED]
    assert [request.headers.get("mcp-param-region") for request in requests_of(server, CALLED)] == [
        None,
        *["=?base64?S8O2bG4=?="] * 2,
    ]
    assert [request.json["params"].get("cursor") for request in requests_of(server, LISTED)] == [None, ""]
    assert len({request.json["id"] for request in server.requests}) == 5


@pytest.mark.parametrize(
    "listed",
    [
        answers(TOOLS),
        refuses(-32603, "no", 200),
        resets,
        answers({"tools": [], "nextCursor": "\ud800"}),
        answers({"resultType": "input_required", "inputRequests": {"a": {}}}),
    ],
    ids=["the same headers", "an error", "broken", "a cursor that is no text", "a question"],
)
async def test_a_call_that_gets_no_other_headers_is_not_sent_again(colour: Colour, listed: Script) -> None:
    with serve(speaks({**MODERN, CALLED: MISMATCH, LISTED: listed})) as server:
        async with reach(colour, server.url, era="modern") as wire:
            response = await call(wire)
    assert response.error is not None
    assert (response.error.code, response.status) == (-32020, 400)
    assert all_said(server) == [CALLED, LISTED]


async def test_an_endless_list_is_read_to_the_limit(colour: Colour) -> None:
    cursors = itertools.count()

    def endless(peer: Peer, request: Request) -> None:
        answers({"tools": [PLAIN], "nextCursor": str(next(cursors))})(peer, request)

    with serve(speaks({**MODERN, CALLED: MISMATCH, LISTED: endless})) as server:
        async with reach(colour, server.url, era="modern", limits=Limits(pages=3)) as wire:
            assert (await call(wire)).status == 400
    assert all_said(server) == [CALLED, LISTED, LISTED, LISTED]


# Progress


def reports(*told: str) -> Script:
    """Return a script that reports before it answers; TOKEN stands for the call's own."""

    def script(peer: Peer, request: Request) -> None:
        token = request.json["params"]["_meta"].get("progressToken")
        events = [event(each.replace("TOKEN", str(token)).encode()) for each in told]
        # All in one piece, so that all are read at once.
        peer.send(*chunked([b"".join([*events, event(message(request, RESULT))])]))

    return script


def report(params: str) -> str:
    return f'{{"jsonrpc":"2.0","method":"notifications/progress","params":{params}}}'


HALF = report('{"progressToken":TOKEN,"progress":1,"total":2,"message":"half\\u0007way"}')
MORE = report('{"progressToken":TOKEN,"progress":1.5}')


@pytest.mark.parametrize("era", ["bare", "legacy", "modern"])
async def test_progress_reaches_the_listener_of_a_call(colour: Colour, era: str) -> None:
    seen: list[Progress] = []
    table = {**session("session-1"), CALLED: reports(HALF, MORE)}
    with serve(speaks(table)) as server:
        crm = colours.client(colour, server.url, era=era)
        result = await crm.call_tool("count", on_progress=seen.append)
        await crm.end()
    assert result.raw == RESULT
    assert [(each.progress, each.total, each.message) for each in seen] == [
        (1, 2, "halfway"),
        (1.5, None, ""),
    ]
    (asked,) = requests_of(server, CALLED)
    assert asked.json["params"]["_meta"]["progressToken"] == asked.json["id"]


@pytest.mark.parametrize("era", ["bare", "legacy", "modern"])
async def test_no_progress_is_reported_after_the_deadline(
    colour: Colour, era: Era, clock: MovedClock
) -> None:
    seen: list[float] = []

    def listen(progress: Progress) -> None:
        seen.append(progress.progress)
        clock.now += 100.0

    table = {**session("session-1"), CALLED: reports(HALF, MORE)}
    with serve(speaks(table)) as server:
        async with reach(colour, server.url, era=era, clock=clock) as wire:
            await wire.request(CALLED, CALL, on_progress=listen)
    assert seen == [1]


async def test_progress_is_reported_while_the_call_runs(colour: Colour) -> None:
    """It is told while the call runs: the server answers only after the first report was heard."""
    heard = threading.Event()

    def script(peer: Peer, request: Request) -> None:
        pieces = chunked([event(HALF.replace("TOKEN", str(request.json["id"])).encode())])
        peer.send(*pieces[:-1])
        peer.wait_for(heard)
        told = event(message(request, RESULT))
        peer.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(told), told))

    with serve(speaks({**MODERN, CALLED: script})) as server:
        crm = colours.client(colour, server.url, era="modern")
        assert (await crm.call_tool("count", on_progress=lambda _: heard.set())).raw == RESULT
        await crm.end()
    assert heard.is_set()
