"""What every request has in common: listing, headers, what is not known, what is recorded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest
from sandbox.wires import InProcess, ask, call, data

from favcrm.errors import InvalidInputError
from favcrm.sandbox import Call, Fault, RefusalForm, Rules, Sandbox, SandboxClock
from favcrm.secret import Secret
from favcrm.transport import Request

if TYPE_CHECKING:
    from sandbox.wires import Wire

    from favcrm.transport import AsyncTransport, Clock, Response, Transport

WRONG = Secret("fav_mcp_made-up")


def listed(wire: Wire, key: Secret | None = None, **params: object) -> Any:
    response = wire.request("tools/list", params, key)
    assert response.status == 200
    assert response.error is None
    return response.result


def test_the_listing_needs_no_key_and_names_every_tool(wire: Wire) -> None:
    tools = listed(wire)["tools"]
    assert tools == [tool.entry for tool in wire.sandbox.tools.values()]
    assert len(tools) == 18
    assert listed(wire, WRONG)["tools"] == tools


def test_an_entry_has_what_fav_crm_s_have(wire: Wire) -> None:
    (entry,) = [tool for tool in listed(wire)["tools"] if tool["name"] == "register_organisation_request"]
    assert set(entry) == {"name", "description", "inputSchema", "outputSchema", "annotations"}
    assert entry["description"].startswith("Request a new organisation.")
    assert entry["inputSchema"]["required"] == ["email", "organisationName"]
    name = entry["inputSchema"]["properties"]["organisationName"]
    assert name == {"type": "string", "minLength": 2, "maxLength": 80}
    assert entry["outputSchema"]["required"] == ["data", "summary", "renderType"]
    assert entry["annotations"] == {
        "title": "Register organisation request",
        "readOnlyHint": False,
        "destructiveHint": False,
        "idempotentHint": False,
        "openWorldHint": False,
    }


def test_tools_that_only_read_say_so(sandbox: Sandbox) -> None:
    read_only = {name for name, tool in sandbox.tools.items() if tool.read_only}
    assert read_only == {
        name for name in sandbox.tools if name.startswith(("list_", "get_", "search_", "check_"))
    }


def test_the_listing_may_refuse_a_wrong_key(wire: Wire) -> None:
    wire.sandbox.rules.list_checks_key = True
    response = wire.request("tools/list", {}, WRONG)
    assert response.error is not None
    assert (response.error.code, response.result) == (-32001, None)
    wire.sandbox.refusal_form = RefusalForm.HTTP_JSON
    assert wire.request("tools/list", {}, WRONG).status == 401
    assert len(listed(wire, wire.sandbox.add_organisation())["tools"]) == 18
    assert len(listed(wire)["tools"]) == 18


def test_the_listing_comes_in_pages(wire: Wire) -> None:
    wire.sandbox.rules.page_size = 10
    first = listed(wire)
    second = listed(wire, cursor=first["nextCursor"])
    assert "nextCursor" not in second
    assert [len(first["tools"]), len(second["tools"])] == [10, 8]
    assert [tool["name"] for tool in first["tools"] + second["tools"]] == list(wire.sandbox.tools)


@pytest.mark.parametrize("cursor", ["", "-1", "next", "²"])
def test_a_cursor_that_was_never_given_is_refused(wire: Wire, cursor: str) -> None:
    response = wire.request("tools/list", {"cursor": cursor})
    assert response.error is not None
    assert response.error.code == -32602


def test_every_answer_has_a_date_and_an_id_of_its_own(wire: Wire) -> None:
    answers = [call(wire, "list_services"), wire.request("tools/list", {}), call(wire, "list_services")]
    assert len({answer.x_request_id for answer in answers}) == 3
    assert None not in {answer.x_request_id for answer in answers}
    assert {answer.headers["date"] for answer in answers} == {"Mon, 11 May 2026 12:00:00 GMT"}
    assert [made.request_id for made in wire.sandbox.calls] == [answer.x_request_id for answer in answers]


def test_the_date_is_the_clock_s(wire: Wire) -> None:
    wire.sandbox.clock.advance(3600)
    date = parsedate_to_datetime(wire.request("tools/list", {}).headers["date"])
    assert date.timestamp() == wire.sandbox.clock.time()


def test_an_unknown_tool_is_refused(wire: Wire) -> None:
    result: Any = call(wire, "delete_everything").result
    assert result["isError"] is True
    assert result["content"][0]["text"] == "Unknown tool: delete_everything."


def test_arguments_may_be_absent(wire: Wire) -> None:
    key = wire.sandbox.add_organisation()
    assert data(wire.request("tools/call", {"name": "list_services"}, key)) == {"services": []}


def test_arguments_are_an_object(sandbox: Sandbox) -> None:
    result: Any = InProcess(sandbox).request("tools/call", {"name": "list_services", "arguments": [1]}).result
    assert result["content"][0]["text"] == "Invalid arguments: expected an object."


def test_an_unknown_method_is_a_json_rpc_error(wire: Wire) -> None:
    response = wire.request("resources/list", {})
    assert response.error is not None
    assert response.error.code == -32601


def test_parameters_may_be_absent(sandbox: Sandbox) -> None:
    reply = sandbox.handle(b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":null}', key=None, ip="")
    assert b'"tools":[' in reply.body


def test_what_json_cannot_carry_is_not_sent(sandbox: Sandbox) -> None:
    with pytest.raises(InvalidInputError):
        call(InProcess(sandbox), "list_services", limit=object())
    assert not sandbox.calls


def test_calls_are_recorded_with_their_outcome(wire: Wire) -> None:
    sandbox = wire.sandbox
    ask(wire)
    call(wire, "list_services")
    sandbox.fail_next("list_services", Fault.SERVER_ERROR, Fault.clock_skew(5))
    call(wire, "list_services")
    call(wire, "list_services")
    wire.request("tools/list", {})
    assert [(made.name, made.outcome, made.fault) for made in sandbox.calls] == [
        ("register_organisation_request", "done", None),
        ("list_services", "unauthorized", None),
        ("list_services", "not done", "SERVER_ERROR"),
        ("list_services", "unauthorized", "CLOCK_SKEW"),
        ("tools/list", "done", None),
    ]
    assert isinstance(sandbox.calls[0], Call)
    assert sandbox.count("list_services") == 3
    assert sandbox.count("list_services", "unauthorized") == 2
    assert sandbox.count("get_member") == 0
    assert repr(sandbox) == "<Sandbox: 5 calls, 1 mails>"


def test_several_threads_may_call_at_once() -> None:
    sandbox = Sandbox(clock=SandboxClock(start=0.0), rules=Rules(customers=50))
    key = sandbox.add_organisation()
    wire = InProcess(sandbox)

    def create(number: int) -> Response:
        return call(wire, "create_member", key, name=f"Member {number}")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(60)))
    refused = [answer for answer in answers if isinstance(answer.result, dict) and answer.result["isError"]]
    assert len(refused) == 10
    assert data(call(wire, "search_members", key))["total"] == 50
    assert sandbox.count("create_member", "done") == 50


@pytest.mark.anyio
async def test_the_async_transport_answers_the_same(sandbox: Sandbox) -> None:
    transport: AsyncTransport = sandbox.async_transport(ip="192.0.2.1")
    key = sandbox.add_organisation()
    params: dict[str, Any] = {"name": "create_member", "arguments": {"name": "Ada"}}
    response = await transport.request(Request("tools/call", params, api_key=key, timeout=1.0))
    assert data(response)["member"]["name"] == "Ada"
    await transport.aclose()


def test_the_transports_have_the_sandbox_s_clock(sandbox: Sandbox) -> None:
    clock: Clock = sandbox.clock
    assert sandbox.transport().clock is clock
    assert sandbox.async_transport().clock is clock


def test_a_transport_has_nothing_to_close(sandbox: Sandbox) -> None:
    transport: Transport = sandbox.transport()
    transport.close()
    assert transport.request(Request("tools/list", {}, timeout=1.0)).status == 200
