"""The HTTP clients of our own: how they are made, what they share, and how many calls share them."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from favcrm.endpoint import Endpoint
from favcrm.errors import InvalidInputError, NotSentError, Problem
from favcrm.transports.http.channels import AsyncChannel, BlockingChannel
from favcrm.transports.http.failures import within
from favcrm.transports.http.proxies import find_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from http.cookiejar import Cookie

    import anyio

    from favcrm.typing import Profile

ClientT = TypeVar("ClientT", httpx.Client, httpx.AsyncClient)

MAX_CONNECTIONS = 100


class SharedCookies(CookieJar):
    """The cookies of one endpoint, for all connections to it: a balancer knows a session's server by a cookie.

    Threads take turns, since httpx copies all cookies for a request while another thread may be adding one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._turn = threading.RLock()

    def __iter__(self) -> Iterator[Cookie]:
        with self._turn:
            return iter([*super().__iter__()])

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Keep the cookies of an answer."""
        with self._turn:
            super().extract_cookies(response, request)


class OwnClients:
    """Makes the HTTP clients of our own to one endpoint. They share the certificates, which take long to load.

    Args:
        endpoint: Where it is.

    Raises:
        InvalidInputError: A variable of the environment cannot be used.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        certificates = _certificates(endpoint)
        # Plain HTTP stays on this machine: no proxy may carry it away.
        proxy = find_proxy(endpoint.url) if endpoint.encrypted else None
        self.proxy: str = ""
        self._options: dict[str, Any] = {"verify": certificates, "trust_env": False}
        if proxy is not None:
            own = httpx.URL(proxy)
            secured = certificates if own.scheme == "https" else None
            self._options["proxy"] = httpx.Proxy(own, ssl_context=secured)
            self.proxy = str(own.copy_with(username=None, password=None))

    def blocking(self) -> BlockingChannel:
        """Return a channel over a new client."""
        return BlockingChannel(self._make(httpx.Client, SharedCookies()), self.proxy)

    def asynchronous(self, cookies: CookieJar) -> AsyncChannel:
        """Return a channel over a new client, which shares its cookies."""
        return AsyncChannel(self._make(httpx.AsyncClient, cookies), self.proxy)

    def _make(self, kind: type[ClientT], cookies: CookieJar) -> ClientT:
        return kind(cookies=cookies, **self._options)


class Lanes:
    """Lends every request a client of its own, a bounded number at a time.

    httpx's pool looks at each of its connections and each waiting request whenever one comes or goes, which is most of
    the work of 200 calls at once. So the waiting is done here, and every client has one connection to look at. A
    client that was handed over serves all.

    Args:
        clients: Makes the clients; or one that was handed over.
    """

    def __init__(self, clients: OwnClients | object) -> None:
        self._clients = clients if isinstance(clients, OwnClients) else None
        self._cookies = SharedCookies()
        first = AsyncChannel(clients) if self._clients is None else self._clients.asynchronous(self._cookies)
        self._channels = [first]
        self._idle = self._channels.copy()
        self._turns: anyio.Semaphore | None = None

    @asynccontextmanager
    async def turn(self, timeout: float) -> AsyncGenerator[AsyncChannel, None]:
        """Lend a channel within a block.

        Args:
            timeout: Seconds to wait for one.

        Raises:
            NotSentError: None became free.
        """
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
    def owned(self) -> bool:
        """Whether the clients were made here."""
        return self._clients is not None

    @property
    def first(self) -> AsyncChannel:
        """The channel that is there from the beginning."""
        return self._channels[0]

    def _one_more(self) -> AsyncChannel:
        """Return a new channel; the first again where its client was handed over, or all are closed."""
        first = self._channels[0]
        if self._clients is None or first.client.is_closed:
            return first
        self._channels.append(self._clients.asynchronous(self._cookies))
        return self._channels[-1]

    async def aclose(self) -> None:
        """Close the clients, which were made here."""
        for channel in self._channels:
            await channel.client.aclose()


def parse_endpoint(endpoint: str, profile: Profile | None = None) -> Endpoint:
    """Read an address, and add which tools are asked for there.

    Raises:
        InvalidInputError: No key may be sent to the address, or there is no such profile.
    """
    field = "endpoint"
    try:
        parsed = Endpoint.parse(endpoint)
        # httpx refuses more, such as a name that is no international one, and with errors of its own.
        _ = httpx.URL(parsed.url).host
        field = "profile"
        return parsed.with_profile(profile)
    except (httpx.InvalidURL, UnicodeError):
        problem = "must be an address such as https://api.favcrm.io/mcp"
    except ValueError as error:
        problem = str(error)
    raise InvalidInputError([Problem(field, problem)])


def _certificates(endpoint: Endpoint) -> Any:
    """Load the certificates that are trusted; for plain HTTP there are none to load."""
    try:
        return httpx.create_ssl_context(verify=endpoint.encrypted)
    except OSError:
        problem = Problem("SSL_CERT_FILE or SSL_CERT_DIR", "cannot be read as certificates")
    raise InvalidInputError([problem])
