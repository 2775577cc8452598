"""How a message is written in each protocol era: what goes into its parameters, and into its HTTP headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from favcrm._mcp.jsonrpc import encode, encode_request
from favcrm._mcp.negotiation import BARE, CLIENT_INFO, META
from favcrm._mcp.param_headers import as_header_value
from favcrm.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from favcrm._mcp.negotiation import Agreement
    from favcrm._mcp.tools import ToolHeaders
    from favcrm.typing import JSON

ACCEPT_STREAM = "text/event-stream"
# Servers refuse a request that does not accept both, spelled out.
COMMON_HEADERS = {"Content-Type": "application/json", "Accept": f"application/json, {ACCEPT_STREAM}"}


@frozen(eq=False, repr=False)
class Outgoing:
    """One HTTP request, before the headers that do not depend on the era.

    Attributes:
        request_id: The JSON-RPC id that the answer will have, or None where none is waited for.
        headers: The headers.
        content: The body.
        http_method: ``POST``, ``GET`` to go on reading an answer, or ``DELETE`` to end a session.
    """

    request_id: int | None
    headers: Mapping[str, str]
    content: bytes = b""
    http_method: str = "POST"


def with_meta(
    agreement: Agreement,
    params: Mapping[str, JSON],
    *,
    capabilities: Mapping[str, JSON],
    progress_token: int | None = None,
) -> Mapping[str, JSON]:
    """Return the parameters of a request with what the era and the call put into their ``_meta``."""
    meta: dict[str, JSON] = {} if progress_token is None else {"progressToken": progress_token}
    if agreement.era == "modern":
        meta |= {
            f"{META}protocolVersion": agreement.version,
            f"{META}clientCapabilities": capabilities,
            f"{META}clientInfo": CLIENT_INFO,
        }
    return {**params, "_meta": meta} if meta else params


def write_request(
    agreement: Agreement,
    request_id: int,
    method: str,
    params: Mapping[str, JSON],
    tool_headers: ToolHeaders | None = None,
) -> Outgoing:
    """Write a request whose parameters are complete.

    Raises:
        InvalidInputError: The parameters hold something that JSON cannot carry.
    """
    content = encode_request(request_id, method, params)
    if agreement is BARE:
        return Outgoing(request_id, COMMON_HEADERS, content)
    headers = era_headers(agreement)
    if agreement.era == "modern":
        headers["Mcp-Method"] = method
        if method == "tools/call":
            headers["Mcp-Name"] = as_header_value(str(params["name"]))
            headers |= tool_headers.of(params) if tool_headers else {}
    return Outgoing(request_id, headers, content)


def write_notification(agreement: Agreement, method: str, params: Mapping[str, JSON]) -> Outgoing:
    """Write a notification, to which nothing is answered."""
    message: dict[str, JSON] = {"jsonrpc": "2.0", "method": method}
    return Outgoing(None, era_headers(agreement), encode(message | ({"params": params} if params else {})))


def write_answer(agreement: Agreement, asked: Mapping[str, JSON]) -> Outgoing | None:
    """Write the answer to a request of the server's, which may ask whether we are there and nothing else.

    Returns:
        The answer, or None where the request's id is neither text nor an integer, or is text that UTF-8 cannot carry.
    """
    if not isinstance(asked["id"], int | str):
        return None
    answer: Mapping[str, JSON] = {"error": {"code": -32601, "message": "Method not found"}}
    if asked["method"] == "ping":
        answer = {"result": {}}
    try:
        content = encode({"jsonrpc": "2.0", "id": asked["id"], **answer})
    except InvalidInputError:
        return None
    return Outgoing(None, era_headers(agreement), content)


def write_resumption(agreement: Agreement, request_id: int, last_event_id: str) -> Outgoing:
    """Write the request that goes on reading a stream after an event."""
    headers = {**_without_body(agreement), "Accept": ACCEPT_STREAM, "Last-Event-ID": last_event_id}
    return Outgoing(request_id, headers, http_method="GET")


def write_goodbye(agreement: Agreement) -> Outgoing:
    """Write the request that ends a session."""
    return Outgoing(None, _without_body(agreement), http_method="DELETE")


def era_headers(agreement: Agreement) -> dict[str, str]:
    """Return the headers that every request of an era has."""
    headers = dict(COMMON_HEADERS)
    if agreement.era in {"session", "modern"}:
        headers["MCP-Protocol-Version"] = agreement.version
    if agreement.session_id is not None:
        headers["Mcp-Session-Id"] = agreement.session_id.reveal()
    return headers


def _without_body(agreement: Agreement) -> dict[str, str]:
    """Return the headers of a request without a body: some servers refuse one whose type is JSON."""
    headers = era_headers(agreement)
    del headers["Content-Type"]
    return headers
