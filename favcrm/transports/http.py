"""Reaching the tools over HTTP. The only module that knows httpx.

One exchange is written once, as `_exchange`, over a channel: blocking or asynchronous. An httpx2 client serves
as well as an httpx one, since only what both have is used.
"""

from __future__ import annotations

import itertools
import platform
import re
import ssl
import sys
import time
import zlib
from collections.abc import Callable, Generator, Mapping, MutableMapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import httpx
from attrs import evolve

import favcrm
from favcrm._bridge import run_sync
from favcrm._core.eras import write_bare
from favcrm._core.jsonrpc import AnswerReader
from favcrm._core.transport import AsyncHTTPClient, HTTPClient, Response
from favcrm.endpoint import Endpoint, same_origin, without_details
from favcrm.errors import InvalidInputError, NotSentError, OutcomeUnknownError, Problem
from favcrm.secret import Secret
from favcrm.settings import Settings, as_secret
from favcrm.typing import JSON

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
    from types import ModuleType

    import anyio

    from favcrm._core.eras import Outgoing
    from favcrm.errors import TransportError

__all__ = ["AsyncHTTPTransport", "BearerAuth", "HTTPTransport"]

ClientT = TypeVar("ClientT", httpx.Client, httpx.AsyncClient)

USER_AGENT = f"favcrm-python/{favcrm.__version__} Python/{platform.python_version()}"
MAX_REDIRECTS = 3
REDIRECTS = range(300, 400)
FOLLOWED_REDIRECTS = frozenset({307, 308})
MAX_CONNECTIONS = 100
INFLATED_PIECE = 64 * 1024
GRACE = 1.0
REOPEN = "Use the object inside its with block, or make a new one."
EITHER_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
VISIBLE = re.compile("[!-~]+")


class HTTPTransport:
    """Reaches the tools with one POST for each call, blocking.

    Args:
        endpoint: The address of the tools: https, or plain http on this machine.
        http_client: An httpx or httpx2 client to use, which stays open at `close`. By default one is made.

    Raises:
        InvalidInputError: The endpoint or the client cannot be used.

    Example:
        >>> from contextlib import closing
        >>> from favcrm import FavCRMProvisioner
        >>> with closing(HTTPTransport("http://127.0.0.1:9/mcp")) as transport:
        ...     FavCRMProvisioner(transport=transport, retry=RetryPolicy.never()).diagnose().endpoint_reachable
        False
    """

    def __init__(self, endpoint: str, *, http_client: HTTPClient | None = None) -> None:
        self._endpoint = _parse(endpoint)
        self._owned = _make(httpx.Client, self._endpoint) if http_client is None else None
        self._channel = _BlockingChannel(http_client or self._owned)
        self._request_ids = itertools.count(1)

    def request(
        self, method: str, params: Mapping[str, JSON], *, api_key: Secret | None, timeout: float
    ) -> Response:
        """Send one request and return what came back; see `favcrm.transports.Transport`."""
        outgoing = write_bare(next(self._request_ids), method, params)
        return run_sync(_exchange(self._channel, self._endpoint, outgoing, api_key, timeout))

    def close(self) -> None:
        """Close the connections, if the client was made here."""
        if self._owned:
            self._owned.close()


class AsyncHTTPTransport:
    """Reaches the tools with one POST for each call, asynchronous: `HTTPTransport` with ``aclose``.

    Args:
        endpoint: The address of the tools: https, or plain http on this machine.
        http_client: An asynchronous httpx or httpx2 client to use, which stays open at `aclose`.

    Raises:
        InvalidInputError: The endpoint or the client cannot be used.
    """

    def __init__(self, endpoint: str, *, http_client: AsyncHTTPClient | None = None) -> None:
        self._endpoint = _parse(endpoint)
        self._owned = _make(httpx.AsyncClient, self._endpoint) if http_client is None else None
        self._channel = _AsyncChannel(http_client or self._owned)
        self._request_ids = itertools.count(1)

    async def request(
        self, method: str, params: Mapping[str, JSON], *, api_key: Secret | None, timeout: float
    ) -> Response:
        """Send one request and return what came back; see `favcrm.transports.Transport`."""
        outgoing = write_bare(next(self._request_ids), method, params)
        ends_at = time.monotonic() + timeout
        async with self._channel.turn(timeout):
            return await _exchange(
                self._channel, self._endpoint, outgoing, api_key, ends_at - time.monotonic()
            )

    async def aclose(self) -> None:
        """Close the connections, if the client was made here."""
        if self._owned:
            await self._owned.aclose()


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

    It is added only to requests to the endpoint's own origin.

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
        settings = Settings.load(endpoint=endpoint)
        self._url = settings.endpoint
        self._read_key = api_key if callable(api_key) else partial(as_secret, as_secret(api_key))

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign a request of an httpx client."""
        yield self(request)

    def __call__(self, request: RequestT) -> RequestT:
        """Sign a request of an httpx2 client, which calls what is not of its own Auth class."""
        if same_origin(str(request.url), self._url):
            request.headers["Authorization"] = _bearer(self._read_key())
        return request


class _Channel(Protocol):
    """One colour of client. The two libraries' classes share no base, so requests and responses are Any here."""

    client: Any
    library: ModuleType

    async def send(self, request: Any) -> Any:
        """Send a request and return the response with its body unread."""
        ...

    def limit(self, seconds: float, /) -> AbstractContextManager[object]:
        """Leave the block after some seconds, where it can be left: httpx counts each read by itself."""
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


class _BlockingChannel:
    """Sends with a blocking client. Its methods never suspend."""

    def __init__(self, client: object) -> None:
        self.client: Any = client
        self.library = _library(client, "Client")

    async def send(self, request: Any) -> Any:
        return self.client.send(request, stream=True, auth=None, follow_redirects=False)

    def limit(self, _: float, /) -> AbstractContextManager[object]:
        return nullcontext()

    def chunks(self, response: Any) -> Iterator[bytes]:
        chunks = response.iter_bytes() if response.is_stream_consumed else response.iter_raw()
        return cast("Iterator[bytes]", chunks)

    async def next_chunk(self, chunks: Iterator[bytes]) -> bytes | None:
        return next(chunks, None)

    async def close(self, response: Any) -> None:
        response.close()

    async def leave(self, _: Iterator[bytes], /) -> None:
        """Do nothing: generators of this colour end when nobody has them any more."""


class _AsyncChannel:
    """Sends with an asynchronous client, a bounded number of requests at a time.

    httpx's pool looks at every waiting request whenever a connection comes free, so the waiting is done before it.
    """

    def __init__(self, client: object) -> None:
        self.client: Any = client
        self.library = _library(client, "AsyncClient")
        self._turns: anyio.Semaphore | None = None

    @asynccontextmanager
    async def turn(self, timeout: float) -> AsyncGenerator[None, None]:
        import anyio

        if self._turns is None:
            self._turns = anyio.Semaphore(MAX_CONNECTIONS, fast_acquire=True)
        with anyio.move_on_after(timeout) as waiting:
            await self._turns.acquire()
        if waiting.cancelled_caught:
            raise NotSentError(f"{MAX_CONNECTIONS} calls are under way, and none ended {_within(timeout)}.")
        try:
            yield
        finally:
            self._turns.release()

    async def send(self, request: Any) -> Any:
        return await self.client.send(request, stream=True, auth=None, follow_redirects=False)

    def limit(self, seconds: float, /) -> AbstractContextManager[object]:
        import anyio

        return anyio.move_on_after(seconds)

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
            await _drain(self, chunks)


async def _exchange(
    channel: _Channel, endpoint: Endpoint, outgoing: Outgoing, api_key: Secret | None, timeout: float
) -> Response:
    """Send a request and read its answer, through redirects within the same origin."""
    if channel.client.is_closed:
        raise NotSentError("The HTTP client is closed. Nothing was sent.", permanent=True, next_step=REOPEN)
    headers = {**outgoing.headers, "Accept-Encoding": "gzip", "User-Agent": USER_AGENT}
    if api_key is not None:
        headers["Authorization"] = _bearer(api_key)
    ends_at = time.monotonic() + timeout
    for _ in range(MAX_REDIRECTS):
        response = await _post(channel, endpoint.url, outgoing, headers, ends_at)
        target = _redirect_target(endpoint, response)
        if target is None:
            return _name_redirect(response)
        endpoint = target
    return _name_redirect(await _post(channel, endpoint.url, outgoing, headers, ends_at))


def _redirect_target(endpoint: Endpoint, response: Response) -> Endpoint | None:
    """Return where to send the same request again: only these two statuses keep method and body."""
    if response.status not in FOLLOWED_REDIRECTS:
        return None
    return endpoint.follow(response.headers.get("location", ""))


def _name_redirect(response: Response) -> Response:
    """Put where a redirect leads in place of its body, for the error to name."""
    if response.status not in REDIRECTS:
        return response
    location = response.headers.get("location")
    return evolve(
        response, body=f"redirect to {without_details(location)}" if location else "redirect to nowhere"
    )


async def _post(
    channel: _Channel, url: str, outgoing: Outgoing, headers: Mapping[str, str], ends_at: float
) -> Response:
    timeout = max(0.0, ends_at - time.monotonic())
    client, library = channel.client, channel.library
    failure: TransportError | None = None
    answer = None
    try:
        request = client.build_request(
            "POST", url, headers=headers, content=outgoing.content, timeout=timeout
        )
        # Longer than httpx's own timeouts, which know how far it came.
        with channel.limit(timeout + GRACE):
            answer = await channel.send(request)
    except library.HTTPStatusError as error:
        # A hook of the client's owner raises for a status.
        answer = error.response
    except (library.HTTPError, library.InvalidURL) as error:
        failure = _translate(error, library, timeout)
    if answer is not None:
        return await _read(channel, answer, outgoing.request_id, ends_at)
    # Outside the except block: httpx's error holds the request with the key, and would stay as the context.
    raise failure or OutcomeUnknownError(_no_answer(timeout))


async def _read(channel: _Channel, answer: Any, request_id: int, ends_at: float) -> Response:
    """Read an answer to its end, to the message that matters, or to where it breaks off."""
    headers = dict(answer.headers)
    reader = AnswerReader(request_id, answer.status_code, headers)
    # What a hook of the client's owner has read is inflated already.
    inflate = _inflater("" if answer.is_stream_consumed else headers.get("content-encoding", ""))
    chunks = channel.chunks(answer)
    # Closed unread where such a hook raised; then the status is what there is.
    ended = answer.is_closed and not answer.is_stream_consumed
    with suppress(channel.library.HTTPError, channel.library.StreamError, zlib.error):
        try:
            with channel.limit(max(0.0, ends_at - time.monotonic()) + GRACE):
                while not (ended or reader.done):
                    chunk = await channel.next_chunk(chunks)
                    ended = chunk is None
                    for piece in inflate(chunk or b""):
                        reader.feed(piece)
                        if reader.done:
                            break
                    if time.monotonic() > ends_at:
                        break
            if reader.answered:
                # A stream that has answered is about to end; read to its end, the connection can serve again.
                await _drain(channel, chunks)
        finally:
            await channel.close(answer)
    if not ended:
        await channel.leave(chunks)
    return reader.finish(cut=not (ended or reader.done))


async def _drain(channel: _Channel, chunks: Any) -> None:
    """Read what is left of a body, for a moment."""
    ends_at = time.monotonic() + GRACE
    with channel.limit(GRACE):
        while time.monotonic() < ends_at and await channel.next_chunk(chunks) is not None:
            pass


def _inflater(encoding: str) -> Callable[[bytes], Iterable[bytes]]:
    """Return what undoes a content encoding in pieces of bounded size; httpx inflates a chunk in one go."""
    if encoding.strip().lower() not in {"gzip", "x-gzip", "deflate"}:
        return lambda chunk: (chunk,)
    stream = zlib.decompressobj(EITHER_GZIP_OR_ZLIB)

    def inflate(chunk: bytes) -> Iterator[bytes]:
        while chunk:
            yield stream.decompress(chunk, INFLATED_PIECE)
            chunk = stream.unconsumed_tail

    return inflate


def _translate(error: Exception, library: ModuleType, timeout: float) -> TransportError:
    """Return our error for httpx's: what matters is whether the request can have reached the server."""
    never_sent = (
        library.ConnectError,
        library.ConnectTimeout,
        library.PoolTimeout,
        library.ProxyError,
        library.UnsupportedProtocol,
        library.LocalProtocolError,
        library.InvalidURL,
    )
    if isinstance(error, library.TimeoutException):
        if isinstance(error, never_sent):
            return NotSentError(f"No connection was made {_within(timeout)}. Nothing was sent.")
        return OutcomeUnknownError(_no_answer(timeout))
    if not isinstance(error, never_sent):
        return OutcomeUnknownError(
            "The connection broke before the answer came, and it may have been carried out."
        )
    reason = _tls_reason(error)
    if reason is None:
        return NotSentError("The endpoint cannot be reached. Nothing was sent.")
    return NotSentError(
        f"The endpoint's TLS certificate is not accepted: {reason}. Nothing was sent.",
        permanent=True,
        next_step="Check the endpoint's name and certificate; for an authority of your own, set SSL_CERT_FILE.",
    )


def _tls_reason(error: BaseException | None) -> str | None:
    """Return why the certificate was refused, if that is what lies behind the error."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message.rstrip(".")
        error = error.__cause__ or error.__context__
    return None


def _no_answer(timeout: float) -> str:
    return f"No answer came {_within(timeout)}, and it may have been carried out."


def _within(seconds: float) -> str:
    return f"within {round(seconds, 2):g} seconds"


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


def _make(kind: type[ClientT], endpoint: Endpoint) -> ClientT:
    """Make a client of our own, which reads the environment."""
    try:
        return kind(**_options(endpoint))
    except OSError:
        problem = Problem("SSL_CERT_FILE or SSL_CERT_DIR", "cannot be read as certificates")
    except (ValueError, ImportError, httpx.InvalidURL):
        problem = Problem("HTTPS_PROXY, HTTP_PROXY, ALL_PROXY or NO_PROXY", "cannot be used")
    raise InvalidInputError([problem])


def _options(endpoint: Endpoint) -> dict[str, Any]:
    """Return how our own clients are made."""
    limits = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)
    if endpoint.encrypted:
        return {"limits": limits}
    # Plain HTTP stays on this machine: no proxy may carry it away, and there is no certificate to load.
    return {"limits": limits, "verify": False, "trust_env": False}


def _bearer(api_key: Secret) -> str:
    # In no local variable, which would be seen in the traceback.
    if not VISIBLE.fullmatch(api_key.reveal()):
        raise InvalidInputError([Problem("api_key", "holds characters that no key has")])
    return f"Bearer {api_key.reveal()}"
