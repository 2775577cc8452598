"""Reaching the tools over HTTP, in whatever era the server speaks.

Only `clients` and `auth` import httpx. An httpx2 client serves as well as an httpx one, since only what both have is
used. From a call to the wire: `links` keeps the processes and event loops apart, `conversation` carries out what
`favcrm._mcp.negotiation` decides, `exchange` sends one request and reads its answer, and `channels` has what differs
between the colours.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

from favcrm._backends import run_sync
from favcrm.endpoint import without_details
from favcrm.transport import AsyncHTTPClient, HTTPClient, Request, Response
from favcrm.transports.binding import Bound, this_event_loop, this_process
from favcrm.transports.http.auth import BearerAuth
from favcrm.transports.http.clients import parse_endpoint
from favcrm.transports.http.conversation import Query
from favcrm.transports.http.links import LinkMaker
from favcrm.typing import JSON, Era, Profile

__all__ = ["AsyncHTTPTransport", "BearerAuth", "HTTPTransport"]

LONGEST_TIMEOUT = 86400.0
"""Seconds. A socket does not take just any number, and nobody waits for longer."""


class HTTPTransport:
    """Reaches the tools over HTTP, whichever version of MCP the server speaks, blocking.

    Args:
        endpoint: The address of the tools: https, or plain http on this machine.
        http_client: An httpx or httpx2 client to use, which stays open at `close`. By default one is made.
        era: How the server is spoken to, or what is tried first. By default ``bare`` for FavCRM's own hosts, and found
            out elsewhere, once for each endpoint.
        profile: Which tools FavCRM offers, `favcrm.typing.Profile`. By default the server decides: all of them.
        on_input: Given what a server of MCP 2026-07-28 asks for before it completes a call, by name; returns the
            answers by the same names. Without it such a call raises `InputRequiredError`.

    Attributes:
        endpoint: The address without user, password and query, which errors name.

    Raises:
        InvalidInputError: The endpoint or the client cannot be used, or there is no such era or profile.

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
        profile: Profile | None = None,
        on_input: Callable[[Mapping[str, JSON]], Mapping[str, JSON]] | None = None,
    ) -> None:
        parsed = parse_endpoint(endpoint, profile)
        self.endpoint: str = without_details(parsed.url)
        links = LinkMaker(parsed, http_client, era, on_input)
        self._links = Bound(links.blocking, this_process, http_client)

    def request(self, request: Request) -> Response:
        """Send one request and return what came back; see `favcrm.transports.Transport`."""
        link = self._links.here()
        query = Query(
            channel=link.channel,
            method=request.method,
            params=request.params,
            api_key=request.api_key,
            ends_at=time.monotonic() + min(request.timeout, LONGEST_TIMEOUT),
            on_progress=request.on_progress,
        )
        return run_sync(link.conversation.request(query))

    def close(self) -> None:
        """End the session, if there is one, and close the connections, if the client was made here."""
        link = self._links.close()
        if link is not None:
            link.close()


class AsyncHTTPTransport:
    """Reaches the tools over HTTP, asynchronous: `HTTPTransport` with ``aclose``.

    Args:
        endpoint: The address of the tools: https, or plain http on this machine.
        http_client: An asynchronous httpx or httpx2 client to use, which stays open at `aclose`.
        era: As for `HTTPTransport`.
        profile: As for `HTTPTransport`.
        on_input: As for `HTTPTransport`; what it returns may be awaitable.

    Raises:
        InvalidInputError: The endpoint or the client cannot be used, or there is no such era or profile.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        http_client: AsyncHTTPClient | None = None,
        era: Era | None = None,
        profile: Profile | None = None,
        on_input: Callable[[Mapping[str, JSON]], Mapping[str, JSON] | Awaitable[Mapping[str, JSON]]]
        | None = None,
    ) -> None:
        parsed = parse_endpoint(endpoint, profile)
        self.endpoint: str = without_details(parsed.url)
        links = LinkMaker(parsed, http_client, era, on_input)
        self._links = Bound(links.asynchronous, this_event_loop, http_client)

    async def request(self, request: Request) -> Response:
        """Send one request and return what came back; see `favcrm.transports.Transport`."""
        timeout = min(request.timeout, LONGEST_TIMEOUT)
        ends_at = time.monotonic() + timeout
        link = self._links.here()
        await link.close_with_loop(self._links.take)
        async with link.lanes.turn(timeout) as channel:
            query = Query(
                channel=channel,
                method=request.method,
                params=request.params,
                api_key=request.api_key,
                ends_at=ends_at,
                on_progress=request.on_progress,
            )
            return await link.conversation.request(query)

    async def aclose(self) -> None:
        """End the session, if there is one, and close the connections, if the client was made here."""
        link = self._links.close()
        if link is not None:
            await link.aclose()
