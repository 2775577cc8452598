"""What servers do, and other clients stumble over: one test for each case, over real HTTP, in both colours.

The first part are the cases in which the official Python client (mcp 2.3.0) failed or had to be careful when it was
measured; the second part are servers that mean harm, or are broken.
"""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import threading
import tracemalloc
import zlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import colours
import pytest
import trustme
from servers import (
    PATIENCE,
    Peer,
    Request,
    Script,
    answers,
    chunk,
    chunked,
    event,
    head,
    message,
    redirects,
    resets,
    sends,
    serve,
    whole,
)
from transports import speakers
from transports.reach import SHORT, reach
from transports.speakers import (
    MODERN_VERSION,
    NO_SUCH_METHOD,
    RESULT,
    SESSION_ID,
    TAKEN,
    all_said,
    initialized,
    page,
    refuses,
    requests_of,
    speaks,
)

from favcrm import (
    AuthenticationError,
    InvalidInputError,
    NotSentError,
    OutcomeUnknownError,
    RefusedError,
    RetryPolicy,
    UnexpectedAnswerError,
)
from favcrm.transports.http import exchange

if TYPE_CHECKING:
    from pathlib import Path

    from colours import Colour, Facade
    from servers import Server

    from favcrm.secret import Secret

pytestmark = pytest.mark.anyio

TEXT = [{"type": "text", "text": "3"}]
PROBES = ["server/discover", "initialize"]


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


ERAS: dict[str, Callable[[Script], Script]] = {"bare": bare, "session": in_session, "modern": modern}


@pytest.fixture(params=list(ERAS))
def era(request: pytest.FixtureRequest) -> Callable[[Script], Script]:
    """Returns a server of one era, given what answers its calls."""
    return ERAS[request.param]


def tells(change: Callable[[dict[str, Any]], object], *, stream: bool = False) -> Script:
    """Return a script that answers with what becomes of a good message."""

    def script(peer: Peer, request: Request) -> None:
        told = json.dumps(change({"jsonrpc": "2.0", "id": request.json["id"], "result": RESULT})).encode()
        peer.send(*(chunked([event(told)]) if stream else [whole(told)]))

    return script


# Where the official client fails


@pytest.mark.parametrize(
    "expired",
    [
        pytest.param(page(404), id="404"),
        pytest.param(refuses(-32600, "Session not found", 404), id="404 with a reason"),
        pytest.param(refuses(-32000, "Bad Request: No valid session ID provided", 400), id="400 and -32000"),
    ],
)
async def test_session_expired(colour: Colour, expired: Script) -> None:
    first, second = secrets.token_urlsafe(), secrets.token_urlsafe()
    scripts = speakers.session(
        initialize=[initialized(first), initialized(second)],
        tools_call=[answers(RESULT), expired, answers(RESULT)],
    )
    with serve(speaks(scripts)) as server:
        async with open_client(colour, server.url) as crm:
            for _ in range(2):
                assert (await crm.call_tool("count")).content == tuple(TEXT)
    used = [request.headers[SESSION_ID] for request in requests_of(server, "tools/call")]
    assert used == [first, first, second]


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


async def test_data_of_an_error(colour: Colour, era: Callable[[Script], Script]) -> None:
    data = {"errors": [{"path": "name", "message": "too long"}]}
    with serve(era(refuses(-32602, "Wrong arguments", 200, data=data))) as server:
        async with open_client(colour, server.url) as crm:
            with pytest.raises(RefusedError) as raised:
                await crm.call_tool("count")
    assert raised.value.data == data


async def test_structured_content_of_null(colour: Colour, era: Callable[[Script], Script]) -> None:
    told = {"structuredContent": None, "content": [{"type": "text", "text": "null"}]}
    with serve(era(answers(told))) as server:
        async with open_client(colour, server.url) as crm:
            assert (await crm.call_tool("count")).data is None


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


async def test_502_with_a_page(colour: Colour, era: Callable[[Script], Script]) -> None:
    with serve(era(page(502))) as server:
        async with open_client(colour, server.url) as crm:
            with pytest.raises(OutcomeUnknownError, match="HTTP 502"):
                await crm.call_tool("count")
    assert len(requests_of(server, "tools/call")) == 1


async def test_502_before_the_call(colour: Colour) -> None:
    with serve(page(502)) as server:
        async with open_client(colour, server.url) as crm:
            with pytest.raises(NotSentError, match="HTTP 502"):
                await crm.call_tool("count")
    assert all_said(server) == PROBES


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "event stream"])
async def test_error_with_a_null_id_at_200(
    colour: Colour, era: Callable[[Script], Script], stream: bool
) -> None:
    error = {"jsonrpc": "2.0", "id": None, "error": {"code": -32602, "message": "Unknown tool"}}
    with serve(era(tells(lambda _: error, stream=stream))) as server:
        async with open_client(colour, server.url) as crm:
            with pytest.raises(RefusedError, match="Unknown tool") as raised:
                await crm.call_tool("count")
    assert raised.value.server_code == -32602


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "event stream"])
async def test_batch(colour: Colour, era: Callable[[Script], Script], stream: bool) -> None:
    notification = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info"}}
    other = {"jsonrpc": "2.0", "id": 1000, "result": {}}
    with serve(era(tells(lambda answer: [notification, other, answer], stream=stream))) as server:
        async with open_client(colour, server.url) as crm:
            assert (await crm.call_tool("count")).content == tuple(TEXT)


@pytest.mark.parametrize("block", [{"type": "hologram", "rays": [1, 2]}, {"untyped": True}])
async def test_unknown_content_block(
    colour: Colour, era: Callable[[Script], Script], block: dict[str, Any]
) -> None:
    with serve(era(answers({"content": [block, *TEXT]}))) as server:
        async with open_client(colour, server.url) as crm:
            result = await crm.call_tool("count")
    assert result.content == (block, *TEXT)


async def test_missing_content(colour: Colour, era: Callable[[Script], Script]) -> None:
    with serve(era(answers({"structuredContent": {"count": 3}}))) as server:
        async with open_client(colour, server.url) as crm:
            result = await crm.call_tool("count")
    assert (result.data, result.content) == ({"count": 3}, ())


async def test_missing_result_type_on_a_modern_connection(colour: Colour) -> None:
    assert "resultType" not in RESULT
    with serve(modern(answers(RESULT))) as server:
        async with open_client(colour, server.url) as crm:
            assert (await crm.call_tool("count")).content == tuple(TEXT)
    (called,) = requests_of(server, "tools/call")
    assert called.headers["mcp-protocol-version"] == MODERN_VERSION


@pytest.mark.parametrize("media_type", ["text/plain", "text/plain; charset=iso-8859-1", None])
async def test_json_by_another_name(
    colour: Colour, era: Callable[[Script], Script], media_type: str | None
) -> None:
    def script(peer: Peer, request: Request) -> None:
        body = message(request, RESULT)
        named = {} if media_type is None else {"content-type": media_type}
        peer.send(head(headers={"content-length": str(len(body)), **named}) + body)

    with serve(era(script)) as server:
        async with open_client(colour, server.url) as crm:
            assert (await crm.call_tool("count")).content == tuple(TEXT)


async def test_empty_cursor(colour: Colour, era: Callable[[Script], Script]) -> None:
    def script(peer: Peer, request: Request) -> None:
        first = "cursor" not in request.json.get("params", {})
        tool = {"name": "first" if first else "second", "inputSchema": {"type": "object"}}
        answers({"tools": [tool]} | ({"nextCursor": ""} if first else {}))(peer, request)

    with serve(era(script)) as server:
        async with open_client(colour, server.url) as crm:
            assert [tool.name for tool in await crm.list_tools()] == ["first", "second"]
    assert requests_of(server, "tools/list")[1].json["params"]["cursor"] == ""


async def test_server_without_initialize(colour: Colour) -> None:
    with serve(bare(answers(RESULT))) as server:
        async with open_client(colour, server.url) as crm:
            for _ in range(2):
                assert (await crm.call_tool("count")).content == tuple(TEXT)
    assert all_said(server) == [*PROBES, "tools/call", "tools/call"]


FRAMINGS: dict[str, Callable[[bytes], bytes]] = {
    "U+2028 and U+0085": lambda told: event(told.replace(b'"3"', '"\u2028\x85"'.encode())),
    "CR only": lambda told: b"event: message\rdata: %b\r\r" % told,
    "CR and LF": lambda told: b"event: message\r\ndata: %b\r\n\r\n" % told,
    "several data lines": lambda told: b"data: %b\n\n" % told.replace(b", ", b",\ndata: "),
    "a byte order mark": lambda told: b"\xef\xbb\xbfdata: %b\n\n" % told,
    "comments, ids and other fields": lambda told: (
        b": ping\n\nid: 7\nretry: 5\n\nevent: other\ndata: {\n\n%b" % event(told)
    ),
    "no blank": lambda told: b"data:%b\n\n" % told,
}


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_framing_of_events(colour: Colour, era: Callable[[Script], Script], framing: str) -> None:
    def script(peer: Peer, request: Request) -> None:
        stream = FRAMINGS[framing](message(request, RESULT))
        peer.send(*chunked([stream[at : at + 7] for at in range(0, len(stream), 7)]))

    with serve(era(script)) as server:
        async with open_client(colour, server.url) as crm:
            result = await crm.call_tool("count")
    assert result.content[0]["text"] == ("\u2028\x85" if framing.startswith("U+") else "3")


async def test_ping_before_the_answer(colour: Colour) -> None:
    answered = threading.Event()

    def script(peer: Peer, request: Request) -> None:
        ping = json.dumps({"jsonrpc": "2.0", "id": "are-you-there", "method": "ping"}).encode()
        start, asked, told, end = chunked([event(ping), event(message(request, RESULT))])
        peer.send(start, asked)
        peer.wait_for(answered)
        peer.send(told, end)

    def take(peer: Peer, request: Request) -> None:
        answered.set()
        TAKEN(peer, request)

    with serve(speaks(speakers.session("one", tools_call=script, answer=take))) as server:
        async with open_client(colour, server.url) as crm:
            assert (await crm.call_tool("count")).content == tuple(TEXT)
    (pong,) = requests_of(server, "answer")
    assert pong.json == {"jsonrpc": "2.0", "id": "are-you-there", "result": {}}


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_any_success_for_a_notification(colour: Colour, status: int) -> None:
    taken = sends(head(204) if status == 204 else whole(b"", status))
    with serve(speaks(speakers.session("one", notifications_initialized=taken))) as server:
        async with open_client(colour, server.url) as crm:
            assert (await crm.call_tool("count")).content == tuple(TEXT)


async def test_202_for_a_call(colour: Colour, era: Callable[[Script], Script]) -> None:
    with serve(era(TAKEN)) as server:
        async with open_client(colour, server.url) as crm:
            with pytest.raises(OutcomeUnknownError, match="empty"):
                await crm.call_tool("count")


async def test_stream_that_ends_before_the_answer(colour: Colour, era: Callable[[Script], Script]) -> None:
    def script(peer: Peer, request: Request) -> None:
        peer.send(*chunked([b": ping\n\n", event(message(request, RESULT))[:-2]]))

    with serve(era(script)) as server:
        async with open_client(colour, server.url) as crm:
            with pytest.raises(OutcomeUnknownError, match="broke off"):
                await crm.call_tool("count")
    assert len(requests_of(server, "tools/call")) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "event stream"])
async def test_string_for_the_number_of_the_request(
    colour: Colour, era: Callable[[Script], Script], stream: bool
) -> None:
    with serve(era(tells(lambda answer: {**answer, "id": str(answer["id"])}, stream=stream))) as server:
        async with open_client(colour, server.url) as crm:
            assert (await crm.call_tool("count")).content == tuple(TEXT)


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


# Servers that mean harm, or are broken


async def test_gzip_that_inflates_to_gigabytes(colour: Colour, era: Callable[[Script], Script]) -> None:
    packer = zlib.compressobj(wbits=31)
    start = packer.compress(b'{"jsonrpc":') + packer.flush(zlib.Z_FULL_FLUSH)
    mebibyte = packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)

    def script(peer: Peer, _: Request) -> None:
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        peer.send(chunked([], headers=headers)[0], chunk(start))
        while True:
            peer.send(chunk(mebibyte * 64))

    assert len(mebibyte * 1024) < 2**21
    with serve(era(script)) as server:
        async with open_client(colour, server.url) as crm:
            tracemalloc.start()
            try:
                with pytest.raises(OutcomeUnknownError, match="larger than this client reads"):
                    await crm.call_tool("count")
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert peak < 80 * 2**20


async def test_header_section_without_end(colour: Colour, era: Callable[[Script], Script]) -> None:
    def script(peer: Peer, _: Request) -> None:
        peer.send(head()[:-2])
        while True:
            peer.send(b"x-more: and more\r\n" * 100)

    with serve(era(script)) as server:
        async with open_client(colour, server.url) as crm:
            with pytest.raises(OutcomeUnknownError, match="the request may have been carried out"):
                await crm.call_tool("count")
    assert len(requests_of(server, "tools/call")) == 1


SLOW: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "in the headers": (head()[:-2] + b"x-slow: ", lambda byte: byte),
    "in the body": (head(headers={"transfer-encoding": "chunked"}), chunk),
    "in a stream": (
        head(headers={"content-type": "text/event-stream", "transfer-encoding": "chunked"}) + chunk(b":"),
        chunk,
    ),
}


@pytest.mark.parametrize("part", SLOW)
async def test_one_byte_a_second(colour: Colour, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It drips a hundred times as fast, against a timeout that is as much shorter."""
    monkeypatch.setattr(exchange, "GRACE", 0.05)
    start, wrap = SLOW[part]
    left = threading.Event()

    def script(peer: Peer, request: Request) -> None:
        peer.send(start)
        try:
            for _ in range(int(PATIENCE / 0.01)):
                peer.send(wrap(b"."))
                left.wait(0.01)
        except OSError:
            left.set()
            raise

    with serve(answers(RESULT), script) as server:
        # The first request of a process loads modules, which takes long on a busy machine.
        async with open_client(colour, server.url, era="bare") as crm:
            await crm.call_tool("count")
        async with open_client(colour, server.url, era="bare", timeout=SHORT) as crm:
            with pytest.raises(OutcomeUnknownError, match="the request may have been carried out"):
                await crm.call_tool("count")
        assert left.wait(PATIENCE)


async def test_answer_after_the_deadline(colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is nobody's: the next request gets its own answer."""
    monkeypatch.setattr(exchange, "GRACE", 0.05)
    given_up = threading.Event()

    def late(peer: Peer, request: Request) -> None:
        peer.wait_for(given_up)
        answers({"late": True})(peer, request)

    with serve(answers(), late, answers({"late": False})) as server:
        async with reach(colour, server.url) as wire:
            await wire.request()
            with pytest.raises(OutcomeUnknownError, match="No answer came within"):
                await wire.request(timeout=SHORT)
            given_up.set()
            assert (await wire.request()).result == {"late": False}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_to_another_host(colour: Colour, key: Secret, status: int) -> None:
    with serve(answers(RESULT)) as other:
        elsewhere = f"{other.url}?account=secret"
        with serve(redirects(elsewhere, status)) as server:
            async with open_client(colour, server.url, api_key=key) as crm:
                with pytest.raises(RefusedError, match=f"redirect to {other.url}") as raised:
                    await crm.call_tool("count")
    assert "account" not in str(raised.value)
    assert other.requests == []


async def test_redirect_to_plain_http(
    colour: Colour, key: Secret, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.tempfile() as file:
        context.load_cert_chain(file)
    with serve(answers(RESULT)) as plain, serve(redirects(plain.url), tls=context) as server:
        async with open_client(colour, server.url, api_key=key) as crm:
            with pytest.raises(RefusedError, match=f"redirect to {plain.url}"):
                await crm.call_tool("count")
    assert plain.requests == []


@pytest.mark.parametrize("character", ["\x01", "\x7f", "\x1b", "\t", " ", "é"])
async def test_session_id_with_control_characters(
    colour: Colour, character: str, caplog: pytest.LogCaptureFixture
) -> None:
    given = f"{secrets.token_urlsafe()}{character}{secrets.token_urlsafe()}"
    with serve(speaks(speakers.session(given))) as server:
        async with open_client(colour, server.url) as crm:
            with pytest.raises(NotSentError) as raised:
                await crm.call_tool("count")
    assert all_said(server) == PROBES
    assert given[:10] not in f"{raised.value}{caplog.text}"


@pytest.mark.parametrize("name", ["größe", "line\nfeed", " edge", "日本語", "=?base64?eA==?="])
async def test_tool_name_that_needs_encoding(colour: Colour, name: str) -> None:
    with serve(modern(answers(RESULT))) as server:
        async with open_client(colour, server.url) as crm:
            assert (await crm.call_tool(name)).content == tuple(TEXT)
    (called,) = requests_of(server, "tools/call")
    encoded = called.headers["mcp-name"]
    assert (encoded[:9], encoded[-2:]) == ("=?base64?", "?=")
    assert base64.b64decode(encoded[9:-2]).decode() == name
    assert called.json["params"]["name"] == name


@pytest.mark.parametrize("where", ["name", "arguments"])
async def test_lone_surrogate_in_a_call(colour: Colour, era: Callable[[Script], Script], where: str) -> None:
    asked: dict[str, tuple[str, Mapping[str, str]]] = {
        "name": ("\ud800", {}),
        "arguments": ("count", {"of": "\udfff"}),
    }
    with serve(era(answers(RESULT))) as server:
        async with open_client(colour, server.url) as crm:
            with pytest.raises(InvalidInputError, match="nothing was sent"):
                await crm.call_tool(*asked[where])
            assert (await crm.call_tool("count")).content == tuple(TEXT)
    assert len(requests_of(server, "tools/call")) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "event stream"])
async def test_lone_surrogate_in_an_answer(
    colour: Colour, era: Callable[[Script], Script], stream: bool
) -> None:
    with serve(era(answers({"structuredContent": {"found": "\ud800"}}, stream=stream))) as server:
        async with open_client(colour, server.url) as crm:
            assert (await crm.call_tool("count")).data == {"found": "\ud800"}
