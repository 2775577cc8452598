"""Sessions: where their id comes from, how they end, and that the server is told when nobody waits any longer."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import colours
import httpx
import pytest
from colours import Facade, way
from secrecy.search import Search
from servers import (
    Peer,
    Request,
    Script,
    answers,
    chunked,
    event,
    message,
    resets,
    sends,
    serve,
    stalls,
)
from transports.harness import SHORT, client_of, reach, stand_in
from transports.mcp_servers import (
    CALL,
    MODERN,
    RESULT,
    SESSION_ID,
    TAKEN,
    all_said,
    call,
    initialized,
    many,
    page,
    refuses,
    requests_of,
    session,
    speaks,
)

from favcrm import NotSentError, OutcomeUnknownError, RetryPolicy
from favcrm.transport import Request as MCPRequest
from favcrm.transports import HTTPTransport
from favcrm.transports.http.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from colours import Colour

    from favcrm.secret import Secret
    from favcrm.typing import Era

pytestmark = pytest.mark.anyio

__all__ = ["way"]

IMPATIENT = Limits(grace=SHORT)

ONCE = RetryPolicy.never()
INITIALIZE, READY, CALLED = "initialize", "notifications/initialized", "tools/call"
CANCELLED = "notifications/cancelled"
OPENING = [INITIALIZE, READY]


def ids(requests: Iterable[Request]) -> list[str | None]:
    """Return the session of each request."""
    return [request.headers.get(SESSION_ID) for request in requests]


# Where the id comes from


async def test_every_request_after_initialize_names_the_session(colour: Colour, key: Secret) -> None:
    with serve(speaks(session("session-1"))) as server:
        async with reach(colour, server.url, era="legacy") as wire:
            await call(wire, api_key=key)
            await wire.request(api_key=key)
    first, *later = server.requests
    assert all_said(server) == [*OPENING, CALLED, "tools/list", "DELETE"]
    assert ids(server.requests) == [None, *["session-1"] * 4]
    assert "mcp-protocol-version" not in first.headers
    assert {request.headers["mcp-protocol-version"] for request in later} == {"2025-11-25"}
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {key.reveal()}"}
    assert not [name for name in later[1].headers if name in {"mcp-method", "mcp-name"}]


async def test_a_session_without_an_id_is_not_ended(colour: Colour) -> None:
    with serve(speaks(session())) as server:
        async with reach(colour, server.url, era="legacy") as wire:
            await call(wire)
    assert all_said(server) == [*OPENING, CALLED]
    assert ids(server.requests) == [None] * 3


@pytest.mark.parametrize("ending", ["silent", "chatty"])
async def test_a_stream_that_answers_initialized_is_left(colour: Colour, ending: str) -> None:
    def keep_open(peer: Peer, _: Request) -> None:
        peer.send(chunked([])[0], b"3\r\n:\n\n\r\n")
        while ending == "chatty":
            peer.send(b"3\r\n:\n\n\r\n")
        peer.stall()

    with serve(speaks(session(notifications_initialized=keep_open))) as server:
        async with reach(colour, server.url, era="legacy", limits=IMPATIENT) as wire:
            assert (await call(wire)).result == RESULT
    assert all_said(server) == [*OPENING, CALLED]


# How it ends


OVER = refuses(-32600, "Session not found", 404)


async def test_a_session_that_is_over_is_begun_again_and_the_call_sent_once_more(colour: Colour) -> None:
    script = speaks(
        session(
            initialize=[initialized("session-1"), initialized("session-2")],
            tools_call=[answers(RESULT), OVER, answers(RESULT)],
        )
    )
    with serve(script) as server:
        async with reach(colour, server.url, era="legacy") as wire:
            assert (await call(wire)).result == RESULT
            assert (await call(wire)).result == RESULT
            assert (await call(wire)).result == RESULT
    assert all_said(server) == [*OPENING, CALLED, CALLED, *OPENING, CALLED, CALLED, "DELETE"]
    one, two = "session-1", "session-2"
    assert ids(server.requests) == [None, one, one, one, None, two, two, two, two]
    assert "mcp-protocol-version" not in server.requests[4].headers
    numbers = [request.json["id"] for request in requests_of(server, CALLED)]
    assert len(set(numbers)) == 4


async def test_a_session_that_cannot_be_begun_again_raises_not_sent_error(colour: Colour) -> None:
    script = speaks(
        session(
            initialize=[initialized("session-1"), resets, initialized("session-2")],
            tools_call=[OVER, answers(RESULT)],
        )
    )
    with serve(script) as server:
        async with reach(colour, server.url, era="legacy") as wire:
            with pytest.raises(NotSentError, match="No answer came to initialize"):
                await call(wire)
            assert (await call(wire)).result == RESULT
    assert len(requests_of(server, CALLED)) == 2


async def test_calls_that_find_their_session_over_at_once_begin_one_session(colour: Colour) -> None:
    both = threading.Barrier(4)

    def over(peer: Peer, request: Request) -> None:
        both.wait(30)
        OVER(peer, request)

    script = speaks(
        session(
            initialize=[initialized("session-1"), initialized("session-2")],
            tools_call=[answers(RESULT), *[over] * 4, answers(RESULT)],
        )
    )
    with serve(script) as server:
        async with reach(colour, server.url, era="legacy") as wire:
            await call(wire)
            responses = await many(colour, wire, 4, lambda: None)
    assert [response.result for response in responses] == [RESULT] * 4
    assert len(requests_of(server, INITIALIZE)) == 2
    assert ids(requests_of(server, CALLED)) == ["session-1"] * 5 + ["session-2"] * 4


@pytest.mark.parametrize(
    "goodbye",
    [TAKEN, page(405), resets, stalls],
    ids=["202", "405", "reset", "silent"],
)
async def test_closing_ends_the_session_whatever_the_server_answers(
    colour: Colour, goodbye: Script, key: Secret
) -> None:
    with serve(speaks(session("session-1", DELETE=goodbye))) as server:
        async with reach(colour, server.url, era="legacy", limits=IMPATIENT) as wire:
            await call(wire, api_key=key)
            await wire.end()
    assert all_said(server) == [*OPENING, CALLED, "DELETE"]
    headers = server.requests[-1].headers
    assert headers[SESSION_ID] == "session-1"
    assert headers["mcp-protocol-version"] == "2025-11-25"
    assert headers["authorization"] == f"Bearer {key.reveal()}"
    assert "content-type" not in headers
    assert server.requests[-1].body == b""


async def test_closing_without_a_session_sends_nothing(colour: Colour) -> None:
    with serve(speaks(session("session-1"))) as server:
        async with reach(colour, server.url, era="legacy"):
            pass
    assert server.requests == []


async def test_a_call_after_closing_begins_another_session_where_the_client_stays_open(
    colour: Colour,
) -> None:
    script = session(initialize=[initialized("session-1"), initialized("session-2")])
    with serve(speaks(script)) as server:
        async with (
            client_of(httpx, colour) as client,
            reach(colour, server.url, client, era="legacy") as wire,
        ):
            await call(wire)
            await wire.end()
            await wire.end()
            assert all_said(server) == [*OPENING, CALLED, "DELETE"]
            await call(wire)
    assert ids(requests_of(server, CALLED)) == ["session-1", "session-2"]
    assert ids(requests_of(server, "DELETE")) == ["session-1", "session-2"]


async def test_closing_after_its_client_sends_nothing(colour: Colour) -> None:
    with serve(speaks(session("session-1"))) as server:
        async with (
            client_of(httpx, colour) as client,
            reach(colour, server.url, client, era="legacy") as wire,
        ):
            await call(wire)
            await Facade(client).end()
    assert all_said(server) == [*OPENING, CALLED]


# What a server asks before it answers


def asks(gate: threading.Event, *asked: bytes) -> Script:
    """Return a script that asks in its stream, and answers the call only when it was answered itself."""

    def script(peer: Peer, request: Request) -> None:
        pieces = chunked([event(each) for each in asked])
        peer.send(*pieces[:-1])
        peer.wait_for(gate)
        told = event(message(request, RESULT))
        peer.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(told), told))

    return script


async def test_a_ping_is_answered_while_the_call_is_waited_for(colour: Colour, key: Secret) -> None:
    gate = threading.Event()

    def answered(peer: Peer, request: Request) -> None:
        TAKEN(peer, request)
        gate.set()

    notified = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}'
    # The first id cannot be sent back, so the question gets no answer.
    unfit, ping = b'{"id":"\\ud800","method":"ping"}', b'{"id":"s-1","method":"ping"}'
    script = speaks(session("session-1", tools_call=asks(gate, notified, unfit, ping), answer=answered))
    with serve(script) as server:
        async with reach(colour, server.url, era="legacy") as wire:
            assert (await call(wire, api_key=key)).result == RESULT
    (answer,) = requests_of(server, "answer")
    assert answer.json == {"jsonrpc": "2.0", "id": "s-1", "result": {}}
    assert answer.headers[SESSION_ID] == "session-1"
    assert answer.headers["authorization"] == f"Bearer {key.reveal()}"


async def test_answers_to_the_server_end_at_the_deadline_of_the_call(colour: Colour) -> None:
    asked = b"[" + b",".join(b'{"id":%d,"method":"ping"}' % number for number in range(50)) + b"]"

    def streamed(peer: Peer, request: Request) -> None:
        peer.send(*chunked([event(asked)])[:-1])
        peer.stall()

    with serve(speaks(session("session-1", tools_call=streamed, answer=stalls))) as server:
        crm = colours.client(colour, server.url, era="legacy", retry=ONCE, timeout=SHORT)
        with pytest.raises(OutcomeUnknownError):
            await crm.call_tool("count")
        await crm.end()
    assert len(requests_of(server, "answer")) == 1


@pytest.mark.parametrize("era", ["bare", "modern"])
async def test_a_ping_gets_no_answer_outside_of_a_session(colour: Colour, era: Era) -> None:
    gate = threading.Event()
    gate.set()
    with serve(speaks({**MODERN, CALLED: asks(gate, b'{"id":1,"method":"ping"}')})) as server:
        async with reach(colour, server.url, era=era) as wire:
            reports: list[Any] = []
            response = await wire.request(CALLED, CALL, on_progress=reports.append)
            assert response.result == RESULT
    assert all_said(server) == [CALLED]


# Nobody waits any longer


def check_cancelled(server: Any, *, of: str | None = "session-1") -> None:
    """The server was told once which request is not waited for."""
    (told,) = requests_of(server, CANCELLED)
    (asked,) = requests_of(server, CALLED)
    assert told.json == {
        "jsonrpc": "2.0",
        "method": CANCELLED,
        "params": {"requestId": asked.json["id"], "reason": "no longer waited for"},
    }
    assert told.headers.get(SESSION_ID) == of
    assert told.headers["mcp-protocol-version"] == "2025-11-25"


BROKEN: dict[str, Script] = {"silent": stalls, "a stream that ended": sends(*chunked([b": ping\n\n"]))}


@pytest.mark.parametrize("failure", BROKEN)
async def test_a_call_without_an_answer_is_cancelled_at_the_server(colour: Colour, failure: str) -> None:
    with serve(speaks(session("session-1", tools_call=BROKEN[failure]))) as server:
        crm = colours.client(
            colour,
            server.url,
            era="legacy",
            retry=ONCE,
            timeout=SHORT * 2 if failure == "silent" else None,
        )
        with pytest.raises(OutcomeUnknownError):
            await crm.call_tool("count")
        check_cancelled(server)
        await crm.end()


@pytest.mark.parametrize("refused", [resets, stalls], ids=["reset", "silent"])
async def test_an_answer_and_a_cancellation_that_are_not_taken_change_nothing(
    colour: Colour, refused: Script
) -> None:
    def asks_and_breaks(peer: Peer, _: Request) -> None:
        peer.send(*chunked([event(b'{"id":1,"method":"ping"}')])[:-1])
        peer.hang_up()

    script = speaks(
        session("session-1", tools_call=asks_and_breaks, answer=refused, notifications_cancelled=refused)
    )
    with serve(script) as server:
        async with reach(colour, server.url, era="legacy", limits=IMPATIENT) as wire:
            assert not (await call(wire)).complete
    assert len(requests_of(server, "answer")) == 1
    check_cancelled(server)


async def test_a_call_that_was_never_sent_is_not_cancelled(colour: Colour) -> None:
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if b'"initialize"' in request.content:
            result = {"protocolVersion": "2025-11-25", "capabilities": {}}
            return httpx.Response(200, content=message(1, result), headers={SESSION_ID: "session-1"})
        if b"initialized" in request.content:
            return httpx.Response(202)
        sent.append(request.content.decode())
        raise httpx.ConnectError("nobody there", request=request)

    async with (
        client_of(httpx, colour, **stand_in(httpx, colour, answer)) as client,
        reach(colour, "https://favcrm.example/mcp", client, era="legacy") as wire,
    ):
        with pytest.raises(NotSentError):
            await call(wire)
        assert [CALLED in each for each in sent] == [True]


@pytest.mark.parametrize("way", ["asyncio", "trio"], indirect=True)
async def test_a_call_that_is_cancelled_is_cancelled_at_the_server_too() -> None:
    asked = anyio.Event()
    token = anyio.lowlevel.current_token()

    def stall(peer: Peer, _: Request) -> None:
        anyio.from_thread.run_sync(asked.set, token=token)
        peer.stall()

    with serve(speaks(session("session-1", tools_call=stall))) as server:
        async with reach("asynchronous", server.url, era="legacy") as wire:
            async with anyio.create_task_group() as group:
                group.start_soon(call, wire)
                await asked.wait()
                group.cancel_scope.cancel()
            check_cancelled(server)


def test_a_call_that_is_interrupted_is_cancelled_at_the_server_too() -> None:
    """Ctrl-C comes while the answer is read, on the main thread."""
    main = threading.main_thread().ident
    assert main is not None

    def interrupt(peer: Peer, _: Request) -> None:
        signal.pthread_kill(main, signal.SIGINT)
        peer.stall()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with serve(speaks(session("session-1", tools_call=interrupt))) as server:
            transport = HTTPTransport(server.url, era="legacy")
            with pytest.raises(KeyboardInterrupt):
                transport.request(MCPRequest(CALLED, CALL, timeout=30.0))
            check_cancelled(server)
            transport.close()
    finally:
        signal.signal(signal.SIGINT, before)


# Nothing comes out

SECRET = "session-that-nobody-may-see"
FAILING: dict[str, dict[str, Any]] = {
    "a reset": {"tools_call": resets},
    "nothing to read": {"tools_call": page(200)},
    "an id that no header can carry": {"initialize": initialized(f"{SECRET} {SECRET}")},
    "an unknown version": {"initialize": initialized(SECRET, version="2027-05-05")},
    "a session that cannot be begun again": {
        "tools_call": page(404),
        "initialize": [initialized(SECRET), resets],
    },
}


@pytest.mark.parametrize("failure", FAILING)
async def test_a_failure_shows_neither_key_nor_session_id(
    colour: Colour, key: Secret, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    # httpcore logs what every server sends, for those who ask for it.
    caplog.set_level("INFO", "httpcore")
    search = Search()
    search.hide("key", key.reveal())
    search.hide("session", SECRET)
    with serve(speaks(session(SECRET, **FAILING[failure]))) as server, search.listening():
        crm = colours.client(
            colour,
            server.url,
            era="legacy",
            api_key=key,
            retry=ONCE,
        )
        with pytest.raises(Exception, match=r".") as raised:
            await crm.call_tool("count")
        search.take("error", raised.value)
        search.take("client", crm.inner)
        await crm.end()
    assert SECRET in {*ids(server.requests), SECRET}
    assert search.searched > 1000
    search.check()
