"""What each process and each event loop has of its own: clients, cookies, locks, and how the server is spoken to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from attrs import define, field, frozen

from favcrm._backends import run_sync
from favcrm._mcp.input_required import OnInput
from favcrm.endpoint import Endpoint
from favcrm.transports.http.channels import AsyncLock, BlockingChannel, BlockingLock
from favcrm.transports.http.clients import Lanes, OwnClients
from favcrm.transports.http.conversation import Conversation, Lock
from favcrm.typing import Era


@frozen(eq=False)
class BlockingLink:
    """What one process has of its own."""

    channel: BlockingChannel
    conversation: Conversation
    owned: bool

    def close(self) -> None:
        """End the session, and close the client where it was made here."""
        run_sync(self.conversation.end(self.channel))
        if self.owned:
            self.channel.client.close()


@define(eq=False)
class AsyncLink:
    """What one event loop has of its own."""

    lanes: Lanes
    conversation: Conversation
    _until_end: AsyncGenerator[None, None] | None = field(default=None, init=False)

    async def close_with_loop(self, closing: Callable[[], object]) -> None:
        """Have the connections closed when the event loop ends, unless `aclose` comes first.

        Args:
            closing: Called before that.
        """
        if self._until_end is None and self.lanes.owned:
            # asyncio and trio close the generators that are still open when an event loop ends.
            self._until_end = self._wait_for_end(closing)
            await anext(self._until_end)

    async def _wait_for_end(self, closing: Callable[[], object]) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            closing()
            # The session is left to the server: nothing can be sent any more when asyncio closes generators.
            await self.lanes.aclose()

    async def aclose(self) -> None:
        """End the session, and close the clients where they were made here."""
        await self.conversation.end(self.lanes.first)
        if self._until_end is not None:
            await self._until_end.aclose()


class LinkMaker:
    """Makes the links of a transport.

    Args:
        endpoint: Where they lead.
        http_client: What a user handed over for all of them; None where each has a client of its own.
        era: Where each begins.
        on_input: Answers what a server asks before a call is complete.

    Raises:
        InvalidInputError: A variable of the environment cannot be used.
    """

    def __init__(
        self, endpoint: Endpoint, http_client: object | None, era: Era | None, on_input: OnInput | None
    ) -> None:
        self._endpoint = endpoint
        self._http_client = http_client
        self._own = OwnClients(endpoint) if http_client is None else None
        self._era: Era | None = era
        self._on_input = on_input

    def blocking(self) -> BlockingLink:
        """Make a link of a process."""
        channel = BlockingChannel(self._http_client) if self._own is None else self._own.blocking()
        return BlockingLink(channel, self._conversation(BlockingLock()), owned=self._own is not None)

    def asynchronous(self) -> AsyncLink:
        """Make a link of an event loop."""
        lanes = Lanes(self._http_client if self._own is None else self._own)
        return AsyncLink(lanes, self._conversation(AsyncLock()))

    def _conversation(self, lock: Lock) -> Conversation:
        return Conversation(self._endpoint, self._era, lock, self._on_input)
