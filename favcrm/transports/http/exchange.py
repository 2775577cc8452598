"""One HTTP exchange, written once for both colours and for both httpx and httpx2.

It imports neither: the channel brings its client, and the library whose errors that raises.
"""

from __future__ import annotations

import sys
import time
import zlib
from contextlib import AbstractContextManager, suppress
from functools import lru_cache
from ssl import SSLError
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from attrs import evolve, frozen

import favcrm
from favcrm._mcp.jsonrpc import AnswerReader
from favcrm._text import clean
from favcrm.endpoint import Endpoint, without_details
from favcrm.errors import NotSentError, OutcomeUnknownError
from favcrm.settings import check_key
from favcrm.transport import Response
from favcrm.transports.binding import closed_error
from favcrm.transports.http.failures import no_answer, no_tunnel, translate
from favcrm.transports.http.inflating import Inflater
from favcrm.transports.http.watch import stopped_at_proxy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import ModuleType

    from favcrm._mcp.requests import Outgoing
    from favcrm.errors import TransportError
    from favcrm.secret import Secret
    from favcrm.typing import JSON

    OnMessage: TypeAlias = Callable[[Mapping[str, JSON]], Awaitable[None]]

USER_AGENT = f"favcrm-python/{favcrm.__version__} Python/{sys.version.split()[0]}"
PROFILE_HEADER = "X-FavCRM-MCP-Profile"
MAX_REDIRECTS = 3
REDIRECTS = range(300, 400)
FOLLOWED_REDIRECTS = frozenset({307, 308})
GRACE = 1.0


class Channel(Protocol):
    """One colour of client. The two libraries' classes share no base, so requests and responses are Any here."""

    client: Any
    proxy: str
    """The address of the proxy, without its user and password; empty where there is none, or none that is known."""
    httpx: ModuleType
    strays: frozenset[str]
    """The headers of MCP that the client's owner set for every request."""

    async def send(self, request: Any) -> Any:
        """Send a request and return the response with its body unread."""
        ...

    def limit(self, seconds: float, /) -> AbstractContextManager[object]:
        """Leave the block after some seconds, where it can be left: httpx counts each read by itself."""
        ...

    def shielded(self, seconds: float, /) -> AbstractContextManager[object]:
        """Do what is in the block although the call was cancelled, for some seconds at most."""
        ...

    async def sleep(self, seconds: float, /) -> None:
        """Wait."""
        ...

    def chunks(self, response: Any) -> Any:
        """Return an iterator over the body as it arrives; if a hook has read it, over what the hook left."""
        ...

    async def next_chunk(self, chunks: Any) -> bytes | None:
        """Return the next chunk, or None at the end."""
        ...

    async def close(self, response: Any) -> None:
        """Give the connection back."""
        ...

    async def leave(self, chunks: Any, /) -> None:
        """Leave the rest of a closed body."""
        ...


@frozen(eq=False)
class Reply:
    """What came back for one HTTP request.

    Attributes:
        response: The answer, or what there is of one.
        last_event_id: Where the stream of an answer can be resumed; empty where it cannot.
        retry: Seconds to wait before that, or None where the server does not say.
    """

    response: Response
    last_event_id: str = ""
    retry: float | None = None

    def after(self, before: Reply) -> Reply:
        """Return this part of an answer, which can be resumed where the part before ended if it gave no event."""
        retry = before.retry if self.retry is None else self.retry
        response = self.response
        if not response.complete:
            # Kept: a part that cannot be read may hold a key.
            response = evolve(response, body=before.response.body + response.body)
        return Reply(response, self.last_event_id or before.last_event_id, retry)


async def exchange(
    channel: Channel,
    endpoint: Endpoint,
    outgoing: Outgoing,
    api_key: Secret | None,
    timeout: float,
    *,
    on_message: OnMessage | None = None,
) -> Reply:
    """Send a request and read its answer, through redirects within the same origin.

    Args:
        channel: Where to send it.
        endpoint: Where it goes.
        outgoing: The request. Of the answer to one without an id only the status is read.
        api_key: The key to present.
        timeout: Seconds that all of it may take.
        on_message: Given each notification and request of the server's that comes before the answer.

    Raises:
        NotSentError: Certainly nothing reached the server.
        OutcomeUnknownError: No answer began.
    """
    headers = {**sign(channel, outgoing, api_key), **_profile_header(endpoint)}
    ends_at = time.monotonic() + timeout
    for _ in range(MAX_REDIRECTS):
        reply = await _exchange_once(channel, endpoint, outgoing, headers, ends_at, on_message=on_message)
        target = _redirect_target(endpoint, reply.response)
        if target is None:
            return _name_redirect(reply)
        endpoint = target
    return _name_redirect(
        await _exchange_once(channel, endpoint, outgoing, headers, ends_at, on_message=on_message)
    )


def sign(channel: Channel, outgoing: Outgoing, api_key: Secret | None) -> Mapping[str, str]:
    """Return all headers of a request, the key among them.

    Raises:
        NotSentError: The client is closed.
    """
    if channel.client.is_closed:
        raise closed_error()
    headers = {**outgoing.headers, "Accept-Encoding": "gzip", "User-Agent": USER_AGENT}
    if api_key is not None:
        headers["Authorization"] = bearer(api_key)
    return headers


def _profile_header(endpoint: Endpoint) -> Mapping[str, str]:
    """Return the header with which FavCRM is asked for a set of tools."""
    return {} if endpoint.profile is None else {PROFILE_HEADER: endpoint.profile}


@lru_cache(maxsize=16)
def _url(httpx: ModuleType, url: str) -> Any:
    """Parse an address once; httpx would do it for every request."""
    return httpx.URL(url)


def _redirect_target(endpoint: Endpoint, response: Response) -> Endpoint | None:
    """Return where to send the same request again: only these two statuses keep method and body."""
    if response.status not in FOLLOWED_REDIRECTS:
        return None
    return endpoint.follow(response.headers.get("location", ""))


def _name_redirect(reply: Reply) -> Reply:
    """Say where a redirect leads in place of its body, for the error to name."""
    response = reply.response
    if response.status not in REDIRECTS:
        return reply
    location = response.headers.get("location")
    target = without_details(location) if location else "nowhere"
    return Reply(evolve(response, body="", defect=f"is a redirect to {clean(target)}"))


async def _exchange_once(
    channel: Channel,
    endpoint: Endpoint,
    outgoing: Outgoing,
    headers: Mapping[str, str],
    ends_at: float,
    *,
    on_message: OnMessage | None,
) -> Reply:
    answer = await begin(channel, endpoint.url, outgoing, headers, ends_at)
    if outgoing.request_id is None:
        return await _pass_over(channel, answer)
    # A mapping of httpx looks through all its headers for each one, but not for its items.
    received = dict(answer.headers.items())
    reader = AnswerReader(outgoing.request_id, answer.status_code, received)
    # What a hook of the client's owner has read is inflated already.
    encoding = "" if answer.is_stream_consumed else received.get("content-encoding", "")
    cut = await _read(channel, answer, reader, Inflater(encoding), ends_at, on_message)
    return Reply(reader.finish(cut=cut), reader.last_event_id, reader.retry)


async def begin(
    channel: Channel,
    url: str,
    outgoing: Outgoing,
    headers: Mapping[str, str],
    ends_at: float,
) -> Any:
    """Send a request and return httpx's response with its body unread.

    Args:
        channel: Where to send it.
        url: Where it goes.
        outgoing: The request.
        headers: All its headers.
        ends_at: Until when the answer has to begin.

    Raises:
        NotSentError: Certainly nothing reached the server.
        OutcomeUnknownError: No answer began.
    """
    timeout = max(0.0, ends_at - time.monotonic())
    client, httpx = channel.client, channel.httpx
    failure: TransportError | None = None
    request = answer = None
    try:
        request = client.build_request(
            outgoing.http_method,
            _url(httpx, url),
            headers=headers,
            content=outgoing.content,
            timeout=timeout,
        )
        # A header of MCP that the client's owner set for all requests would speak of another era.
        for name in channel.strays.difference(map(str.lower, headers)):
            del request.headers[name]
        # Longer than httpx's own timeouts, which know how far it came.
        with channel.limit(timeout + GRACE):
            answer = await channel.send(request)
    except httpx.HTTPStatusError as error:
        # A hook of the client's owner raises for a status.
        answer = error.response
    except (httpx.HTTPError, httpx.InvalidURL, SSLError) as error:
        encrypted = url.startswith("https:")
        failure = translate(error, httpx, timeout, proxy=channel.proxy, encrypted=encrypted)
    if answer is not None:
        return answer
    if not isinstance(failure, NotSentError) and stopped_at_proxy(request):
        failure = no_tunnel(channel.proxy)
    # Outside the except block: httpx's error holds the request with the key, and would stay as the context.
    raise failure or OutcomeUnknownError(no_answer(timeout))


async def _pass_over(channel: Channel, answer: Any) -> Reply:
    """Return the status of an answer that nobody waits for."""
    chunks = channel.chunks(answer)
    with suppress(channel.httpx.HTTPError, channel.httpx.StreamError):
        try:
            # Read to its end, the connection can serve again.
            await drain(channel, chunks, GRACE)
        finally:
            await channel.close(answer)
    await channel.leave(chunks)
    return Reply(Response(status=answer.status_code, headers=dict(answer.headers.items())))


async def _read(  # noqa: PLR0917  # all of them, always
    channel: Channel,
    answer: Any,
    reader: AnswerReader,
    inflater: Inflater,
    ends_at: float,
    on_message: OnMessage | None,
) -> bool:
    """Read an answer to its end or to the message that matters; return whether it broke off before."""
    chunks = channel.chunks(answer)
    # Closed unread where such a hook raised; then the status is what there is.
    ended = answer.is_closed and not answer.is_stream_consumed
    with suppress(channel.httpx.HTTPError, channel.httpx.StreamError, SSLError, zlib.error):
        try:
            with channel.limit(max(0.0, ends_at - time.monotonic()) + GRACE):
                while not (ended or reader.done):
                    chunk = await channel.next_chunk(chunks)
                    ended = chunk is None
                    for piece in inflater.feed(chunk or b""):
                        reader.feed(piece)
                        if reader.done:
                            break
                    if on_message is not None:
                        for message in reader.take_messages():
                            await on_message(message)
                    if time.monotonic() > ends_at:
                        break
            if reader.answered:
                # A stream that has answered is about to end; read to its end, the connection can serve again.
                await drain(channel, chunks, GRACE)
        finally:
            await channel.close(answer)
    for piece in inflater.end():
        reader.feed(piece)
    if not ended:
        await channel.leave(chunks)
    return not (ended or reader.done)


async def drain(channel: Channel, chunks: Any, seconds: float) -> None:
    """Read what is left of a body, for some seconds at most."""
    ends_at = time.monotonic() + seconds
    with channel.limit(seconds):
        while time.monotonic() < ends_at and await channel.next_chunk(chunks) is not None:
            pass


def bearer(api_key: Secret) -> str:
    """Return the Authorization header of a key.

    Raises:
        InvalidInputError: It holds what no header can carry.
    """
    check_key(api_key)
    return f"Bearer {api_key.reveal()}"
