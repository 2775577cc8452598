"""Reaching the tools over HTTP, in the protocol era that the server speaks.

Only `clients` and `auth` import httpx. An httpx2 client serves as well as an httpx one, because only their common
subset is used. From a call to the wire: `session` carries out what `favcrm._mcp.negotiation` decides, `send` sends one
request and reads its answer, and `backends` has what differs between sync and async.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, ClassVar, Self

from favcrm._backends import run_sync
from favcrm._backends.clock import SYSTEM_CLOCK
from favcrm._boundary import boundaries
from favcrm._mcp.input_required import OnInput
from favcrm.endpoint import without_details
from favcrm.transport import AsyncHTTPClient, Clock, HTTPClient, Request, Response
from favcrm.transports.binding import Bound, this_event_loop, this_process
from favcrm.transports.http.auth import BearerAuth
from favcrm.transports.http.backends import AsyncLock, BlockingHTTP, BlockingLock
from favcrm.transports.http.clients import ClientPool, Clients, parse_endpoint
from favcrm.transports.http.limits import LIMITS, Limits
from favcrm.transports.http.session import Exchange, McpClient
from favcrm.typing import JSON, Era, Profile

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["AsyncHTTPTransport", "BearerAuth", "HTTPTransport"]


class BlockingEndpoint:
    """One endpoint, as a flow of the blocking side reaches it: `HTTPTransport` without a boundary."""

    def __init__(
        self,
        endpoint: str,
        http_client: HTTPClient | None,
        *,
        era: Era | None,
        profile: Profile | None,
        on_input: OnInput | None = None,
        clock: Clock | None = None,
        limits: Limits = LIMITS,
    ) -> None:
        parsed = parse_endpoint(endpoint, profile)
        self.endpoint: str = without_details(parsed.url)
        self.clock: Clock = clock or SYSTEM_CLOCK
        self._clients = Clients(parsed, http_client, clock=self.clock, limits=limits)
        self._longest = limits.timeout

        def make() -> tuple[BlockingHTTP, McpClient]:
            mcp = McpClient(parsed, era, BlockingLock(), on_input, now=self.clock.monotonic())
            return self._clients.blocking(), mcp

        self._of_process = Bound(make, this_process, http_client)

    def request(self, request: Request) -> Coroutine[None, None, Response]:
        """Send one request and return what came back."""
        ends_at = self.clock.monotonic() + min(request.timeout, self._longest)
        backend, mcp = self._of_process.here()
        return mcp.request(Exchange(request, backend, ends_at))

    def close(self) -> None:
        """End the session, and close the client if it was made here."""
        if (here := self._of_process.close()) is not None:
            backend, mcp = here
            run_sync(mcp.end(backend))
            if self._clients.owned:
                backend.client.close()


class AsyncEndpoint:
    """One endpoint, as a flow of the async side reaches it: `AsyncHTTPTransport` without a boundary."""

    def __init__(
        self,
        endpoint: str,
        http_client: AsyncHTTPClient | None,
        *,
        era: Era | None,
        profile: Profile | None,
        on_input: OnInput | None = None,
        clock: Clock | None = None,
        limits: Limits = LIMITS,
    ) -> None:
        parsed = parse_endpoint(endpoint, profile)
        self.endpoint: str = without_details(parsed.url)
        self.clock: Clock = clock or SYSTEM_CLOCK
        self._longest = limits.timeout
        clients = Clients(parsed, http_client, clock=self.clock, limits=limits)

        def make() -> _OfEventLoop:
            mcp = McpClient(parsed, era, AsyncLock(), on_input, now=self.clock.monotonic())
            return _OfEventLoop(ClientPool(clients), mcp)

        self._of_loop = Bound(make, this_event_loop, http_client)

    async def request(self, request: Request) -> Response:
        """Send one request and return what came back."""
        timeout = min(request.timeout, self._longest)
        ends_at = self.clock.monotonic() + timeout
        here = self._of_loop.here()
        await here.close_with_loop(self._of_loop.take)
        async with here.pool.lease(timeout) as backend:
            return await here.mcp.request(Exchange(request, backend, ends_at))

    async def aclose(self) -> None:
        """End the session, and close the clients if they were made here."""
        if (here := self._of_loop.close()) is not None:
            await here.aclose()


class _OfEventLoop:
    """What one event loop has of its own."""

    def __init__(self, pool: ClientPool, mcp: McpClient) -> None:
        self.pool = pool
        self.mcp = mcp
        self._until_end: AsyncGenerator[None, None] | None = None

    async def close_with_loop(self, forget: Callable[[], object]) -> None:
        """Have the connections closed when the event loop ends, unless `aclose` comes first.

        Args:
            forget: Called before the connections are closed.
        """
        if self._until_end is None and self.pool.owned:
            # asyncio and trio close the generators that are still open when an event loop ends.
            self._until_end = self._wait_for_end(forget)
            await anext(self._until_end)

    async def _wait_for_end(self, forget: Callable[[], object]) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            forget()
            # The session stays open at the server, because nothing can be sent when asyncio closes generators.
            await self.pool.aclose()

    async def aclose(self) -> None:
        """End the session, and close the clients if they were made here."""
        await self.mcp.end(self.pool.first)
        if self._until_end is not None:
            await self._until_end.aclose()


@boundaries
class HTTPTransport:
    """Reaches the tools over HTTP, in whichever version of MCP the server speaks, blocking.

    Args:
        endpoint: The address of the tools: https, or plain http on this machine.
        http_client: An httpx or httpx2 client to use, which stays open at `close`. By default one is made.
        era: The protocol era to begin with, see `favcrm.typing.Era`. By default ``bare`` for FavCRM's own hosts, and
            found out elsewhere, once for each endpoint.
        profile: Which tools FavCRM offers, `favcrm.typing.Profile`. By default the server decides: all of them.
        on_input: Given what a server of MCP 2026-07-28 asks for before it completes a call, by name; returns the
            answers by the same names. Without it such a call raises `InputRequiredError`.
        clock: Where the transport and the flows over it read the time and wait. By default the system's clock.

    Attributes:
        endpoint: The address without user, password and query, which errors name.
        clock: The clock.

    Raises:
        InvalidInputError: The endpoint or the client cannot be used, or there is no such era or profile.

    Example:
        >>> from favcrm import FavCRMProvisioner
        >>> with HTTPTransport("http://127.0.0.1:9/mcp") as transport:
        ...     FavCRMProvisioner(transport=transport, retry=RetryPolicy.never()).diagnose().endpoint_reachable
        False
    """

    _limits: ClassVar[Limits] = LIMITS

    def __init__(
        self,
        endpoint: str,
        *,
        http_client: HTTPClient | None = None,
        era: Era | None = None,
        profile: Profile | None = None,
        on_input: Callable[[Mapping[str, JSON]], Mapping[str, JSON]] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._http = BlockingEndpoint(
            endpoint,
            http_client,
            era=era,
            profile=profile,
            on_input=on_input,
            clock=clock,
            limits=self._limits,
        )
        self.endpoint: str = self._http.endpoint
        self.clock: Clock = self._http.clock

    def request(self, request: Request) -> Response:
        """Send one request and return what came back; see `favcrm.transports.Transport`."""
        return run_sync(self._http.request(request))

    def close(self) -> None:
        """End the session, if there is one, and close the connections, if the client was made here."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@boundaries
class AsyncHTTPTransport:
    """Reaches the tools over HTTP, asynchronous: `HTTPTransport` with ``aclose`` and ``async with``.

    Args:
        endpoint: The address of the tools: https, or plain http on this machine.
        http_client: An asynchronous httpx or httpx2 client to use, which stays open at `aclose`.
        era: As for `HTTPTransport`.
        profile: As for `HTTPTransport`.
        on_input: As for `HTTPTransport`; its result may be awaitable.
        clock: As for `HTTPTransport`.

    Attributes:
        endpoint: The address without user, password and query, which errors name.
        clock: The clock.

    Raises:
        InvalidInputError: The endpoint or the client cannot be used, or there is no such era or profile.
    """

    _limits: ClassVar[Limits] = LIMITS

    def __init__(
        self,
        endpoint: str,
        *,
        http_client: AsyncHTTPClient | None = None,
        era: Era | None = None,
        profile: Profile | None = None,
        on_input: Callable[[Mapping[str, JSON]], Mapping[str, JSON] | Awaitable[Mapping[str, JSON]]]
        | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._http = AsyncEndpoint(
            endpoint,
            http_client,
            era=era,
            profile=profile,
            on_input=on_input,
            clock=clock,
            limits=self._limits,
        )
        self.endpoint: str = self._http.endpoint
        self.clock: Clock = self._http.clock

    async def request(self, request: Request) -> Response:
        """Send one request and return what came back; see `favcrm.transports.Transport`."""
        return await self._http.request(request)

    async def aclose(self) -> None:
        """End the session, if there is one, and close the connections, if the client was made here."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
