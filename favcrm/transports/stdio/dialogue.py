"""JSON-RPC with one child process: several requests at a time, each with its answer and its progress."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

from favcrm._mcp.jsonrpc import as_id, encode, encode_request, read_error
from favcrm._mcp.payloads import as_json
from favcrm._mcp.progress import NOTIFICATION
from favcrm._mcp.requests import answer_to, with_meta
from favcrm.errors import NotSentError, OutcomeUnknownError
from favcrm.events import logger
from favcrm.transport import Response
from favcrm.transports.stdio.child import Child, Line
from favcrm.transports.stdio.inbox import Inbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from favcrm._mcp.negotiation import Agreement
    from favcrm.errors import TransportError
    from favcrm.models import Progress
    from favcrm.secret import Secret
    from favcrm.transports.stdio.child import Launch
    from favcrm.transports.waiting import Signal
    from favcrm.typing import JSON

REMEMBERED = 1000
LONGEST_BACKLOG = 100
SECRET_LENGTHS = range(6, 1000)
LARGE = Response(defect="is larger than this client reads", complete=False)


class Dialogue:
    """What is said to one child, and what it answers.

    Args:
        launch: How the child is started.
        api_key: The key that it gets, or None.
        capabilities: What this client declares to a server of the modern era.

    Attributes:
        api_key: The key that the child has, or None.
        agreement: How it is spoken to, once that is known.

    Raises:
        InvalidInputError: The key holds what no variable can carry.
        NotSentError: The child cannot be started.
    """

    def __init__(self, launch: Launch, api_key: Secret | None, capabilities: Mapping[str, JSON]) -> None:
        self.api_key = api_key
        self.agreement: Agreement | None = None
        self._env = launch.env
        self._capabilities = capabilities
        self._request_ids = itertools.count(1)
        self._lock = Lock()
        self._pending: dict[int, Inbox] = {}
        self._told: deque[str] = deque(maxlen=REMEMBERED)
        self._given_up = False
        self._gone = False
        self._initialized = False
        self._child = Child(launch.start(api_key), self)
        self._child.begin()

    @property
    def usable(self) -> bool:
        """Whether requests can be sent."""
        return self._child.usable

    def leave(self) -> None:
        """See to it that the child ends; returns at once."""
        self._child.leave()

    def join(self, seconds: float | None = None) -> bool:
        """Wait for the end of a child that was left, and return whether it came."""
        return self._child.join(seconds)

    def post(
        self,
        agreement: Agreement,
        method: str,
        params: Mapping[str, JSON],
        *,
        signal: Signal,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Inbox:
        """Have a request written, and return where its answer will be.

        Raises:
            InvalidInputError: The parameters hold something that JSON cannot carry.
        """
        request_id = next(self._request_ids)
        complete = with_meta(
            agreement,
            params,
            capabilities=self._capabilities,
            progress_token=None if on_progress is None else request_id,
        )
        inbox = Inbox(request_id, Line(encode_request(request_id, method, complete)), signal, on_progress)
        self._told.extend(_secrets([params.get("arguments"), params.get("inputResponses")]))
        self._initialized = self._initialized or method == "initialize"
        with self._lock:
            self._pending[request_id] = inbox
            inbox.over = self._gone
        self._child.write(inbox.line)
        return inbox

    def notify(self, method: str, params: Mapping[str, JSON]) -> None:
        """Have a notification written."""
        message: dict[str, JSON] = {"jsonrpc": "2.0", "method": method}
        self._child.write(Line(encode(message | ({"params": params} if params else {}))))

    async def request(
        self,
        agreement: Agreement,
        method: str,
        params: Mapping[str, JSON],
        *,
        signal: Signal,
        deadline: float,
        on_progress: Callable[[Progress], None] | None,
    ) -> Response:
        """Send a request and return its answer; where none is waited for any more, tell the server.

        Raises:
            InvalidInputError: The parameters hold something that JSON cannot carry.
            NotSentError: Not a byte of it was written.
            OutcomeUnknownError: It was written, and no answer came.
        """
        inbox = self.post(agreement, method, params, signal=signal, on_progress=on_progress)
        try:
            over = await self.receive(inbox, deadline)
        except BaseException:
            self._give_up(inbox, "The call was cancelled.")
            raise
        if inbox.answer is not None:
            return inbox.answer
        if over:
            raise self.failure(sent=not inbox.line.claim())
        if self._give_up(inbox, "The answer took too long."):
            raise OutcomeUnknownError("No answer came in time, and the call may have been carried out.")
        raise NotSentError("The server's process did not read the call in time. It was not sent.")

    async def receive(self, inbox: Inbox, deadline: float) -> bool:
        """Wait until the answer is there, the child is gone or the time is up; return False for the last."""
        while True:
            # Read first: the reports that came before the answer are told before it is returned.
            over = inbox.over
            inbox.tell(deadline)
            remaining = deadline - time.monotonic()
            if over or remaining <= 0:
                return over
            await inbox.signal.wait(remaining)

    def drop(self, inbox: Inbox) -> None:
        """Ignore an answer that comes late."""
        with self._lock:
            self._pending.pop(inbox.request_id, None)

    def failure(self, *, sent: bool) -> TransportError:
        """Return the error for a request that was in flight, or was not, when the child went."""
        told = f"The server's process {self._child.describe_end()}"
        last_words = self._child.tail.show(self._hidden())
        wrote = f' It wrote to stderr: "{last_words}".' if last_words else ""
        if sent:
            return OutcomeUnknownError(f"{told}, and the call may have been carried out.{wrote}")
        return NotSentError(
            f"{told} before the call was sent.{wrote}",
            next_step="Read what it wrote, and check how it is started.",
        )

    def take(self, line: bytes | None) -> None:
        """Take a line of the child's output, from the thread that reads."""
        if line is None:
            # Whose answer it was is not known.
            with self._lock:
                waiting = list(self._pending.values())
                self._pending.clear()
            for inbox in waiting:
                inbox.finish(LARGE)
            return
        found = as_json(line.decode("utf-8-sig", "replace"))
        for message in found if isinstance(found, list) else [found]:
            if isinstance(message, dict):
                self._take_message(message)
            elif line:
                with suppress(Exception):
                    logger.debug("a server wrote a line of %d bytes that is no message", len(line))

    def end(self) -> None:
        """Learn that the child is gone, from the thread that watches it."""
        with self._lock:
            self._gone = True
            waiting = list(self._pending.values())
            self._pending.clear()
        for inbox in waiting:
            inbox.finish(None)

    def _give_up(self, inbox: Inbox, reason: str) -> bool:
        """Wait for an answer no longer; return whether the request may have been written."""
        self.drop(inbox)
        if inbox.line.claim():
            return False
        self._given_up = True
        self.notify("notifications/cancelled", {"requestId": inbox.request_id, "reason": reason})
        return True

    def _take_message(self, message: Mapping[str, JSON]) -> None:
        if "method" not in message:
            inbox = self._pick(message)
            if inbox is not None:
                inbox.finish(_read_answer(message))
        elif "id" in message:
            self._reply(message)
        elif message["method"] == NOTIFICATION:
            self._report(message)

    def _pick(self, message: Mapping[str, JSON]) -> Inbox | None:
        """Take out the request that a message answers."""
        request_id = as_id(message.get("id"))
        with self._lock:
            alone = len(self._pending) == 1 and not self._given_up
            # A server that could not read a request cannot name it. Where there is one alone, it is that one.
            if message.get("id") is None and message.get("error") and alone:
                return self._pending.popitem()[1]
            return None if request_id is None else self._pending.pop(request_id, None)

    def _reply(self, asked: Mapping[str, JSON]) -> None:
        """Answer a request of the server's, which there is in the older eras alone."""
        legacy = self._initialized if self.agreement is None else self.agreement.era != "modern"
        if legacy and self._child.backlog < LONGEST_BACKLOG and (answer := answer_to(asked)) is not None:
            self._child.write(Line(answer))

    def _report(self, message: Mapping[str, JSON]) -> None:
        params = message.get("params")
        request_id = as_id(params.get("progressToken")) if isinstance(params, dict) else None
        with self._lock:
            inbox = None if request_id is None else self._pending.get(request_id)
        if inbox is not None:
            inbox.report(message)

    def _hidden(self) -> Iterator[str]:
        """Yield what must not be seen in what the child wrote: the key, its variables, and what it was told."""
        if self.api_key is not None:
            yield self.api_key.reveal()
        yield from _secrets([*self._env.values()])
        yield from list(self._told)


def _secrets(value: JSON) -> Iterator[str]:
    """Yield every text in a value that may be a secret, by its length."""
    rest = [value]
    while rest:
        value = rest.pop()
        if isinstance(value, str):
            if len(value) in SECRET_LENGTHS:
                yield value
        elif isinstance(value, Mapping):
            rest += value.values()
        elif isinstance(value, Sequence):
            rest += value


def _read_answer(message: Mapping[str, JSON]) -> Response:
    if "result" in message:
        return Response(result=message["result"])
    error = read_error(message.get("error"))
    return Response(error=error, defect="" if error else "is no JSON-RPC answer")
