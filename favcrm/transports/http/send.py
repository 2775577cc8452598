"""One HTTP request and its answer, for sync and async, httpx and httpx2 alike.

The backend brings its client, and the library of the client, so neither library is imported here.
"""

from __future__ import annotations

import sys
import zlib
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from ssl import SSLError
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from attrs import evolve

import favcrm
from favcrm._mcp.jsonrpc import AnswerReader
from favcrm._mcp.negotiation import REDIRECTS
from favcrm._text import clean
from favcrm.endpoint import Endpoint, without_details
from favcrm.errors import NotSentError, OutcomeUnknownError
from favcrm.settings import check_key
from favcrm.transport import Response
from favcrm.transports.binding import closed_error
from favcrm.transports.http.backends import drain
from favcrm.transports.http.connections import stopped_at_proxy
from favcrm.transports.http.errors import no_answer, no_tunnel, translate
from favcrm.transports.http.inflating import Inflater

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import ModuleType

    from favcrm._mcp.requests import Outgoing
    from favcrm.secret import Secret
    from favcrm.transports.http.backends import HTTPBackend
    from favcrm.typing import JSON

    OnMessage: TypeAlias = Callable[[Mapping[str, JSON]], Awaitable[None]]

USER_AGENT = f"favcrm-python/{favcrm.__version__} Python/{sys.version.split()[0]}"
MAX_REDIRECTS = 3
FOLLOWED_REDIRECTS = frozenset({HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT})


class Reply(NamedTuple):
    """What came back for one HTTP request.

    Attributes:
        response: The answer, or what there is of one.
        last_event_id: The event after which the stream of an answer can be resumed; empty if it cannot.
        retry: Seconds to wait before that, or None if the server does not say.
    """

    response: Response
    last_event_id: str = ""
    retry: float | None = None

    def after(self, before: Reply) -> Reply:
        """Return this part of an answer. If it has no event, it is resumed after the last event before it."""
        retry = before.retry if self.retry is None else self.retry
        response = self.response
        if not response.complete:
            # Kept, because a part that cannot be read may hold a key.
            response = evolve(response, body=before.response.body + response.body)
        return Reply(response, self.last_event_id or before.last_event_id, retry)


async def send(
    backend: HTTPBackend,
    endpoint: Endpoint,
    outgoing: Outgoing,
    api_key: Secret | None,
    timeout: float,
    *,
    on_message: OnMessage | None = None,
) -> Reply:
    """Send a request and read its answer, through redirects within the same origin.

    Args:
        backend: The client that sends it.
        endpoint: Where it goes.
        outgoing: The request. If it has no id, only the status of its answer is read.
        api_key: The key to present.
        timeout: Seconds for all of it.
        on_message: Given each notification and request of the server's that comes before the answer.

    Raises:
        NotSentError: Certainly nothing reached the server.
        OutcomeUnknownError: No answer began.
    """
    headers = _all_headers(backend, endpoint, outgoing, api_key)
    ends_at = backend.clock.monotonic() + timeout
    redirects_left = MAX_REDIRECTS
    while True:
        answer = await _begin(backend, endpoint, outgoing, headers, ends_at)
        if outgoing.message_id is None:
            reply = await _discard(backend, answer)
        else:
            reply = await _receive(backend, answer, outgoing.message_id, ends_at, on_message)
        if reply.response.status not in REDIRECTS:
            return reply
        target = _redirect_target(backend.httpx, endpoint, reply.response) if redirects_left else None
        if target is None:
            return _name_redirect(reply.response)
        endpoint, redirects_left = target, redirects_left - 1


def _all_headers(
    backend: HTTPBackend, endpoint: Endpoint, outgoing: Outgoing, api_key: Secret | None
) -> Mapping[str, str]:
    """Return all headers of a request, the key among them.

    Raises:
        NotSentError: The client is closed.
    """
    if backend.client.is_closed:
        raise closed_error()
    headers = {**outgoing.headers, "Accept-Encoding": "gzip", "User-Agent": USER_AGENT}
    if endpoint.profile is not None:
        headers["X-FavCRM-MCP-Profile"] = endpoint.profile
    if api_key is not None:
        headers["Authorization"] = bearer(api_key)
    return headers


@lru_cache(maxsize=16)
def _url(httpx: ModuleType, url: str) -> Any:
    """Parse an address once, because httpx would parse it for every request."""
    return httpx.URL(url)


def _redirect_target(httpx: ModuleType, endpoint: Endpoint, response: Response) -> Endpoint | None:
    """Return where to send the same request again. Only two statuses keep its method and body."""
    if response.status not in FOLLOWED_REDIRECTS:
        return None
    target = endpoint.follow(response.headers.get("location", ""))
    try:
        # httpx refuses more addresses.
        return target and _url(httpx, target.url) and target
    except httpx.InvalidURL:
        return None


def _name_redirect(response: Response) -> Reply:
    """Put where a redirect leads in place of its body, so that the error names it."""
    location = response.headers.get("location")
    target = without_details(location) if location else "nowhere"
    return Reply(evolve(response, body="", defect=f"is a redirect to {clean(target)}"))


async def _begin(
    backend: HTTPBackend, endpoint: Endpoint, outgoing: Outgoing, headers: Mapping[str, str], ends_at: float
) -> Any:
    """Send a request and return httpx's response with its body unread.

    Raises:
        NotSentError: Certainly nothing reached the server.
        OutcomeUnknownError: No answer began.
    """
    timeout = max(0.0, ends_at - backend.clock.monotonic())
    httpx, request = backend.httpx, None
    try:
        request = backend.client.build_request(
            outgoing.http_method,
            _url(httpx, endpoint.url),
            headers=headers,
            content=outgoing.content,
            timeout=timeout,
        )
        # The client's owner may have set headers of MCP for all requests, which would name another era.
        for name in backend.own_mcp_headers.difference(map(str.lower, headers)):
            del request.headers[name]
        # Longer than httpx's own timeouts, because httpx's error tells how far the request came.
        with backend.limit(timeout + backend.limits.grace):
            return await backend.send(request)
    except httpx.HTTPStatusError as error:
        # A hook of the client's owner raises for a status.
        return error.response
    except (httpx.HTTPError, httpx.InvalidURL, SSLError) as error:
        failure = translate(error, httpx, timeout, proxy=backend.proxy, encrypted=endpoint.encrypted)
        if not isinstance(failure, NotSentError) and stopped_at_proxy(request):
            failure = no_tunnel(backend.proxy)
        raise failure from None
    # Only the limit leads here.
    raise no_tunnel(backend.proxy) if stopped_at_proxy(request) else OutcomeUnknownError(no_answer(timeout))


async def _discard(backend: HTTPBackend, answer: Any) -> Reply:
    """Return the status of an answer that nobody waits for."""
    chunks = backend.chunks(answer)
    with suppress(backend.httpx.HTTPError, backend.httpx.StreamError):
        try:
            # Read to its end, the connection can serve again.
            await drain(backend, chunks, backend.limits.grace)
        finally:
            await backend.close(answer)
    await backend.leave(chunks)
    return Reply(Response(status=answer.status_code, headers=dict(answer.headers.items())))


async def _receive(
    backend: HTTPBackend, answer: Any, message_id: int, ends_at: float, on_message: OnMessage | None
) -> Reply:
    """Read an answer to its end or to the message that matters."""
    clock, grace, max_bytes = backend.clock, backend.limits.grace, backend.limits.answer_bytes
    # A mapping of httpx looks through all its headers for each one, but not for its items.
    headers = dict(answer.headers.items())
    reader = AnswerReader(message_id, answer.status_code, headers, max_bytes=max_bytes)
    # A body that a hook of the client's owner has read is inflated already.
    encoding = "" if answer.is_stream_consumed else headers.get("content-encoding", "")
    inflater = Inflater(encoding, max_bytes=max_bytes)
    chunks = backend.chunks(answer)
    # If a hook raised before it read the body, the response is closed and only its status is left.
    ended = answer.is_closed and not answer.is_stream_consumed
    with suppress(backend.httpx.HTTPError, backend.httpx.StreamError, SSLError, zlib.error):
        try:
            with backend.limit(max(0.0, ends_at - clock.monotonic()) + grace):
                while not (ended or reader.done):
                    chunk = await backend.next_chunk(chunks)
                    ended = chunk is None
                    for piece in inflater.feed(chunk or b""):
                        reader.feed(piece)
                        if reader.done:
                            break
                    if on_message is not None:
                        for message in reader.take_messages():
                            await on_message(message)
                    if clock.monotonic() > ends_at:
                        break
            if reader.answered:
                # A stream that has answered is about to end. Read to its end, the connection can serve again.
                await drain(backend, chunks, grace)
        finally:
            await backend.close(answer)
    for piece in inflater.end():
        reader.feed(piece)
    if not ended:
        await backend.leave(chunks)
    cut = not (ended or reader.done)
    return Reply(reader.finish(cut=cut), reader.last_event_id, reader.retry)


def bearer(api_key: Secret) -> str:
    """Return the Authorization header of a key.

    Raises:
        InvalidInputError: The key holds what no header can carry.
    """
    check_key(api_key)
    return f"Bearer {api_key.reveal()}"
