"""Streams that end before the answer, and go on with another request where the server says how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import colours
import pytest
from colours import way
from servers import (
    Peer,
    Request,
    Script,
    chunked,
    event,
    message,
    resets,
    sends,
    serve,
    stalls,
)
from transports.harness import SHORT, QuickClock, reach
from transports.mcp_servers import (
    BARE,
    CALL,
    MODERN,
    RESULT,
    SESSION_ID,
    TAKEN,
    all_said,
    call,
    page,
    refuses,
    requests_of,
    session,
    speaks,
)

from favcrm import OutcomeUnknownError, RetryPolicy

if TYPE_CHECKING:
    from colours import Colour

    from favcrm.models import Progress
    from favcrm.secret import Secret
    from favcrm.typing import Era

pytestmark = pytest.mark.anyio

__all__ = ["way"]

CALLED, CANCELLED = "tools/call", "notifications/cancelled"
PRIMED = b"id: event-1\ndata:\n\n"


@pytest.fixture
def clock() -> QuickClock:
    """The clock of a transport that does not wait."""
    return QuickClock()


def streams(*events: bytes) -> Script:
    """Return a script that sends a stream, and ends it in good order."""
    return sends(*chunked(events))


def breaks(*events: bytes) -> Script:
    """Return a script that sends a stream, and breaks the connection."""

    def script(peer: Peer, _: Request) -> None:
        peer.send(*chunked(events)[:-1])
        peer.hang_up()

    return script


def goes_on(*before: bytes) -> Script:
    """Return a script that answers the call that is being resumed, which has the first id of all."""

    def script(peer: Peer, request: Request) -> None:
        peer.send(*chunked([*before, event(message(NUMBER, RESULT))]))

    return script


NUMBER = 2
"""The id of the call: the first is that of ``initialize``."""


@pytest.mark.parametrize("ending", [streams, breaks])
async def test_a_stream_that_ends_early_is_resumed_after_its_last_event(
    colour: Colour, key: Secret, clock: QuickClock, ending: Any
) -> None:
    script = session("session-1", tools_call=ending(b"retry: 500\n" + PRIMED), GET=goes_on())
    with serve(speaks(script)) as server:
        async with reach(colour, server.url, clock=clock, era="legacy") as wire:
            assert (await call(wire, api_key=key)).result == RESULT
    (resumed,) = requests_of(server, "GET")
    assert resumed.headers["last-event-id"] == "event-1"
    assert resumed.headers["accept"] == "text/event-stream"
    assert resumed.headers[SESSION_ID] == "session-1"
    assert resumed.headers["mcp-protocol-version"] == "2025-11-25"
    assert resumed.headers["authorization"] == f"Bearer {key.reveal()}"
    assert "content-type" not in resumed.headers
    assert (resumed.path, resumed.body) == ("/mcp", b"")
    assert clock.slept == [0.5]
    assert len(requests_of(server, CALLED)) == 1
    assert CANCELLED not in all_said(server)


async def test_a_stream_is_resumed_as_often_as_it_brings_events(colour: Colour, clock: QuickClock) -> None:
    """As long as there is something new, and with the newest id and time that were given."""
    parts = [
        streams(b"id: event-2\ndata:\n\n"),
        streams(b": nothing new\n\n"),
        streams(b"retry: 70\nid: event-3\ndata:\n\n"),
        streams(b": nothing new\n\n"),
        goes_on(b"id: event-4\ndata:\n\n"),
    ]
    with serve(speaks(session(tools_call=streams(b"retry: 500\n" + PRIMED), GET=parts))) as server:
        async with reach(colour, server.url, clock=clock, era="legacy") as wire:
            assert (await call(wire)).result == RESULT
    resumed = [request.headers["last-event-id"] for request in requests_of(server, "GET")]
    assert resumed == ["event-1", "event-2", "event-2", "event-3", "event-3"]
    assert clock.slept == [0.5, 0.5, 0.5, 0.07, 0.07]


@pytest.mark.parametrize(
    "nothing",
    [streams(), streams(b"data: {\n\n"), breaks(), resets],
    ids=["nothing", "no JSON", "broken", "reset"],
)
async def test_two_resumptions_without_an_event_are_the_last(
    colour: Colour, clock: QuickClock, nothing: Script
) -> None:
    with serve(speaks(session("session-1", tools_call=streams(PRIMED), GET=nothing))) as server:
        async with reach(colour, server.url, clock=clock, era="legacy") as wire:
            response = await call(wire)
            assert (response.complete, response.result, response.status) == (False, None, 200)
            assert all_said(server)[2:] == [CALLED, "GET", "GET", CANCELLED]
    assert clock.slept == [1.0, 1.0]


REFUSALS: dict[str, Script] = {
    "405": page(405),
    "202": TAKEN,
    "a page": page(200),
    "an error that is no stream": refuses(-32000, "Cannot resume", 200),
}


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_refused_resumption_raises_outcome_unknown_error(
    colour: Colour, clock: QuickClock, refusal: str
) -> None:
    script = session("session-1", tools_call=streams(PRIMED), GET=REFUSALS[refusal])
    with serve(speaks(script)) as server:
        crm = colours.client(colour, server.url, era="legacy", retry=RetryPolicy.never())
        with pytest.raises(OutcomeUnknownError, match="The answer broke off"):
            await crm.call_tool("count")
        assert all_said(server)[2:] == [CALLED, "GET", CANCELLED]
        await crm.end()


@pytest.mark.parametrize("retry", [b"", b"retry: 9000\n", b"retry: 999999999\n"])
async def test_no_resumption_waits_past_the_deadline(colour: Colour, clock: QuickClock, retry: bytes) -> None:
    with serve(speaks(session(tools_call=streams(retry + PRIMED)))) as server:
        async with reach(colour, server.url, clock=clock, era="legacy") as wire:
            response = await call(wire, timeout=0.9)
            assert not response.complete
    assert clock.slept == []
    assert "GET" not in all_said(server)


async def test_a_silent_resumption_ends_at_the_deadline(colour: Colour, clock: QuickClock) -> None:
    with serve(speaks(session(tools_call=streams(b"retry: 0\n" + PRIMED), GET=stalls))) as server:
        async with reach(colour, server.url, clock=clock, era="legacy") as wire:
            response = await call(wire, timeout=SHORT)
            assert not response.complete
    assert len(requests_of(server, "GET")) == 1
    assert len(requests_of(server, CALLED)) == 1


async def test_progress_and_pings_of_a_resumed_stream_are_heard(colour: Colour, clock: QuickClock) -> None:
    told = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":2,"progress":%d}}'
    ping = event(b'{"id":1,"method":"ping"}')
    script = session(
        tools_call=streams(PRIMED + event(told % 1)), GET=goes_on(event(told % 2), ping), answer=TAKEN
    )
    reports: list[Progress] = []
    with serve(speaks(script)) as server:
        async with reach(colour, server.url, clock=clock, era="legacy") as wire:
            response = await wire.request(CALLED, CALL, on_progress=reports.append)
    assert response.result == RESULT
    assert [report.progress for report in reports] == [1, 2]
    assert len(requests_of(server, "answer")) == 1


@pytest.mark.parametrize("first", [b": ping\n\n", b"data:\n\n", "id: 名\ndata:\n\n".encode(), b"id: 1"])
async def test_a_stream_without_an_id_is_not_resumed(colour: Colour, clock: QuickClock, first: bytes) -> None:
    with serve(speaks(session(tools_call=streams(first)))) as server:
        async with reach(colour, server.url, clock=clock, era="legacy") as wire:
            assert not (await call(wire)).complete
    assert "GET" not in all_said(server)
    assert clock.slept == []


@pytest.mark.parametrize("era", ["bare", "modern"])
async def test_a_stream_is_resumed_in_every_era(colour: Colour, clock: QuickClock, era: Era) -> None:
    def go_on(peer: Peer, request: Request) -> None:
        peer.send(*chunked([event(message(1, RESULT))]))

    table = BARE if era == "bare" else MODERN
    with serve(speaks({**table, CALLED: streams(PRIMED), "GET": go_on})) as server:
        async with reach(colour, server.url, clock=clock, era=era) as wire:
            assert (await call(wire)).result == RESULT
    assert all_said(server) == [CALLED, "GET"]
    assert "content-type" not in server.requests[1].headers
