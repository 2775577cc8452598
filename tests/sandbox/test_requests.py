"""What every request has in common: listing, headers, what is not known, what is recorded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from sandbox.clients import InProcess, ask, call, data

from favcrm.errors import InvalidInputError
from favcrm.sandbox import CallRecord, Fault, RefusalForm, Rules, Sandbox, SandboxClock
from favcrm.secret import Secret
from favcrm.transport import Request

if TYPE_CHECKING:
    from sandbox.clients import SandboxClient

    from favcrm.transport import AsyncTransport, Response

WRONG = Secret("fav_mcp_made-up")


def listed(client: SandboxClient, key: Secret | None = None, **params: object) -> Any:
    response = client.request("tools/list", params, key)
    assert response.status == 200
    assert response.error is None
    return response.result


def test_tools_list_without_a_key_names_every_tool(client: SandboxClient) -> None:
    tools = listed(client)["tools"]
    assert tools == [tool.entry for tool in client.sandbox.tools.values()]
    assert len(tools) == 14
    assert listed(client, WRONG)["tools"] == tools


def test_an_entry_has_the_fields_of_a_favcrm_tool(client: SandboxClient) -> None:
    (entry,) = [tool for tool in listed(client)["tools"] if tool["name"] == "register_organisation_request"]
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


def test_tools_that_only_read_are_read_only(sandbox: Sandbox) -> None:
    read_only = {name for name, tool in sandbox.tools.items() if tool.read_only}
    assert read_only == {
        name for name in sandbox.tools if name.startswith(("list_", "get_", "search_", "check_"))
    }


def test_list_checks_key_refuses_a_wrong_key(client: SandboxClient) -> None:
    client.sandbox.rules.list_checks_key = True
    response = client.request("tools/list", {}, WRONG)
    assert response.error is not None
    assert (response.error.code, response.result) == (-32001, None)
    client.sandbox.refusal_form = RefusalForm.HTTP_JSON
    assert client.request("tools/list", {}, WRONG).status == 401
    assert len(listed(client, client.sandbox.add_organisation())["tools"]) == 14
    assert len(listed(client)["tools"]) == 14


def test_page_size_splits_the_listing(client: SandboxClient) -> None:
    client.sandbox.rules.page_size = 10
    first = listed(client)
    second = listed(client, cursor=first["nextCursor"])
    assert "nextCursor" not in second
    assert [len(first["tools"]), len(second["tools"])] == [10, 4]
    assert [tool["name"] for tool in first["tools"] + second["tools"]] == list(client.sandbox.tools)


@pytest.mark.parametrize("cursor", ["", "-1", "next", "²"])
def test_an_unknown_cursor_is_refused(client: SandboxClient, cursor: str) -> None:
    response = client.request("tools/list", {"cursor": cursor})
    assert response.error is not None
    assert response.error.code == -32602


def test_every_answer_has_a_date_and_an_id_of_its_own(client: SandboxClient) -> None:
    answers = [call(client, "list_services"), client.request("tools/list", {}), call(client, "list_services")]
    assert len({answer.x_request_id for answer in answers}) == 3
    assert None not in {answer.x_request_id for answer in answers}
    assert {answer.headers["date"] for answer in answers} == {"Mon, 11 May 2026 12:00:00 GMT"}
    assert [made.request_id for made in client.sandbox.calls] == [answer.x_request_id for answer in answers]


def test_an_unknown_tool_is_refused(client: SandboxClient) -> None:
    result: Any = call(client, "delete_everything").result
    assert result["isError"] is True
    assert result["content"][0]["text"] == "Unknown tool: delete_everything."


def test_arguments_that_are_a_list_are_refused(sandbox: Sandbox) -> None:
    result: Any = InProcess(sandbox).request("tools/call", {"name": "list_services", "arguments": [1]}).result
    assert result["content"][0]["text"] == "Invalid arguments: expected an object."


def test_an_unknown_method_is_a_json_rpc_error(client: SandboxClient) -> None:
    response = client.request("resources/list", {})
    assert response.error is not None
    assert response.error.code == -32601


def test_null_params_are_empty(sandbox: Sandbox) -> None:
    reply = sandbox.handle(b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":null}', key=None, ip="")
    assert b'"tools":[' in reply.body


def test_an_argument_that_is_not_json_raises_invalid_input_error(sandbox: Sandbox) -> None:
    with pytest.raises(InvalidInputError):
        call(InProcess(sandbox), "list_services", limit=object())
    assert not sandbox.calls


def test_calls_are_recorded_with_their_outcome(client: SandboxClient) -> None:
    sandbox = client.sandbox
    ask(client)
    call(client, "list_services")
    sandbox.fail_next("list_services", Fault.SERVER_ERROR, Fault.clock_skew(5))
    call(client, "list_services")
    call(client, "list_services")
    client.request("tools/list", {})
    assert [(made.name, made.outcome, made.fault) for made in sandbox.calls] == [
        ("register_organisation_request", "done", None),
        ("list_services", "unauthorized", None),
        ("list_services", "not done", "SERVER_ERROR"),
        ("list_services", "unauthorized", "CLOCK_SKEW"),
        ("tools/list", "done", None),
    ]
    assert isinstance(sandbox.calls[0], CallRecord)
    assert sandbox.count("list_services") == 3
    assert sandbox.count("list_services", "unauthorized") == 2
    assert sandbox.count("get_member") == 0
    assert repr(sandbox) == "<Sandbox: 5 calls, 1 mails>"


def test_calls_of_several_threads_are_counted_exactly() -> None:
    sandbox = Sandbox(clock=SandboxClock(start=0.0), rules=Rules(customers=50))
    key = sandbox.add_organisation()
    client = InProcess(sandbox)

    def create(number: int) -> Response:
        return call(client, "create_member", key, name=f"Member {number}")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(60)))
    refused = [answer for answer in answers if isinstance(answer.result, dict) and answer.result["isError"]]
    assert len(refused) == 10
    assert data(call(client, "search_members", key))["total"] == 50
    assert sandbox.count("create_member", "done") == 50


@pytest.mark.anyio
async def test_the_async_transport_answers_the_same(sandbox: Sandbox) -> None:
    transport: AsyncTransport = sandbox.async_transport(ip="192.0.2.1")
    key = sandbox.add_organisation()
    params: dict[str, Any] = {"name": "create_member", "arguments": {"name": "Ada"}}
    response = await transport.request(Request("tools/call", params, api_key=key, timeout=1.0))
    assert data(response)["member"]["name"] == "Ada"
    await transport.aclose()
