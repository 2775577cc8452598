"""What comes back, from bytes: JSON and event streams in any cut, encodings, sizes, and what is no answer at all."""

from __future__ import annotations

import gzip
import secrets
import threading
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import colours
import pytest
from servers import Peer, Request, answers, chunk, chunked, event, message, sends, serve, whole
from transports.harness import one_request, reach

from favcrm import AuthenticationError, OutcomeUnknownError, RefusedError, RetryPolicy, UnexpectedAnswerError
from favcrm.transports.http.limits import Limits

if TYPE_CHECKING:
    from colours import Colour

    from favcrm.transports import Response

pytestmark = pytest.mark.anyio

STREAM = {"content-type": "text/event-stream"}


async def answer_to(colour: Colour, *pieces: bytes) -> Response:
    with serve(sends(*pieces)) as server:
        return await one_request(colour, server.url)


async def test_a_body_without_a_length_ends_with_the_connection(colour: Colour) -> None:
    def script(peer: Peer, request: Request) -> None:
        peer.send(b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n" + message(request, {}))
        peer.hang_up()

    with serve(script) as server:
        async with reach(colour, server.url) as wire:
            assert (await wire.request()).result == {}
            assert (await wire.request()).result == {}
    assert server.greeted == [1, 2]


@pytest.mark.parametrize("status", [200, 204])
async def test_an_empty_success_raises_unexpected_answer_error(colour: Colour, status: int) -> None:
    empty = b"" if status == 204 else b"content-length: 0\r\n"
    with serve(sends(b"HTTP/1.1 %d Fine\r\n%b\r\n" % (status, empty))) as server:
        crm = colours.client(colour, server.url)
        with pytest.raises(UnexpectedAnswerError, match="The answer is empty"):
            await crm.list_tools()
        await crm.end()
    assert len(server.requests) == 1


@pytest.mark.parametrize("body", [b": ping\n\n", b'data: {"id":1,"result":{}}\n'])
async def test_a_stream_that_ends_without_an_answer_raises_outcome_unknown_error(
    colour: Colour, body: bytes
) -> None:
    with serve(sends(*chunked([body]))) as server:
        crm = colours.client(colour, server.url)
        with pytest.raises(OutcomeUnknownError, match="The answer broke off"):
            await crm.call_tool("any")
        await crm.end()
    assert len(server.requests) == 1


async def test_a_stream_that_stays_open_does_not_hold_the_answer_back(colour: Colour) -> None:
    """After the answer, comments come for as long as the client reads."""
    left = threading.Event()

    def script(peer: Peer, request: Request) -> None:
        start, first, _ = chunked([event(message(request, {}))])
        peer.send(start, first)
        try:
            while True:
                peer.send(chunk(b": ping%b\n\n" % (b"." * 1000)))
        except OSError:
            left.set()
            raise

    with serve(script, answers()) as server:
        async with reach(colour, server.url, limits=Limits(grace=0.1)) as wire:
            assert (await wire.request()).result == {}
            assert left.wait(30)
            assert (await wire.request()).result == {}
    assert server.greeted == [1, 2]


# Size and encoding


SMALL = Limits(answer_bytes=100_000)


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "event stream"])
async def test_an_answer_that_is_too_large_is_left(
    colour: Colour, stream: bool, never: threading.Event
) -> None:
    def script(peer: Peer, _: Request) -> None:
        start, *rest = chunked(
            [b"data: " + b"x" * 1000] * 101, headers=STREAM if stream else {"content-type": "x/y"}
        )
        peer.send(start, *rest[:-1])
        peer.wait_for(never)

    with serve(script, answers()) as server:
        async with reach(colour, server.url, limits=SMALL) as wire:
            response = await wire.request()
            assert (response.defect, response.complete) == ("is larger than this client reads", True)
            assert (await wire.request()).result == {}
    assert server.greeted == [1, 2]


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "event stream"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compressed_answer_is_read(colour: Colour, encoding: str, stream: bool) -> None:
    pack = zlib.compress if encoding == "deflate" else gzip.compress
    noise = secrets.token_hex(100_000)
    body = pack(event(message(1, noise)) if stream else message(1, noise))
    cut = [body[at : at + 999] for at in range(0, len(body), 999)]
    headers = {
        "content-encoding": encoding,
        "content-type": "text/event-stream" if stream else "application/json",
    }
    response = await answer_to(colour, *chunked(cut, headers=headers))
    assert response.result == noise


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """A small body that inflates to 100 MiB."""
    packer = zlib.compressobj(wbits=31)
    return b"".join(packer.compress(b" " * 2**20) for _ in range(100)) + packer.flush()


async def test_a_compression_bomb_is_left(colour: Colour, bomb: bytes) -> None:
    assert len(bomb) < 2**17
    with serve(sends(whole(bomb, headers={"content-encoding": "gzip"}))) as server:
        async with reach(colour, server.url, limits=Limits(answer_bytes=2**20)) as wire:
            tracemalloc.start()
            try:
                response = await wire.request()
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert response.defect == "is larger than this client reads"
    assert peak < 8 * 2**20


async def test_a_corrupt_compressed_answer_raises_outcome_unknown_error(colour: Colour) -> None:
    body = gzip.compress(b" " * 1000 + message(1, {}))
    for broken in (b"not gzip at all", body[:-8] + bytes(8), b"\x00" + body):
        with serve(sends(whole(broken, headers={"content-encoding": "gzip"}))) as server:
            crm = colours.client(colour, server.url)
            with pytest.raises(OutcomeUnknownError, match="may have been carried out"):
                await crm.call_tool("any")
            await crm.end()


# The server's id of an answer


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (whole(b"{}", 401, {"X-Request-ID": "req_2"}), AuthenticationError),
        (whole(b"", 307, {"X-Request-ID": "req_2", "location": "https://elsewhere.example/"}), RefusedError),
        (b"".join(chunked([], 200, {"X-Request-ID": "req_2"})), OutcomeUnknownError),
    ],
)
async def test_errors_carry_the_request_id(colour: Colour, answer: bytes, error: type[Exception]) -> None:
    with serve(sends(answer)) as server:
        crm = colours.client(colour, server.url, retry=RetryPolicy.never())
        with pytest.raises(error) as raised:
            await crm.list_tools()
        await crm.end()
    assert getattr(raised.value, "request_id", None) == "req_2"
    assert "req_2" in str(raised.value)


async def test_two_challenges_in_headers_of_one_name_are_both_read(colour: Colour) -> None:
    challenges = 'Basic realm="a"\r\nwww-authenticate: Bearer error="invalid_token", scope="crm"'
    with serve(sends(whole(b'{"error":"invalid_token"}', 401, {"www-authenticate": challenges}))) as server:
        crm = colours.client(colour, server.url)
        with pytest.raises(AuthenticationError) as raised:
            await crm.call_tool("count")
        await crm.end()
    assert raised.value.server_code == "invalid_token"
    assert raised.value.challenge == {"error": "invalid_token", "scope": "crm"}
