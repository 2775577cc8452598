"""What goes wrong on the way: never sent or unknown, in time, and with nothing of httpx or the key in the error."""

from __future__ import annotations

import gzip
import socket
import threading
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import colours
import httpx
import pytest
from colours import way
from servers import (
    Peer,
    Request,
    Script,
    answers,
    chunked,
    hangs_up,
    head,
    message,
    resets,
    serve,
    stalls,
    whole,
)
from transports.harness import SHORT, MovedClock, client_of, one_request, reach, stand_in, through

from favcrm import (
    FavCRMError,
    NotSentError,
    OutcomeUnknownError,
    RetryPolicy,
)
from favcrm.transports.http.limits import LIMITS, Limits

if TYPE_CHECKING:
    from types import ModuleType

    from colours import Colour


pytestmark = pytest.mark.anyio

__all__ = ["way"]

ENDPOINT = "https://favcrm.example/mcp"

ONCE = RetryPolicy.never()


def after(script: Script, *pieces: bytes) -> Script:
    """Return a script that sends something first."""

    def both(peer: Peer, request: Request) -> None:
        peer.send(*pieces)
        script(peer, request)

    return both


PARTS = {
    "before the answer": (),
    "inside the status line": (b"HTTP/1.1 20",),
    "inside the headers": (head()[:-2],),
    "after the headers": (whole(b"{}")[:-2],),
    "inside the body": (whole(message(1, {}))[:-5],),
    "inside a chunked body": (chunked([message(1, {})])[0], b"ff\r\n{"),
    "inside a stream": tuple(chunked([b": ping\n\n", b"data: {"])[:-1]),
    "inside a compressed body": (
        whole(gzip.compress(message(1, {})), headers={"content-encoding": "gzip"})[:-9],
    ),
}
BREAKS = {"reset": resets, "closed": hangs_up, "silent": stalls}


async def test_a_host_that_does_not_exist_raises_not_sent_error(colour: Colour) -> None:
    with pytest.raises(NotSentError, match="cannot be reached") as raised:
        await one_request(colour, "https://favcrm.invalid/mcp")
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("ending", BREAKS)
async def test_an_answer_that_breaks_off_raises_outcome_unknown_error(
    colour: Colour, part: str, ending: str
) -> None:
    with serve(after(BREAKS[ending], *PARTS[part])) as server:
        crm = colours.client(colour, server.url, retry=ONCE, timeout=SHORT if ending == "silent" else None)
        with pytest.raises(OutcomeUnknownError, match="the request may have been carried out") as raised:
            await crm.call_tool("any")
        await crm.end()
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)
    assert len(server.requests) == 1


@pytest.mark.parametrize("ending", BREAKS)
async def test_the_beginning_of_a_body_that_breaks_off_is_kept(colour: Colour, ending: str) -> None:
    with serve(after(BREAKS[ending], *PARTS["inside a chunked body"])) as server:
        response = await one_request(colour, server.url, timeout=SHORT)
    assert (response.body, response.complete, response.defect) == ("{", False, "")


async def test_endless_headers_raise_outcome_unknown_error(colour: Colour) -> None:
    def endless(peer: Peer, _: Request) -> None:
        peer.send(head()[:-2])
        while True:
            peer.send(b"x-more: and more\r\n" * 100)

    with serve(endless) as server, pytest.raises(OutcomeUnknownError):
        await one_request(colour, server.url)


@pytest.mark.parametrize(
    "answer", [b"FTP ready\r\n", b"HTTP/1.1 two hundred\r\n\r\n", b"HTTP/1.1 200 OK\r\n: \r\n\r\n"]
)
async def test_bytes_that_are_not_http_raise_outcome_unknown_error(colour: Colour, answer: bytes) -> None:
    with serve(after(hangs_up, answer)) as server, pytest.raises(OutcomeUnknownError):
        await one_request(colour, server.url)


# Time


async def test_an_answer_after_the_deadline_is_kept_as_a_body(colour: Colour) -> None:
    """It may hold a key."""
    clock = MovedClock()

    def late(request: httpx.Request) -> httpx.Response:
        clock.now += 11.0
        return httpx.Response(200, content=message(1, {"found": True}))

    async with through(httpx, colour, ENDPOINT, clock=clock, **stand_in(httpx, colour, late)) as wire:
        response = await wire.request(timeout=10.0)
    assert response.body == '{"jsonrpc": "2.0", "id": 1, "result": {"found": true}}'
    assert not response.complete


async def test_redirects_share_one_deadline(colour: Colour) -> None:
    given: list[float] = []
    clock = MovedClock()

    def answer(request: httpx.Request) -> httpx.Response:
        given.append(request.extensions["timeout"]["read"])
        clock.now += 4.0
        return httpx.Response(307, headers={"location": "/again"})

    async with through(httpx, colour, ENDPOINT, clock=clock, **stand_in(httpx, colour, answer)) as wire:
        assert (await wire.request(timeout=10.0)).status == 307
    assert given == [10.0, 6.0, 2.0, 0.0]


async def test_a_silent_tls_handshake_raises_not_sent_error(colour: Colour) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        mute = listener.getsockname()[1]
        crm = colours.client(colour, f"https://127.0.0.1:{mute}/mcp", retry=ONCE, timeout=SHORT)
        with pytest.raises(NotSentError, match=r"No connection was made within [\d.]+ seconds") as raised:
            await crm.list_tools()
        await crm.end()
    assert not raised.value.permanent


# Every error of httpx and httpx2


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("ConnectError", NotSentError),
        ("ConnectTimeout", NotSentError),
        ("PoolTimeout", NotSentError),
        ("ProxyError", NotSentError),
        ("UnsupportedProtocol", NotSentError),
        ("LocalProtocolError", NotSentError),
        ("ReadError", OutcomeUnknownError),
        ("ReadTimeout", OutcomeUnknownError),
        ("WriteError", OutcomeUnknownError),
        ("WriteTimeout", OutcomeUnknownError),
        ("CloseError", OutcomeUnknownError),
        ("RemoteProtocolError", OutcomeUnknownError),
        ("DecodingError", OutcomeUnknownError),
        ("TooManyRedirects", OutcomeUnknownError),
    ],
)
async def test_every_error_of_the_library_is_translated(
    colour: Colour, library: ModuleType, name: str, error: type[FavCRMError]
) -> None:
    def fail(request: Any) -> Any:
        raise getattr(library, name)("told by httpx", request=request)

    async with client_of(library, colour, **stand_in(library, colour, fail)) as client:
        crm = colours.client(colour, ENDPOINT, http_client=client, retry=ONCE)
        with pytest.raises(error) as raised:
            await crm.call_tool("any")
    assert type(raised.value) is error
    assert "told by httpx" not in str(raised.value)


async def test_an_address_that_the_library_refuses_raises_not_sent_error(
    colour: Colour, library: ModuleType
) -> None:
    with serve(answers()) as server:
        async with client_of(library, colour, params={"a": "x" * 70_000}) as client:
            crm = colours.client(colour, server.url, http_client=client, retry=ONCE)
            with pytest.raises(NotSentError):
                await crm.call_tool("any")
    assert server.requests == []


async def test_a_full_pool_of_a_handed_over_client_raises_not_sent_error(
    colour: Colour, library: ModuleType
) -> None:
    with serve(after(stalls, chunked([])[0])) as server:
        limits = library.Limits(max_connections=1)
        async with client_of(library, colour, limits=limits) as client:
            held = client.build_request("GET", server.url)
            response = client.send(held, stream=True)
            response = response if colour == "blocking" else await response
            try:
                crm = colours.client(colour, server.url, http_client=client, retry=ONCE, timeout=SHORT)
                with pytest.raises(NotSentError, match="No connection was made"):
                    await crm.call_tool("any")
            finally:
                if colour == "blocking":
                    response.close()
                else:
                    await response.aclose()
    assert [request.method for request in server.requests] == ["GET"]


# Closed


async def test_a_call_after_closing_raises_not_sent_error(colour: Colour) -> None:
    with serve(answers({"tools": []})) as server:
        crm = colours.client(colour, server.url)
        await crm.list_tools()
        await crm.end()
        with pytest.raises(NotSentError, match=r"The HTTP client is closed\. Nothing was sent") as raised:
            await crm.list_tools()
    assert raised.value.permanent
    assert "with block" in raised.value.next_step
    assert len(server.requests) == 1


async def test_a_handed_over_client_that_is_closed_raises_not_sent_error(
    colour: Colour, library: ModuleType
) -> None:
    with serve(answers({"tools": []})) as server:
        async with client_of(library, colour) as client:
            crm = colours.client(colour, server.url, http_client=client)
            await crm.list_tools()
        with pytest.raises(NotSentError, match="The HTTP client is closed") as raised:
            await crm.list_tools()
    assert raised.value.permanent
    assert len(server.requests) == 1


# Cancelled

ASYNCHRONOUS = pytest.mark.parametrize("way", ["asyncio", "trio"], indirect=True)


@ASYNCHRONOUS
@pytest.mark.parametrize("part", ["before the answer", "inside a stream"])
async def test_a_cancelled_call_leaves_the_pool_usable(part: str) -> None:
    asked = anyio.Event()

    def stall(peer: Peer, request: Request) -> None:
        peer.send(*PARTS[part])
        anyio.from_thread.run_sync(asked.set, token=token)
        peer.stall()

    token = anyio.lowlevel.current_token()
    with serve(stall, answers()) as server:
        async with reach("asynchronous", server.url, limits=Limits(connections=1)) as wire:
            async with anyio.create_task_group() as group:
                group.start_soon(wire.request)
                await asked.wait()
                group.cancel_scope.cancel()
            assert (await wire.request()).result == {}
            assert (await wire.request()).result == {}
    assert server.greeted == [1, 2]


# Waiting for a connection


@ASYNCHRONOUS
async def test_more_calls_than_connections_all_succeed() -> None:
    """With the real number of connections."""
    with serve(answers({"content": []})) as server:
        crm = colours.client("asynchronous", server.url)
        async with anyio.create_task_group() as group:
            for _ in range(LIMITS.connections * 3 // 2):
                group.start_soon(crm.call_tool, "any")
        await crm.end()
    assert len(server.requests) == 150
    assert len(server.greeted) <= LIMITS.connections


@ASYNCHRONOUS
async def test_a_call_that_waits_too_long_for_a_connection_raises_not_sent_error() -> None:
    asked, gate = anyio.Event(), threading.Event()
    token = anyio.lowlevel.current_token()
    found: list[object] = []

    def held(peer: Peer, request: Request) -> None:
        anyio.from_thread.run_sync(asked.set, token=token)
        peer.wait_for(gate)
        peer.send(whole(message(request, "held")))

    with serve(held, answers("next")) as server:
        async with reach("asynchronous", server.url, limits=Limits(connections=1)) as wire:

            async def one() -> None:
                found.append((await wire.request()).result)

            async with anyio.create_task_group() as group:
                group.start_soon(one)
                await asked.wait()
                with pytest.raises(
                    NotSentError, match=r"1 calls are under way, and none ended within [\d.]+ seconds"
                ) as raised:
                    await wire.request(timeout=SHORT)
                assert not raised.value.permanent
                gate.set()
            assert (await wire.request()).result == "next"
    assert found == ["held"]
    assert len(server.requests) == 2


@ASYNCHRONOUS
async def test_waiting_for_a_connection_shortens_the_time_for_the_answer() -> None:
    """The clock moves by 3 seconds while the second call waits."""
    clock, given = MovedClock(), list[float]()
    asked, gate = anyio.Event(), anyio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        given.append(request.extensions["timeout"]["read"])
        asked.set()
        await gate.wait()
        return httpx.Response(200, content=message(len(given), {}))

    limits, stand_in = Limits(connections=1), {"transport": httpx.MockTransport(answer)}
    async with (
        through(httpx, "asynchronous", ENDPOINT, limits=limits, clock=clock, **stand_in) as wire,
        anyio.create_task_group() as group,
    ):
        group.start_soon(wire.request)
        await asked.wait()
        group.start_soon(wire.request)
        await anyio.wait_all_tasks_blocked()
        clock.now += 3.0
        gate.set()
    assert given == [10.0, 7.0]
