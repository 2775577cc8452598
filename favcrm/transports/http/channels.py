"""What differs between the colours of an HTTP client: how one sends, reads, waits and takes turns."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

from favcrm.errors import InvalidInputError, NotSentError, Problem
from favcrm.transports.http.exchange import drain
from favcrm.transports.http.time_limit import TimeLimit, put_under_limits
from favcrm.transports.http.watch import AsyncWatch, BlockingWatch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from types import ModuleType

    import anyio

LEAVING = 5.0
"""Seconds in which a body that was closed is left: what had arrived before is read to its end."""
BUSY_NEGOTIATING = "Another call did not end its negotiation with the server in time. Nothing was sent."


class BlockingChannel:
    """Sends with a blocking client. Its methods never suspend."""

    def __init__(self, client: object, proxy: str = "") -> None:
        self.client: Any = client
        self.proxy = proxy
        self.httpx: ModuleType = httpx_of(client, "Client")
        self.strays: frozenset[str] = headers_of_mcp(self.client)

    async def send(self, request: Any) -> Any:
        """Send a request and return the response with its body unread."""
        request.extensions["trace"] = BlockingWatch(request.extensions)
        return self.client.send(request, stream=True, auth=None, follow_redirects=False)

    def limit(self, seconds: float, /) -> AbstractContextManager[object]:
        """Leave the block after some seconds."""
        return TimeLimit(seconds)

    def shielded(self, seconds: float, /) -> AbstractContextManager[object]:
        """Do what is in the block, for some seconds at most, although the call was cancelled."""
        return TimeLimit(seconds)

    async def sleep(self, seconds: float, /) -> None:
        """Wait."""
        time.sleep(seconds)  # noqa: ASYNC251  # this colour blocks

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
        """Do nothing: generators of this colour end when nobody has them any more."""


class AsyncChannel:
    """Sends with an asynchronous client."""

    def __init__(self, client: object, proxy: str = "") -> None:
        self.client: Any = client
        self.proxy = proxy
        self.httpx: ModuleType = httpx_of(client, "AsyncClient")
        self.strays: frozenset[str] = headers_of_mcp(self.client)

    async def send(self, request: Any) -> Any:
        """Send a request and return the response with its body unread."""
        request.extensions["trace"] = AsyncWatch(request.extensions)
        return await self.client.send(request, stream=True, auth=None, follow_redirects=False)

    def limit(self, seconds: float, /) -> AbstractContextManager[object]:
        """Leave the block after some seconds."""
        import anyio

        return anyio.move_on_after(seconds)

    def shielded(self, seconds: float, /) -> AbstractContextManager[object]:
        """Do what is in the block, for some seconds at most, although the call was cancelled."""
        import anyio

        return anyio.move_on_after(seconds, shield=True)

    async def sleep(self, seconds: float, /) -> None:
        """Wait."""
        import anyio

        await anyio.sleep(seconds)

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
        # The generators behind the chunks end when they find the connection closed; trio warns of those left alone.
        with suppress(self.httpx.HTTPError, self.httpx.StreamError):
            await drain(self, chunks, LEAVING)


class BlockingLock:
    """Lets one thread at a time negotiate."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @asynccontextmanager
    async def held(self, seconds: float, /) -> AsyncGenerator[None, None]:
        """Hold it within a block; wait for it for some seconds at most."""
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
        """Hold it within a block; wait for it for some seconds at most."""
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
    """Return the library that a client belongs to, whose exceptions it raises."""
    for name in ("httpx", "httpx2"):
        httpx = sys.modules.get(name)
        if httpx is not None and isinstance(client, getattr(httpx, kind)):
            return httpx
    raise InvalidInputError([Problem("http_client", f"must be an httpx.{kind} or its httpx2 twin")])


def headers_of_mcp(client: Any) -> frozenset[str]:
    """Return the names of the headers of MCP that a client sends with every request."""
    return frozenset(name for name in client.headers if name.startswith("mcp-"))
