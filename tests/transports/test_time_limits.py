"""A server that goes on sending, or reading, a little now and then holds no request longer than its timeout.

The servers here drip for as long as anybody waits, within reason; who waited so long gets an answer, and fails.
"""

from __future__ import annotations

import math
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import pytest
import trustme
from colours import way
from servers import (
    PATIENCE,
    Peer,
    Request,
    Script,
    answers,
    chunked,
    event,
    head,
    message,
    serve,
    tunnels_to,
    whole,
)
from transports.harness import SHORT, MovedClock, Wire, client_of, client_side, reach, server_side, through

from favcrm import OutcomeUnknownError
from favcrm.transport import Request as MCPRequest
from favcrm.transports import HTTPTransport
from favcrm.transports.http.connections import TimeIsUpError, TimeLimit, put_under_limits
from favcrm.transports.http.limits import Limits

if TYPE_CHECKING:
    from types import ModuleType

    from colours import Colour

    from favcrm.secret import Secret

pytestmark = pytest.mark.anyio

__all__ = ["way"]

PAUSE = 0.01
DRIPS = int(PATIENCE / PAUSE)
LONG = 10 * PATIENCE
MODEST = 1.0
"""Seconds in which a connection is made on a busy machine, too."""
NO_ANSWER = r"No answer came within [\d.]+ seconds, and the request may have been carried out"


IMPATIENT = Limits(grace=0.05)


def drip(send: Any) -> None:
    """Send a byte now and then."""
    pause = threading.Event()
    for _ in range(DRIPS):
        send(b".")
        pause.wait(PAUSE)


def drips(start: bytes, end: bytes) -> Script:
    """Return a script that sends a start, and lets the end wait."""

    def script(peer: Peer, _: Request) -> None:
        peer.send(start)
        drip(peer.send)
        peer.send(end)

    return script


REST = b"\r\ncontent-length: %d\r\n\r\n%b" % (len(message(1, {})), message(1, {}))
IN_THE_HEADERS = drips(head()[:-2] + b"x-slow: ", REST)
DRIPPING = {
    "status line": drips(b"HTTP/1.1 200 ", REST),
    "headers": IN_THE_HEADERS,
    "interim answers": drips(b"HTTP/1.1 102 Wait\r\n\r\n" * 3 + b"HTTP/1.1 200 ", REST),
}


# The first request of a process loads modules, which takes long on a busy machine.
AT_FIRST = answers(headers={"connection": "close"})


@pytest.mark.parametrize("timeout", [1e10, math.inf])
async def test_an_endless_timeout_is_cut_to_what_a_socket_takes(colour: Colour, timeout: float) -> None:
    with serve(answers()) as server:
        async with reach(colour, server.url, limits=IMPATIENT) as wire:
            assert (await wire.request(timeout=timeout)).result is not None


@pytest.mark.parametrize("part", DRIPPING)
async def test_a_header_section_that_drips_ends_at_the_deadline(
    colour: Colour, part: str, key: Secret
) -> None:
    with serve(AT_FIRST, DRIPPING[part]) as server:
        async with reach(colour, server.url, limits=IMPATIENT) as wire:
            await wire.request()
            with pytest.raises(OutcomeUnknownError, match=NO_ANSWER) as raised:
                await wire.request(api_key=key, timeout=SHORT)
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)
    assert server.greeted == [1, 2]


async def test_a_body_that_drips_ends_at_the_deadline(colour: Colour) -> None:
    body = drips(head(200, {"content-length": str(DRIPS + 1)}), b".")
    with serve(AT_FIRST, body) as server:
        async with reach(colour, server.url, limits=IMPATIENT) as wire:
            await wire.request()
            response = await wire.request(timeout=SHORT)
    assert not response.complete
    assert 0 < len(response.body) < DRIPS


def answers_and_stays(gate: threading.Event) -> Script:
    """Return a script that answers on a stream, and leaves that open and silent."""

    def script(peer: Peer, request: Request) -> None:
        peer.send(*chunked([event(message(request, {}))])[:-1])
        peer.wait_for(gate)

    return script


async def ask_a_stream_that_stays(wire: Wire, gate: threading.Event) -> None:
    assert (await wire.request(timeout=LONG)).result == {}
    gate.set()


async def test_a_stream_that_stays_open_and_silent_does_not_hold_the_answer_back(colour: Colour) -> None:
    gate = threading.Event()
    with serve(answers_and_stays(gate)) as server:
        async with reach(colour, server.url, limits=IMPATIENT) as wire:
            await ask_a_stream_that_stays(wire, gate)


# trio sees that httpx does not end its generator of the request's body.
@pytest.mark.parametrize("way", ["blocking", "asyncio"], indirect=True)
async def test_a_request_that_is_read_slowly_ends_at_the_deadline(colour: Colour) -> None:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)

        def sip() -> None:
            sock, _ = listener.accept()
            with sock, suppress(OSError):
                left = 2**24
                while left > 0 and not over.wait(PAUSE):
                    left -= len(sock.recv(2**16))
                sock.sendall(whole(message(1, {})))

        thread = threading.Thread(target=sip)
        thread.start()
        async with reach(
            colour, f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", limits=IMPATIENT
        ) as wire:
            with pytest.raises(OutcomeUnknownError, match=NO_ANSWER):
                await wire.request(params={"long": "x" * 2**24}, timeout=MODEST)
        over.set()
        await anyio.to_thread.run_sync(thread.join, PATIENCE)
    assert not thread.is_alive()


# TLS and proxies


async def test_a_header_that_drips_over_tls_ends_at_the_deadline(
    colour: Colour, library: ModuleType, authority: trustme.CA
) -> None:
    certified = server_side(authority.issue_cert("127.0.0.1"))
    with serve(answers(), IN_THE_HEADERS, tls=certified) as server:
        options = {"verify": client_side(authority)}
        async with through(library, colour, server.url, limits=IMPATIENT, **options) as wire:
            assert (await wire.request()).result == {}
            with pytest.raises(OutcomeUnknownError, match=NO_ANSWER):
                await wire.request(timeout=SHORT)
    assert server.greeted == [1]


async def test_a_header_that_drips_through_a_proxy_ends_at_the_deadline(
    colour: Colour, library: ModuleType, authority: trustme.CA
) -> None:
    certified = server_side(authority.issue_cert("127.0.0.1"))
    with serve(IN_THE_HEADERS, tls=certified) as server, serve(tunnels_to(server)) as proxy:
        options = {"verify": client_side(authority), "proxy": proxy.url.removesuffix("/mcp")}
        async with through(library, colour, server.url, limits=IMPATIENT, **options) as wire:
            with pytest.raises(OutcomeUnknownError, match=NO_ANSWER):
                await wire.request(timeout=MODEST)


# Clients of a user's own


async def test_a_header_that_drips_to_a_handed_over_client_ends_at_the_deadline(
    colour: Colour, library: ModuleType
) -> None:
    with serve(answers(), IN_THE_HEADERS, answers()) as server:
        async with through(library, colour, server.url, limits=IMPATIENT) as wire:
            assert (await wire.request()).result == {}
            with pytest.raises(OutcomeUnknownError, match=NO_ANSWER):
                await wire.request(timeout=SHORT)
            assert (await wire.request()).result == {}
    assert server.greeted == [1, 2]


@pytest.mark.parametrize("way", ["blocking"], indirect=True)
async def test_a_connection_that_its_owner_opened_is_limited_after_the_first_answer(
    colour: Colour, library: ModuleType
) -> None:
    gate = threading.Event()
    with serve(answers(), answers_and_stays(gate)) as server:
        async with (
            client_of(library, colour) as client,
            reach(colour, server.url, client, limits=IMPATIENT) as wire,
        ):
            client.post(server.url, json={"id": 1})
            await ask_a_stream_that_stays(wire, gate)
    assert server.greeted == [1]


@pytest.mark.parametrize("way", ["blocking"], indirect=True)
async def test_a_request_of_the_owner_of_a_client_is_not_limited(library: ModuleType) -> None:
    body = drips(head(200, {"content-length": str(DRIPS)}), b"")
    with serve(answers(), answers(), body) as server, library.Client(verify=False) as client:
        client.post(server.url, json={"id": 1})
        ours = HTTPTransport(server.url, http_client=client, era="bare")
        ours.request(MCPRequest("tools/list", {}, timeout=SHORT))
        with client.stream("POST", server.url, json={"id": 2}, timeout=PATIENCE) as response:
            pieces = response.iter_raw(1)
            # It goes on well after the time that our own request had.
            for _ in range(int(3 * SHORT / PAUSE)):
                assert next(pieces) == b"."
    assert server.greeted == [1]


# Many at once


def test_each_thread_has_a_limit_of_its_own() -> None:
    def script(peer: Peer, request: Request) -> None:
        (IN_THE_HEADERS if "slow" in request.json["params"] else answers())(peer, request)

    with serve(script) as server, ThreadPoolExecutor(20) as pool:
        transport = HTTPTransport(server.url, era="bare")
        quickly = MCPRequest("tools/list", {}, timeout=PATIENCE)
        slowly = MCPRequest("tools/list", {"slow": True}, timeout=MODEST)
        quick = [pool.submit(transport.request, quickly) for _ in range(20)]
        slow = [pool.submit(transport.request, slowly) for _ in range(10)]
        quick += [pool.submit(transport.request, quickly) for _ in range(20)]
        assert [asked.result().result for asked in quick] == [{}] * 40
        assert {type(asked.exception()) for asked in slow} == {OutcomeUnknownError}
        transport.close()


# The limit itself


class Stream:
    """A connection that notes how long it may wait, and takes so long."""

    def __init__(self, clock: MovedClock, takes: float) -> None:
        self._clock = clock
        self._takes = takes
        self.given: list[float | None] = []
        self.written: list[bytes] = []

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self.given.append(timeout)
        self._clock.now += self._takes
        return b"." * max_bytes

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.written.append(buffer)
        self.read(0, timeout)


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


def test_every_read_waits_no_longer_than_the_time_left(clock: MovedClock) -> None:
    stream = Stream(clock, takes=3.0)
    put_under_limits(stream)
    with TimeLimit(10.0, clock.monotonic):
        for timeout in (8.0, 8.0, None, 8.0):
            assert stream.read(2, timeout=timeout) == b".."
        with pytest.raises(TimeIsUpError):
            stream.read(2, timeout=8.0)
    assert stream.given == [8.0, 7.0, 4.0, 1.0]


def test_a_long_write_is_made_in_pieces(clock: MovedClock) -> None:
    stream = Stream(clock, takes=3.0)
    put_under_limits(stream)
    buffer = bytes(range(256)) * 800
    with TimeLimit(20.0, clock.monotonic):
        stream.write(buffer, timeout=15.0)
        assert b"".join(stream.written) == buffer
        with pytest.raises(TimeIsUpError):
            stream.write(buffer, timeout=15.0)
    assert stream.given == [15.0, 15.0, 14.0, 11.0, 8.0, 5.0, 2.0]


def test_a_limit_leads_out_of_its_block_and_holds_no_longer(clock: MovedClock) -> None:
    stream = Stream(clock, takes=3.0)
    put_under_limits(stream)
    reads = 0
    with TimeLimit(5.0, clock.monotonic):
        while True:
            stream.read(1)
            reads += 1
    assert reads == 2
    stream.read(1, timeout=math.inf)
    assert stream.given[-1] == math.inf


def test_an_inner_limit_ends_no_later_than_the_outer_one(clock: MovedClock) -> None:
    stream = Stream(clock, takes=1.0)
    put_under_limits(stream)
    with TimeLimit(5.0, clock.monotonic):
        with TimeLimit(2.0, clock.monotonic):
            stream.read(1)
        stream.read(1)
        with TimeLimit(9.0, clock.monotonic):
            stream.read(1)
    assert stream.given == [2.0, 4.0, 3.0]


def test_a_connection_is_put_under_limits_once(clock: MovedClock) -> None:
    stream = Stream(clock, takes=0.0)
    put_under_limits(stream)
    read = stream.read
    put_under_limits(stream)
    assert stream.read is read


@pytest.mark.parametrize("stream", [None, object()])
def test_a_stream_that_takes_no_attributes_is_left_alone(stream: object) -> None:
    put_under_limits(stream)
