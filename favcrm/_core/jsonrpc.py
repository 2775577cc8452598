"""JSON-RPC 2.0 messages: writing a request, reading an HTTP answer to it from bytes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, cast

from favcrm._core.parameters import PLAIN
from favcrm._core.payloads import as_json
from favcrm._core.sse import BYTE_ORDER_MARK, EventDecoder
from favcrm._core.transport import JSONRPCError, Response
from favcrm.errors import InvalidInputError, Problem
from favcrm.typing import JSON

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ANSWER_BYTES = 16 * 1024 * 1024
FIRST_ERROR_STATUS = 400
OWN_ID = re.compile("[1-9][0-9]{0,17}")

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode_request(request_id: int, method: str, params: Mapping[str, JSON]) -> bytes:
    """Return the bytes of one request.

    Raises:
        InvalidInputError: The parameters hold something that JSON cannot carry.
    """
    return encode({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})


def encode(message: Mapping[str, JSON]) -> bytes:
    """Return the bytes of one message.

    Raises:
        InvalidInputError: It holds something that JSON cannot carry.
    """
    try:
        return _encode(message).encode()
    except (TypeError, ValueError, RecursionError):
        problem = Problem("arguments", "hold something that JSON cannot carry")
    # Outside the except block: the encoder's error holds the message, and would stay as the context.
    raise InvalidInputError([problem])


def as_id(value: JSON) -> int | None:
    """Return one of our ids; some servers send it back as a text, or as a number with a fraction of zero."""
    if (isinstance(value, str) and OWN_ID.fullmatch(value)) or (
        isinstance(value, float) and value.is_integer()
    ):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def is_stream(status: int, headers: Mapping[str, str]) -> bool:
    """Tell whether an HTTP answer is a stream of events."""
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "text/event-stream" and status < FIRST_ERROR_STATUS


class AnswerReader:
    """Reads the HTTP answer to one request: fed with chunks, asked for the `Response` at the end.

    Args:
        request_id: The id of the request that is being answered.
        status: The HTTP status.
        headers: The HTTP headers, names in lower case.
        max_bytes: How much is read at the most; what is longer is left unread.
    """

    def __init__(
        self, request_id: int, status: int, headers: Mapping[str, str], *, max_bytes: int = MAX_ANSWER_BYTES
    ) -> None:
        self._request_id = request_id
        self._status = status
        self._headers = headers
        self._room = max_bytes
        self._body = bytearray()
        self._events: EventDecoder | None = None
        self._answer: Mapping[str, JSON] | None = None
        self._defect = ""
        self._messages: list[Mapping[str, JSON]] = []
        if is_stream(status, headers):
            self._events = EventDecoder()

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
        elif self._events is None:
            self._body += chunk
        else:
            for event in self._events.feed(chunk):
                # Events with other names carry no JSON-RPC, and one without data only says that the stream is open.
                if event.name == "message" and event.data and not self.done:
                    self.take_event(event.data)

    def take_messages(self) -> list[Mapping[str, JSON]]:
        """Return what the server told or asked before its answer, each message once."""
        messages, self._messages = self._messages, []
        return messages

    def finish(self, *, cut: bool = False) -> Response:
        """Return what the body says, once it has ended or broken off (``cut``)."""
        if self._events is None and not cut and not self._defect:
            self._take_body()
        answer = self._answer
        complete = not cut and (answer is not None or bool(self._defect) or self._events is None)
        if answer is None:
            return Response(
                status=self._status,
                headers=self._headers,
                body=self._unread().decode("utf-8", "replace"),
                defect=self._defect,
                complete=complete,
            )
        return Response(
            result=answer.get("result"),
            error=read_error(answer.get("error")),
            status=self._status,
            headers=self._headers,
        )

    def _unread(self) -> bytes:
        return bytes(self._body) if self._events is None else bytes(self._body) + self._events.unfinished

    def _take_body(self) -> None:
        found = as_json(self._body.removeprefix(BYTE_ORDER_MARK).decode("utf-8", "replace"))
        self._answer = _pick(found, self._request_id, alone=True)
        if self._answer is None:
            self._defect = "is no JSON-RPC answer" if self._body.strip() else "is empty"

    def take_event(self, data: str) -> None:
        """Take the data of one event."""
        found = as_json(data)
        if found is None:
            self._defect = "has an event that is not JSON"
        else:
            self._answer = _pick(found, self._request_id, alone=False)
        messages = [member for member in _members(found) if isinstance(member.get("method"), str)]
        self._messages += messages
        if self._answer is None and not messages:
            # Kept: a key in a message that cannot be read, or that has another id, is a key all the same.
            self._body += f"{data}\n".encode()


def _pick(message: JSON, request_id: int, *, alone: bool) -> Mapping[str, JSON] | None:
    """Return the answer to our request: the message itself, or its member in a batch.

    In a body there is one outstanding request, so an error may have any id there: servers answer refusals
    with null or a word. In a stream, other people's answers may pass by.
    """
    for member in _members(message):
        identifier = member.get("id")
        ours = as_id(identifier) == request_id
        if "result" in member and ours:
            return member
        if _is_error(member.get("error")) and (ours or alone or identifier is None):
            return member
    return None


def _members(message: JSON) -> list[Mapping[str, JSON]]:
    """Return the objects in a message: itself, or those of a batch."""
    return [
        member for member in (message if isinstance(message, list) else [message]) if isinstance(member, dict)
    ]


def _is_error(error: JSON) -> bool:
    """Tell a JSON-RPC error from the error member of a REST answer, whose code is a word."""
    return isinstance(error, dict) and isinstance(error.get("code"), int)


def read_error(error: JSON) -> JSONRPCError | None:
    """Return the error of a message, or None where it is none."""
    if not (isinstance(error, dict) and _is_error(error)):
        return None
    message = error.get("message")
    return JSONRPCError(
        code=cast("int", error["code"]),
        message=message if isinstance(message, str) else "",
        data=error.get("data"),
    )
