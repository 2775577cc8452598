"""Finding out how a child is spoken to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from favcrm._mcp.negotiation import negotiate
from favcrm.errors import NotSentError
from favcrm.transport import Response

if TYPE_CHECKING:
    from favcrm._mcp.negotiation import Agreement
    from favcrm.transports.stdio.dialogue import Dialogue
    from favcrm.transports.stdio.inbox import Inbox
    from favcrm.transports.waiting import Signal

PROBE_SECONDS = 10.0
"""A server has to start before it can answer; one that answers nothing at all to the probe is an older one."""


class Handshake:
    """A negotiation with one child. Where its caller's time is up, the next caller goes on with it.

    Args:
        dialogue: What is said to the child.
        probe: Whether it is asked before it is initialized.

    Attributes:
        over: Whether it has come to an end, be it a failure.
    """

    def __init__(self, dialogue: Dialogue, *, probe: bool) -> None:
        self._dialogue = dialogue
        self._steps = negotiate(probe=probe)
        self._step = next(self._steps)
        self._inbox: Inbox | None = None
        self.over: bool = False
        self._probe_ends_at = time.monotonic() + PROBE_SECONDS

    @property
    def probing(self) -> bool:
        """Whether the server is being asked, and not yet initialized."""
        return self._step.method == "server/discover"

    async def go_on(self, signal: Signal, deadline: float) -> Agreement | Response:
        """Return what was agreed, or the answer that stands for the call's own.

        Raises:
            NotSentError: Nothing was agreed; the call was not sent.
        """
        while True:
            answer = await self._take_step(signal, deadline)
            self.over = True
            try:
                self._step = self._steps.send(answer)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]  # a generator's return value is typed Any there
            self.over = False

    async def _take_step(self, signal: Signal, deadline: float) -> Response:
        step = self._step
        if step.notification:
            self._dialogue.notify(step.method, step.params)
            return Response()
        if self._inbox is None:
            self._inbox = self._dialogue.post(step.under, step.method, step.params, signal=signal)
        inbox = self._inbox
        inbox.signal = signal
        over = await self._dialogue.receive(
            inbox, min(deadline, self._probe_ends_at) if self.probing else deadline
        )
        answer = inbox.answer
        if answer is None and over:
            raise self._dialogue.failure(sent=False)
        if answer is None and not (self.probing and time.monotonic() >= self._probe_ends_at):
            raise NotSentError("The server did not say in time how it is spoken to. The call was not sent.")
        self._dialogue.drop(inbox)
        self._inbox = None
        return answer or Response()
