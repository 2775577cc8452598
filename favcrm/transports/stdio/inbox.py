"""What arrives for one request to a child process."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from favcrm._mcp.progress import read_progress, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from favcrm.models import Progress
    from favcrm.transport import Response
    from favcrm.transports.stdio.child import Line
    from favcrm.transports.waiting import Signal
    from favcrm.typing import JSON

KEPT_REPORTS = 1000


class Inbox:
    """What arrives for one request.

    Args:
        request_id: Its id.
        line: The request as it is written.
        signal: Wakes who waits for the answer.
        on_progress: Who is told of progress, or None.

    Attributes:
        answer: The answer, once it is there.
        over: Whether nothing more will come: the answer is there, or the child is gone.
    """

    def __init__(
        self, request_id: int, line: Line, signal: Signal, on_progress: Callable[[Progress], None] | None
    ) -> None:
        self.request_id = request_id
        self.line = line
        self.signal = signal
        self.answer: Response | None = None
        self.over: bool = False
        self._on_progress = on_progress
        # A server that reports faster than it is listened to loses its oldest reports.
        self._reports: deque[Progress] = deque(maxlen=KEPT_REPORTS)

    def report(self, message: Mapping[str, JSON]) -> None:
        """Take a report of progress, from the thread that reads."""
        progress = None if self._on_progress is None else read_progress(message, self.request_id)
        if progress is not None:
            self._reports.append(progress)
            self.signal.set()

    def finish(self, answer: Response | None) -> None:
        """Take the answer, or learn that there will be none, from the thread that reads."""
        self.answer = answer
        self.over = True
        self.signal.set()

    def tell(self, deadline: float) -> None:
        """Tell of the reports that have come, from where the answer is waited for, while there is time."""
        # Those that come meanwhile wait: a server may report faster than it is listened to.
        for _ in range(len(self._reports)):
            if time.monotonic() >= deadline:
                break
            assert self._on_progress is not None
            tell(self._reports.popleft(), self._on_progress)
