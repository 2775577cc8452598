"""The HTTP+SSE transport of MCP 2024-11-05: what is posted is answered on a stream that a GET opened.

Each call has a stream for itself while it lasts; afterwards the stream waits for the next call.
"""

from __future__ import annotations

import time
import zlib
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from attrs import evolve

from favcrm._mcp.jsonrpc import MAX_ANSWER_BYTES, AnswerReader, is_stream
from favcrm._mcp.negotiation import BAD_REQUEST, NOT_FOUND, SSE, initialize_params, stand_in
from favcrm._mcp.requests import (
    ACCEPT_STREAM,
    Outgoing,
    write_answer,
    write_notification,
    write_request,
)
from favcrm._mcp.sse import EventDecoder
from favcrm.errors import NotSentError, OutcomeUnknownError, TransportError
from favcrm.transport import Response
from favcrm.transports.http.exchange import GRACE, begin, exchange, sign
from favcrm.transports.http.failures import no_answer
from favcrm.transports.http.inflating import Inflater

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from favcrm._mcp.sse import Event
    from favcrm.endpoint import Endpoint
    from favcrm.secret import Secret
    from favcrm.transports.http.exchange import Channel, OnMessage
    from favcrm.typing import JSON

OK = 200
ACCEPTED = range(200, 300)
GREETING_SECONDS = 5.0
"""How long a stream may take to give the address: a newer server may keep an open stream silent for ever."""
GONE = {BAD_REQUEST, NOT_FOUND, 410}
"""What a server answers that does not know a stream any more; it has done nothing."""


class Streams:
    """The streams to one endpoint."""

    def __init__(self, endpoint: Endpoint, request_ids: Iterator[int]) -> None:
        self._endpoint = endpoint
        self._request_ids = request_ids
        self._idle: list[_Stream] = []

    async def probe(self, channel: Channel, api_key: Secret | None, timeout: float) -> Response:
        """Open a stream for the next call; return a result where one could be opened."""
        opened = await self._open(channel, api_key, time.monotonic() + timeout)
        if isinstance(opened, Response):
            return opened
        self._idle.append(opened)
        return Response(status=OK, result={})

    async def call(
        self,
        channel: Channel,
        outgoing: Outgoing,
        api_key: Secret | None,
        timeout: float,
        hear: OnMessage | None,
    ) -> Response:
        """Make a call on a stream.

        Raises:
            NotSentError: The stream cannot be opened.
            OutcomeUnknownError: No answer came.
        """
        ends_at = time.monotonic() + timeout
        while self._idle:
            response = await self._ask(self._idle.pop(), outgoing, api_key, ends_at, hear)
            if response.status not in GONE:
                return response
        opened: _Stream | Response | None = None
        with suppress(OutcomeUnknownError):
            opened = await self._open(channel, api_key, ends_at)
        if opened is None:
            raise NotSentError("No answer came to the request for a stream. The call was not sent.")
        if isinstance(opened, Response):
            # Whatever it opened, it is no stream of this transport: the call was not sent.
            return stand_in(evolve(opened, status=NOT_FOUND) if opened.status == OK else opened)
        return await self._ask(opened, outgoing, api_key, ends_at, hear)

    async def close(self) -> None:
        """Close the streams that wait."""
        while self._idle:
            await self._idle.pop().close()

    async def _open(self, channel: Channel, api_key: Secret | None, ends_at: float) -> _Stream | Response:
        """Open a stream and say hello; return the answer where that fails."""
        outgoing = Outgoing(None, {"Accept": ACCEPT_STREAM}, http_method="GET")
        headers = sign(channel, outgoing, api_key)
        answer = await begin(channel, self._endpoint.url, outgoing, headers, ends_at, lasting=True)
        stream = _Stream(channel, answer)
        greeted = False
        try:
            failure = await stream.greet(self._endpoint, ends_at)
            if failure is None:
                failure = await self._initialize(stream, api_key, ends_at)
            greeted = failure is None
        finally:
            if not greeted:
                await stream.close()
        return failure or stream

    async def _initialize(self, stream: _Stream, api_key: Secret | None, ends_at: float) -> Response | None:
        params = initialize_params(SSE.version)
        response = await stream.ask(
            write_request(SSE, next(self._request_ids), "initialize", params), api_key, ends_at, None
        )
        if response.result is None:
            return response
        await stream.post(write_notification(SSE, "notifications/initialized", {}), api_key, ends_at)
        return None

    async def _ask(
        self,
        stream: _Stream,
        outgoing: Outgoing,
        api_key: Secret | None,
        ends_at: float,
        hear: OnMessage | None,
    ) -> Response:
        """Ask on a stream, and keep it for the next call where it is in order afterwards."""
        usable = False
        try:
            response = await stream.ask(outgoing, api_key, ends_at, hear)
            usable = response.complete and response.status == OK
            return response
        finally:
            if usable:
                self._idle.append(stream)
            else:
                await stream.give_up(outgoing, api_key)


class _Stream:
    """One stream, and the address that belongs to it."""

    def __init__(self, channel: Channel, answer: Any) -> None:
        self._channel = channel
        self._answer = answer
        self._chunks = channel.chunks(answer)
        self._inflater = Inflater(answer.headers.get("content-encoding", ""))
        self._decoder = EventDecoder()
        self._events: deque[Event] = deque()
        self._address: Endpoint | None = None
        self._posted = False

    async def greet(self, endpoint: Endpoint, ends_at: float) -> Response | None:
        """Wait for the address; return what came instead where there is none."""
        status, headers = self._answer.status_code, dict(self._answer.headers.items())
        if not is_stream(status, headers):
            return Response(status=status, headers=headers, defect="is no stream of events")
        event = await self._next_event(min(ends_at, time.monotonic() + GREETING_SECONDS), MAX_ANSWER_BYTES)
        # At another origin the key would be somebody else's.
        self._address = endpoint.follow(event.data) if event and event.name == "endpoint" else None
        if self._address is None:
            return Response(
                status=status, headers=headers, defect="is a stream without an address of this server's"
            )
        return None

    async def ask(
        self, outgoing: Outgoing, api_key: Secret | None, ends_at: float, hear: OnMessage | None
    ) -> Response:
        """Post a request and read its answer from the stream."""
        assert outgoing.request_id is not None
        timeout = ends_at - time.monotonic()
        accepted = await self.post(outgoing, api_key, ends_at)
        if accepted.status not in ACCEPTED:
            return accepted
        self._posted = True
        reader = AnswerReader(outgoing.request_id, OK, {"content-type": ACCEPT_STREAM}, lasting=True)
        while not reader.done:
            event = await self._next_event(ends_at, MAX_ANSWER_BYTES)
            if event is None:
                break
            if event.data:
                reader.take_event(event)
            for message in reader.take_messages():
                if "id" in message:
                    await self._reply(message, api_key, ends_at)
                elif hear is not None:
                    await hear(message)
        if not reader.done and time.monotonic() >= ends_at:
            raise OutcomeUnknownError(no_answer(timeout))
        self._posted = not reader.done
        return reader.finish(cut=not reader.done)

    async def _reply(self, asked: Mapping[str, JSON], api_key: Secret | None, ends_at: float) -> None:
        """Answer a request of the server's; nothing depends on it."""
        until = min(ends_at, time.monotonic() + GRACE)
        answer = write_answer(SSE, asked)
        if answer is not None and time.monotonic() < until:
            with suppress(TransportError):
                await self.post(answer, api_key, until)

    async def post(self, outgoing: Outgoing, api_key: Secret | None, ends_at: float) -> Response:
        """Send a message to the address of this stream; return the status with which it was taken."""
        assert self._address is not None
        message = Outgoing(None, outgoing.headers, outgoing.content)
        reply = await exchange(self._channel, self._address, message, api_key, ends_at - time.monotonic())
        return reply.response

    async def give_up(self, outgoing: Outgoing, api_key: Secret | None) -> None:
        """Tell the server that an answer is not waited for any longer, and close the stream."""
        if self._posted:
            params = {"requestId": outgoing.request_id, "reason": "no longer waited for"}
            cancelled = write_notification(SSE, "notifications/cancelled", params)
            with suppress(TransportError), self._channel.shielded(GRACE):
                await self.post(cancelled, api_key, time.monotonic() + GRACE)
        # By itself: the server may have taken all of the time before.
        with self._channel.shielded(GRACE):
            await self.close()

    async def close(self) -> None:
        """Close the stream."""
        await self._channel.close(self._answer)
        await self._channel.leave(self._chunks)

    async def _next_event(self, ends_at: float, room: int) -> Event | None:
        """Return the next event, or None where the stream has ended or breaks off, or time or room have."""
        httpx = self._channel.httpx
        while not self._events:
            left = ends_at - time.monotonic()
            chunk: bytes | None = None
            if left > 0:
                with suppress(httpx.HTTPError, httpx.StreamError), self._channel.limit(left):
                    chunk = await self._channel.next_chunk(self._chunks)
            if chunk is None:
                return None
            try:
                for piece in self._inflater.feed(chunk):
                    room -= len(piece)
                    if room < 0:
                        return None
                    self._events += self._decoder.feed(piece)
            except zlib.error:
                return None
        return self._events.popleft()
