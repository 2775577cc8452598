"""The HTTP transport of either colour, and clients to hand over, for tests that hold on both."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import trustme
from colours import Facade

from favcrm._backends.clock import SYSTEM_CLOCK
from favcrm.transport import Request
from favcrm.transports import AsyncHTTPTransport, HTTPTransport, Progress
from favcrm.transports.http.limits import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from colours import Colour

    from favcrm.secret import Secret
    from favcrm.transports import Response
    from favcrm.typing import JSON

TIMEOUT = 10.0
"""Seconds for what is answered at once."""

SHORT = 0.5
"""Seconds for what is never answered: the timeout under test."""


class Wire:
    """A transport of either colour, with one request that mostly matters."""

    def __init__(self, inner: Facade) -> None:
        self.inner = inner

    async def request(
        self,
        method: str = "tools/list",
        params: Mapping[str, JSON] | None = None,
        *,
        api_key: Secret | None = None,
        timeout: float = TIMEOUT,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Response:
        """Send a request."""
        request = Request(method, params or {}, api_key=api_key, timeout=timeout, on_progress=on_progress)
        response: Response = await self.inner.request(request)
        return response

    async def end(self) -> None:
        """Close the transport."""
        await self.inner.end()


class MovedClock:
    """A clock that moves only when a test moves it or something sleeps on it.

    Attributes:
        now: The seconds that it shows.
        slept: How long something slept, each time.
    """

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def sleep_async(self, seconds: float) -> None:
        self.slept.append(seconds)


class QuickClock(MovedClock):
    """The real time, on which nobody waits: how long somebody would have slept is noted."""

    def monotonic(self) -> float:
        return SYSTEM_CLOCK.monotonic()


def transport(colour: Colour, endpoint: str, *, limits: Limits | None = None, **options: Any) -> Any:
    """Return a transport of a colour, with limits of a test's own if there are any."""
    kind: Any = HTTPTransport if colour == "blocking" else AsyncHTTPTransport
    if limits is not None:
        kind = type(kind.__name__, (kind,), {"_limits": limits})
    options.setdefault("era", "bare")
    return kind(endpoint, **options)


@asynccontextmanager
async def reach(
    colour: Colour, endpoint: str, http_client: Any = None, **options: Any
) -> AsyncGenerator[Wire, None]:
    """Open a transport. It speaks the bare era, unless the options name another."""
    wire = Wire(Facade(transport(colour, endpoint, http_client=http_client, **options)))
    try:
        yield wire
    finally:
        await wire.end()


@asynccontextmanager
async def client_of(library: ModuleType, colour: Colour, **options: Any) -> AsyncGenerator[Any, None]:
    """Open a client of a user's own; the authorities of TLS are loaded only where they are given."""
    options.setdefault("verify", False)
    if colour == "blocking":
        with library.Client(**options) as client:
            yield client
    else:
        async with library.AsyncClient(**options) as client:
            yield client


@asynccontextmanager
async def through(
    library: ModuleType,
    colour: Colour,
    endpoint: str,
    *,
    limits: Any = None,
    clock: Any = None,
    **options: Any,
) -> AsyncGenerator[Wire, None]:
    """Open a transport over a client of a user's own."""
    async with (
        client_of(library, colour, **options) as client,
        reach(colour, endpoint, client, limits=limits, clock=clock) as wire,
    ):
        yield wire


async def one_request(colour: Colour, endpoint: str, **options: Any) -> Response:
    """Send a single request over a transport of its own."""
    async with reach(colour, endpoint) as wire:
        return await wire.request(**options)


def stand_in(library: ModuleType, colour: Colour, answer: Any) -> dict[str, Any]:
    """Return the option that makes a client answer with a function, without a network."""

    async def answer_later(request: Any) -> Any:
        return answer(request)

    return {"transport": library.MockTransport(answer if colour == "blocking" else answer_later)}


def server_side(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """Return how a server shows a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with certificate.private_key_and_cert_chain_pem.tempfile() as file:
        context.load_cert_chain(file)
    return context


def client_side(authority: trustme.CA) -> ssl.SSLContext:
    """Return how a client trusts an authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority.cert_pem.bytes().decode())
    return context


async def endless(piece: bytes) -> AsyncIterator[bytes]:
    """Yield the same bytes for ever."""
    while True:
        yield piece
