"""What a server speaks is found out once, with few requests, and again only where an answer proves that it must."""

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
    hangs_up,
    message,
    redirects,
    resets,
    sends,
    serve,
    stalls,
    unused_address,
    whole,
)
from transports.reach import SHORT, client_of, reach, stand_in
from transports.speakers import (
    BARE,
    DISCOVERED,
    MODERN,
    NAMES_ITS_VERSION,
    NO_SESSION,
    RESULT,
    all_said,
    beside,
    call,
    initialized,
    many,
    page,
    refuses,
    requests_of,
    session,
    speaks,
)

from favcrm import (
    AuthenticationError,
    InvalidInputError,
    NotSentError,
    OutcomeUnknownError,
    RetryPolicy,
    ServerBusyError,
)
from favcrm.transports import AsyncHTTPTransport, HTTPTransport, http
from favcrm.transports.http import conversation, verdicts

if TYPE_CHECKING:
    from colours import Colour
    from transports.reach import Wire

    from favcrm.secret import Secret
    from favcrm.typing import Era

pytestmark = pytest.mark.anyio

ONCE = RetryPolicy.never()
DISCOVER, INITIALIZE, READY, CALLED = (
    "server/discover",
    "initialize",
    "notifications/initialized",
    "tools/call",
)
ASYNCHRONOUS = pytest.mark.parametrize("way", ["asyncio", "trio"], indirect=True)


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

KINDS: dict[str, Callable[[], Script]] = {
    "bare": lambda: speaks(BARE),
    "bare, at an address that refuses what it does not know": lambda: speaks(
        {**BARE, DISCOVER: page(400), INITIALIZE: refuses(-32601, "Method not found", 404)}
    ),
    "session": lambda: speaks(session("session-1")),
    "session without id": lambda: speaks(session()),
    "session as streams": lambda: speaks(
        session(initialize=initialized("session-1", stream=True), tools_call=answers(RESULT, stream=True))
    ),
    "session that fails at the question": lambda: speaks(
        {**session(), DISCOVER: refuses(-32603, "Internal error", 500)}
    ),
    "modern": lambda: speaks(MODERN),
    "modern, and a session as well": lambda: speaks({**session("session-1"), DISCOVER: DISCOVERED}),
    "modern, of many versions": lambda: speaks(
        {**MODERN, DISCOVER: answers({"supportedVersions": ["2027-05-05", "2026-07-28"]})}
    ),
}
FOUND_OUT: list[tuple[str, Era, list[str]]] = [
    ("bare", "auto", [DISCOVER, INITIALIZE, CALLED]),
    ("bare", "bare", [CALLED]),
    (
        "bare, at an address that refuses what it does not know",
        "auto",
        [DISCOVER, INITIALIZE, CALLED],
    ),
    ("session", "auto", [DISCOVER, INITIALIZE, READY, CALLED]),
    ("session", "session", [INITIALIZE, READY, CALLED]),
    ("session without id", "auto", [DISCOVER, INITIALIZE, READY, CALLED]),
    ("session as streams", "auto", [DISCOVER, INITIALIZE, READY, CALLED]),
    ("session that fails at the question", "auto", [DISCOVER, INITIALIZE, READY, CALLED]),
    ("modern", "auto", [DISCOVER, CALLED]),
    ("modern", "modern", [CALLED]),
    ("modern", "session", [INITIALIZE, CALLED]),
    ("modern, and a session as well", "auto", [DISCOVER, CALLED]),
    ("modern, and a session as well", "session", [INITIALIZE, READY, CALLED]),
    ("modern, of many versions", "auto", [DISCOVER, CALLED]),
]


@pytest.mark.parametrize(
    ("kind", "era", "first"), FOUND_OUT, ids=[f"{kind} by {era}" for kind, era, _ in FOUND_OUT]
)
async def test_the_first_call_finds_out_and_the_second_knows(
    colour: Colour, kind: str, era: Era, first: list[str]
) -> None:
    with serve(KINDS[kind]()) as server:
        async with reach(colour, server.url, era=era) as wire:
            assert (await call(wire)).result == RESULT
            assert all_said(server) == first
            assert (await call(wire)).result == RESULT
            assert all_said(server) == [*first, CALLED]


async def test_ids_are_never_used_twice(colour: Colour) -> None:
    with serve(speaks(session("session-1"))) as server:
        async with reach(colour, server.url, era="auto") as wire:
            await call(wire)
            await call(wire)
    numbers = [body["id"] for body in (request.json for request in server.requests[:-1]) if "id" in body]
    assert numbers == [1, 2, 3, 4]


async def test_elsewhere_the_era_is_found_out_by_itself(colour: Colour) -> None:
    with serve(speaks(MODERN)) as server:
        crm = colours.client(colour, server.url, era=None)
        await crm.call_tool("count")
        await crm.end()
        favourite = colours.provisioner(colour, server.url, era=None)
        await favourite.diagnose()
        await favourite.end()
    assert all_said(server)[:2] == [DISCOVER, CALLED]
    assert DISCOVER not in all_said(server)[2:]


async def test_the_client_of_a_hand_over_speaks_the_pinned_era(colour: Colour, key: Secret) -> None:
    with serve(speaks(BARE)) as server:
        provisioner = colours.provisioner(colour, server.url, era="bare", retry=ONCE)
        provisioned = await provisioner.adopt(key)
        crm = colours.Facade(provisioned.client())
        assert (await crm.call_tool("count")).raw == RESULT
        await crm.end()
        await provisioner.end()
    assert set(all_said(server)) == {"tools/call", "tools/list"}


@pytest.mark.parametrize("host", ["api.favcrm.io", "favcrm.io", "API.FavCRM.io"])
async def test_favcrms_own_hosts_are_not_asked(colour: Colour, host: str) -> None:
    sent: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, content=message(1, RESULT))

    async with asking(colour, f"https://{host}/mcp", answer) as wire:
        assert (await call(wire)).result == RESULT
    (request,) = sent
    assert b'"tools/call"' in request.content
    assert not [name for name in request.headers if name.startswith("mcp-")]


@pytest.mark.parametrize("host", ["favcrm.io.example", "notfavcrm.io", "favcrm.example"])
async def test_hosts_that_only_look_like_it_are_asked(colour: Colour, host: str) -> None:
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["mcp-method"])
        return httpx.Response(401)

    async with asking(colour, f"https://{host}/mcp", answer) as wire:
        assert (await call(wire)).status == 401
    assert sent == [DISCOVER]


async def test_a_verdict_about_favcrms_own_hosts_does_not_replace_what_is_known(colour: Colour) -> None:
    sent: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, content=message(1, RESULT))

    verdicts.remember("https://api.favcrm.io/mcp", "modern")
    async with asking(colour, "https://api.favcrm.io/mcp", answer) as wire:
        await call(wire)
    assert "mcp-method" not in sent[0].headers


# What is remembered

REMEMBERED = {
    "bare": [CALLED],
    "session": [INITIALIZE, READY, CALLED],
    "modern": [CALLED],
}


@pytest.mark.parametrize("kind", REMEMBERED)
async def test_a_verdict_serves_the_next_transport(colour: Colour, kind: str) -> None:
    with serve(KINDS[kind]()) as server:
        async with reach(colour, server.url, era="auto") as wire:
            await call(wire)
        before = len(server.requests)
        async with reach(colour, server.url, era=None) as wire:
            assert (await call(wire)).result == RESULT
            assert all_said(server)[before:] == REMEMBERED[kind]


async def test_auto_asks_whatever_is_remembered(colour: Colour) -> None:
    with serve(speaks(MODERN)) as server:
        verdicts.remember(server.url, "bare")
        async with reach(colour, server.url, era="auto") as wire:
            await call(wire)
    assert all_said(server) == [DISCOVER, CALLED]


class Clock:
    """Time that a test moves, in place of the module."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


async def test_a_verdict_is_forgotten_after_an_hour(colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(verdicts, "time", clock)
    with serve(speaks(MODERN)) as server:
        for seconds in (0.0, 3599.0, 1.0, 3600.0):
            clock.now += seconds
            async with reach(colour, server.url, era=None) as wire:
                await call(wire)
    assert all_said(server) == [DISCOVER, CALLED, CALLED, DISCOVER, CALLED, DISCOVER, CALLED]


def test_verdicts_are_of_one_address_and_not_without_end() -> None:
    verdicts.remember("https://a.example/mcp", "modern")
    assert verdicts.recall("https://a.example/mcp") == "modern"
    assert verdicts.recall("https://a.example/other") == "auto"
    for number in range(verdicts.MAX_VERDICTS - 1):
        verdicts.remember(f"https://{number}.example/", "bare")
    assert verdicts.recall("https://a.example/mcp") == "modern"
    verdicts.remember("https://one.more.example/", "session")
    assert verdicts.recall("https://a.example/mcp") == "auto"
    assert verdicts.recall("https://one.more.example/") == "session"


# One at a time


@pytest.mark.parametrize("kind", ["session", "modern"])
async def test_calls_at_once_find_out_once(colour: Colour, kind: str) -> None:
    gate = threading.Event()
    tables = {"session": session("session-1"), "modern": MODERN}
    discover = tables[kind][DISCOVER]
    assert callable(discover)

    def slow(peer: Peer, request: Request) -> None:
        peer.wait_for(gate)
        discover(peer, request)

    with serve(speaks({**tables[kind], DISCOVER: slow})) as server:
        async with reach(colour, server.url, era="auto") as wire:
            responses = await many(colour, wire, 8, gate.set)
    assert [response.result for response in responses] == [RESULT] * 8
    assert len(requests_of(server, DISCOVER)) == 1
    assert len(requests_of(server, INITIALIZE)) == len(requests_of(server, READY)) == int(kind == "session")
    assert len(requests_of(server, CALLED)) == 8


async def test_who_waits_too_long_for_anothers_question_sends_nothing(colour: Colour) -> None:
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


# Nothing is sent twice that may have run

CUT = sends(*chunked([b": ping\n\n"])[:-1])


def cut(peer: Peer, request: Request) -> None:
    """Begin a stream and hang up."""
    CUT(peer, request)
    peer.hang_up()


def half(peer: Peer, request: Request) -> None:
    """Begin a body and hang up."""
    peer.send(whole(message(request, RESULT))[:-5])
    peer.hang_up()


MAY_HAVE_RUN: dict[str, Script] = {
    "reset": resets,
    "closed": hangs_up,
    "silent": stalls,
    "a stream that broke off": cut,
    "a body that broke off": half,
    "a stream that ended": sends(*chunked([b": ping\n\n"])),
    "500": page(500),
    "500 that speaks of a session": refuses(-32600, "session not initialized", 500),
    "502": page(502),
    "504": page(504),
    "a code of the tool's at 200": refuses(-32603, "session not initialized", 200),
    "taken": sends(whole(b"", 202)),
    "408": page(408),
}


@pytest.mark.parametrize("known", [False, True], ids=["first", "later"])
@pytest.mark.parametrize("failure", MAY_HAVE_RUN)
@pytest.mark.parametrize("kind", ["bare", "session", "modern"])
async def test_what_may_have_run_is_not_sent_again(
    colour: Colour, kind: Era, failure: str, known: bool
) -> None:
    tables = {"bare": BARE, "session": session("session-1"), "modern": MODERN}
    calls = [*([answers(RESULT)] if known else []), MAY_HAVE_RUN[failure], answers(RESULT)]
    with serve(speaks({**tables[kind], CALLED: calls})) as server:
        async with reach(colour, server.url, era=kind) as wire:
            if known:
                await call(wire)
            before = len(requests_of(server, CALLED))
            try:
                response = await call(wire, timeout=SHORT if failure == "silent" else 10.0)
            except OutcomeUnknownError:
                response = None
            assert response is None or response.result is None
    assert len(requests_of(server, CALLED)) == before + 1
    assert DISCOVER not in all_said(server)


@pytest.mark.parametrize("status", [400, 404])
async def test_a_refusal_with_a_reason_is_no_sign_of_another_era(colour: Colour, status: int) -> None:
    """A wrong code must not be sent twice: it would count twice."""
    refused = sends(whole(b'{"error": {"code": "INVALID_CODE", "message": "no such session"}}', status))
    with serve(speaks({**BARE, CALLED: refused})) as server:
        async with reach(colour, server.url, era="bare") as wire:
            response = await call(wire)
    assert (response.status, response.error) == (status, None)
    assert "INVALID_CODE" in response.body
    assert all_said(server) == [CALLED]


@pytest.mark.parametrize("status", [401, 403, 407, 413, 429])
async def test_who_may_not_ask_is_told_so_after_one_request(colour: Colour, status: int) -> None:
    with serve(page(status)) as server:
        async with reach(colour, server.url, era="auto") as wire:
            assert (await call(wire)).status == status
            assert (await call(wire)).status == status
    assert all_said(server) == [DISCOVER, DISCOVER]


async def test_a_key_that_is_refused_at_the_question_is_refused(colour: Colour, key: Secret) -> None:
    with serve(page(401)) as server:
        crm = colours.client(colour, server.url, era="auto", api_key=key)
        with pytest.raises(AuthenticationError):
            await crm.call_tool("count")
        await crm.end()
    assert all_said(server) == [DISCOVER]


async def test_a_server_that_says_when_to_come_back_is_busy(colour: Colour) -> None:
    with serve(sends(whole(b"", 503, {"retry-after": "7"}))) as server:
        crm = colours.client(colour, server.url, era="auto", retry=ONCE)
        with pytest.raises(ServerBusyError) as raised:
            await crm.call_tool("count")
        await crm.end()
    assert raised.value.retry_after == 7
    assert all_said(server) == [DISCOVER, INITIALIZE]


# A negotiation that fails

FAILURES: dict[str, tuple[Script, str]] = {
    "reset at the question": (
        speaks({DISCOVER: resets}),
        "No answer came to server/discover, which goes before the call. The call was not sent.",
    ),
    "silent at the question": (speaks({DISCOVER: stalls}), "No answer came to server/discover"),
    "reset at the beginning of a session": (
        speaks({DISCOVER: NO_SESSION, INITIALIZE: resets}),
        "No answer came to initialize, which goes before the call.",
    ),
    "reset where nothing is answered": (
        speaks(session(notifications_initialized=resets)),
        "No answer came to notifications/initialized, which goes before the call.",
    ),
    "failing twice": (
        speaks({DISCOVER: page(500), INITIALIZE: page(502)}),
        "The server answered HTTP 500 before the call was sent.",
    ),
    "nothing that is known": (
        speaks({DISCOVER: page(404), INITIALIZE: page(404)}),
        "to server/discover it answered HTTP 404; to initialize it answered HTTP 404",
    ),
    "newer versions only": (
        speaks({DISCOVER: refuses(-32022, data={"supported": ["2027-05-05"]})}),
        "no version of MCP that this client knows: 2027-05-05",
    ),
    "a proxy that takes headers away": (speaks({DISCOVER: refuses(-32020)}), "refused the headers"),
    "a session id with a blank": (
        speaks(session(initialize=initialized("two words"))),
        "session id holds characters",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_call_was_not_sent_where_its_server_is_not_understood(colour: Colour, failure: str) -> None:
    script, words = FAILURES[failure]
    with serve(script) as server:
        async with reach(colour, server.url, era="auto") as wire:
            with pytest.raises(NotSentError, match=words.replace(".", r"\.")) as raised:
                await call(wire, timeout=SHORT if "silent" in failure else 10.0)
            assert (raised.value.__cause__, raised.value.__context__) == (None, None)
    assert CALLED not in all_said(server)
    assert verdicts.recall(server.url) == "auto"


async def test_without_any_time_left_the_call_is_not_sent(
    colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent all the same, it may run, and nobody would hear of it."""
    clock = Clock()
    for module in (http, conversation):
        monkeypatch.setattr(module, "time", clock)

    def late(peer: Peer, request: Request) -> None:
        clock.now += 10.0
        answers({"supportedVersions": ["2026-07-28"]})(peer, request)

    with serve(speaks({**MODERN, DISCOVER: late})) as server:
        async with reach(colour, server.url, era="auto") as wire:
            with pytest.raises(NotSentError, match="No time was left"):
                await call(wire, timeout=10.0)
    assert all_said(server) == [DISCOVER]


async def test_nobody_there_is_found_out_at_once(colour: Colour) -> None:
    with unused_address() as endpoint:
        async with reach(colour, endpoint, era="auto") as wire:
            with pytest.raises(NotSentError, match="cannot be reached"):
                await call(wire)


async def test_after_a_failure_the_next_call_asks_again(colour: Colour) -> None:
    with serve(speaks({**MODERN, DISCOVER: [resets, DISCOVERED]})) as server:
        retry = RetryPolicy(attempts=2, backoff_initial=0.001, backoff_max=0.001)
        crm = colours.client(colour, server.url, era="auto", retry=retry)
        assert (await crm.call_tool("count")).raw == RESULT
        await crm.end()
    assert all_said(server) == [DISCOVER, DISCOVER, CALLED]


async def test_a_redirect_of_the_question_is_followed_and_one_elsewhere_is_told(colour: Colour) -> None:
    with serve(redirects("/mcp/"), speaks(MODERN)) as server:
        async with reach(colour, server.url, era="auto") as wire:
            assert (await call(wire)).result == RESULT
    with serve(redirects("https://elsewhere.example/mcp")) as server:
        async with reach(colour, server.url, era="auto") as wire:
            response = await call(wire)
        assert response.defect == "is a redirect to https://elsewhere.example/mcp"
    assert all_said(server) == [DISCOVER]


# Another era after all

MOVES: dict[str, tuple[Era, Callable[[], Script], list[str]]] = {
    "bare, but it is modern only": (
        "bare",
        lambda: speaks({**MODERN, CALLED: [NAMES_ITS_VERSION, answers(RESULT)]}),
        [CALLED, DISCOVER, CALLED],
    ),
    "bare, but it wants a session or 2026": (
        "bare",
        lambda: speaks({**session("session-1"), DISCOVER: DISCOVERED, CALLED: [NO_SESSION, answers(RESULT)]}),
        [CALLED, DISCOVER, CALLED],
    ),
    "bare, but it wants a session": (
        "bare",
        lambda: speaks(session("session-1", tools_call=[NO_SESSION, answers(RESULT)])),
        [CALLED, DISCOVER, INITIALIZE, READY, CALLED],
    ),
    "bare, but it wants a session, as the TypeScript servers say it": (
        "bare",
        lambda: speaks(
            session(tools_call=[refuses(-32000, "No valid session ID provided"), answers(RESULT)])
        ),
        [CALLED, DISCOVER, INITIALIZE, READY, CALLED],
    ),
    "bare, but it wants headers": (
        "bare",
        lambda: speaks({**MODERN, CALLED: [refuses(-32020, "Mcp-Method is missing"), answers(RESULT)]}),
        [CALLED, DISCOVER, CALLED],
    ),
    "bare, but it misses what only 2026 has": (
        "bare",
        lambda: speaks(
            {**MODERN, CALLED: [refuses(-32602, "io.modelcontextprotocol/x missing"), answers(RESULT)]}
        ),
        [CALLED, DISCOVER, CALLED],
    ),
    "modern, but it wants a session": (
        "modern",
        lambda: speaks(session("session-1", tools_call=[NO_SESSION, answers(RESULT)])),
        [CALLED, DISCOVER, INITIALIZE, READY, CALLED],
    ),
    "modern, but it does not understand a word": (
        "modern",
        lambda: speaks(session(tools_call=[page(400), answers(RESULT)])),
        [CALLED, DISCOVER, INITIALIZE, READY, CALLED],
    ),
    "modern, but it takes every other version": (
        "modern",
        lambda: speaks(
            session(tools_call=[refuses(-32600, "Unsupported protocol version"), answers(RESULT)])
        ),
        [CALLED, DISCOVER, INITIALIZE, READY, CALLED],
    ),
    "a session, but it is modern only": (
        "session",
        lambda: speaks(
            {
                **session(tools_call=[NAMES_ITS_VERSION, answers(RESULT)]),
                DISCOVER: DISCOVERED,
            }
        ),
        [INITIALIZE, READY, CALLED, DISCOVER, CALLED],
    ),
    "a session, but it takes bare calls only": (
        "session",
        lambda: speaks({**BARE, CALLED: answers(RESULT)}),
        [INITIALIZE, CALLED],
    ),
}


@pytest.mark.parametrize("move", MOVES)
async def test_a_server_that_speaks_otherwise_is_asked_and_the_call_sent_again(
    colour: Colour, move: str, key: Secret
) -> None:
    era, make, expected = MOVES[move]
    with serve(make()) as server:
        async with reach(colour, server.url, era=era) as wire:
            assert (await call(wire, api_key=key)).result == RESULT
            assert all_said(server) == expected
            assert (await call(wire, api_key=key)).result == RESULT
            assert all_said(server) == [*expected, CALLED]
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {key.reveal()}"}


async def test_a_server_may_change_while_it_is_used(colour: Colour) -> None:
    """From bare to 2026, and then behind a gateway that wants sessions."""
    calls = [answers(RESULT), NAMES_ITS_VERSION, answers(RESULT), NO_SESSION, answers(RESULT)]
    script = speaks({**session("session-1"), DISCOVER: [DISCOVERED, NO_SESSION], CALLED: calls})
    with serve(script) as server:
        async with reach(colour, server.url, era="bare") as wire:
            for era in ("auto", "modern", "session"):
                assert (await call(wire)).result == RESULT
                assert verdicts.recall(server.url) == era
    assert all_said(server) == [
        *[CALLED],
        *[CALLED, DISCOVER, CALLED],
        *[CALLED, DISCOVER, INITIALIZE, READY, CALLED],
        "DELETE",
    ]


@pytest.mark.parametrize(
    ("era", "table", "expected"),
    [
        ("modern", session("session-1"), [CALLED, DISCOVER, INITIALIZE, READY, CALLED]),
        ("session", MODERN, [INITIALIZE, CALLED]),
        ("bare", session("session-1"), [CALLED, DISCOVER, INITIALIZE, READY, CALLED]),
        ("session", {**MODERN, INITIALIZE: page(404)}, [INITIALIZE, DISCOVER, CALLED]),
        ("session", {**MODERN, INITIALIZE: refuses(-32020)}, [INITIALIZE, DISCOVER, CALLED]),
    ],
)
async def test_a_verdict_may_be_stale(colour: Colour, era: Era, table: Any, expected: list[str]) -> None:
    refused = {"modern": page(400), "bare": NO_SESSION}.get(era)
    script = speaks({**table, CALLED: [refused, answers(RESULT)]} if refused else table)
    with serve(script) as server:
        verdicts.remember(server.url, era)
        async with reach(colour, server.url, era=None) as wire:
            assert (await call(wire)).result == RESULT
            assert all_said(server) == expected
            assert verdicts.recall(server.url) != era


async def test_a_session_may_be_lost_to_another_era(colour: Colour) -> None:
    lost = session("one", tools_call=[answers(RESULT), page(404), answers(RESULT)], GET=page(405))
    changed = {INITIALIZE: [initialized("one"), page(404)], DISCOVER: [NO_SESSION, DISCOVERED]}
    with serve(speaks({**lost, **changed})) as server:
        async with reach(colour, server.url, era="auto") as wire:
            assert (await call(wire)).result == RESULT
            assert (await call(wire)).result == RESULT
    assert all_said(server)[4:] == [CALLED, INITIALIZE, DISCOVER, CALLED]


async def test_no_capabilities_are_declared_to_who_would_use_them_in_requests(colour: Colour) -> None:
    with serve(speaks(session("one"))) as server:
        async with reach(colour, server.url, era="auto", on_input=lambda asked: asked) as wire:
            await call(wire)
    (initialize,) = requests_of(server, INITIALIZE)
    assert initialize.json["params"]["capabilities"] == {}


async def test_calls_that_are_refused_at_once_ask_once(colour: Colour) -> None:
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


@pytest.mark.parametrize(
    ("era", "refusal"),
    [
        ("bare", NAMES_ITS_VERSION),
        ("modern", NAMES_ITS_VERSION),
        ("modern", NO_SESSION),
        ("session", NO_SESSION),
    ],
    ids=["bare", "modern", "modern, of a session", "session, of a session"],
)
async def test_a_server_that_refuses_again_is_believed(colour: Colour, era: Era, refusal: Script) -> None:
    with serve(speaks({**session(), DISCOVER: DISCOVERED, CALLED: refusal})) as server:
        async with reach(colour, server.url, era=era) as wire:
            response = await call(wire)
    assert response.status == 400
    assert response.error is not None
    assert len(requests_of(server, CALLED)) == 2


@pytest.mark.parametrize(
    "refusal", [page(400), page(404), refuses(-32601, "Not found", 404)], ids=["400", "404", "no method"]
)
async def test_a_refusal_of_who_speaks_bare_after_all_stands(colour: Colour, refusal: Script) -> None:
    with serve(speaks({**BARE, CALLED: refusal})) as server:
        async with reach(colour, server.url, era="bare") as wire:
            response = await call(wire)
    assert response.status in {400, 404}
    assert all_said(server) == [CALLED, DISCOVER, INITIALIZE]


@pytest.mark.parametrize("failure", ["nothing is known", "a reset"])
async def test_a_refusal_without_a_reason_stands_where_nothing_else_is_found(
    colour: Colour, failure: str
) -> None:
    other: Script = page(404) if failure == "nothing is known" else resets
    script = speaks({CALLED: page(404), DISCOVER: other, INITIALIZE: other})
    with serve(script) as server:
        async with reach(colour, server.url, era="bare") as wire:
            response = await call(wire)
    assert (response.status, response.complete) == (404, True)
    assert "Not here" in response.body
    assert len(requests_of(server, CALLED)) == 1


async def test_a_refusal_that_speaks_of_the_era_is_told_with_what_was_tried(colour: Colour) -> None:
    script = speaks({CALLED: NO_SESSION, DISCOVER: page(404), INITIALIZE: page(404)})
    with serve(script) as server:
        async with reach(colour, server.url, era="bare") as wire:
            with pytest.raises(NotSentError, match="speaks MCP in no way") as raised:
                await call(wire)
    assert raised.value.permanent
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)


async def test_a_key_that_is_refused_at_a_later_question_is_refused(colour: Colour) -> None:
    with serve(speaks({CALLED: NAMES_ITS_VERSION, DISCOVER: page(401)})) as server:
        async with reach(colour, server.url, era="modern") as wire:
            assert (await call(wire)).status == 401
    assert all_said(server) == [CALLED, DISCOVER]


async def test_a_page_after_an_answer_is_no_sign_of_another_era(colour: Colour) -> None:
    with serve(speaks({**BARE, CALLED: [answers(RESULT), page(404)]})) as server:
        async with reach(colour, server.url, era="bare") as wire:
            await call(wire)
            assert (await call(wire)).status == 404
    assert all_said(server) == [CALLED, CALLED]


@ASYNCHRONOUS
async def test_a_call_that_is_cancelled_while_it_asks_leaves_the_question_to_the_next() -> None:
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


def test_an_era_that_there_is_not_is_refused(colour: Colour) -> None:
    mistyped: Any = "modren"
    with pytest.raises(InvalidInputError, match="era: must be one of auto, bare, modern, session"):
        (HTTPTransport if colour == "blocking" else AsyncHTTPTransport)(
            "http://127.0.0.1:9/mcp", era=mistyped
        )
