"""A session of MCP with one endpoint over HTTP, in whatever era the server speaks, for sync and async alike.

`favcrm._mcp.negotiation` decides what to send and what an answer proves. This module carries the decisions out.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple, get_args

from attrs import evolve

from favcrm._mcp.input_required import OnInput, in_rounds
from favcrm._mcp.jsonrpc import is_stream, report_progress
from favcrm._mcp.negotiation import BARE, MODERN, NegotiatedProtocol, Recovery, find_recovery, negotiate
from favcrm._mcp.param_headers import ToolHeaders
from favcrm._mcp.requests import (
    next_cursor,
    page_params,
    read_pages,
    with_meta,
    write_answer,
    write_cancellation,
    write_goodbye,
    write_notification,
    write_request,
    write_resumption,
)
from favcrm.errors import (
    FavCRMError,
    InvalidInputError,
    NotSentError,
    OutcomeUnknownError,
    Problem,
    TransportError,
)
from favcrm.transport import Request, Response
from favcrm.transports.http.send import send
from favcrm.typing import JSON, Era

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from favcrm._mcp.negotiation import Step
    from favcrm._mcp.requests import Outgoing
    from favcrm.endpoint import Endpoint
    from favcrm.secret import Secret
    from favcrm.transports.http.backends import HTTPBackend, Lock
    from favcrm.transports.http.send import OnMessage, Reply

ERAS = frozenset(get_args(Era))


class EraCache:
    """The era that each endpoint was found to speak.

    Args:
        life: Seconds for which an era is believed, because a server that was upgraded still takes the older eras.
        size: How many endpoints are remembered at most.
    """

    def __init__(self, *, life: float = 3600.0, size: int = 1000) -> None:
        self._life = life
        self._size = size
        self._found: dict[str, tuple[Era, float]] = {}

    def recall(self, url: str, now: float) -> Era:
        """Return the era of an endpoint, or ``auto`` if it has to be found out."""
        era, ends_at = self._found.get(url, ("auto", 0.0))
        return era if now < ends_at else "auto"

    def remember(self, url: str, era: Era, now: float) -> None:
        """Keep the era of an endpoint."""
        if len(self._found) >= self._size:
            self.clear()
        self._found[url] = (era, now + self._life)

    def clear(self) -> None:
        """Forget every era."""
        self._found.clear()


ERA_CACHE = EraCache()
"""The eras that this process found, for all transports that it makes later."""


class Exchange(NamedTuple):
    """One request, and what it is sent with.

    Attributes:
        request: The request.
        backend: The client that sends it.
        ends_at: The deadline, on the clock of the backend.
    """

    request: Request
    backend: HTTPBackend
    ends_at: float

    @property
    def remaining(self) -> float:
        """The seconds that are left."""
        return max(0.0, self.ends_at - self.backend.clock.monotonic())

    def asking(self, method: str, params: Mapping[str, JSON]) -> Exchange:
        """Return an exchange of another request, with the same key and deadline."""
        return self._replace(request=evolve(self.request, method=method, params=params))


class McpClient:
    """All that is known of one endpoint: the protocol in which it is spoken to, and its session if there is one.

    Args:
        endpoint: The endpoint.
        era: The era to begin with. None stands for ``bare`` on FavCRM's own hosts, and elsewhere for what is known.
        lock: Lets one call at a time negotiate.
        on_input: Answers what a server asks before a call is complete.
        now: The time, on the clock of the transport.

    Raises:
        InvalidInputError: There is no such era.
    """

    def __init__(
        self, endpoint: Endpoint, era: Era | None, lock: Lock, on_input: OnInput | None, *, now: float
    ) -> None:
        if era is not None and era not in ERAS:
            raise InvalidInputError([Problem("era", f"must be one of {', '.join(sorted(ERAS))}")])
        self._endpoint = endpoint
        self._lock = lock
        self._on_input = on_input
        self._capabilities: Mapping[str, JSON] = {"elicitation": {}} if on_input else {}
        self._message_ids = itertools.count(1)
        self._tool_headers = ToolHeaders()
        self._api_key: Secret | None = None
        first = era or ("bare" if endpoint.favcrms_own else ERA_CACHE.recall(endpoint.url, now))
        self._protocol: NegotiatedProtocol | None = {"bare": BARE, "modern": MODERN}.get(first)
        self._probe = first == "auto"
        self._has_answered = False

    async def request(self, exchange: Exchange) -> Response:
        """Send a request. Negotiate before it where needed, and again if an answer proves that it did not run."""
        tried: set[Recovery] = set()
        while True:
            protocol = self._protocol
            if protocol is None:
                early = await self._negotiate(exchange, None, probe=self._probe)
                if early is not None:
                    return early
                continue
            if not exchange.remaining:
                raise NotSentError("No time was left when the server was understood. The call was not sent.")
            ask = self._ask_in_rounds if protocol.era == "modern" else self._ask
            response = await ask(exchange, protocol)
            recovery = find_recovery(protocol, response, has_answered=self._has_answered)
            if recovery is None or recovery in tried:
                self._has_answered = self._has_answered or response.result is not None
                return response
            tried.add(recovery)
            answer = await self._recover(exchange, protocol, recovery, response)
            if answer is not None:
                return answer

    async def end(self, backend: HTTPBackend) -> None:
        """Tell the server that the session is over, if there is one."""
        protocol = self._protocol
        if protocol and protocol.session_id and not backend.client.is_closed:
            self._protocol = None
            await self._tell(backend, write_goodbye(protocol), self._api_key)

    async def _recover(
        self, exchange: Exchange, protocol: NegotiatedProtocol, recovery: Recovery, refused: Response
    ) -> Response | None:
        """Do what has to come before the next attempt. Return an answer if another attempt is of no use."""
        if recovery is Recovery.LIST_TOOLS:
            learned = False
            # If listing fails, the refusal of the call is still its answer.
            with suppress(FavCRMError):
                learned = await self._learn_headers(exchange, protocol)
            return None if learned else refused
        try:
            early = await self._negotiate(exchange, protocol, probe=recovery is Recovery.NEGOTIATE)
        except NotSentError:
            # A refusal without a JSON-RPC error may be the call's answer, and no sign of another era.
            if refused.error is None:
                return refused
            raise
        still_bare = protocol is BARE and self._protocol is BARE
        return refused if still_bare else early

    async def _negotiate(
        self, exchange: Exchange, seen: NegotiatedProtocol | None, *, probe: bool
    ) -> Response | None:
        """Negotiate, unless another call did meanwhile. Return an answer if it stands for the call's own."""
        async with self._lock.held(exchange.remaining):
            if self._protocol is not seen:
                return None
            found = await negotiate(partial(self._send_step, exchange), probe=probe)
            if isinstance(found, Response):
                return found
            self._protocol, self._has_answered, self._api_key = found, False, exchange.request.api_key
            ERA_CACHE.remember(self._endpoint.url, found.era, exchange.backend.clock.monotonic())
            return None

    async def _send_step(self, exchange: Exchange, step: Step) -> Response:
        """Send a message of a negotiation. If it fails, the call itself was not sent."""
        if step.notification:
            outgoing = write_notification(step.protocol, step.method, step.params)
        else:
            params = with_meta(step.protocol, step.params, capabilities=self._capabilities)
            outgoing = write_request(step.protocol, next(self._message_ids), step.method, params)
        try:
            return (await self._send(exchange, outgoing)).response
        except OutcomeUnknownError:
            raise NotSentError(
                f"No answer came to {step.method}, which goes before the call. The call was not sent."
            ) from None

    async def _ask_in_rounds(self, exchange: Exchange, protocol: NegotiatedProtocol) -> Response:
        """Send a request of the modern era, in all the rounds that it takes."""
        request = exchange.request

        async def ask(params: Mapping[str, JSON]) -> Response:
            return await self._ask(exchange.asking(request.method, params), protocol)

        async def sleep(seconds: float) -> None:
            await exchange.backend.sleep(min(seconds, exchange.remaining))

        response = await in_rounds(request.params, ask, on_input=self._on_input, sleep=sleep)
        return self._tool_headers.learn(response) if request.method == "tools/list" else response

    async def _learn_headers(self, exchange: Exchange, protocol: NegotiatedProtocol) -> bool:
        """Read the list of tools. Tell whether the call has other headers now."""
        params = exchange.request.params
        before = self._tool_headers.of(params)

        async def ask(cursor: str | None) -> str | None:
            page = exchange.asking("tools/list", page_params(cursor))
            return next_cursor((await self._ask_in_rounds(page, protocol)).result)

        await read_pages(ask, max_pages=exchange.backend.limits.pages)
        return self._tool_headers.of(params) != before

    async def _ask(self, exchange: Exchange, protocol: NegotiatedProtocol) -> Response:
        """Send a request once, and read its answer."""
        request, message_id = exchange.request, next(self._message_ids)
        token = None if request.on_progress is None else message_id
        params = request.params
        if token is not None or protocol.era == "modern":
            params = with_meta(protocol, params, capabilities=self._capabilities, progress_token=token)
        outgoing = write_request(protocol, message_id, request.method, params, self._tool_headers)
        on_message: OnMessage | None = None
        if token is not None or protocol.era == "legacy":
            on_message = partial(self._take_message, exchange, protocol, message_id)
        settled = protocol.era != "legacy"
        try:
            reply = await self._send(exchange, outgoing, on_message)
            if reply.last_event_id and not reply.response.complete:
                reply = await self._resume(exchange, protocol, message_id, reply, on_message)
            settled = settled or reply.response.complete
        except NotSentError:
            settled = True
            raise
        finally:
            if not settled:
                # A closed connection alone does not cancel a request of a session.
                await self._tell(exchange.backend, write_cancellation(protocol, message_id), request.api_key)
        return reply.response

    async def _resume(
        self,
        exchange: Exchange,
        protocol: NegotiatedProtocol,
        message_id: int,
        reply: Reply,
        on_message: OnMessage | None,
    ) -> Reply:
        """Go on reading an answer whose stream ended before it, in other streams."""
        backend, failures = exchange.backend, 0
        while not reply.response.complete and reply.last_event_id:
            wait = backend.limits.resumption_wait if reply.retry is None else reply.retry
            if failures == backend.limits.vain_resumptions or wait >= exchange.remaining:
                break
            await backend.sleep(wait)
            resumption = write_resumption(protocol, message_id, reply.last_event_id)
            try:
                more = await self._send(exchange, resumption, on_message)
            except TransportError:
                failures += 1
                continue
            # A refusal to resume says nothing of the call, which may have been carried out.
            answer = more.response
            if (
                answer.status != HTTPStatus.OK
                or answer.defect
                or not is_stream(answer.status, answer.headers)
            ):
                break
            failures = 0 if more.last_event_id else failures + 1
            reply = more.after(reply)
        return reply

    def _send(
        self, exchange: Exchange, outgoing: Outgoing, on_message: OnMessage | None = None
    ) -> Coroutine[None, None, Reply]:
        api_key, seconds = exchange.request.api_key, exchange.remaining
        return send(exchange.backend, self._endpoint, outgoing, api_key, seconds, on_message=on_message)

    async def _take_message(
        self, exchange: Exchange, protocol: NegotiatedProtocol, message_id: int, message: Mapping[str, JSON]
    ) -> None:
        """Take a notification or a request that a server sends before its answer."""
        request = exchange.request
        if "id" not in message:
            if request.on_progress is not None and exchange.remaining:
                report_progress(message, message_id, request.on_progress)
        elif protocol.era == "legacy" and (answer := write_answer(protocol, message)) is not None:
            # The answers share the deadline of the call, because a server may ask without end.
            with suppress(TransportError):
                seconds = min(exchange.backend.limits.grace, exchange.remaining)
                await send(exchange.backend, self._endpoint, answer, request.api_key, seconds)

    async def _tell(self, backend: HTTPBackend, outgoing: Outgoing, api_key: Secret | None) -> None:
        """Send a message that needs no answer, even if the caller was cancelled."""
        grace = backend.limits.grace
        with suppress(TransportError), backend.shielded(grace):
            await send(backend, self._endpoint, outgoing, api_key, grace)
