"""Calls over HTTP to one endpoint, in whatever era its server speaks. Written once for both colours.

What to send, and what an answer proves, is decided in `favcrm._mcp.negotiation`; here it is carried out.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol, get_args

from attrs import evolve, field, frozen

from favcrm._mcp.input_required import OnInput, in_rounds
from favcrm._mcp.jsonrpc import is_stream
from favcrm._mcp.negotiation import BARE, MODERN, Remedy, find_remedy, negotiate
from favcrm._mcp.progress import tell_progress
from favcrm._mcp.requests import (
    with_meta,
    write_answer,
    write_goodbye,
    write_notification,
    write_request,
    write_resumption,
)
from favcrm._mcp.tools import ToolHeaders
from favcrm.errors import (
    FavCRMError,
    InvalidInputError,
    NotSentError,
    OutcomeUnknownError,
    Problem,
    TransportError,
)
from favcrm.transport import Response
from favcrm.transports.http import verdicts
from favcrm.transports.http.exchange import GRACE, exchange
from favcrm.typing import JSON, Era

if TYPE_CHECKING:
    from collections.abc import Generator

    from favcrm._mcp.negotiation import Agreement, Step
    from favcrm._mcp.requests import Outgoing
    from favcrm.endpoint import Endpoint
    from favcrm.models import Progress
    from favcrm.secret import Secret
    from favcrm.transports.http.exchange import Channel, OnMessage, Reply

ERAS = set(get_args(Era))
DEFAULT_RETRY = 1.0
"""Seconds before a stream is resumed whose server does not say how many."""
MAX_FAILURES = 2
"""How often in a row a stream may be resumed in vain."""
MAX_PAGES = 100
OK = 200


class Lock(Protocol):
    """Lets one at a time negotiate."""

    def held(self, seconds: float, /) -> AbstractAsyncContextManager[None]:
        """Hold it within a block; wait for it for some seconds at most.

        Raises:
            NotSentError: It was not free in time.
        """
        ...


@frozen(kw_only=True, eq=False)
class Query:
    """One call of a user's, until it is answered."""

    channel: Channel
    method: str
    params: Mapping[str, JSON] = field(repr=False)
    api_key: Secret | None
    ends_at: float
    on_progress: Callable[[Progress], None] | None = None

    @property
    def remaining(self) -> float:
        """The seconds that are left."""
        return max(0.0, self.ends_at - time.monotonic())


class Conversation:
    """Everything that is said to one endpoint.

    Args:
        endpoint: Where it is.
        era: Where to begin; None for ``bare`` with FavCRM's own hosts, and for what is known or found out elsewhere.
        lock: Lets one at a time negotiate.
        on_input: Answers what a server asks before a call is complete.

    Raises:
        InvalidInputError: There is no such era.
    """

    def __init__(self, endpoint: Endpoint, era: Era | None, lock: Lock, on_input: OnInput | None) -> None:
        if era is not None and era not in ERAS:
            raise InvalidInputError([Problem("era", f"must be one of {', '.join(sorted(ERAS))}")])
        self._endpoint = endpoint
        self._lock = lock
        self._on_input = on_input
        self._capabilities: Mapping[str, JSON] = {"elicitation": {}} if on_input else {}
        self._request_ids = itertools.count(1)
        self._tool_headers = ToolHeaders()
        self._key_of_session: Secret | None = None
        began = era or ("bare" if endpoint.favcrms_own else verdicts.recall(endpoint.url))
        self._agreement: Agreement | None = {"bare": BARE, "modern": MODERN}.get(began)
        self._probe = began == "auto"
        self._confirmed = False

    async def request(self, query: Query) -> Response:
        """Make a call: negotiate where that comes first, and again where an answer proves that it must."""
        tried: set[Remedy] = set()
        while True:
            agreement = self._agreement
            if agreement is None:
                stand_in = await self._negotiate(query, None, probe=self._probe)
                if stand_in is not None:
                    return stand_in
                continue
            if not query.remaining:
                raise NotSentError("No time was left when the server was understood. The call was not sent.")
            ask = self._ask_in_rounds if agreement.era == "modern" else self._ask
            response = await ask(query, agreement)
            remedy = find_remedy(agreement, response, confirmed=self._confirmed)
            if remedy is None or remedy in tried:
                self._confirmed = self._confirmed or response.result is not None
                return response
            tried.add(remedy)
            answer = await self._mend(query, agreement, remedy, response)
            if answer is not None:
                return answer

    async def end(self, channel: Channel) -> None:
        """Tell the server that the session is over."""
        agreement = self._agreement
        if agreement and agreement.session_id and not channel.client.is_closed:
            self._agreement = None
            with suppress(TransportError), channel.shielded(GRACE):
                goodbye = write_goodbye(agreement)
                await exchange(channel, self._endpoint, goodbye, self._key_of_session, GRACE)

    async def _mend(
        self, query: Query, agreement: Agreement, remedy: Remedy, refused: Response
    ) -> Response | None:
        """Do what a call that did not run needs; return an answer where it is of no use to send it again."""
        if remedy is Remedy.LIST_TOOLS:
            learned = False
            # Whatever becomes of the list, the call itself was refused and did not run.
            with suppress(FavCRMError):
                learned = await self._learn_headers(query, agreement)
            return None if learned else refused
        try:
            stand_in = await self._negotiate(query, agreement, probe=remedy is Remedy.NEGOTIATE)
        except NotSentError:
            # A plain refusal was no sign of another era after all.
            if refused.error is None:
                return refused
            raise
        return refused if self._agreement is BARE is agreement else stand_in

    async def _negotiate(self, query: Query, seen: Agreement | None, *, probe: bool) -> Response | None:
        """Agree with the server, unless somebody did since; return an answer that stands for the call's own."""
        async with self._lock.held(query.remaining):
            if self._agreement is not seen:
                return None
            found = await self._drive(negotiate(probe=probe), query)
            if isinstance(found, Response):
                return found
            self._agreement, self._confirmed, self._key_of_session = found, False, query.api_key
            verdicts.remember(self._endpoint.url, found.era)
            return None

    async def _drive(
        self, steps: Generator[Step, Response, Agreement | Response], query: Query
    ) -> Agreement | Response:
        try:
            step = next(steps)
            while True:
                step = steps.send(await self._take(step, query))
        except StopIteration as done:
            found: Agreement | Response = done.value
            return found

    async def _take(self, step: Step, query: Query) -> Response:
        """Take one step of a negotiation. Whatever becomes of it, the call itself was not sent."""
        try:
            return (await self._send(query, self._write(step))).response
        except OutcomeUnknownError:
            pass
        raise NotSentError(
            f"No answer came to {step.method}, which goes before the call. The call was not sent."
        )

    def _write(self, step: Step) -> Outgoing:
        if step.notification:
            return write_notification(step.under, step.method, step.params)
        params = with_meta(step.under, step.params, capabilities=self._capabilities)
        return write_request(step.under, next(self._request_ids), step.method, params)

    async def _ask_in_rounds(self, query: Query, agreement: Agreement) -> Response:
        """Make a call of the modern era, in all the rounds that it takes."""

        async def ask(params: Mapping[str, JSON]) -> Response:
            return await self._ask(evolve(query, params=params), agreement)

        async def sleep(seconds: float) -> None:
            await query.channel.sleep(min(seconds, query.remaining))

        response = await in_rounds(query.params, ask, on_input=self._on_input, sleep=sleep)
        return self._tool_headers.learn(response) if query.method == "tools/list" else response

    async def _learn_headers(self, query: Query, agreement: Agreement) -> bool:
        """Read the list of tools; tell whether the call has other headers now."""
        before = self._tool_headers.of(query.params)
        page: Mapping[str, JSON] = {}
        for _ in range(MAX_PAGES):
            response = await self._ask_in_rounds(evolve(query, method="tools/list", params=page), agreement)
            cursor = response.result.get("nextCursor") if isinstance(response.result, dict) else None
            if not isinstance(cursor, str):
                break
            page = {"cursor": cursor}
        return self._tool_headers.of(query.params) != before

    async def _ask(self, query: Query, agreement: Agreement) -> Response:
        """Send one request and read its answer."""
        number = next(self._request_ids)
        token = None if query.on_progress is None else number
        params = query.params
        if token is not None or agreement.era == "modern":
            params = with_meta(agreement, params, capabilities=self._capabilities, progress_token=token)
        outgoing = write_request(agreement, number, query.method, params, self._tool_headers)
        hear: OnMessage | None = None
        if token is not None or agreement.era == "session":
            hear = partial(self._hear, query, agreement, number)
        if agreement.era != "session":
            return await self._read(query, agreement, outgoing, hear)
        return await self._ask_in_session(query, agreement, outgoing, hear)

    async def _ask_in_session(
        self, query: Query, agreement: Agreement, outgoing: Outgoing, hear: OnMessage | None
    ) -> Response:
        """Ask, and where no answer is waited for any longer tell the server: a closed connection does not."""
        settled = False
        try:
            response = await self._read(query, agreement, outgoing, hear)
            settled = response.complete
        except NotSentError:
            settled = True
            raise
        finally:
            if not settled:
                details: Mapping[str, JSON] = {
                    "requestId": outgoing.request_id,
                    "reason": "no longer waited for",
                }
                await self._tell(query, write_notification(agreement, "notifications/cancelled", details))
        return response

    async def _read(
        self, query: Query, agreement: Agreement, outgoing: Outgoing, hear: OnMessage | None
    ) -> Response:
        """Send a request and read its answer, also where it goes on in another stream after the first one ended."""
        reply = await self._send(query, outgoing, hear)
        failures = 0
        while not reply.response.complete and reply.last_event_id and failures < MAX_FAILURES:
            wait = DEFAULT_RETRY if reply.retry is None else reply.retry
            if wait >= query.remaining:
                break
            await query.channel.sleep(wait)
            assert outgoing.request_id is not None
            resumption = write_resumption(agreement, outgoing.request_id, reply.last_event_id)
            try:
                more = await self._send(query, resumption, hear)
            except TransportError:
                failures += 1
                continue
            # What refuses to go on says nothing of the call, which may have been carried out.
            answer = more.response
            if answer.status != OK or answer.defect or not is_stream(OK, answer.headers):
                break
            failures = 0 if more.last_event_id else failures + 1
            reply = more.after(reply)
        return reply.response

    async def _send(self, query: Query, outgoing: Outgoing, hear: OnMessage | None = None) -> Reply:
        return await exchange(
            query.channel, self._endpoint, outgoing, query.api_key, query.remaining, on_message=hear
        )

    async def _hear(
        self, query: Query, agreement: Agreement, number: int, message: Mapping[str, JSON]
    ) -> None:
        """Take what a server tells or asks before its answer."""
        if "id" not in message:
            if query.on_progress is not None and query.remaining:
                tell_progress(message, number, query.on_progress)
        elif agreement.era == "session" and (answer := write_answer(agreement, message)) is not None:
            # Not shielded as what is told at the end: a server may ask more than there is time for.
            with suppress(TransportError):
                seconds = min(GRACE, query.remaining)
                await exchange(query.channel, self._endpoint, answer, query.api_key, seconds)

    async def _tell(self, query: Query, outgoing: Outgoing) -> None:
        """Send what nothing depends on, even if the caller was cancelled."""
        with suppress(TransportError), query.channel.shielded(GRACE):
            await exchange(query.channel, self._endpoint, outgoing, query.api_key, GRACE)
