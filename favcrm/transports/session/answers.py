"""Reading what other people's MCP libraries return and raise, without importing any of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import cast

from favcrm.errors import NotSentError, OutcomeUnknownError, TransportError
from favcrm.transport import JSONRPCError, Response
from favcrm.typing import JSON

REOPEN = "Open a new session, and make a new transport of it."
CLOSED_TEXT = "Connection closed"
# Messages of the libraries themselves, in the form of a server's error, when no answer came.
NO_ANSWER = re.compile(
    r"connection closed|sse stream |.*timed out|server returned an error response"
    r"|server answered a request with 202|failed to parse|unexpected content type|request cancelled",
    re.IGNORECASE,
)
# The message for HTTP 404: the server does not know the session, and did nothing.
SESSION_ENDED = re.compile(r"session (terminated|not found)", re.IGNORECASE)
SESSION_ENDED_CODES = frozenset({-32600, 32600, -32001})
# RuntimeErrors that the libraries raise before they do anything.
NOT_OPEN = re.compile(r"not connected|async context manager|called before run", re.IGNORECASE)
RESULT_FIELDS = frozenset(
    {"_meta", "content", "isError", "nextCursor", "resultType", "structuredContent", "tools"}
)


def read_result(result: object, list_field: str) -> JSON:
    """Return a library's result as it would be on the wire.

    Args:
        result: A mapping, a pydantic model, an object with attributes in either spelling, or a bare list.
        list_field: The field that a bare list is.
    """
    kind = type(result)
    if issubclass(kind, list | tuple):
        return {list_field: _plain(result)}
    if issubclass(kind, Mapping) or hasattr(kind, "model_dump"):
        return _plain(result)
    # Other attributes of such an object may be anything, so only the fields of MCP are read.
    return {name: _plain(value) for name, value in _members(result).items() if name in RESULT_FIELDS}


def closed_error() -> NotSentError:
    """Return the error for a session that was closed before a call."""
    return NotSentError("The session is closed. Nothing was sent.", permanent=True, next_step=REOPEN)


def judge_error(error: Exception, *, waited: bool) -> Response | TransportError:
    """Return what a library's error means: an answer, or one of our errors, without the library's text.

    Args:
        error: What was raised.
        waited: Whether the call waited for something before; if not, it used no network.
    """
    if "ToolError" in _kinds(error):
        return Response(result={"isError": True, "content": [{"type": "text", "text": str(error)}]})
    answer = _json_rpc(error)
    not_open = isinstance(error, RuntimeError) and NOT_OPEN.search(str(error))
    if not waited and (not_open or (answer is not None and answer.message == CLOSED_TEXT)):
        return closed_error()
    if answer is None:
        return OutcomeUnknownError(
            f"The session failed with {type(error).__name__}, and the request may have been carried out."
        )
    if answer.code in SESSION_ENDED_CODES and SESSION_ENDED.fullmatch(answer.message):
        return NotSentError(
            "The session has ended at the server. Nothing was done.", permanent=True, next_step=REOPEN
        )
    if answer.data is None and NO_ANSWER.match(answer.message):
        return OutcomeUnknownError("The session got no answer, and the request may have been carried out.")
    return Response(error=answer)


def _kinds(error: Exception) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _json_rpc(error: Exception) -> JSONRPCError | None:
    """Return the server's error that an exception carries, if that is what it is."""
    carried: object = getattr(error, "error", None)
    if carried is None and _kinds(error) & {"McpError", "MCPError"}:
        carried = error
    code, message = getattr(carried, "code", None), getattr(carried, "message", None)
    if not isinstance(code, int) or not isinstance(message, str):
        return None
    return JSONRPCError(code=int(code), message=message, data=_plain(getattr(carried, "data", None)))


def _plain(value: object) -> JSON:
    """Return a value as JSON has it."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        named = cast("Mapping[object, object]", value)
        return {str(name): _plain(item) for name, item in named.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("list[object]", value)]
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        # Fields that the server left out stay out, and a null that it sent stays in.
        return cast("JSON", dump(mode="json", by_alias=True, exclude_unset=True))
    members = _members(value)
    return {name: _plain(item) for name, item in members.items()} if members else str(value)


def _members(value: object) -> dict[str, object]:
    """Return an object's public attributes that are not None, by their names on the wire."""
    names: Iterable[str] = getattr(value, "__dict__", ()) or getattr(type(value), "__slots__", ())
    found = {_wire_name(name): getattr(value, name) for name in names if not name.startswith("_")}
    return {name: item for name, item in found.items() if item is not None}


def _wire_name(name: str) -> str:
    """Return ``isError`` for ``is_error``, and ``_meta`` for ``meta``."""
    head, *rest = name.split("_")
    return "_meta" if name == "meta" else head + "".join(word[:1].upper() + word[1:] for word in rest)
