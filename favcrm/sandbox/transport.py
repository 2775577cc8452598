"""The sandbox as a transport: no sockets, no waiting, and the same bytes as on HTTP."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from favcrm._mcp.jsonrpc import AnswerReader, encode_request
from favcrm.errors import NotSentError, OutcomeUnknownError
from favcrm.sandbox.faults import Ending
from favcrm.transport import Request

if TYPE_CHECKING:
    from favcrm.sandbox.clock import SandboxClock
    from favcrm.sandbox.sandbox import Sandbox
    from favcrm.transport import Response

__all__ = ["AsyncSandboxTransport", "SandboxTransport"]

TIMES_OUT = {Ending.STALLED, Ending.DRIPPED}


class SandboxTransport:
    """Reaches a sandbox in the same process, blocking. Made by `Sandbox.transport`.

    Args:
        sandbox: The sandbox.
        ip: The address that calls seem to come from.

    Attributes:
        clock: The sandbox's clock, which the flows wait on too.
    """

    def __init__(self, sandbox: Sandbox, *, ip: str = "127.0.0.1") -> None:
        self.clock: SandboxClock = sandbox.clock
        self._sandbox = sandbox
        self._ip = ip
        self._ids = itertools.count(1)

    def request(self, request: Request) -> Response:
        """Send one MCP request and return what came back.

        Args:
            request: The request. Where no answer comes, the clock moves by its timeout. Its ``on_progress`` is never
                called, because the sandbox's tools answer at once.

        Raises:
            NotSentError: A fault refused the connection.
            OutcomeUnknownError: A fault reset the connection, or kept the answer back.
        """
        request_id = next(self._ids)
        body = encode_request(request_id, request.method, request.params)
        key = None if request.api_key is None else request.api_key.reveal()
        reply = self._sandbox.handle(body, key=key, ip=self._ip)
        if reply.ending is Ending.REFUSED:
            raise NotSentError("The endpoint cannot be reached. Nothing was sent.")
        if reply.ending is Ending.RESET:
            raise OutcomeUnknownError(
                "The connection broke before the answer came, and it may have been carried out."
            )
        if reply.ending in TIMES_OUT:
            self.clock.advance(request.timeout)
            raise OutcomeUnknownError(
                f"No answer came within {request.timeout:g} seconds, and it may have been carried out."
            )
        reader = AnswerReader(request_id, reply.status, reply.headers)
        reader.feed(reply.body)
        return reader.finish(cut=reply.ending is Ending.CUT)

    def close(self) -> None:
        """Do nothing: nothing is held open."""


class AsyncSandboxTransport:
    """Reaches a sandbox in the same process, asynchronously. Made by `Sandbox.async_transport`.

    Args:
        sandbox: The sandbox.
        ip: The address that calls seem to come from.

    Attributes:
        clock: The sandbox's clock, which the flows wait on too.
    """

    def __init__(self, sandbox: Sandbox, *, ip: str = "127.0.0.1") -> None:
        self.clock: SandboxClock = sandbox.clock
        self._blocking = SandboxTransport(sandbox, ip=ip)

    async def request(self, request: Request) -> Response:
        """Send one MCP request and return what came back; see `SandboxTransport.request`."""
        # Imported here so that blocking users do not pay for it. It comes with httpx.
        from anyio.lowlevel import checkpoint

        # As on a network, others have their turn before the request arrives and before the answer does.
        await checkpoint()
        response = self._blocking.request(request)
        await checkpoint()
        return response

    async def aclose(self) -> None:
        """Do nothing: nothing is held open."""
