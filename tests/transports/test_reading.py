"""A good answer to the one-time code, wrapped in anything that a proxy does: the key comes out of it.

The many cases go through a client without a network.
"""

from __future__ import annotations

import gzip
import itertools
import json
import secrets
import zlib
from typing import TYPE_CHECKING, Any

import anyio
import colours
import httpx
import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from transports.harness import client_of, stand_in

from favcrm import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from colours import Colour

    from favcrm import Workspace

ONCE = RetryPolicy.never()
CODE = "271828"
ENDPOINT = "http://127.0.0.1:9/mcp"
REQUEST_IDS = itertools.count(1)
STREAM = "text/event-stream"
KEY = f"fav_mcp_{secrets.token_urlsafe(24)}"
"""A key of this run alone."""


def answer(number: int, *, indent: int | None = None) -> bytes:
    """Return a whole answer to the code, with everything that is promised."""
    data = {
        "organisationId": "org_1",
        "companyId": "co_1",
        "userId": "usr_1",
        "apiKey": KEY,
        "loginUrl": "https://app.example",
        "nextSteps": ["Caf\u00e9 \u540d", "data: next", "Next."],
    }
    envelope = {"data": data, "summary": "Done.", "renderType": "json"}
    message = {"jsonrpc": "2.0", "id": number, "result": {"structuredContent": envelope}}
    return json.dumps(message, ensure_ascii=False, indent=indent).encode()


# What is said around it


HEARTBEATS = [
    b": ping",
    b":",
    b"",
    b"data: ping",
    b"data",
    b"data: {}",
    b"data: null",
    b"data: [DONE]",
    b'data: {"type": "ping"}',
    b'data: {"jsonrpc": "2.0"}',
    b'data: {"error": {"code": 502, "message": "slow"}}',
    b'data: {"jsonrpc": "2.0", "id": null, "error": {"code": 0, "message": "slow"}}',
    b'data: {"jsonrpc": "2.0", "id": 900, "error": {"code": 0, "message": "another"}}',
    b'data: {"jsonrpc": "2.0", "id": 900, "result": {}}',
    b'data: {"jsonrpc": "2.0", "method": "notifications/message", "params": {}}',
    b"data: {\ndata: half",
    b"data: \xff\xfe",
    b"event: ping",
    b"event: ping\ndata: {}",
    b"event: error\ndata: not JSON",
    b"event: endpoint\ndata: /elsewhere",
    b"retry: 10",
    b"{}",
    b"nonsense",
]
WORDS = st.binary(max_size=20).filter(lambda words: not set(words) & set(b"\r\n"))
HEARTBEAT = st.sampled_from(HEARTBEATS) | WORDS.map(lambda words: b"data: " + words)
NOISE = st.lists(HEARTBEAT, max_size=4)


def as_events(before: list[bytes], data: bytes, after: list[bytes], line_end: bytes) -> bytes:
    """Return a stream with an answer somewhere in it."""
    told = b"event: message\n" + b"\n".join(b"data: " + line for line in data.split(b"\n"))
    events = b"".join(event + b"\n\n" for event in (*before, told, *after))
    return events.replace(b"\n", line_end)


# How it is packed


def in_members(body: bytes) -> bytes:
    """Return gzip of several members, padded in between as tapes do."""
    third = len(body) // 3
    parts = [body[:third], b"", body[third : 2 * third], body[2 * third :]]
    return b"\0\0".join(map(gzip.compress, parts))


def raw(body: bytes) -> bytes:
    """Return deflate without the frame that the standard asks for."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


def named(body: bytes) -> bytes:
    """Return gzip that carries a file name, as that of a web server's own files."""
    packed = gzip.compress(body)
    return packed[:3] + b"\x08" + packed[4:10] + b"answer.json\0" + packed[10:]


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "raw": raw,
    "gzip": gzip.compress,
    "stored": lambda body: gzip.compress(body, 0),
    "named": named,
    "zlib": zlib.compress,
    "members": in_members,
    "padded": lambda body: gzip.compress(body) + bytes(512),
    "trailed": lambda body: gzip.compress(body) + b"<!-- served by a proxy -->",
    "trailed by half a member": lambda body: gzip.compress(body) + b"\x1f\x8b\x08\xff",
    "gzip twice": lambda body: gzip.compress(gzip.compress(body)),
    "zlib in gzip": lambda body: gzip.compress(zlib.compress(body)),
}
ANNOUNCED = [
    "",
    "gzip",
    "GZIP",
    "x-gzip",
    "deflate",
    "Deflate",
    "gzip, gzip",
    "deflate, gzip",
    "identity",
    "identity, gzip",
    "br",
    "zstd",
    "aws-chunked",
]
TYPES = [
    "",
    "application/json",
    "Application/JSON; charset=utf-16",
    "application/json; charset=iso-8859-1",
    "text/html; charset=utf-8",
    "text/plain",
    "application/octet-stream",
    STREAM,
    "Text/Event-Stream; charset=utf-8",
]


def in_bytes(body: bytes, encoding: str) -> bytes:
    """Return a text in UTF-8 in another encoding."""
    return body if encoding == "utf-8" else body.decode("utf-8", "replace").encode(encoding)


ENCODINGS = ["utf-8", "utf-8-sig"]


@frozen(kw_only=True)
class Wrapping:
    """What lies around a good answer, drawn before the id of the request is known."""

    streamed: bool
    before: list[bytes]
    after: list[bytes]
    line_end: bytes
    indent: int | None
    blanks: bytes
    encoding: str
    packer: str
    announced: str
    media_type: str
    chunk_size: int
    breaks_off: float | None = None
    """Where it breaks off: the share that arrives of what comes behind the key."""

    @property
    def headers(self) -> dict[str, str]:
        told = {"content-encoding": self.announced, "content-type": self.media_type}
        return {name: value for name, value in told.items() if value}

    def body(self, number: int) -> bytes:
        """Return what arrives of the answer to the request with an id."""
        told = answer(number, indent=self.indent)
        if self.streamed:
            text = as_events(self.before, told, self.after, self.line_end)
        else:
            text = self.blanks + told + self.blanks
        packed = PACKERS[self.packer](in_bytes(text, self.encoding))
        return packed if self.breaks_off is None else packed[: self._end(packed)]

    def _end(self, packed: bytes) -> int:
        sought = f'{KEY}"'.encode()
        low, high = 0, len(packed)
        while low < high:
            middle = (low + high) // 2
            arrived = sought in unpacked(self.packer, packed[:middle])
            low, high = (low, middle) if arrived else (middle + 1, high)
        return low + int((self.breaks_off or 0) * (len(packed) - low))

    def pieces(self, number: int) -> list[bytes]:
        """Return the same in pieces."""
        body, size = self.body(number), self.chunk_size
        return [body[at : at + size] for at in range(0, len(body), size)]


def unpacked(packer: str, packed: bytes) -> bytes:
    """Read as much as zlib does of what has arrived, a byte at a time."""
    for _ in range({"plain": 0, "gzip twice": 2}.get(packer, 1)):
        found, stream = bytearray(), zlib.decompressobj(32 + zlib.MAX_WBITS)
        for at in range(len(packed)):
            found += stream.decompress(packed[at : at + 1])
        packed = bytes(found)
    return packed


def wrappings(packers: Iterable[str], announced: Iterable[str] = ANNOUNCED, **more: Any) -> Any:
    """Draw what lies around an answer."""
    return st.builds(
        Wrapping,
        streamed=st.booleans(),
        before=NOISE,
        after=NOISE,
        line_end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
        indent=st.sampled_from([None, 2]),
        blanks=st.sampled_from([b"", b" ", b"\r\n\r\n", b"\n" * 9]),
        encoding=st.sampled_from(ENCODINGS),
        packer=st.sampled_from(list(packers)),
        announced=st.sampled_from(list(announced)),
        media_type=st.sampled_from(TYPES),
        chunk_size=st.sampled_from([1, 2, 3, 7, 100, 10_000_000]),
        **more,
    )


class Arriving(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that arrives in pieces, and may break off."""

    def __init__(self, pieces: list[bytes], *, breaks_off: bool) -> None:
        self._pieces = pieces
        self._breaks_off = breaks_off

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        if self._breaks_off:
            raise httpx.ReadError("broke off")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


async def confirm(colour: Colour, endpoint: str, **options: Any) -> Workspace:
    """Use a code at an endpoint."""
    favcrm = colours.provisioner(colour, endpoint, retry=ONCE, **options)
    try:
        workspace: Workspace = await favcrm.confirm(f"signup_req_{next(REQUEST_IDS)}", CODE)
    finally:
        await favcrm.end()
    return workspace


async def confirm_alone(colour: Colour, wrapping: Wrapping) -> Workspace:
    """Use a code without a network."""

    def respond(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(405)
        pieces = wrapping.pieces(json.loads(request.content)["id"])
        stream = Arriving(pieces, breaks_off=wrapping.breaks_off is not None)
        return httpx.Response(200, headers=wrapping.headers, stream=stream)

    async with client_of(httpx, colour, **stand_in(httpx, colour, respond)) as client:
        return await confirm(colour, ENDPOINT, http_client=client)


def check_whole(workspace: Workspace) -> None:
    """Check that everything in the answer was read."""
    assert workspace.api_key.reveal() == KEY
    assert workspace.problems == ()
    assert (workspace.organisation_id, workspace.next_steps[0]) == ("org_1", "Caf\u00e9 \u540d")


COLOURS = ["blocking", "asynchronous"]
MANY = settings(max_examples=60, deadline=None)


@pytest.mark.parametrize("colour", COLOURS)
@given(wrappings(set(PACKERS) - {"raw"}) | wrappings(["raw"], ["deflate", "Deflate", "identity, deflate"]))
@MANY
def test_a_whole_answer_in_any_wrapping_is_read_as_it_is(colour: Colour, wrapping: Wrapping) -> None:
    check_whole(anyio.run(confirm_alone, colour, wrapping))


@pytest.mark.parametrize("colour", COLOURS)
@given(wrappings(["plain", "gzip", "zlib", "gzip twice"], breaks_off=st.floats(0, 1)))
@MANY
def test_an_answer_that_breaks_off_behind_the_key_gives_the_key(colour: Colour, wrapping: Wrapping) -> None:
    assert anyio.run(confirm_alone, colour, wrapping).api_key.reveal() == KEY
