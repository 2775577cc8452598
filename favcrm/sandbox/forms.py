"""The wire forms of an answer: how a refusal is spoken, and how a payload is wrapped.

In which form FavCRM refuses is not publicly known, so the sandbox speaks every form that its clients must
understand.
"""

from __future__ import annotations

import html
import json
import math
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from attrs import Factory, field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from favcrm.typing import JSON

__all__ = ["AnswerForm", "PayloadForm", "Reason", "RefusalForm"]

Object: TypeAlias = "dict[str, JSON]"
Message: TypeAlias = "dict[str, JSON]"
"""What a JSON-RPC answer says: an object with either ``result`` or ``error``."""


class Reason(Enum):
    """Why something is refused: the word, the HTTP status and the JSON-RPC code that say so."""

    INVALID_INPUT = "VALIDATION_ERROR", 400, -32602
    UNAUTHORIZED = "UNAUTHORIZED", 401, -32001
    PLAN_LIMIT = "PLAN_LIMIT", 402, -32003
    NOT_FOUND = "NOT_FOUND", 404, -32004
    ACCOUNT_EXISTS = "ACCOUNT_EXISTS", 409, -32005
    CODE_EXPIRED = "CODE_EXPIRED", 410, -32006
    INVALID_CODE = "INVALID_CODE", 422, -32007
    TOO_MANY_ATTEMPTS = "TOO_MANY_ATTEMPTS", 423, -32008
    RATE_LIMITED = "RATE_LIMITED", 429, -32009

    def __init__(self, word: str, status: int, rpc_code: int) -> None:
        self.word = word
        self.status = status
        self.rpc_code = rpc_code


@frozen
class Refused(Exception):  # noqa: N818 - a decision of the server, not an error of this program
    """A tool says no.

    Attributes:
        reason: Why.
        words: The same for people.
        details: What else the answer tells: ``retryAfter`` in seconds, ``loginUrl``, ``upgradeAction``.
    """

    reason: Reason
    words: str
    details: Mapping[str, JSON] = field(factory=dict[str, "JSON"])

    @property
    def told(self) -> Object:
        """The reason as an object."""
        return {"code": self.reason.word, "message": self.words, **self.details}


@frozen
class Answered:
    """A tool says yes: its payload, one sentence, and how to show it."""

    data: Mapping[str, JSON]
    summary: str
    render_type: str = "json"


@frozen
class Page:
    """An HTTP answer that is no JSON-RPC."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = Factory(dict[str, str])


class RefusalForm(Enum):
    """The wire form in which the sandbox refuses."""

    HTTP_JSON = "HTTP status, JSON body with the reason inside of error"
    HTTP_JSON_FLAT = "HTTP status, JSON body with the reason at the top"
    HTTP_HTML = "HTTP status, HTML body"
    HTTP_EMPTY = "HTTP status, empty body"
    JSON_RPC_ERROR = "JSON-RPC error"
    IS_ERROR_TEXT = "result with isError and the words as text"
    IS_ERROR_STRUCTURED = "result with isError and the reason as structured content"
    SUMMARY_ONLY = "ordinary result, the words in its summary"
    DATA_ERROR = "ordinary result, the words in data.error"
    DATA_MESSAGE = "ordinary result, the words in data.message"
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


def wrap(answer: Answered, form: PayloadForm) -> Message:
    """Say an answer."""
    envelope: JSON = {"data": answer.data, "summary": answer.summary, "renderType": answer.render_type}
    structured: dict[PayloadForm, Object] = {
        PayloadForm.ENVELOPE: {"structuredContent": envelope},
        PayloadForm.BARE: {"structuredContent": answer.data},
        PayloadForm.TEXT: {},
    }
    return {"result": {"content": [_text(encode(answer.data))], **structured[form], "isError": False}}


def refuse(refused: Refused, form: RefusalForm) -> Message | Page:
    """Say a refusal."""
    return SPOKEN[form](refused)


def rpc_error(refused: Refused) -> Message:
    """Say a refusal as a JSON-RPC error."""
    return {"error": {"code": refused.reason.rpc_code, "message": refused.words, "data": refused.told}}


def html_page(status: int, title: str) -> Page:
    """Return a page such as a proxy or a login portal shows."""
    head = f"<head><title>{status}</title></head>"
    body = f"<!DOCTYPE html>\n<html>{head}<body><h1>{html.escape(title)}</h1></body></html>\n"
    return Page(status, "text/html; charset=utf-8", body.encode())


def json_page(status: int, told: JSON) -> Page:
    """Return an HTTP answer with a JSON body."""
    return Page(status, "application/json", encode(told).encode())


def _text(words: str) -> Object:
    return {"type": "text", "text": words}


def _is_error(refused: Refused, **structured: JSON) -> Message:
    return {"result": {"content": [_text(refused.words)], **structured, "isError": True}}


def _ordinary(summary: str, data: Mapping[str, JSON]) -> Message:
    return wrap(Answered(data, summary), PayloadForm.ENVELOPE)


def _on_http(refused: Refused, page: Page) -> Page:
    """Add what HTTP itself says about a refusal."""
    headers: dict[str, str] = {}
    if isinstance(seconds := refused.details.get("retryAfter"), int | float):
        headers["retry-after"] = str(math.ceil(seconds))
    if refused.reason is Reason.UNAUTHORIZED:
        headers["www-authenticate"] = 'Bearer realm="favcrm", error="invalid_token"'
    return Page(page.status, page.content_type, page.body, headers)


NEUTRAL = "The request was not completed."

SPOKEN: dict[RefusalForm, Callable[[Refused], Message | Page]] = {
    RefusalForm.HTTP_JSON: lambda no: _on_http(
        no, json_page(no.reason.status, {"success": False, "error": no.told})
    ),
    RefusalForm.HTTP_JSON_FLAT: lambda no: _on_http(
        no, json_page(no.reason.status, {"success": False, **no.told})
    ),
    RefusalForm.HTTP_HTML: lambda no: _on_http(no, html_page(no.reason.status, no.words)),
    RefusalForm.HTTP_EMPTY: lambda no: _on_http(no, Page(no.reason.status, "text/plain", b"")),
    RefusalForm.JSON_RPC_ERROR: rpc_error,
    RefusalForm.IS_ERROR_TEXT: _is_error,
    RefusalForm.IS_ERROR_STRUCTURED: lambda no: _is_error(
        no, structuredContent={"data": no.told, "summary": no.words, "renderType": "error"}
    ),
    RefusalForm.SUMMARY_ONLY: lambda no: _ordinary(no.words, {}),
    RefusalForm.DATA_ERROR: lambda no: _ordinary(NEUTRAL, {"error": no.words}),
    RefusalForm.DATA_MESSAGE: lambda no: _ordinary(NEUTRAL, {"message": no.words}),
    RefusalForm.DATA_CODE: lambda no: _ordinary(NEUTRAL, {"code": no.reason.word}),
}
