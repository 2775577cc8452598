"""The HTTP clients: how they are made, what they share, and how requests take turns."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import httpx

from favcrm.endpoint import Endpoint
from favcrm.errors import InvalidInputError, NotSentError, Problem
from favcrm.transports.http.backends import AsyncHTTP, BlockingHTTP, httpx_of
from favcrm.transports.http.connections import AsyncWatch, BlockingWatch
from favcrm.transports.http.errors import time_given
from favcrm.transports.http.proxies import find_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping
    from http.cookiejar import Cookie

    import anyio

    from favcrm.transport import Clock
    from favcrm.transports.http.limits import Limits
    from favcrm.typing import Profile


class SharedCookies(CookieJar):
    """The cookies of one endpoint, for all connections to it, because balancers route a session by a cookie.

    Threads take turns, because httpx copies all cookies for a request while another thread may be adding one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._turn = threading.RLock()

    def __iter__(self) -> Iterator[Cookie]:
        with self._turn:
            return iter([*super().__iter__()])

    def set_cookie(self, cookie: Cookie) -> None:
        """Keep a cookie, unless no header can hold it."""
        if f"{cookie.name}{cookie.value}".isascii():
            super().set_cookie(cookie)

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Keep the cookies of an answer."""
        with self._turn:
            super().extract_cookies(response, request)


class OwnClient:
    """What this package uses of an httpx client, over one of httpx's transports, blocking or asynchronous.

    It has no hooks, no redirects, no user names and no default headers. With all of these, an httpx client takes as
    long for a call as everything else.

    Args:
        transport: An ``httpx.HTTPTransport`` or its asynchronous twin.
        cookies: The cookies of the endpoint.
    """

    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, transport: Any, cookies: CookieJar) -> None:
        self.transport = transport
        self._jar = cookies
        self._cookies = httpx.Cookies(cookies)
        self.is_closed: bool = False

    def build_request(
        self, method: str, url: httpx.URL, *, headers: Mapping[str, str], content: bytes, timeout: float
    ) -> httpx.Request:
        """Return a request with the cookies of the endpoint."""
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), timeout)
        extensions = {"timeout": timeouts}
        request = httpx.Request(method, url, headers=headers, content=content, extensions=extensions)
        if next(iter(self._jar), None) is not None:
            self._cookies.set_cookie_header(request)
        return request

    def keep_cookies(self, response: httpx.Response, request: httpx.Request) -> httpx.Response:
        """Keep the cookies of a response, and return it."""
        response.request = request
        if "set-cookie" in response.headers:
            self._cookies.extract_cookies(response)
        return response

    def close(self) -> None:
        """Close the connections of a blocking client."""
        self.is_closed = True
        self.transport.close()

    async def aclose(self) -> None:
        """Close the connections of an asynchronous client."""
        self.is_closed = True
        await self.transport.aclose()


class OwnBlockingHTTP(BlockingHTTP):
    """Sends with a blocking client that was made here."""

    async def send(self, request: Any) -> Any:
        """Send a request and return the response with its body unread."""
        request.extensions["trace"] = BlockingWatch(request.extensions)
        return self.client.keep_cookies(self.client.transport.handle_request(request), request)


class OwnAsyncHTTP(AsyncHTTP):
    """Sends with an asynchronous client that was made here."""

    async def send(self, request: Any) -> Any:
        """Send a request and return the response with its body unread."""
        request.extensions["trace"] = AsyncWatch(request.extensions)
        return self.client.keep_cookies(await self.client.transport.handle_async_request(request), request)


class Clients:
    """The HTTP clients to one endpoint: the one that a user handed over, or any number that are made here.

    Clients that are made here share their certificates, because loading them takes long.

    Args:
        endpoint: The endpoint.
        http_client: The client that a user handed over, or None.
        clock: The clock of the transport.
        limits: The limits of the transport.

    Attributes:
        owned: Whether the clients are made here.

    Raises:
        InvalidInputError: A variable of the environment cannot be used.
    """

    def __init__(
        self, endpoint: Endpoint, http_client: object | None, *, clock: Clock, limits: Limits
    ) -> None:
        self.owned: bool = http_client is None
        self.limits: Limits = limits
        self._http_client = http_client
        self._clock = clock
        self._proxy = ""
        self._options: dict[str, Any] = {}
        if self.owned:
            self._read_environment(endpoint)

    def _read_environment(self, endpoint: Endpoint) -> None:
        certificates = _certificates(endpoint)
        # Plain HTTP stays on this machine, so no proxy may carry it away.
        proxy = find_proxy(endpoint.url) if endpoint.encrypted else None
        self._options = {"verify": certificates}
        if proxy is not None:
            address = httpx.URL(proxy)
            secured = certificates if address.scheme == "https" else None
            self._options["proxy"] = httpx.Proxy(address, ssl_context=secured)
            self._proxy = str(address.copy_with(username=None, password=None))

    def blocking(self) -> BlockingHTTP:
        """Return a backend over a blocking client."""
        client = self._http_client
        if client is not None:
            return BlockingHTTP(client, httpx_of(client, "Client"), clock=self._clock, limits=self.limits)
        own = OwnClient(httpx.HTTPTransport(**self._options), SharedCookies())
        return OwnBlockingHTTP(own, httpx, self._proxy, clock=self._clock, limits=self.limits)

    def asynchronous(self, cookies: CookieJar) -> AsyncHTTP:
        """Return a backend over an asynchronous client, which shares its cookies."""
        client = self._http_client
        if client is not None:
            return AsyncHTTP(client, httpx_of(client, "AsyncClient"), clock=self._clock, limits=self.limits)
        own = OwnClient(httpx.AsyncHTTPTransport(**self._options), cookies)
        return OwnAsyncHTTP(own, httpx, self._proxy, clock=self._clock, limits=self.limits)


class ClientPool:
    """Leases a client to every request of one event loop, a bounded number at a time.

    httpx's pool looks at each of its connections and each waiting request whenever one comes or goes, which is most of
    the work of 200 calls at once. So the waiting is done here, and every client has one connection to look at. A
    client that was handed over serves all requests.

    Args:
        clients: Makes the clients.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._cookies = SharedCookies()
        self._backends = [clients.asynchronous(self._cookies)]
        self._idle = self._backends.copy()
        self._free: anyio.Semaphore | None = None

    @asynccontextmanager
    async def lease(self, timeout: float) -> AsyncGenerator[AsyncHTTP, None]:
        """Lease a client within a block.

        Args:
            timeout: Seconds to wait for one.

        Raises:
            NotSentError: No client became free.
        """
        import anyio

        connections = self._clients.limits.connections
        if self._free is None:
            self._free = anyio.Semaphore(connections)
        late = False
        try:
            self._free.acquire_nowait()
        except anyio.WouldBlock:
            with anyio.move_on_after(timeout) as waiting:
                await self._free.acquire()
            late = waiting.cancelled_caught
        if late:
            raise NotSentError(f"{connections} calls are under way, and none ended {time_given(timeout)}.")
        try:
            # The client that was used last, because its connection is the most likely to be alive.
            backend = self._idle.pop() if self._idle else self._one_more()
            try:
                yield backend
            finally:
                self._idle.append(backend)
        finally:
            self._free.release()

    @property
    def owned(self) -> bool:
        """Whether the clients were made here."""
        return self._clients.owned

    @property
    def first(self) -> AsyncHTTP:
        """The backend that exists from the beginning."""
        return self._backends[0]

    def _one_more(self) -> AsyncHTTP:
        """Return a new backend. A client that was handed over stays the only one, and so does a closed one."""
        if not self.owned or self.first.client.is_closed:
            return self.first
        self._backends.append(self._clients.asynchronous(self._cookies))
        return self._backends[-1]

    async def aclose(self) -> None:
        """Close the clients that were made here."""
        for backend in self._backends:
            await backend.client.aclose()


def parse_endpoint(endpoint: str, profile: Profile | None = None) -> Endpoint:
    """Read an address, and add which tools are asked for there.

    Raises:
        InvalidInputError: No key may be sent to the address, or there is no such profile.
    """
    field = "endpoint"
    try:
        parsed = Endpoint.parse(endpoint)
        # httpx refuses more addresses, and with errors of its own.
        _ = httpx.URL(parsed.url).host
        field = "profile"
        return parsed.with_profile(profile)
    except (httpx.InvalidURL, UnicodeError):
        problem = "must be an address such as https://api.favcrm.io/mcp"
    except ValueError as error:
        problem = str(error)
    raise InvalidInputError([Problem(field, problem)])


def _certificates(endpoint: Endpoint) -> Any:
    """Load the certificates that are trusted. Plain HTTP needs none."""
    try:
        return httpx.create_ssl_context(verify=endpoint.encrypted)
    except OSError:
        problem = Problem("SSL_CERT_FILE or SSL_CERT_DIR", "cannot be read as certificates")
        raise InvalidInputError([problem]) from None
