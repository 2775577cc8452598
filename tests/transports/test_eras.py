"""What a server speaks is found out once, with few requests, and again only where an answer proves that it must.

What each answer proves is tested without a server, in tests/core/test_eras.py. Here are the requests that follow from
it. They do not depend on how a caller waits, so most tests wait in one way; those that do depend on it name theirs.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import colours
import httpx
import pytest
from servers import (
    Peer,
    Request,
    Script,
    answers,
    chunked,
    message,
    resets,
    sends,
    serve,
)
from transports.harness import SHORT, MovedClock, client_of, reach, stand_in
from transports.mcp_servers import (
    BARE,
    DISCOVERED,
    MODERN,
    NAMES_ITS_VERSION,
    NO_SESSION,
    RESULT,
    Scripts,
    all_said,
    beside,
    call,
    many,
    page,
    requests_of,
    session,
    speaks,
)

from favcrm import InvalidInputError, NotSentError, OutcomeUnknownError, RetryPolicy
from favcrm._backends.clock import SYSTEM_CLOCK
from favcrm.transports import HTTPTransport
from favcrm.transports.http.session import ERA_CACHE, EraCache

if TYPE_CHECKING:
    from colours import Colour
    from transports.harness import Wire

    from favcrm.secret import Secret
    from favcrm.typing import Era

pytestmark = pytest.mark.anyio

DISCOVER, INITIALIZE, READY, CALLED = (
    "server/discover",
    "initialize",
    "notifications/initialized",
    "tools/call",
)
BOTH_COLOURS = pytest.mark.parametrize("way", ["blocking", "asyncio"], indirect=True)
EVERY_WAY = pytest.mark.parametrize("way", list(colours.WAYS), indirect=True)
EVERY_EVENT_LOOP = pytest.mark.parametrize("way", ["asyncio", "trio"], indirect=True)


@pytest.fixture(params=["asyncio"])
def way(request: pytest.FixtureRequest) -> tuple[Colour, str]:
    """The one way in which a test waits that names no other."""
    return colours.WAYS[request.param]


@asynccontextmanager
async def asking(
    colour: Colour, endpoint: str, answer: Callable[[httpx.Request], httpx.Response]
) -> AsyncGenerator[Wire, None]:
    """Open a transport to an address where a function answers."""
    async with (
        client_of(httpx, colour, **stand_in(httpx, colour, answer)) as client,
        reach(colour, endpoint, client, era=None) as wire,
    ):
        yield wire


# How many requests it takes

FIRST_CALLS: dict[Era, tuple[Scripts, list[str], list[str]]] = {
    "bare": (BARE, [DISCOVER, INITIALIZE, CALLED], [CALLED]),
    "legacy": (
        session("session-1"),
        [DISCOVER, INITIALIZE, READY, CALLED],
        [INITIALIZE, READY, CALLED],
    ),
    "modern": (MODERN, [DISCOVER, CALLED], [CALLED]),
}
"""A server of each era, what is said where its era is not known, and what where it is."""


@pytest.mark.parametrize("kind", FIRST_CALLS)
async def test_an_unknown_era_takes_more_requests_and_a_known_one_takes_none(
    colour: Colour, kind: Era
) -> None:
    scripts, unknown, known = FIRST_CALLS[kind]
    with serve(speaks({**scripts, "DELETE": page(200)})) as server:
        async with reach(colour, server.url, era="auto") as wire:
            assert (await call(wire)).result == RESULT
            assert (await call(wire)).result == RESULT
            assert all_said(server) == [*unknown, CALLED]
        for era in (None, kind):
            before = len(server.requests)
            async with reach(colour, server.url, era=era) as wire:
                assert (await call(wire)).result == RESULT
                assert all_said(server)[before:] == known


@BOTH_COLOURS
async def test_an_era_that_one_facade_found_is_known_to_the_next(colour: Colour) -> None:
    with serve(speaks(MODERN)) as server:
        crm = colours.client(colour, server.url, era=None)
        await crm.call_tool("count")
        await crm.end()
        favourite = colours.provisioner(colour, server.url, era=None)
        await favourite.diagnose()
        await favourite.end()
    assert all_said(server)[:2] == [DISCOVER, CALLED]
    assert DISCOVER not in all_said(server)[2:]


@BOTH_COLOURS
async def test_the_client_of_a_hand_over_speaks_the_pinned_era(colour: Colour, key: Secret) -> None:
    with serve(speaks(BARE)) as server:
        provisioner = colours.provisioner(colour, server.url, era="bare", retry=RetryPolicy.never())
        provisioned = await provisioner.adopt(key)
        crm = colours.Facade(provisioned.client())
        assert (await crm.call_tool("count")).raw == RESULT
        await crm.end()
        await provisioner.end()
    assert set(all_said(server)) == {"tools/call", "tools/list"}


async def test_favcrms_own_host_is_called_without_a_negotiation(colour: Colour) -> None:
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, content=message(1, RESULT))

    ERA_CACHE.remember("https://api.favcrm.io/mcp", "modern", SYSTEM_CLOCK.monotonic())
    async with asking(colour, "https://api.favcrm.io/mcp", answer) as wire:
        assert (await call(wire)).result == RESULT
    (request,) = sent
    assert b'"tools/call"' in request.content
    assert not [name for name in request.headers if name.startswith("mcp-")]


async def test_a_refused_negotiation_is_the_answer_and_the_next_call_asks_again(colour: Colour) -> None:
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["mcp-method"])
        return httpx.Response(401)

    async with asking(colour, "https://favcrm.example/mcp", answer) as wire:
        assert (await call(wire)).status == 401
        assert (await call(wire)).status == 401
    assert sent == [DISCOVER, DISCOVER]


def test_an_era_that_does_not_exist_raises_invalid_input_error() -> None:
    mistyped: Any = "modren"
    with pytest.raises(InvalidInputError, match="era: must be one of auto, bare, legacy, modern"):
        HTTPTransport("http://127.0.0.1:9/mcp", era=mistyped)


# What is remembered


async def test_auto_asks_although_an_era_is_remembered(colour: Colour) -> None:
    with serve(speaks(MODERN)) as server:
        ERA_CACHE.remember(server.url, "bare", SYSTEM_CLOCK.monotonic())
        async with reach(colour, server.url, era="auto") as wire:
            await call(wire)
    assert all_said(server) == [DISCOVER, CALLED]


async def test_an_era_is_found_out_again_after_an_hour(colour: Colour) -> None:
    clock = MovedClock()
    with serve(speaks(MODERN)) as server:
        for seconds in (0.0, 3599.0, 1.0, 3600.0):
            clock.now += seconds
            async with reach(colour, server.url, era=None, clock=clock) as wire:
                await call(wire)
    assert all_said(server) == [DISCOVER, CALLED, CALLED, DISCOVER, CALLED, DISCOVER, CALLED]


def test_a_full_cache_is_emptied() -> None:
    cache = EraCache(size=2)
    cache.remember("https://a.example/mcp", "modern", 0.0)
    assert cache.recall("https://a.example/mcp", 1.0) == "modern"
    assert cache.recall("https://a.example/other", 1.0) == "auto"
    cache.remember("https://b.example/", "bare", 0.0)
    assert cache.recall("https://a.example/mcp", 1.0) == "modern"
    cache.remember("https://c.example/", "legacy", 0.0)
    assert cache.recall("https://a.example/mcp", 1.0) == "auto"
    assert cache.recall("https://c.example/", 1.0) == "legacy"


# One at a time


@BOTH_COLOURS
async def test_calls_at_once_negotiate_once(colour: Colour) -> None:
    gate = threading.Event()

    def slow(peer: Peer, request: Request) -> None:
        peer.wait_for(gate)
        NO_SESSION(peer, request)

    with serve(speaks(session("session-1", server_discover=slow))) as server:
        async with reach(colour, server.url, era="auto") as wire:
            responses = await many(colour, wire, 8, gate.set)
    assert [response.result for response in responses] == [RESULT] * 8
    for once in (DISCOVER, INITIALIZE, READY):
        assert len(requests_of(server, once)) == 1
    assert len(requests_of(server, CALLED)) == 8


@BOTH_COLOURS
async def test_calls_that_are_refused_at_once_negotiate_once(colour: Colour) -> None:
    both = threading.Barrier(2)

    def refuse(peer: Peer, request: Request) -> None:
        both.wait(30)
        NO_SESSION(peer, request)

    with serve(speaks(session("session-1", tools_call=[refuse, refuse, answers(RESULT)]))) as server:
        async with reach(colour, server.url, era="bare") as wire:
            responses = await many(colour, wire, 2, lambda: None)
    assert [response.result for response in responses] == [RESULT] * 2
    assert len(requests_of(server, DISCOVER)) == len(requests_of(server, INITIALIZE)) == 1
    assert len(requests_of(server, CALLED)) == 4


@EVERY_WAY
async def test_a_call_that_waits_too_long_for_a_negotiation_raises_not_sent_error(colour: Colour) -> None:
    gate, asked = threading.Event(), threading.Event()

    def slow(peer: Peer, request: Request) -> None:
        asked.set()
        peer.wait_for(gate)
        answers({"supportedVersions": ["2026-07-28"]})(peer, request)

    with serve(speaks({**MODERN, DISCOVER: slow})) as server:
        async with reach(colour, server.url, era="auto") as wire:

            async def late() -> None:
                assert await anyio.to_thread.run_sync(asked.wait, 30)
                try:
                    with pytest.raises(NotSentError, match=r"negotiation .* Nothing was sent"):
                        await beside(colour, wire, timeout=SHORT)
                finally:
                    gate.set()

            async with anyio.create_task_group() as group:
                group.start_soon(late)
                await beside(colour, wire, timeout=30.0)
    assert all_said(server) == [DISCOVER, CALLED]


@EVERY_EVENT_LOOP
async def test_the_call_after_a_cancelled_negotiation_negotiates() -> None:
    asked = anyio.Event()
    token = anyio.lowlevel.current_token()

    def stall(peer: Peer, _: Request) -> None:
        anyio.from_thread.run_sync(asked.set, token=token)
        peer.stall()

    with serve(speaks({**MODERN, DISCOVER: [stall, DISCOVERED]})) as server:
        async with reach("asynchronous", server.url, era="auto") as wire:
            async with anyio.create_task_group() as group:
                group.start_soon(call, wire)
                await asked.wait()
                group.cancel_scope.cancel()
            assert (await call(wire)).result == RESULT
    assert all_said(server) == [DISCOVER, DISCOVER, CALLED]


# Nothing is sent twice that may have run


def cut(peer: Peer, request: Request) -> None:
    """Begin a stream and hang up."""
    sends(*chunked([b": ping\n\n"])[:-1])(peer, request)
    peer.hang_up()


@pytest.mark.parametrize(
    ("kind", "failure"),
    [("bare", cut), ("bare", page(502)), ("legacy", resets), ("modern", resets)],
    ids=["bare, cut", "bare, 502", "legacy, reset", "modern, reset"],
)
async def test_a_call_that_may_have_run_is_not_sent_again(colour: Colour, kind: Era, failure: Script) -> None:
    scripts, _, known = FIRST_CALLS[kind]
    with serve(speaks({**scripts, CALLED: [failure, answers(RESULT)]})) as server:
        async with reach(colour, server.url, era=kind) as wire:
            try:
                response = await call(wire)
            except OutcomeUnknownError:
                response = None
            assert response is None or response.result is None
            assert all_said(server)[: len(known)] == known
    assert len(requests_of(server, CALLED)) == 1
    assert DISCOVER not in all_said(server)


async def test_a_page_after_an_answer_leads_to_no_negotiation(colour: Colour) -> None:
    with serve(speaks({**BARE, CALLED: [answers(RESULT), page(404)]})) as server:
        async with reach(colour, server.url, era="bare") as wire:
            await call(wire)
            assert (await call(wire)).status == 404
    assert all_said(server) == [CALLED, CALLED]


# A negotiation that fails


@pytest.mark.parametrize(
    ("scripts", "unanswered"),
    [({DISCOVER: resets}, DISCOVER), (session(notifications_initialized=resets), READY)],
    ids=["request", "notification"],
)
async def test_a_negotiation_without_an_answer_raises_not_sent_error(
    colour: Colour, scripts: Scripts, unanswered: str
) -> None:
    with serve(speaks(scripts)) as server:
        async with reach(colour, server.url, era="auto") as wire:
            with pytest.raises(NotSentError) as raised:
                await call(wire)
    assert str(raised.value).startswith(
        f"No answer came to {unanswered}, which goes before the call. The call was not sent."
    )
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)
    assert CALLED not in all_said(server)
    assert ERA_CACHE.recall(server.url, SYSTEM_CLOCK.monotonic()) == "auto"


async def test_a_negotiation_that_takes_all_the_time_raises_not_sent_error(colour: Colour) -> None:
    """Sent all the same, it may run, and nobody would hear of it."""
    clock = MovedClock()

    def late(peer: Peer, request: Request) -> None:
        clock.now += 10.0
        answers({"supportedVersions": ["2026-07-28"]})(peer, request)

    with serve(speaks({**MODERN, DISCOVER: late})) as server:
        async with reach(colour, server.url, era="auto", clock=clock) as wire:
            with pytest.raises(NotSentError, match="No time was left"):
                await call(wire, timeout=10.0)
    assert all_said(server) == [DISCOVER]


@BOTH_COLOURS
async def test_the_attempt_after_a_failed_negotiation_negotiates(colour: Colour) -> None:
    with serve(speaks({**MODERN, DISCOVER: [resets, DISCOVERED]})) as server:
        retry = RetryPolicy(attempts=2, backoff_initial=0.001, backoff_max=0.001)
        crm = colours.client(colour, server.url, era="auto", retry=retry)
        assert (await crm.call_tool("count")).raw == RESULT
        await crm.end()
    assert all_said(server) == [DISCOVER, DISCOVER, CALLED]


# Another era after all


async def test_a_refusal_by_a_server_that_changed_its_era_leads_to_another_attempt(
    colour: Colour, key: Secret
) -> None:
    """From bare to 2026, behind a gateway that wants sessions, and back."""
    refusals = [NAMES_ITS_VERSION, NO_SESSION, NAMES_ITS_VERSION]
    calls = [answers(RESULT)] + [each for refusal in refusals for each in (refusal, answers(RESULT))]
    questions = [DISCOVERED, NO_SESSION, DISCOVERED]
    script = speaks({**session("session-1"), DISCOVER: questions, CALLED: calls})
    with serve(script) as server:
        async with reach(colour, server.url, era="bare") as wire:
            for era in ("auto", "modern", "legacy", "modern"):
                assert (await call(wire, api_key=key)).result == RESULT
                assert ERA_CACHE.recall(server.url, SYSTEM_CLOCK.monotonic()) == era
    assert all_said(server) == [
        *[CALLED],
        *[CALLED, DISCOVER, CALLED],
        *[CALLED, DISCOVER, INITIALIZE, READY, CALLED],
        *[CALLED, DISCOVER, CALLED],
    ]
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {key.reveal()}"}


async def test_a_page_after_a_change_of_the_era_leads_to_a_negotiation(colour: Colour) -> None:
    calls = [answers(RESULT), NO_SESSION, page(400), page(400), answers(RESULT)]
    with serve(speaks({**session(), DISCOVER: [NO_SESSION, DISCOVERED], CALLED: calls})) as server:
        async with reach(colour, server.url, era="bare") as wire:
            assert (await call(wire)).result == RESULT
            assert (await call(wire)).status == 400
            assert (await call(wire)).result == RESULT
    assert all_said(server)[-3:] == [CALLED, DISCOVER, CALLED]


@pytest.mark.parametrize(
    ("scripts", "said"),
    [
        ({**MODERN, CALLED: NAMES_ITS_VERSION}, [CALLED, DISCOVER, CALLED]),
        ({**BARE, CALLED: page(404)}, [CALLED, DISCOVER, INITIALIZE]),
        ({DISCOVER: page(404), INITIALIZE: page(404), CALLED: page(404)}, [CALLED, DISCOVER, INITIALIZE]),
        ({DISCOVER: page(401), CALLED: NAMES_ITS_VERSION}, [CALLED, DISCOVER]),
    ],
    ids=["refused again", "bare after all", "no era is found", "the key is refused"],
)
async def test_a_refusal_is_the_answer_where_another_attempt_is_of_no_use(
    colour: Colour, scripts: Scripts, said: list[str]
) -> None:
    with serve(speaks(scripts)) as server:
        async with reach(colour, server.url, era="bare") as wire:
            response = await call(wire)
    assert (response.result, response.complete) == (None, True)
    assert response.status in {400, 401, 404}
    assert all_said(server) == said


async def test_a_refusal_of_the_era_without_another_era_raises_not_sent_error(colour: Colour) -> None:
    script = speaks({CALLED: NO_SESSION, DISCOVER: page(404), INITIALIZE: page(404)})
    with serve(script) as server:
        async with reach(colour, server.url, era="bare") as wire:
            with pytest.raises(NotSentError, match="speaks MCP in no way") as raised:
                await call(wire)
    assert raised.value.permanent
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)
