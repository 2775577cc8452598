"""The HTTP clients of our own: how they are made, and how many calls share them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from favcrm.endpoint import Endpoint
from favcrm.errors import InvalidInputError, NotSentError, Problem
from favcrm.transports.http.channels import AsyncChannel
from favcrm.transports.http.failures import within

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import anyio

ClientT = TypeVar("ClientT", httpx.Client, httpx.AsyncClient)

MAX_CONNECTIONS = 100


class Lanes:
    """Lends every request a client of its own, a bounded number at a time.

    httpx's pool looks at each of its connections and each waiting request whenever one comes or goes, which is most of
    the work of 200 calls at once. So the waiting is done here, and every client has one connection to look at. A
    client that was handed over serves all.
    """

    def __init__(self, endpoint: Endpoint, http_client: object | None) -> None:
        self._options = _options(endpoint) if http_client is None else None
        client = http_client if self._options is None else _make(httpx.AsyncClient, self._options)
        self._channels = [AsyncChannel(client)]
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
    def first(self) -> AsyncChannel:
        """The channel that is there from the beginning."""
        return self._channels[0]

    def _one_more(self) -> AsyncChannel:
        """Return a new channel; the first again where its client was handed over, or all are closed."""
        first = self._channels[0]
        if self._options is None or first.client.is_closed:
            return first
        self._channels.append(AsyncChannel(_make(httpx.AsyncClient, self._options)))
        return self._channels[-1]

    async def aclose(self) -> None:
        """Close the clients, if they were made here."""
        if self._options is not None:
            for channel in self._channels:
                await channel.client.aclose()


def blocking_client(endpoint: Endpoint) -> httpx.Client:
    """Return a client of our own, which whoever asked for it closes."""
    return _make(httpx.Client, _options(endpoint))


def parse_endpoint(endpoint: str) -> Endpoint:
    """Read an address.

    Raises:
        InvalidInputError: It is none that a key may be sent to.
    """
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
