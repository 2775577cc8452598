"""The wire forms of an answer: how a refusal is written, and how a payload is wrapped.

The form in which FavCRM refuses is not publicly known, so the sandbox can write every form that its clients must
understand.
"""

from __future__ import annotations

import html
import json
import math
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from attrs import Factory, evolve, field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from favcrm.typing import JSON

__all__ = ["AnswerForm", "PayloadForm", "RefusalForm", "RefusalReason"]

Message: TypeAlias = "dict[str, JSON]"
"""The part of a JSON-RPC answer that the sandbox decides: an object with either ``result`` or ``error``."""


class RefusalReason(Enum):
    """Why something is refused: the word, the HTTP status and the JSON-RPC code."""

    INVALID_INPUT = "VALIDATION_ERROR", 400, -32602
    UNAUTHORIZED = "UNAUTHORIZED", 401, -32001
    PLAN_LIMIT = "PLAN_LIMIT", 402, -32003
    NOT_FOUND = "NOT_FOUND", 404, -32004
    ACCOUNT_EXISTS = "ACCOUNT_EXISTS", 409, -32005
    CODE_EXPIRED = "CODE_EXPIRED", 410, -32006
    INVALID_CODE = "INVALID_CODE", 422, -32007
    TOO_MANY_ATTEMPTS = "TOO_MANY_ATTEMPTS", 423, -32008
    RATE_LIMITED = "RATE_LIMITED", 429, -32009
    INVITATION_EXPIRED = "INVITATION_EXPIRED", 410, -32010
    CODE_NOT_REQUESTED = "CODE_NOT_REQUESTED", 422, -32011

    def __init__(self, word: str, status: int, rpc_code: int) -> None:
        self.word = word
        self.status = status
        self.rpc_code = rpc_code


@frozen
class Refusal(Exception):  # noqa: N818 - a decision of the server, not an error of this program
    """A tool refuses.

    Attributes:
        reason: Why.
        text: The reason in a sentence.
        details: More fields of the answer: ``retryAfter`` in seconds, ``loginUrl``, ``upgradeAction``.
    """

    reason: RefusalReason
    text: str
    details: Mapping[str, JSON] = field(factory=dict[str, "JSON"])

    def as_json(self) -> dict[str, JSON]:
        """Return the refusal as an object."""
        return {"code": self.reason.word, "message": self.text, **self.details}


@frozen
class ToolAnswer:
    """What a tool answers: its payload, one sentence, and how to show the payload."""

    data: Mapping[str, JSON]
    summary: str
    render_type: str = "json"


class Ending(Enum):
    """How an HTTP answer ends."""

    WHOLE = "all of it arrives"
    REFUSED = "the connection is refused"
    BROKEN = "the connection breaks before the answer"
    STALLED = "no answer arrives"
    CUT = "the connection closes inside the answer"


@frozen(kw_only=True)
class HTTPAnswer:
    """One HTTP answer.

    Attributes:
        status: The HTTP status.
        headers: The HTTP headers, names in lower case.
        body: The bytes of the body, as far as they are sent.
        ending: How the answer ends.
    """

    status: int = 200
    headers: Mapping[str, str] = Factory(dict[str, str])
    body: bytes = field(default=b"", repr=False)
    ending: Ending = Ending.WHOLE


class RefusalForm(Enum):
    """The wire form in which the sandbox refuses."""

    HTTP_JSON = "HTTP status, JSON body with the reason inside of error"
    HTTP_JSON_FLAT = "HTTP status, JSON body with the reason at the top"
    HTTP_HTML = "HTTP status, HTML body"
    HTTP_EMPTY = "HTTP status, empty body"
    JSON_RPC_ERROR = "JSON-RPC error"
    IS_ERROR_TEXT = "result with isError and the reason as text"
    IS_ERROR_STRUCTURED = "result with isError and the reason as structured content"
    SUMMARY_ONLY = "ordinary result, the reason in its summary"
    DATA_ERROR = "ordinary result, the reason in data.error"
    DATA_MESSAGE = "ordinary result, the reason in data.message"
    DATA_CODE = "ordinary result, the reason's word in data.code"


class PayloadForm(Enum):
    """How the payload of an answer is wrapped."""

    ENVELOPE = "structuredContent is {data, summary, renderType}, the text is the payload as JSON"
    BARE = "structuredContent is the payload, the text is the payload as JSON"
    TEXT = "the text is the payload as JSON, there is no structuredContent"


class AnswerForm(Enum):
    """How a JSON-RPC answer is framed on HTTP."""

    JSON = "application/json"
    SSE = "text/event-stream"


encode: Callable[[object], str] = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def wrap(answer: ToolAnswer, form: PayloadForm) -> Message:
    """Write the answer of a tool."""
    envelope: JSON = {"data": answer.data, "summary": answer.summary, "renderType": answer.render_type}
    structured: dict[PayloadForm, dict[str, JSON]] = {
        PayloadForm.ENVELOPE: {"structuredContent": envelope},
        PayloadForm.BARE: {"structuredContent": answer.data},
        PayloadForm.TEXT: {},
    }
    return {"result": {"content": [_text(encode(answer.data))], **structured[form], "isError": False}}


def refuse(refusal: Refusal, form: RefusalForm) -> Message | HTTPAnswer:
    """Write a refusal."""
    return REFUSAL_WRITERS[form](refusal)


def rpc_error(refusal: Refusal) -> Message:
    """Write a refusal as a JSON-RPC error."""
    return {"error": {"code": refusal.reason.rpc_code, "message": refusal.text, "data": refusal.as_json()}}


def html_page(status: int, title: str) -> HTTPAnswer:
    """Return a page such as a proxy or a login portal shows."""
    head = f"<head><title>{status}</title></head>"
    body = f"<!DOCTYPE html>\n<html>{head}<body><h1>{html.escape(title)}</h1></body></html>\n"
    return _page(status, "text/html; charset=utf-8", body)


def json_page(status: int, value: JSON) -> HTTPAnswer:
    """Return an HTTP answer with a JSON body."""
    return _page(status, AnswerForm.JSON.value, encode(value))


def text_page(status: int, text: str = "") -> HTTPAnswer:
    """Return an HTTP answer with plain text."""
    return _page(status, "text/plain", text)


def _page(status: int, content_type: str, body: str) -> HTTPAnswer:
    return HTTPAnswer(status=status, headers={"content-type": content_type}, body=body.encode())


def _text(text: str) -> dict[str, JSON]:
    return {"type": "text", "text": text}


def _is_error(refusal: Refusal, **structured: JSON) -> Message:
    return {"result": {"content": [_text(refusal.text)], **structured, "isError": True}}


def _ordinary(summary: str, data: Mapping[str, JSON]) -> Message:
    return wrap(ToolAnswer(data, summary), PayloadForm.ENVELOPE)


def _on_http(refusal: Refusal, page: HTTPAnswer) -> HTTPAnswer:
    """Add the headers with which HTTP itself explains a refusal."""
    headers = dict(page.headers)
    if isinstance(seconds := refusal.details.get("retryAfter"), int | float):
        headers["retry-after"] = str(math.ceil(seconds))
    if refusal.reason is RefusalReason.UNAUTHORIZED:
        headers["www-authenticate"] = 'Bearer realm="favcrm", error="invalid_token"'
    return evolve(page, headers=headers)


NEUTRAL = "The request was not completed."

REFUSAL_WRITERS: dict[RefusalForm, Callable[[Refusal], Message | HTTPAnswer]] = {
    RefusalForm.HTTP_JSON: lambda refusal: _on_http(
        refusal, json_page(refusal.reason.status, {"success": False, "error": refusal.as_json()})
    ),
    RefusalForm.HTTP_JSON_FLAT: lambda refusal: _on_http(
        refusal, json_page(refusal.reason.status, {"success": False, **refusal.as_json()})
    ),
    RefusalForm.HTTP_HTML: lambda refusal: _on_http(refusal, html_page(refusal.reason.status, refusal.text)),
    RefusalForm.HTTP_EMPTY: lambda refusal: _on_http(refusal, text_page(refusal.reason.status)),
    RefusalForm.JSON_RPC_ERROR: rpc_error,
    RefusalForm.IS_ERROR_TEXT: _is_error,
    RefusalForm.IS_ERROR_STRUCTURED: lambda refusal: _is_error(
        refusal,
        structuredContent={"data": refusal.as_json(), "summary": refusal.text, "renderType": "error"},
    ),
    RefusalForm.SUMMARY_ONLY: lambda refusal: _ordinary(refusal.text, {}),
    RefusalForm.DATA_ERROR: lambda refusal: _ordinary(NEUTRAL, {"error": refusal.text}),
    RefusalForm.DATA_MESSAGE: lambda refusal: _ordinary(NEUTRAL, {"message": refusal.text}),
    RefusalForm.DATA_CODE: lambda refusal: _ordinary(NEUTRAL, {"code": refusal.reason.word}),
}
