"""Reaching the tools over HTTP. The only module that knows httpx.

The exchange itself is in `favcrm.transports.exchange`; here is what differs between the colours. An httpx2 client
serves as well as an httpx one, since only what both have is used.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, MutableMapping
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import httpx

from favcrm._bridge import run_sync
from favcrm._core.transport import AsyncHTTPClient, HTTPClient, Response
from favcrm.endpoint import Endpoint, same_origin
from favcrm.errors import InvalidInputError, NotSentError, Problem
from favcrm.models import Progress
from favcrm.secret import Secret
from favcrm.settings import Settings, as_secret
from favcrm.transports.conversation import Conversation, Query
from favcrm.transports.exchange import bearer, drain, within
from favcrm.transports.time_limit import TimeLimit, put_under_limits, watch_connections
from favcrm.typing import JSON, Era

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator
    from types import ModuleType

    import anyio


__all__ = ["AsyncHTTPTransport", "BearerAuth", "HTTPTransport"]

ClientT = TypeVar("ClientT", httpx.Client, httpx.AsyncClient)

MAX_CONNECTIONS = 100
UNAUTHORIZED = 401
BUSY_NEGOTIATING = "Another call did not end its negotiation with the server in time. Nothing was sent."


class HTTPTransport:
    """Reaches the tools over HTTP, whichever version of MCP the server speaks, blocking.

    Args:
        endpoint: The address of the tools: https, or plain http on this machine.
        http_client: An httpx or httpx2 client to use, which stays open at `close`. By default one is made.
        era: How the server is spoken to, or what is tried first. By default ``bare`` for FavCRM's own hosts, and found
            out elsewhere, once for each endpoint.
        on_input: Given what a server of MCP 2026-07-28 asks for before it completes a call, by name; returns the
            answers by the same names. Without it such a call raises `InputRequiredError`.

    Raises:
        InvalidInputError: The endpoint or the client cannot be used.

    Example:
        >>> from contextlib import closing
        >>> from favcrm import FavCRMProvisioner
        >>> with closing(HTTPTransport("http://127.0.0.1:9/mcp")) as transport:
        ...     FavCRMProvisioner(transport=transport, retry=RetryPolicy.never()).diagnose().endpoint_reachable
        False
    """

    def __init__(
        self,
        endpoint: str,
        *,
        http_client: HTTPClient | None = None,
        era: Era | None = None,
        on_input: Callable[[Mapping[str, JSON]], Mapping[str, JSON]] | None = None,
    ) -> None:
        self._endpoint = _parse(endpoint)
        self._owned = _make(httpx.Client, _options(self._endpoint)) if http_client is None else None
        self._channel = _BlockingChannel(http_client or self._owned)
        self._conversation = Conversation(self._endpoint, era, _BlockingLock(), on_input)

    def request(
        self,
        method: str,
        params: Mapping[str, JSON],
        *,
        api_key: Secret | None,
        timeout: float,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Response:
        """Send one request and return what came back; see `favcrm.transports.Transport`."""
        query = Query(
            channel=self._channel,
            method=method,
            params=params,
            api_key=api_key,
            ends_at=time.monotonic() + timeout,
            on_progress=on_progress,
        )
        return run_sync(self._conversation.request(query))

    def close(self) -> None:
        """End the session, if there is one, and close the connections, if the client was made here."""
        run_sync(self._conversation.end(self._channel))
        if self._owned:
            self._owned.close()


class AsyncHTTPTransport:
    """Reaches the tools over HTTP, asynchronous: `HTTPTransport` with ``aclose``.

    Args:
        endpoint: The address of the tools: https, or plain http on this machine.
        http_client: An asynchronous httpx or httpx2 client to use, which stays open at `aclose`.
        era: As for `HTTPTransport`.
        on_input: As for `HTTPTransport`; what it returns may be awaitable.

    Raises:
        InvalidInputError: The endpoint or the client cannot be used.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        http_client: AsyncHTTPClient | None = None,
        era: Era | None = None,
        on_input: Callable[[Mapping[str, JSON]], Mapping[str, JSON] | Awaitable[Mapping[str, JSON]]]
        | None = None,
    ) -> None:
        self._endpoint = _parse(endpoint)
        self._lanes = _Lanes(self._endpoint, http_client)
        self._conversation = Conversation(self._endpoint, era, _AsyncLock(), on_input)

    async def request(
        self,
        method: str,
        params: Mapping[str, JSON],
        *,
        api_key: Secret | None,
        timeout: float,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Response:
        """Send one request and return what came back; see `favcrm.transports.Transport`."""
        ends_at = time.monotonic() + timeout
        async with self._lanes.turn(timeout) as channel:
            query = Query(
                channel=channel,
                method=method,
                params=params,
                api_key=api_key,
                ends_at=ends_at,
                on_progress=on_progress,
            )
            return await self._conversation.request(query)

    async def aclose(self) -> None:
        """End the session, if there is one, and close the connections, if the client was made here."""
        await self._conversation.end(self._lanes.first)
        await self._lanes.aclose()


class SignableRequest(Protocol):
    """A request of httpx or httpx2, as far as signing it goes."""

    @property
    def url(self) -> object:
        """Where it goes."""
        ...

    @property
    def headers(self) -> MutableMapping[str, str]:
        """Its headers."""
        ...


RequestT = TypeVar("RequestT", bound=SignableRequest)


class BearerAuth(httpx.Auth):
    """Adds the key to requests of your own httpx or httpx2 client, read at the moment of each request.

    It is added only to requests to the endpoint's own origin. If the server refuses it with 401 and it was replaced
    meanwhile, an httpx client makes the request once more; an httpx2 client takes no part in that.

    Args:
        api_key: The key, or a function that returns it, such as ``lambda: store.get(ref)``.
        endpoint: The address of the tools; from the environment where it is None.

    Raises:
        InvalidInputError: The endpoint cannot be used.

    Example:
        >>> import httpx
        >>> client = httpx.Client(auth=BearerAuth("not-a-real-key-6789"))
    """

    def __init__(self, api_key: str | Secret | Callable[[], Secret], *, endpoint: str | None = None) -> None:
        self._read_key = api_key if callable(api_key) else partial(as_secret, as_secret(api_key))
        # No frame that an error passes through holds the key.
        del api_key
        self._url = Settings.load(endpoint=endpoint).endpoint

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign a request of an httpx client, and once more if the key was replaced meanwhile."""
        response = yield self(request)
        refused = request.headers.get("Authorization")
        if response.status_code == UNAUTHORIZED and self(request).headers.get("Authorization") != refused:
            yield request

    def __call__(self, request: RequestT) -> RequestT:
        """Sign a request of an httpx2 client, which calls what is not of its own Auth class."""
        if same_origin(str(request.url), self._url):
            request.headers["Authorization"] = bearer(self._read_key())
        return request


class _BlockingChannel:
    """Sends with a blocking client. Its methods never suspend."""

    def __init__(self, client: object) -> None:
        self.client: Any = client
        self.library = _library(client, "Client")

    async def send(self, request: Any) -> Any:
        request.extensions["trace"] = watch_connections
        return self.client.send(request, stream=True, auth=None, follow_redirects=False)

    def limit(self, seconds: float, /) -> AbstractContextManager[object]:
        return TimeLimit(seconds)

    def shielded(self, seconds: float, /) -> AbstractContextManager[object]:
        return TimeLimit(seconds)

    async def sleep(self, seconds: float, /) -> None:
        time.sleep(seconds)  # noqa: ASYNC251  # this colour blocks

    def chunks(self, response: Any) -> Iterator[bytes]:
        # A client that was handed over may have opened the connection for another request, unwatched.
        put_under_limits(response.extensions.get("network_stream"))
        chunks = response.iter_bytes() if response.is_stream_consumed else response.iter_raw()
        return cast("Iterator[bytes]", chunks)

    async def next_chunk(self, chunks: Iterator[bytes]) -> bytes | None:
        return next(chunks, None)

    async def close(self, response: Any) -> None:
        response.close()

    async def leave(self, _: Iterator[bytes], /) -> None:
        """Do nothing: generators of this colour end when nobody has them any more."""


class _AsyncChannel:
    """Sends with an asynchronous client."""

    def __init__(self, client: object) -> None:
        self.client: Any = client
        self.library = _library(client, "AsyncClient")

    async def send(self, request: Any) -> Any:
        return await self.client.send(request, stream=True, auth=None, follow_redirects=False)

    def limit(self, seconds: float, /) -> AbstractContextManager[object]:
        import anyio

        return anyio.move_on_after(seconds)

    def shielded(self, seconds: float, /) -> AbstractContextManager[object]:
        import anyio

        return anyio.move_on_after(seconds, shield=True)

    async def sleep(self, seconds: float, /) -> None:
        import anyio

        await anyio.sleep(seconds)

    def chunks(self, response: Any) -> AsyncIterator[bytes]:
        chunks = response.aiter_bytes() if response.is_stream_consumed else response.aiter_raw()
        return cast("AsyncIterator[bytes]", chunks)

    async def next_chunk(self, chunks: AsyncIterator[bytes]) -> bytes | None:
        return await anext(chunks, None)

    async def close(self, response: Any) -> None:
        await response.aclose()

    async def leave(self, chunks: AsyncIterator[bytes], /) -> None:
        # The generators behind the chunks end when they find the connection closed; trio warns of those left alone.
        with suppress(self.library.HTTPError, self.library.StreamError):
            await drain(self, chunks)


class _BlockingLock:
    def __init__(self) -> None:
        self._lock = threading.Lock()

    @asynccontextmanager
    async def held(self, seconds: float, /) -> AsyncGenerator[None, None]:
        if not self._lock.acquire(timeout=seconds):
            raise NotSentError(BUSY_NEGOTIATING)
        try:
            yield
        finally:
            self._lock.release()


class _AsyncLock:
    def __init__(self) -> None:
        self._lock: anyio.Lock | None = None

    @asynccontextmanager
    async def held(self, seconds: float, /) -> AsyncGenerator[None, None]:
        import anyio

        if self._lock is None:
            self._lock = anyio.Lock()
        with anyio.move_on_after(seconds) as waiting:
            await self._lock.acquire()
        if waiting.cancelled_caught:
            raise NotSentError(BUSY_NEGOTIATING)
        try:
            yield
        finally:
            self._lock.release()


class _Lanes:
    """Lends every request a client of its own, a bounded number at a time.

    httpx's pool looks at each of its connections and each waiting request whenever one comes or goes, which is most of
    the work of 200 calls at once. So the waiting is done here, and every client has one connection to look at. A
    client that was handed over serves all.
    """

    def __init__(self, endpoint: Endpoint, http_client: object | None) -> None:
        self._options = _options(endpoint) if http_client is None else None
        client = http_client if self._options is None else _make(httpx.AsyncClient, self._options)
        self._channels = [_AsyncChannel(client)]
        self._idle = self._channels.copy()
        self._turns: anyio.Semaphore | None = None

    @asynccontextmanager
    async def turn(self, timeout: float) -> AsyncGenerator[_AsyncChannel, None]:
        import anyio

        if self._turns is None:
            self._turns = anyio.Semaphore(MAX_CONNECTIONS)
        late = False
        try:
            self._turns.acquire_nowait()
        except anyio.WouldBlock:
            with anyio.move_on_after(timeout) as waiting:
                await self._turns.acquire()
            late = waiting.cancelled_caught
        if late:
            raise NotSentError(f"{MAX_CONNECTIONS} calls are under way, and none ended {within(timeout)}.")
        try:
            # The one that was used last: its connection is the most likely to be alive.
            channel = self._idle.pop() if self._idle else self._one_more()
            try:
                yield channel
            finally:
                self._idle.append(channel)
        finally:
            self._turns.release()

    @property
    def first(self) -> _AsyncChannel:
        """The channel that is there from the beginning."""
        return self._channels[0]

    def _one_more(self) -> _AsyncChannel:
        """Return a new channel; the first again where its client was handed over, or all are closed."""
        first = self._channels[0]
        if self._options is None or first.client.is_closed:
            return first
        self._channels.append(_AsyncChannel(_make(httpx.AsyncClient, self._options)))
        return self._channels[-1]

    async def aclose(self) -> None:
        """Close the clients, if they were made here."""
        if self._options is not None:
            for channel in self._channels:
                await channel.client.aclose()


def _library(client: object, kind: str) -> ModuleType:
    """Return the library that a client belongs to, whose exceptions it raises."""
    for name in ("httpx", "httpx2"):
        library = sys.modules.get(name)
        if library is not None and isinstance(client, getattr(library, kind)):
            return library
    raise InvalidInputError([Problem("http_client", f"must be an httpx.{kind} or its httpx2 twin")])


def _parse(endpoint: str) -> Endpoint:
    try:
        parsed = Endpoint.parse(endpoint)
        # httpx refuses more, such as a name that is no international one, and with errors of its own.
        _ = httpx.URL(parsed.url).host
    except (httpx.InvalidURL, UnicodeError):
        problem = "must be an address such as https://api.favcrm.io/mcp"
    except ValueError as error:
        problem = str(error)
    else:
        return parsed
    raise InvalidInputError([Problem("endpoint", problem)])


def _make(kind: type[ClientT], options: Mapping[str, Any]) -> ClientT:
    """Make a client of our own, which reads the environment."""
    try:
        return kind(**options)
    except (ValueError, ImportError, httpx.InvalidURL):
        problem = Problem("HTTPS_PROXY, HTTP_PROXY, ALL_PROXY or NO_PROXY", "cannot be used")
    raise InvalidInputError([problem])


def _options(endpoint: Endpoint) -> dict[str, Any]:
    """Return how our own clients are made. They share the certificates, which take long to load."""
    try:
        # Plain HTTP stays on this machine: there is no certificate to load, and no proxy may carry it away.
        certificates = httpx.create_ssl_context(verify=endpoint.encrypted)
    except OSError:
        problem = Problem("SSL_CERT_FILE or SSL_CERT_DIR", "cannot be read as certificates")
    else:
        return {"verify": certificates, "trust_env": endpoint.encrypted}
    raise InvalidInputError([problem])
