"""What goes over the wire in each era, to the byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import favcrm
from favcrm import InvalidInputError, Secret
from favcrm._backends import run_sync
from favcrm._mcp.negotiation import BARE, MODERN, NegotiatedProtocol
from favcrm._mcp.param_headers import ToolHeaders
from favcrm._mcp.requests import (
    next_cursor,
    read_pages,
    with_meta,
    write_answer,
    write_goodbye,
    write_notification,
    write_request,
    write_resumption,
)
from favcrm.transport import Response

if TYPE_CHECKING:
    from favcrm.typing import JSON

OLDER = NegotiatedProtocol("legacy", "2025-06-18")
OPEN = NegotiatedProtocol("legacy", "2025-11-25", Secret("session-1"))
ACCEPT = {"Accept": "application/json, text/event-stream"}
JSON_BODY = {"Content-Type": "application/json", **ACCEPT}
VERSION = {"MCP-Protocol-Version": "2025-11-25"}
SESSION = {"Mcp-Session-Id": "session-1"}
CALL: dict[str, JSON] = {"name": "count", "arguments": {"of": "名"}}
CALLED = '{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"count","arguments":{"of":"名"}}}'.encode()
META = (
    '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
    '"io.modelcontextprotocol/clientCapabilities":{},'
    f'"io.modelcontextprotocol/clientInfo":{{"name":"favcrm-python","version":"{favcrm.__version__}"}}}}'
)


@pytest.mark.parametrize(
    ("protocol", "headers"),
    [
        (BARE, {}),
        (OLDER, {"MCP-Protocol-Version": "2025-06-18"}),
        (OPEN, {**VERSION, **SESSION}),
    ],
    ids=["bare", "session without id", "session"],
)
def test_a_call_of_the_older_eras(protocol: NegotiatedProtocol, headers: dict[str, str]) -> None:
    outgoing = write_request(protocol, 3, "tools/call", with_meta(protocol, CALL, capabilities={}))
    assert outgoing.headers == {**JSON_BODY, **headers}
    assert (outgoing.http_method, outgoing.request_id, outgoing.content) == ("POST", 3, CALLED)


def modern(request_id: int, method: str, params: dict[str, JSON], **more: Any) -> Any:
    return write_request(MODERN, request_id, method, with_meta(MODERN, params, capabilities={}), **more)


def test_a_modern_call() -> None:
    outgoing = modern(3, "tools/call", CALL)
    assert outgoing.headers == {
        **JSON_BODY,
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "count",
    }
    assert outgoing.content == CALLED[:-2] + f",{META}}}}}".encode()


@pytest.mark.parametrize(
    ("method", "params", "written"),
    [
        ("server/discover", {}, ""),
        ("tools/list", {}, ""),
        ("tools/list", {"cursor": ""}, '"cursor":"",'),
    ],
)
def test_other_modern_requests_have_no_name(method: str, params: dict[str, JSON], written: str) -> None:
    outgoing = modern(1, method, params)
    assert outgoing.headers == {
        **JSON_BODY,
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": method,
    }
    assert (
        outgoing.content
        == f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{written}{META}}}}}'.encode()
    )


def test_a_name_is_encoded_where_no_header_can_carry_it() -> None:
    outgoing = modern(1, "tools/call", {"name": "名\r\n", "arguments": {}})
    assert outgoing.headers["Mcp-Name"] == "=?base64?5ZCNDQo=?="
    assert '"name":"名\\r\\n"'.encode() in outgoing.content


def listed() -> ToolHeaders:
    headers = ToolHeaders()
    told: dict[str, JSON] = {"type": "string", "x-mcp-header": "Of"}
    schema: dict[str, JSON] = {"type": "object", "properties": {"of": told}}
    headers.learn(Response(result={"tools": [{"name": "count", "inputSchema": schema}]}))
    return headers


@pytest.mark.parametrize("protocol", [BARE, OPEN])
def test_only_the_modern_era_repeats_arguments_in_headers(protocol: NegotiatedProtocol) -> None:
    assert modern(3, "tools/call", CALL, tool_headers=listed()).headers["Mcp-Param-Of"] == "=?base64?5ZCN?="
    older = write_request(protocol, 3, "tools/call", CALL, listed())
    assert "Mcp-Param-Of" not in older.headers
    assert "Mcp-Param-Of" not in modern(3, "tools/list", {}, tool_headers=listed()).headers


@pytest.mark.parametrize("protocol", [BARE, MODERN, OPEN])
@pytest.mark.parametrize(
    "params",
    [
        {"name": "count", "arguments": {"of": "\ud800"}},
        {"name": "count", "arguments": {"of": 10**5000}},
        {"name": "\ud800", "arguments": {}},
    ],
    ids=["half a character", "a number without end", "half a character in the name"],
)
def test_what_json_cannot_carry_is_refused_before_any_header_is_written(
    protocol: NegotiatedProtocol, params: dict[str, JSON]
) -> None:
    with pytest.raises(InvalidInputError):
        write_request(protocol, 1, "tools/call", params, listed())


def test_meta_has_what_the_era_and_the_call_put_there() -> None:
    assert with_meta(BARE, CALL, capabilities={"elicitation": {}}) is CALL
    assert with_meta(OPEN, CALL, capabilities={}, progress_token=7) == {**CALL, "_meta": {"progressToken": 7}}
    params = with_meta(MODERN, CALL, capabilities={"elicitation": {}}, progress_token=7)
    assert params["_meta"] == {
        "progressToken": 7,
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
        "io.modelcontextprotocol/clientInfo": {"name": "favcrm-python", "version": favcrm.__version__},
    }
    assert "_meta" not in CALL


def test_a_notification_has_no_id() -> None:
    outgoing = write_notification(OPEN, "notifications/initialized", {})
    assert outgoing.headers == {**JSON_BODY, **VERSION, **SESSION}
    assert outgoing.content == b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
    assert (outgoing.http_method, outgoing.request_id) == ("POST", None)
    cancelled = write_notification(OLDER, "notifications/cancelled", {"requestId": 3})
    assert (
        cancelled.content == b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}'
    )
    assert cancelled.headers == {**JSON_BODY, "MCP-Protocol-Version": "2025-06-18"}


@pytest.mark.parametrize(
    ("asked", "content"),
    [
        ({"id": 0, "method": "ping"}, b'{"jsonrpc":"2.0","id":0,"result":{}}'),
        ({"id": "a", "method": "ping", "params": {}}, b'{"jsonrpc":"2.0","id":"a","result":{}}'),
        (
            {"id": 5, "method": "sampling/createMessage"},
            b'{"jsonrpc":"2.0","id":5,"error":{"code":-32601,"message":"Method not found"}}',
        ),
    ],
)
def test_a_ping_is_answered_and_any_other_question_refused(asked: dict[str, JSON], content: bytes) -> None:
    outgoing = write_answer(OPEN, asked)
    assert outgoing is not None
    assert outgoing.content == content
    assert outgoing.headers == {**JSON_BODY, **VERSION, **SESSION}
    assert outgoing.request_id is None


@pytest.mark.parametrize("unfit", [None, 1.5, float("nan"), [1], "\ud800"])
def test_a_question_whose_id_cannot_be_sent_back_gets_no_answer(unfit: Any) -> None:
    assert write_answer(OPEN, {"id": unfit, "method": "ping"}) is None


def test_a_resumption_is_a_get() -> None:
    outgoing = write_resumption(OPEN, 3, "event-9")
    assert outgoing.headers == {
        "Accept": "text/event-stream",
        "Last-Event-ID": "event-9",
        **VERSION,
        **SESSION,
    }
    assert (outgoing.http_method, outgoing.request_id, outgoing.content) == ("GET", 3, b"")


def test_a_session_ends_with_a_delete() -> None:
    outgoing = write_goodbye(OPEN)
    assert (outgoing.http_method, outgoing.request_id, outgoing.content) == ("DELETE", None, b"")
    assert outgoing.headers == {**ACCEPT, **VERSION, **SESSION}


def test_the_repr_of_a_request_hides_its_content() -> None:
    for outgoing in (write_request(OPEN, 3, "tools/call", CALL), write_goodbye(OPEN)):
        assert "session-1" not in repr(outgoing)
        assert "count" not in repr(outgoing)


def test_the_headers_of_one_request_are_its_own() -> None:
    first, second = (write_request(BARE, number, "tools/list", {}) for number in (1, 2))
    write_notification(BARE, "n", {})
    assert first.headers == second.headers == JSON_BODY


# Pages


def pages_of(*cursors: JSON, max_pages: int = 5) -> tuple[bool, list[str | None]]:
    """Read pages that name these cursors; return whether the list ended, and which cursors were asked for."""
    asked: list[str | None] = []

    async def ask(cursor: str | None) -> str | None:
        asked.append(cursor)
        return next_cursor({"tools": [], "nextCursor": cursors[len(asked) - 1]})

    return run_sync(read_pages(ask, max_pages=max_pages)), asked


@pytest.mark.parametrize(
    ("cursors", "ended", "asked"),
    [
        ([None], True, [None]),
        (["2", "", None], True, [None, "2", ""]),
        ([7], True, [None]),
        (["2", "2"], False, [None, "2"]),
        (list("abcdefg"), False, [None, "a", "b", "c", "d"]),
    ],
    ids=["one page", "an empty cursor", "no text", "a circle", "too many"],
)
def test_pages_are_read_to_the_last_a_circle_or_the_limit(
    cursors: list[JSON], ended: bool, asked: list[str | None]
) -> None:
    assert pages_of(*cursors) == (ended, asked)


@pytest.mark.parametrize("page", [None, [], "page", {}])
def test_a_page_without_a_cursor_is_the_last(page: JSON) -> None:
    assert next_cursor(page) is None
