"""Where the sync and the async side of HTTP differ: how each sends, reads, waits and locks.

The two libraries, httpx and httpx2, share no class, so requests, responses and clients are Any here.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol, cast

from favcrm.errors import InvalidInputError, NotSentError, Problem
from favcrm.transports.http.connections import AsyncWatch, BlockingWatch, TimeLimit, put_under_limits
from favcrm.transports.http.limits import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from types import ModuleType

    import anyio

    from favcrm.transport import Clock

BUSY_NEGOTIATING = "Another call did not end its negotiation with the server in time. Nothing was sent."


class HTTPBackend(Protocol):
    """An HTTP client, and how its side waits. The methods of the sync side never suspend."""

    client: Any
    proxy: str
    """The address of the proxy, without its user and password; empty if there is none, or none that is known."""
    httpx: ModuleType
    """The library of the client, whose errors it raises."""
    own_mcp_headers: frozenset[str]
    """The headers of MCP that the client's owner set for every request."""
    clock: Clock
    limits: Limits

    async def send(self, request: Any) -> Any:
        """Send a request and return the response with its body unread."""
        ...

    def limit(self, seconds: float, /) -> AbstractContextManager[object, bool]:
        """Leave the block after some seconds, at the next use of the network."""
        ...

    def shielded(self, seconds: float, /) -> AbstractContextManager[object, bool]:
        """Run the block although the call was cancelled, for some seconds at most."""
        ...

    async def sleep(self, seconds: float, /) -> None:
        """Wait."""
        ...

    def chunks(self, response: Any) -> Any:
        """Return an iterator over the body as it arrives. If a hook has read the body, it is inflated already."""
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


class Lock(Protocol):
    """Lets one call at a time negotiate."""

    def held(self, seconds: float, /) -> AbstractAsyncContextManager[None]:
        """Hold the lock within a block. Wait for it for some seconds at most.

        Raises:
            NotSentError: The lock was not free in time.
        """
        ...


class _HTTP:
    """What both sides have; `HTTPBackend` says what each attribute is."""

    def __init__(
        self, client: object, httpx: ModuleType, proxy: str = "", *, clock: Clock, limits: Limits
    ) -> None:
        self.client: Any = client
        self.proxy = proxy
        self.httpx = httpx
        self.own_mcp_headers: frozenset[str] = mcp_headers_of(self.client)
        self.clock = clock
        self.limits = limits


class BlockingHTTP(_HTTP):
    """Sends with a blocking client."""

    async def send(self, request: Any) -> Any:
        """Send a request and return the response with its body unread."""
        request.extensions["trace"] = BlockingWatch(request.extensions)
        return self.client.send(request, stream=True, auth=None, follow_redirects=False)

    def limit(self, seconds: float, /) -> AbstractContextManager[object, bool]:
        """Leave the block after some seconds."""
        return TimeLimit(seconds)

    def shielded(self, seconds: float, /) -> AbstractContextManager[object, bool]:
        """Run the block for some seconds at most. No call of this side is cancelled."""
        return TimeLimit(seconds)

    async def sleep(self, seconds: float, /) -> None:
        """Wait."""
        self.clock.sleep(seconds)

    def chunks(self, response: Any) -> Iterator[bytes]:
        """Return an iterator over the body as it arrives."""
        # A client that was handed over may have opened the connection for another request, unwatched.
        put_under_limits(response.extensions.get("network_stream"))
        chunks = response.iter_bytes() if response.is_stream_consumed else response.iter_raw()
        return cast("Iterator[bytes]", chunks)

    async def next_chunk(self, chunks: Iterator[bytes]) -> bytes | None:
        """Return the next chunk, or None at the end."""
        return next(chunks, None)

    async def close(self, response: Any) -> None:
        """Give the connection back."""
        response.close()

    async def leave(self, _: Iterator[bytes], /) -> None:
        """Do nothing, because a blocking generator ends when nobody refers to it."""


class AsyncHTTP(_HTTP):
    """Sends with an asynchronous client."""

    async def send(self, request: Any) -> Any:
        """Send a request and return the response with its body unread."""
        request.extensions["trace"] = AsyncWatch(request.extensions)
        return await self.client.send(request, stream=True, auth=None, follow_redirects=False)

    def limit(self, seconds: float, /) -> AbstractContextManager[object, bool]:
        """Leave the block after some seconds."""
        import anyio

        return anyio.move_on_after(seconds)

    def shielded(self, seconds: float, /) -> AbstractContextManager[object, bool]:
        """Run the block although the call was cancelled, for some seconds at most."""
        import anyio

        return anyio.move_on_after(seconds, shield=True)

    async def sleep(self, seconds: float, /) -> None:
        """Wait."""
        await self.clock.sleep_async(seconds)

    def chunks(self, response: Any) -> AsyncIterator[bytes]:
        """Return an iterator over the body as it arrives."""
        chunks = response.aiter_bytes() if response.is_stream_consumed else response.aiter_raw()
        return cast("AsyncIterator[bytes]", chunks)

    async def next_chunk(self, chunks: AsyncIterator[bytes]) -> bytes | None:
        """Return the next chunk, or None at the end."""
        return await anext(chunks, None)

    async def close(self, response: Any) -> None:
        """Give the connection back."""
        await response.aclose()

    async def leave(self, chunks: AsyncIterator[bytes], /) -> None:
        """Leave the rest of a closed body."""
        # The generators behind the chunks end when they find the connection closed. Trio warns of unfinished ones.
        with suppress(self.httpx.HTTPError, self.httpx.StreamError):
            await drain(self, chunks, self.limits.leaving)


async def drain(backend: HTTPBackend, chunks: Any, seconds: float) -> None:
    """Read the rest of a body, for some seconds at most."""
    ends_at = backend.clock.monotonic() + seconds
    with backend.limit(seconds):
        while backend.clock.monotonic() < ends_at and await backend.next_chunk(chunks) is not None:
            pass


class BlockingLock:
    """Lets one thread at a time negotiate."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @asynccontextmanager
    async def held(self, seconds: float, /) -> AsyncGenerator[None, None]:
        """Hold the lock within a block. Wait for it for some seconds at most."""
        if not self._lock.acquire(timeout=seconds):
            raise NotSentError(BUSY_NEGOTIATING)
        try:
            yield
        finally:
            self._lock.release()


class AsyncLock:
    """Lets one task at a time negotiate."""

    def __init__(self) -> None:
        self._lock: anyio.Lock | None = None

    @asynccontextmanager
    async def held(self, seconds: float, /) -> AsyncGenerator[None, None]:
        """Hold the lock within a block. Wait for it for some seconds at most."""
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


def httpx_of(client: object, kind: str) -> ModuleType:
    """Return the library that a client belongs to."""
    for name in ("httpx", "httpx2"):
        httpx = sys.modules.get(name)
        if httpx is not None and isinstance(client, getattr(httpx, kind)):
            return httpx
    raise InvalidInputError([Problem("http_client", f"must be an httpx.{kind} or its httpx2 twin")])


def mcp_headers_of(client: Any) -> frozenset[str]:
    """Return the names of the headers of MCP that a client sends with every request."""
    return frozenset(name for name in client.headers if name.startswith("mcp-"))
