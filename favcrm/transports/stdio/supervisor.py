"""Which child takes a call: there is one at a time, with the key of who calls, spoken to as it asks."""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from favcrm._mcp.input_required import OnInput, in_rounds
from favcrm._mcp.negotiation import BARE, MODERN, find_remedy
from favcrm.errors import NotSentError
from favcrm.transport import Response
from favcrm.transports.stdio.dialogue import Dialogue
from favcrm.transports.stdio.handshake import Handshake

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from favcrm._mcp.negotiation import Agreement
    from favcrm.models import Progress
    from favcrm.secret import Secret
    from favcrm.transports.stdio.child import Launch
    from favcrm.transports.waiting import Signal, Waiting
    from favcrm.typing import JSON, Era

SETTLED: Mapping[str, Agreement] = {"bare": BARE, "modern": MODERN}


class Supervisor:
    """Starts, replaces and ends the child, and makes the calls; both colours, by how they wait.

    Args:
        launch: How a child is started.
        era: How it is spoken to.
        on_input: Answers what a server asks for, or None.
        waiting: How the callers wait.
    """

    def __init__(
        self,
        launch: Launch,
        era: Era,
        on_input: OnInput | None,
        waiting: Waiting,
    ) -> None:
        self._launch = launch
        self._settled = SETTLED.get(era)
        self._probe = era != "session"
        self._on_input = on_input
        self._capabilities: Mapping[str, JSON] = {"elicitation": {}} if on_input else {}
        self._waiting = waiting
        self._lock = Lock()
        self._queue: deque[Signal] = deque()
        self._calling: set[Signal] = set()
        self._dialogue: Dialogue | None = None
        self._handshake: Handshake | None = None
        self._closed = False

    async def request(
        self,
        method: str,
        params: Mapping[str, JSON],
        *,
        api_key: Secret | None,
        timeout: float,
        on_progress: Callable[[Progress], None] | None,
    ) -> Response:
        """Send one request and return what came back."""
        deadline = time.monotonic() + timeout
        response, agreement = await self._attempt(method, params, api_key, deadline, on_progress)
        if agreement is None or find_remedy(agreement, response, confirmed=True) is None:
            return response
        # The server refused the version, so nothing ran: it is asked again, once.
        self._forget(agreement)
        response, _ = await self._attempt(method, params, api_key, deadline, on_progress)
        return response

    def leave(self) -> None:
        """Let the child end and take no more calls; returns at once."""
        with self._lock:
            self._closed = True
            dialogue = self._dialogue
            for signal in self._queue:
                signal.set()
        if dialogue is not None:
            dialogue.leave()

    async def close(self) -> None:
        """Let the child end and wait for it."""
        self.leave()
        if self._dialogue is not None:
            await self._waiting.run(self._dialogue.join)

    async def _attempt(
        self,
        method: str,
        params: Mapping[str, JSON],
        api_key: Secret | None,
        deadline: float,
        on_progress: Callable[[Progress], None] | None,
    ) -> tuple[Response, Agreement | None]:
        """Make one call; return how it was spoken to, or None where the answer is to the negotiation."""
        mine = self._waiting.signal()
        try:
            with self._lock:
                self._queue.append(mine)
            # One after the other: there is one child, and it is asked once how it is spoken to.
            await self._until(mine, lambda: self._queue[0] is mine, deadline)
            dialogue, agreement = await self._agree(mine, api_key, deadline)
            if isinstance(agreement, Response):
                return agreement, None
            self._calling.add(mine)
            self._step_aside(mine)

            def ask(given: Mapping[str, JSON]) -> Awaitable[Response]:
                return dialogue.request(
                    agreement, method, given, signal=mine, deadline=deadline, on_progress=on_progress
                )

            if agreement.era != "modern":
                return await ask(params), agreement

            async def sleep(seconds: float) -> None:
                await self._waiting.signal().wait(min(seconds, deadline - time.monotonic()))

            return await in_rounds(params, ask, on_input=self._on_input, sleep=sleep), agreement
        finally:
            self._calling.discard(mine)
            self._step_aside(mine)

    def _step_aside(self, mine: Signal) -> None:
        """Leave the queue, if in it, and wake who is first: it may be its turn, or the child idle."""
        with self._lock:
            if mine in self._queue:
                self._queue.remove(mine)
            if self._queue:
                self._queue[0].set()

    async def _until(self, mine: Signal, condition: Callable[[], bool], deadline: float) -> None:
        while not (self._closed or condition()):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise NotSentError("The server's process was busy with other calls. This one was not sent.")
            await mine.wait(remaining)
        if self._closed:
            raise _closed()

    async def _agree(
        self, mine: Signal, api_key: Secret | None, deadline: float
    ) -> tuple[Dialogue, Agreement | Response]:
        """Return the child for a key, and how it is spoken to."""
        while True:
            dialogue = await self._find_child(mine, api_key, deadline)
            if dialogue.agreement is not None:
                return dialogue, dialogue.agreement
            if self._handshake is None or self._handshake.over:
                self._handshake = Handshake(dialogue, probe=self._probe)
            handshake = self._handshake
            try:
                verdict = await handshake.go_on(mine, deadline)
            except NotSentError:
                if self._closed or dialogue.usable or not handshake.probing:
                    raise
                # Some servers end at any request before `initialize`, so this one is not asked again.
                self._probe = False
                continue
            if not isinstance(verdict, Response):
                dialogue.agreement = verdict
            return dialogue, verdict

    async def _find_child(self, mine: Signal, api_key: Secret | None, deadline: float) -> Dialogue:
        """Return the child for a key: the one that there is, or a new one in its place."""
        while True:
            dialogue = self._dialogue
            if dialogue is not None:
                fits = api_key is None or self._launch.key_variable is None or dialogue.api_key == api_key
                if dialogue.usable and fits:
                    return dialogue
                if dialogue.usable:
                    await self._until(mine, lambda: not self._calling, deadline)
                dialogue.leave()
                remaining = max(0.0, deadline - time.monotonic())
                if not await self._waiting.run(partial(dialogue.join, remaining)):
                    raise NotSentError("The server's process did not end in time. The call was not sent.")
            started = await self._waiting.run(partial(self._start, api_key, dialogue))
            if started is not None:
                return started

    def _start(self, api_key: Secret | None, replaced: Dialogue | None) -> Dialogue | None:
        """Start a child in place of another; None where somebody else did meanwhile.

        Where asyncio cancels the caller, its thread goes on in here, and the next caller has its turn already.
        """
        dialogue = Dialogue(self._launch, api_key, self._capabilities)
        with self._lock:
            taken = self._dialogue is replaced and not self._closed
            if taken:
                dialogue.agreement = self._settled
                self._dialogue, self._handshake = dialogue, None
        if taken:
            return dialogue
        dialogue.leave()
        dialogue.join()
        if self._closed:
            raise _closed()
        return None

    def _forget(self, agreement: Agreement) -> None:
        """Find out anew how the child is spoken to, unless somebody did since."""
        with self._lock:
            if self._dialogue is not None and self._dialogue.agreement is agreement:
                self._dialogue.agreement = None


def _closed() -> NotSentError:
    return NotSentError(
        "The transport is closed. Nothing was sent.", permanent=True, next_step="Make a new one."
    )
