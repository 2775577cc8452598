"""JSON-RPC 2.0 messages: writing a request, and reading its HTTP answer from bytes."""

from __future__ import annotations

import json
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

from favcrm._mcp.param_headers import PLAIN
from favcrm._mcp.payloads import as_json
from favcrm._mcp.sse import MESSAGE, EventDecoder
from favcrm._patterns import lazy_pattern
from favcrm._text import clean
from favcrm.errors import InvalidInputError, Problem
from favcrm.events import logger
from favcrm.models import Progress
from favcrm.transport import JSONRPCError, Response
from favcrm.typing import JSON

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from favcrm._mcp.sse import Event

PROGRESS = "notifications/progress"
MAX_ANSWER_BYTES = 16 * 1024 * 1024
STARTS_OF_JSON = (b"{", b"[")
# What may stand before the first character: blanks and a byte order mark.
BEFORE_THE_START = b" \t\r\n\xef\xbb\xbf"
OWN_ID = lazy_pattern("[1-9][0-9]{0,17}")

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode_request(message_id: int, method: str, params: Mapping[str, JSON]) -> bytes:
    """Return the bytes of one request.

    Raises:
        InvalidInputError: The parameters hold something that JSON cannot carry.
    """
    return encode({"jsonrpc": "2.0", "id": message_id, "method": method, "params": params})


def encode(message: Mapping[str, JSON]) -> bytes:
    """Return the bytes of one message.

    Raises:
        InvalidInputError: It holds something that JSON cannot carry.
    """
    try:
        return _encode(message).encode()
    except (TypeError, ValueError, RecursionError):
        raise InvalidInputError([Problem("arguments", "hold something that JSON cannot carry")]) from None


def as_id(value: JSON) -> int | None:
    """Return one of our ids. Some servers send an id back as a text, or as a number with a fraction of zero."""
    if (isinstance(value, str) and OWN_ID.fullmatch(value)) or (
        isinstance(value, float) and value.is_integer()
    ):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def is_stream(status: int, headers: Mapping[str, str]) -> bool:
    """Tell whether an HTTP answer is a stream of events."""
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "text/event-stream" and status < HTTPStatus.BAD_REQUEST


class AnswerReader:
    """Reads the HTTP answer to one request: fed with chunks, asked for the `Response` at the end.

    The first character tells JSON from a stream of events, because proxies get content types wrong. What they put
    around an answer is passed over.

    Args:
        message_id: The id of the request that is being answered.
        status: The HTTP status.
        headers: The HTTP headers, names in lower case.
        max_bytes: How many bytes are read at most.
    """

    def __init__(
        self,
        message_id: int,
        status: int,
        headers: Mapping[str, str],
        *,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._message_id = message_id
        self._status = status
        self._headers = headers
        self._room = max_bytes
        self._body = bytearray()
        self._began = False
        self._events = EventDecoder() if is_stream(status, headers) else None
        self._answer: Mapping[str, JSON] | None = None
        self._stray: Mapping[str, JSON] | None = None
        self._defect = ""
        self._messages: list[Mapping[str, JSON]] = []

    @property
    def last_event_id(self) -> str:
        """The id of the last event, with which the stream can be resumed; empty where none can be sent back."""
        if self._events is None:
            return ""
        last = self._events.last_event_id
        return last if PLAIN.fullmatch(last) else ""

    @property
    def retry(self) -> float | None:
        """Seconds to wait before the stream is resumed, or None where the server does not say."""
        return self._events.retry if self._events else None

    @property
    def answered(self) -> bool:
        """True when the answer has arrived in a stream."""
        return self._answer is not None

    @property
    def done(self) -> bool:
        """True when nothing more needs to be read."""
        return self.answered or bool(self._defect)

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk of the body, after any content encoding is undone."""
        self._room -= len(chunk)
        if self._room < 0:
            self._defect = "is larger than this client reads"
        else:
            self._take(chunk)

    def take_messages(self) -> list[Mapping[str, JSON]]:
        """Return what the server told or asked before its answer, each message once."""
        messages, self._messages = self._messages, []
        return messages

    def finish(self, *, cut: bool = False) -> Response:
        """Return what the body says, once it has ended or broken off (``cut``)."""
        framed = self._events is not None
        if not framed and not self._defect:
            self._take_body(cut=cut)
        # An error that names no request is the answer only if no better one came until the end.
        answer = self._answer or (None if cut else self._stray)
        if answer is None:
            return Response(
                status=self._status,
                headers=self._headers,
                body=self._unread().decode("utf-8", "replace"),
                defect=self._defect,
                complete=not cut and (bool(self._defect) or not framed),
            )
        return Response(
            result=answer.get("result"),
            error=read_error(answer.get("error")),
            status=self._status,
            headers=self._headers,
        )

    def _take(self, data: bytes) -> None:
        if self._events is not None and not self._began:
            data = data.lstrip(BEFORE_THE_START)
            self._began = bool(data)
            if data.startswith(STARTS_OF_JSON):
                self._events = None
        if self._events is None:
            self._body += data
            return
        for event in self._events.feed(data):
            # An event without data only says that the stream is open.
            if event.data and not self.done:
                self._take_event(event)

    def _take_event(self, event: Event) -> None:
        # An event with another name carries no JSON-RPC.
        found = read_message(event.data) if event.name == MESSAGE else None
        messages = [member for member in _members(found) if isinstance(member.get("method"), str)]
        self._stray = self._stray or _pick_stray(found)
        self._answer = _pick(found, self._message_id)
        self._messages += messages
        if self._answer is None and not messages:
            # Kept, because an event that cannot be read, or that has another name or id, may hold a key.
            self._body += f"{event.data}\n".encode()

    def _take_body(self, *, cut: bool) -> None:
        body = bytes(self._body)
        if not cut:
            found = read_message(body.decode("utf-8", "replace"))
            self._answer = _pick(found, self._message_id) or _pick_stray(found, any_id=True)
        # JSON that broke off is no answer, even if it can be read. A complete event is one.
        for event in () if self._answer else EventDecoder().feed(body):
            self._answer = self._answer or _pick(read_message(event.data), self._message_id)
        if self._answer is None and not cut:
            self._defect = "is no JSON-RPC answer" if body.strip() else "is empty"

    def _unread(self) -> bytes:
        return bytes(self._body) if self._events is None else bytes(self._body) + self._events.unfinished


def read_message(text: str) -> JSON:
    """Return the JSON value in a text, or None."""
    return as_json(text.removeprefix("\ufeff"))


def _pick(message: JSON, message_id: int) -> Mapping[str, JSON] | None:
    """Return the answer to our request: the message itself, or its member in a batch; a result before an error."""
    ours = [member for member in _members(message) if as_id(member.get("id")) == message_id]
    results = [member for member in ours if "result" in member]
    errors = [member for member in ours if read_error(member.get("error"))]
    return next(iter(results + errors), None)


def _pick_stray(message: JSON, *, any_id: bool = False) -> Mapping[str, JSON] | None:
    """Return an error that names no request, or any other one than ours (``any_id``).

    A body answers one request, so its error may have any id: servers refuse with null or a word. In a stream, the
    answers to other requests may pass by.
    """
    return next(
        (
            member
            for member in _members(message)
            if read_error(member.get("error")) and (any_id or member.get("id") is None)
        ),
        None,
    )


def _members(message: JSON) -> list[Mapping[str, JSON]]:
    """Return the objects in a message: itself, or those of a batch."""
    return [
        member for member in (message if isinstance(message, list) else [message]) if isinstance(member, dict)
    ]


def read_error(error: JSON) -> JSONRPCError | None:
    """Return the error of a message. None for the error of a REST answer, whose code is a word."""
    if not isinstance(error, dict):
        return None
    code, message = error.get("code"), error.get("message")
    if not isinstance(code, int):
        return None
    return JSONRPCError(code, message if isinstance(message, str) else "", error.get("data"))


def report_progress(message: Mapping[str, JSON], token: int, listener: Callable[[Progress], None]) -> None:
    """Give a listener the progress that a message reports, if it is the progress of the listener's own call."""
    params = message.get("params")
    if message.get("method") != PROGRESS or not isinstance(params, dict):
        return
    done, total, words = params.get("progress"), params.get("total"), params.get("message")
    if as_id(params.get("progressToken")) != token or not isinstance(done, int | float):
        return
    progress = Progress(
        progress=done,
        total=total if isinstance(total, int | float) else None,
        message=clean(words) if isinstance(words, str) else "",
    )
    try:
        listener(progress)
    except Exception:  # noqa: BLE001  # a mistake of the listener must not lose the answer
        with suppress(Exception):
            logger.warning("the on_progress callback failed")
