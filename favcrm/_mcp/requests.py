"""How a message is written in each protocol era: what goes into its parameters, and into its HTTP headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from favcrm._mcp.jsonrpc import encode, encode_request
from favcrm._mcp.negotiation import BARE, CLIENT_INFO, META, METHOD_NOT_FOUND
from favcrm._mcp.param_headers import as_header_value
from favcrm.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from favcrm._mcp.negotiation import NegotiatedProtocol
    from favcrm._mcp.param_headers import ToolHeaders
    from favcrm.typing import JSON

MAX_PAGES = 100
ACCEPT_STREAM = "text/event-stream"
# Servers refuse a request that does not accept both, spelled out.
COMMON_HEADERS = {"Content-Type": "application/json", "Accept": f"application/json, {ACCEPT_STREAM}"}


@frozen(eq=False, repr=False)
class Outgoing:
    """One HTTP request, before the headers that do not depend on the era.

    Attributes:
        message_id: The JSON-RPC id of the answer, or None if nobody waits for an answer.
        headers: The headers.
        content: The body.
        http_method: ``POST``, ``GET`` to go on reading an answer, or ``DELETE`` to end a session.
    """

    message_id: int | None
    headers: Mapping[str, str]
    content: bytes = b""
    http_method: str = "POST"


def with_meta(
    protocol: NegotiatedProtocol,
    params: Mapping[str, JSON],
    *,
    capabilities: Mapping[str, JSON],
    progress_token: int | None = None,
) -> Mapping[str, JSON]:
    """Return the parameters of a request with what the era and the call put into their ``_meta``."""
    meta: dict[str, JSON] = {} if progress_token is None else {"progressToken": progress_token}
    if protocol.era == "modern":
        meta |= {
            f"{META}protocolVersion": protocol.version,
            f"{META}clientCapabilities": capabilities,
            f"{META}clientInfo": CLIENT_INFO,
        }
    return {**params, "_meta": meta} if meta else params


def write_request(
    protocol: NegotiatedProtocol,
    message_id: int,
    method: str,
    params: Mapping[str, JSON],
    tool_headers: ToolHeaders | None = None,
) -> Outgoing:
    """Write a request whose parameters are complete.

    Raises:
        InvalidInputError: The parameters hold something that JSON cannot carry.
    """
    content = encode_request(message_id, method, params)
    if protocol is BARE:
        return Outgoing(message_id, COMMON_HEADERS, content)
    headers = era_headers(protocol)
    if protocol.era == "modern":
        headers["Mcp-Method"] = method
        if method == "tools/call":
            headers["Mcp-Name"] = as_header_value(str(params["name"]))
            headers |= tool_headers.of(params) if tool_headers else {}
    return Outgoing(message_id, headers, content)


def write_notification(protocol: NegotiatedProtocol, method: str, params: Mapping[str, JSON]) -> Outgoing:
    """Write a notification, which has no answer."""
    message: dict[str, JSON] = {"jsonrpc": "2.0", "method": method}
    return Outgoing(None, era_headers(protocol), encode(message | ({"params": params} if params else {})))


def write_cancellation(protocol: NegotiatedProtocol, message_id: int) -> Outgoing:
    """Write the notice that nobody waits for the answer to a request any longer."""
    params: Mapping[str, JSON] = {"requestId": message_id, "reason": "no longer waited for"}
    return write_notification(protocol, "notifications/cancelled", params)


def write_answer(protocol: NegotiatedProtocol, asked: Mapping[str, JSON]) -> Outgoing | None:
    """Write the answer to a request of the server's. It may ask with ``ping`` whether the client is there.

    None if its id is neither a text nor an integer, or a text that cannot be written.
    """
    if not isinstance(asked["id"], int | str):
        return None
    answer: Mapping[str, JSON] = {"error": {"code": METHOD_NOT_FOUND, "message": "Method not found"}}
    if asked["method"] == "ping":
        answer = {"result": {}}
    try:
        content = encode({"jsonrpc": "2.0", "id": asked["id"], **answer})
    except InvalidInputError:
        return None
    return Outgoing(None, era_headers(protocol), content)


def write_resumption(protocol: NegotiatedProtocol, message_id: int, last_event_id: str) -> Outgoing:
    """Write the request that goes on reading a stream after an event."""
    headers = {**_without_body(protocol), "Accept": ACCEPT_STREAM, "Last-Event-ID": last_event_id}
    return Outgoing(message_id, headers, http_method="GET")


def write_goodbye(protocol: NegotiatedProtocol) -> Outgoing:
    """Write the request that ends a session."""
    return Outgoing(None, _without_body(protocol), http_method="DELETE")


def era_headers(protocol: NegotiatedProtocol) -> dict[str, str]:
    """Return the headers that every request of an era has."""
    headers = dict(COMMON_HEADERS)
    if protocol.era in {"legacy", "modern"}:
        headers["MCP-Protocol-Version"] = protocol.version
    if protocol.session_id is not None:
        headers["Mcp-Session-Id"] = protocol.session_id.reveal()
    return headers


def _without_body(protocol: NegotiatedProtocol) -> dict[str, str]:
    """Return the headers of a request without a body. Some servers refuse such a request if its type is JSON."""
    headers = era_headers(protocol)
    del headers["Content-Type"]
    return headers


async def read_pages(
    ask: Callable[[str | None], Awaitable[str | None]], *, max_pages: int = MAX_PAGES
) -> bool:
    """Read ``tools/list`` page by page. Return whether the list came to an end.

    Args:
        ask: Asks for the page at a cursor, or for the first page, and returns the cursor of the next page.
        max_pages: How many pages are read at most, because a server may name one more for ever.
    """
    cursor: str | None = None
    seen: set[str] = set()
    while len(seen) < max_pages:
        cursor = await ask(cursor)
        if cursor is None or cursor in seen:
            return cursor is None
        seen.add(cursor)
    return False


def page_params(cursor: str | None) -> Mapping[str, JSON]:
    """Return the parameters of ``tools/list`` for a page."""
    return {} if cursor is None else {"cursor": cursor}


def next_cursor(page: JSON) -> str | None:
    """Return the cursor of the page after a page. An empty text is a cursor too."""
    cursor = page.get("nextCursor") if isinstance(page, dict) else None
    return cursor if isinstance(cursor, str) else None
