"""HTTP+SSE, the transport of 2024: what is posted is answered on a stream."""

from __future__ import annotations

import threading
import zlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import colours
import pytest
from secrecy.search import Search
from servers import (
    Peer,
    Request,
    Script,
    chunked,
    event,
    head,
    message,
    resets,
    sends,
    serve,
    stalls,
    whole,
)
from transports.reach import SHORT, reach
from transports.speakers import (
    CALL,
    RESULT,
    TAKEN,
    Streaming,
    all_said,
    call,
    greeting,
    many,
    page,
    refuses,
    requests_of,
    says_nothing,
    tells,
)

from favcrm import NotSentError, OutcomeUnknownError, RetryPolicy
from favcrm.transport import Request as MCPRequest
from favcrm.transports.http import channels, exchange, streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from colours import Colour

    from favcrm.models import Progress
    from favcrm.secret import Secret

pytestmark = pytest.mark.anyio

ONCE = RetryPolicy.never()
INITIALIZE, READY, CALLED = "initialize", "notifications/initialized", "tools/call"
CANCELLED = "notifications/cancelled"
OPENING = ["GET", INITIALIZE, READY]
REFUSED: dict[str, Script] = {"server/discover": page(405), INITIALIZE: page(405)}


def hangs_up(peer: Peer, _: Request) -> None:
    """Break the stream; the thread that opened it notices."""
    peer._socket.shutdown(2)


async def test_what_is_posted_is_answered_on_the_stream(colour: Colour, key: Secret) -> None:
    with serve(Streaming()) as server:
        async with reach(colour, server.url, era="sse") as wire:
            assert (await call(wire, api_key=key)).result == RESULT
            assert (await call(wire, api_key=key)).result == RESULT
    opened, initialize, *_ = server.requests
    assert all_said(server) == [*OPENING, CALLED, CALLED]
    assert [request.path for request in server.requests] == ["/mcp", *["/messages?stream=1"] * 4]
    assert opened.headers["accept"] == "text/event-stream"
    assert "content-type" not in opened.headers
    assert initialize.json["params"]["protocolVersion"] == "2024-11-05"
    assert initialize.json["params"]["clientInfo"]["name"] == "favcrm-python"
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {key.reveal()}"}
    assert not [name for request in server.requests for name in request.headers if name.startswith("mcp-")]
    asked = [request.json["id"] for request in server.requests[1:] if "id" in request.json]
    assert sorted(asked) == [1, 2, 3]


@pytest.mark.parametrize("address", ["messages?stream={}", "{origin}/elsewhere?stream={}", "?stream={}"])
async def test_the_address_may_be_anywhere_at_the_origin(colour: Colour, address: str) -> None:
    streaming = Streaming()
    with serve(streaming) as server:
        streaming._address = address.replace("{origin}", server.url.removesuffix("/mcp"))
        async with reach(colour, server.url, era="sse") as wire:
            assert (await call(wire)).result == RESULT
    assert all_said(server) == [*OPENING, CALLED]


@pytest.mark.parametrize(
    "address", ["https://elsewhere.example/messages", "//elsewhere.example/", "", "ftp://a/"]
)
async def test_an_address_elsewhere_gets_neither_key_nor_message(
    colour: Colour, key: Secret, address: str
) -> None:
    with serve(Streaming(REFUSED, address=address)) as server:
        crm = colours.client(colour, server.url, era="auto", api_key=key, retry=ONCE)
        with pytest.raises(NotSentError, match="in no way that this client knows") as raised:
            await crm.call_tool("count")
        await crm.end()
    assert raised.value.permanent
    assert all_said(server) == ["server/discover", INITIALIZE, "GET"]


NO_STREAMS: dict[str, Script] = {
    "405": page(405),
    "401": page(401),
    "500": page(500),
    "JSON": sends(whole(b"{}")),
    "another event first": sends(*chunked([event(b"/messages")])),
    "a stream that ends": sends(*chunked([])),
    "a stream that ends inside": sends(*chunked([b"event: endpoint\ndata: /messages\n"])),
    "a stream that only comments": sends(*chunked([b": ping\n\n"] * 3)),
}


@pytest.mark.parametrize("answer", NO_STREAMS)
async def test_what_is_no_such_stream_is_another_server(colour: Colour, answer: str) -> None:
    def serve_one(peer: Peer, request: Request) -> None:
        (NO_STREAMS[answer] if request.method == "GET" else page(405))(peer, request)

    with serve(serve_one) as server:
        async with reach(colour, server.url, era="auto") as wire:
            with pytest.raises(NotSentError, match="to GET it answered HTTP") as raised:
                await call(wire)
    assert raised.value.permanent
    assert all_said(server) == ["server/discover", INITIALIZE, "GET"]


async def test_a_stream_that_stays_silent_is_another_server(
    colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newer servers keep a stream open that says nothing."""
    monkeypatch.setattr(streams, "GREETING_SECONDS", SHORT)
    closed = threading.Event()
    limits: list[float] = []
    for channel in (channels.BlockingChannel, channels.AsyncChannel):
        monkeypatch.setattr(channel, "limit", noting(limits, channel.limit))

    def silent(peer: Peer, request: Request) -> None:
        if request.method == "POST":
            page(405)(peer, request)
            return
        peer.send(head(headers={"content-type": "text/event-stream"}), b": here\n\n")
        try:
            peer.stall()
        finally:
            closed.set()

    with serve(silent) as server:
        async with reach(colour, server.url, era="auto") as wire:
            with pytest.raises(NotSentError, match="without a known result"):
                await call(wire)
            assert closed.wait(30)
    assert min(limits) <= SHORT


def noting(limits: list[float], limit: Callable[[Any, float], Any]) -> Callable[[Any, float], Any]:
    """Return a limit that notes how long it is."""

    def noted(channel: Any, seconds: float) -> Any:
        limits.append(seconds)
        return limit(channel, seconds)

    return noted


async def test_a_stream_that_is_longer_than_we_read_is_left(
    colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MAX_ANSWER_BYTES", 10_000)

    def flood(peer: Peer, request: Request) -> None:
        while True:
            peer.send(b"data: " + b"x" * 1000)

    with serve(Streaming({CALLED: flood})) as server:
        async with reach(colour, server.url, era="sse") as wire:
            response = await call(wire)
    assert not response.complete


# Streams are used again, and not by two at once


async def test_calls_at_once_have_a_stream_each(colour: Colour) -> None:
    waiting: list[tuple[Peer, Request]] = []
    lock = threading.Lock()

    def together(peer: Peer, request: Request) -> None:
        with lock:
            waiting.append((peer, request))
            if len(waiting) == 3:
                for one in waiting:
                    tells(RESULT)(*one)

    with serve(Streaming({CALLED: [*[together] * 3, tells(RESULT)]})) as server:
        async with reach(colour, server.url, era="sse") as wire:
            responses = await many(colour, wire, 3, lambda: None)
            assert (await call(wire)).result == RESULT
    assert [response.result for response in responses] == [RESULT] * 3
    assert len(requests_of(server, "GET")) == 3
    assert len({request.path for request in requests_of(server, CALLED)[:3]}) == 3


async def test_closing_closes_the_streams(colour: Colour) -> None:
    streaming = Streaming()
    with serve(streaming) as server:
        async with reach(colour, server.url, era="sse") as wire:
            await call(wire)
            assert not streaming.closed.is_set()
            await wire.end()
            assert streaming.closed.wait(30)


@pytest.mark.parametrize("status", [400, 404, 410])
async def test_a_stream_that_is_not_known_any_more_is_opened_again(colour: Colour, status: int) -> None:
    streaming = Streaming(
        {CALLED: [tells(RESULT), says_nothing, tells(RESULT)]}, posted={CALLED: [TAKEN, page(status), TAKEN]}
    )
    with serve(streaming) as server:
        async with reach(colour, server.url, era="sse") as wire:
            assert (await call(wire)).result == RESULT
            assert (await call(wire)).result == RESULT
    assert all_said(server) == [*OPENING, CALLED, CALLED, *OPENING, CALLED]
    assert server.requests[-1].path == "/messages?stream=2"


async def test_a_server_that_knows_no_stream_at_all_is_believed(colour: Colour) -> None:
    streaming = Streaming({CALLED: [tells(RESULT), says_nothing]}, posted={CALLED: [TAKEN, page(410)]})
    with serve(streaming) as server:
        async with reach(colour, server.url, era="sse") as wire:
            await call(wire)
            assert (await call(wire)).status == 410
    assert all_said(server) == [*OPENING, CALLED, CALLED, *OPENING, CALLED]


@pytest.mark.parametrize("headers", [{}, {"retry-after": "5"}], ids=["failing", "busy"])
async def test_where_no_stream_can_be_opened_again_the_call_was_not_sent(
    colour: Colour, headers: dict[str, str]
) -> None:
    streaming = Streaming({CALLED: [tells(RESULT), says_nothing]}, posted={CALLED: [TAKEN, page(404)]})
    opened = False

    def once(peer: Peer, request: Request) -> None:
        nonlocal opened
        if request.method == "GET" and opened:
            sends(whole(b"", 503, headers))(peer, request)
            return
        opened = True
        streaming(peer, request)

    with serve(once) as server:
        async with reach(colour, server.url, era="sse") as wire:
            await call(wire)
            if headers:
                assert (await call(wire)).status == 503
            else:
                with pytest.raises(NotSentError, match="HTTP 503 before the call was sent"):
                    await call(wire)
    assert all_said(server) == [*OPENING, CALLED, CALLED, "GET"]


@pytest.mark.parametrize("ending", [hangs_up, resets], ids=["closed", "reset"])
async def test_a_stream_that_ends_before_the_answer_leaves_it_open(colour: Colour, ending: Script) -> None:
    streaming = Streaming({CALLED: [ending, tells(RESULT)]}) if ending is hangs_up else None
    if streaming is None:
        streaming = Streaming({CALLED: [tells(RESULT)]}, posted={CALLED: [resets, TAKEN]})
    with serve(streaming) as server:
        crm = colours.client(colour, server.url, era="sse", retry=ONCE)
        with pytest.raises(OutcomeUnknownError):
            await crm.call_tool("count")
        assert (await crm.call_tool("count")).raw == RESULT
        await crm.end()
    assert len(requests_of(server, CALLED)) == 2
    assert len(requests_of(server, "GET")) == 2


# What else comes on a stream


async def test_a_server_that_asks_is_answered(colour: Colour) -> None:
    waiting: list[Request] = []

    def ask(peer: Peer, request: Request) -> None:
        waiting.append(request)
        peer.send(
            b": ping\n\nevent: other\ndata: no JSON\n\ndata:\n\n"
            + event(b'{"id":"s","method":"ping"}')
            + event(b'{"id":5,"method":"roots/list"}')
            + event(b'{"method":"notifications/message","params":{}}')
        )

    def answer(peer: Peer, request: Request) -> None:
        if request.json["id"] == 5:
            peer.send(event(message(waiting[0], RESULT)))

    with serve(Streaming({CALLED: ask, "answer": answer})) as server:
        async with reach(colour, server.url, era="sse") as wire:
            assert (await call(wire)).result == RESULT
    ping, roots = requests_of(server, "answer")
    assert ping.json == {"jsonrpc": "2.0", "id": "s", "result": {}}
    assert roots.json["error"]["code"] == -32601
    assert ping.path == "/messages?stream=1"


async def test_an_answer_that_is_not_taken_changes_nothing(colour: Colour) -> None:
    def ask(peer: Peer, request: Request) -> None:
        peer.send(event(b'{"id":"s","method":"ping"}') + event(message(request, RESULT)))

    with serve(Streaming({CALLED: ask}, posted={"answer": resets})) as server:
        async with reach(colour, server.url, era="sse") as wire:
            assert (await call(wire)).result == RESULT


async def test_progress_is_reported(colour: Colour) -> None:
    told = b'{"method":"notifications/progress","params":{"progressToken":%d,"progress":1,"total":2}}'

    def report(peer: Peer, request: Request) -> None:
        token = request.json["params"]["_meta"]["progressToken"]
        peer.send(event(told % token) + event(told % (token + 1)) + event(message(request, RESULT)))

    reports: list[Progress] = []
    with serve(Streaming({CALLED: report})) as server:
        async with reach(colour, server.url, era="sse") as wire:
            await wire.inner.request(MCPRequest(CALLED, CALL, timeout=10.0, on_progress=reports.append))
    assert [(report.progress, report.total) for report in reports] == [(1, 2)]


async def test_answers_may_come_before_and_beside_ours(colour: Colour) -> None:
    def mixed(peer: Peer, request: Request) -> None:
        told = message(99, {}) + b"\n"
        peer.send(event(told.strip()) + event(message(request, RESULT)) + event(message(98, {})))

    with serve(Streaming({CALLED: mixed})) as server:
        async with reach(colour, server.url, era="sse") as wire:
            assert (await call(wire)).result == RESULT
            assert (await call(wire)).result == RESULT
    assert len(requests_of(server, "GET")) == 1


async def test_an_event_that_is_not_json_is_passed_over(colour: Colour) -> None:
    def told(peer: Peer, request: Request) -> None:
        peer.send(event(b"{"), event(message(request, RESULT)))

    with serve(Streaming({CALLED: told})) as server:
        async with reach(colour, server.url, era="sse") as wire:
            assert (await call(wire)).result == RESULT


class Compressing:
    """A stream's peer whose bytes are compressed on the way, each piece to its end."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._compress = zlib.compressobj(wbits=31)

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.peer.send(self._compress.compress(piece) + self._compress.flush(zlib.Z_SYNC_FLUSH))


class CompressedStreaming(Streaming):
    """A server whose streams are compressed."""

    def _stream(self, peer: Peer) -> None:
        peer.send(head(headers={"content-type": "text/event-stream", "content-encoding": "gzip"}))
        compressing: Any = Compressing(peer)
        self._streams.append(compressing)
        compressing.send(greeting(self._address.format(len(self._streams))))
        try:
            peer.stall()
        finally:
            self.closed.set()


async def test_a_stream_may_be_compressed(colour: Colour) -> None:
    with serve(CompressedStreaming()) as server:
        async with reach(colour, server.url, era="sse") as wire:
            assert (await call(wire)).result == RESULT
            assert (await call(wire)).result == RESULT
    assert all_said(server) == [*OPENING, CALLED, CALLED]
    assert server.requests[0].headers["accept-encoding"] == "gzip"


async def test_a_stream_that_inflates_without_end_is_left(
    colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MAX_ANSWER_BYTES", 1_000_000)
    with serve(CompressedStreaming({CALLED: lambda peer, _: peer.send(bytes(10_000_000))})) as server:
        async with reach(colour, server.url, era="sse") as wire:
            assert not (await call(wire)).complete


async def test_a_stream_that_is_no_gzip_breaks_off(colour: Colour) -> None:
    def garbage(peer: Any, _: Request) -> None:
        peer.peer.send(b"no gzip at all")

    with serve(CompressedStreaming({CALLED: garbage})) as server:
        async with reach(colour, server.url, era="sse") as wire:
            assert not (await call(wire)).complete


@pytest.mark.parametrize("failure", [resets, stalls, page(500)], ids=["reset", "silent", "500"])
async def test_where_the_stream_fails_the_call_was_not_sent(colour: Colour, failure: Script) -> None:
    with serve(failure) as server:
        crm = colours.client(colour, server.url, era="sse", retry=ONCE, timeout=SHORT)
        with pytest.raises(NotSentError, match=r"before the call was sent|The call was not sent"):
            await crm.call_tool("count")
        await crm.end()
    assert all_said(server) == ["GET"]


def tells_an_error(peer: Peer, _: Request) -> None:
    """Tell an error as an event."""
    peer.send(event(b'{"id":null,"error":{"code":-1}}'))


# What a POST is answered with


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_a_post_may_be_taken_with_any_success(colour: Colour, status: int) -> None:
    taken = sends(whole(b"" if status == 204 else b"Accepted", status))
    with serve(Streaming(posted={CALLED: taken, INITIALIZE: taken, READY: taken})) as server:
        async with reach(colour, server.url, era="sse") as wire:
            assert (await call(wire)).result == RESULT


@pytest.mark.parametrize("status", [401, 403, 429, 500, 502])
async def test_a_post_that_is_refused_is_the_answer(colour: Colour, status: int) -> None:
    with serve(Streaming({CALLED: says_nothing}, posted={CALLED: page(status)})) as server:
        async with reach(colour, server.url, era="sse") as wire:
            response = await call(wire)
            assert (response.status, response.result) == (status, None)
    assert all_said(server) == [*OPENING, CALLED]


@pytest.mark.parametrize(
    ("posted", "told"),
    [
        (page(401), says_nothing),
        (TAKEN, tells_an_error),
    ],
    ids=["refused", "an error"],
)
async def test_a_stream_that_is_not_initialized_is_not_used(
    colour: Colour, posted: Script, told: Script
) -> None:
    streaming = Streaming({INITIALIZE: told}, posted={INITIALIZE: posted})
    with serve(streaming) as server:
        async with reach(colour, server.url, era="sse") as wire:
            assert (await call(wire)).result is None
            assert streaming.closed.wait(30)
    assert all_said(server) == ["GET", INITIALIZE]


# Nobody waits any longer


async def test_a_server_whose_answer_does_not_come_is_told(colour: Colour) -> None:
    streaming = Streaming({CALLED: says_nothing})
    with serve(streaming) as server:
        crm = colours.client(colour, server.url, era="sse", retry=ONCE, timeout=SHORT * 2)
        with pytest.raises(OutcomeUnknownError, match=r"No answer came within [\d.]+ seconds"):
            await crm.call_tool("count")
        assert streaming.closed.wait(30)
        await crm.end()
    (told,) = requests_of(server, CANCELLED)
    (asked,) = requests_of(server, CALLED)
    assert told.json["params"]["requestId"] == asked.json["id"]
    assert told.path == asked.path


async def test_a_listener_that_takes_all_the_time_leaves_none_for_the_answer(
    colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    for module in (streams, exchange):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    told = b'{"method":"notifications/progress","params":{"progressToken":1,"progress":1}}'
    streaming = Streaming({CALLED: lambda peer, _: peer.send(event(told))})

    def listen(_: Progress) -> None:
        now[0] += 11.0

    with serve(streaming) as server:
        async with reach(colour, server.url, era="sse") as wire:
            with pytest.raises(OutcomeUnknownError, match="No answer came"):
                await wire.inner.request(MCPRequest(CALLED, CALL, timeout=10.0, on_progress=listen))
            assert streaming.closed.wait(30)
    assert all_said(server) == [*OPENING, CALLED, CANCELLED]


@pytest.mark.parametrize("refused", [page(500), resets, stalls], ids=["500", "reset", "silent"])
async def test_what_is_answered_to_that_is_nothing(
    colour: Colour, refused: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "GRACE", SHORT)
    streaming = Streaming({CALLED: says_nothing}, posted={CANCELLED: refused})
    with serve(streaming) as server:
        async with reach(colour, server.url, era="sse") as wire:
            with pytest.raises(OutcomeUnknownError):
                await call(wire, timeout=SHORT * 2)
            assert streaming.closed.wait(30)
    assert len(requests_of(server, CANCELLED)) == 1


async def test_the_beginning_of_a_stream_is_never_cancelled(colour: Colour) -> None:
    streaming = Streaming({INITIALIZE: says_nothing})
    with serve(streaming) as server:
        async with reach(colour, server.url, era="sse") as wire:
            with pytest.raises(NotSentError, match=r"the request for a stream\. The call was not sent"):
                await call(wire, timeout=SHORT)
            assert streaming.closed.wait(30)
    assert all_said(server) == ["GET", INITIALIZE]


@pytest.mark.parametrize("way", ["asyncio", "trio"], indirect=True)
@pytest.mark.parametrize("where", [CALLED, INITIALIZE])
async def test_a_call_that_is_cancelled_closes_its_stream(where: str) -> None:
    """And the server is told of a call; the beginning of a stream is never cancelled."""
    asked = anyio.Event()
    token = anyio.lowlevel.current_token()
    streaming = Streaming({where: lambda *_: anyio.from_thread.run_sync(asked.set, token=token)})
    with serve(streaming) as server:
        async with reach("asynchronous", server.url, era="sse") as wire:
            async with anyio.create_task_group() as group:
                group.start_soon(call, wire)
                await asked.wait()
                await anyio.wait_all_tasks_blocked()
                group.cancel_scope.cancel()
            assert streaming.closed.wait(30)
    assert len(requests_of(server, CANCELLED)) == (where == CALLED)


FAILING: dict[str, Any] = {
    "silent": {"scripts": {CALLED: says_nothing}},
    "a broken stream": {"scripts": {CALLED: hangs_up}},
    "refused": {"scripts": {CALLED: says_nothing}, "posted": {CALLED: refuses(-32603, "no")}},
    "no answer to hello": {"posted": {INITIALIZE: resets}},
    "elsewhere": {"address": "https://elsewhere.example/{}"},
}


@pytest.mark.parametrize("failure", FAILING)
async def test_the_key_does_not_come_out_of_a_failure(colour: Colour, key: Secret, failure: str) -> None:
    search = Search()
    search.hide("key", key.reveal())
    with serve(Streaming(**FAILING[failure])) as server, search.listening():
        crm = colours.client(colour, server.url, era="sse", api_key=key, retry=ONCE, timeout=SHORT * 2)
        with pytest.raises(Exception, match=r".") as raised:
            await crm.call_tool("count")
        search.take("error", raised.value)
        search.take("client", crm.inner)
        await crm.end()
    assert server.requests
    search.check()
