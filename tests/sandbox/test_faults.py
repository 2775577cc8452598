"""Everything that can be ordered to go wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from sandbox.wires import EMAIL, HEADERS, SHORT, InProcess, OverHTTP, ask, call, data

from favcrm._mcp.jsonrpc import encode_request
from favcrm.errors import NotSentError, OutcomeUnknownError
from favcrm.sandbox import AnswerForm, Fault, PayloadForm, RefusalForm, Sandbox
from favcrm.secret import Secret
from favcrm.transport import Request

if TYPE_CHECKING:
    from sandbox.wires import Wire

    from favcrm.sandbox.server import Server
    from favcrm.transport import Response

REQUEST = {"email": EMAIL, "organisationName": "Stretch"}
TOOL = "register_organisation_request"


def sign_up(wire: Wire) -> Response:
    return call(wire, TOOL, **REQUEST)


def verify(wire: Wire, *faults: Fault) -> Response:
    """Sign up and verify, with faults at the verification."""
    pending = ask(wire)
    wire.sandbox.fail_next("register_organisation_verify", *faults)
    code = wire.sandbox.inbox.code_for(EMAIL)
    return call(wire, "register_organisation_verify", requestId=pending["requestId"], code=code)


def key_of(sandbox: Sandbox) -> str:
    """Return the only key that there is."""
    (key,) = sandbox.world.keys
    return key


def test_the_connection_is_refused(sandbox: Sandbox) -> None:
    wire = InProcess(sandbox)
    sandbox.fail_next(TOOL, Fault.REFUSE_CONNECTION)
    with pytest.raises(NotSentError):
        sign_up(wire)
    assert not sandbox.inbox
    assert sign_up(wire).status == 200


@pytest.mark.parametrize(
    ("fault", "acts"),
    [
        (Fault.RESET_BEFORE, False),
        (Fault.RESET_AFTER, True),
        (Fault.STALL, False),
        (Fault.STALL_AFTER, True),
    ],
)
def test_no_answer_comes(wire: Wire, fault: Fault, acts: bool) -> None:
    wire.sandbox.fail_next(TOOL, fault)
    with pytest.raises(OutcomeUnknownError):
        sign_up(wire)
    assert len(wire.sandbox.inbox) == acts
    assert wire.sandbox.calls[-1].outcome == ("done" if acts else "not done")
    assert wire.sandbox.calls[-1].fault == fault.name
    assert sign_up(wire).status == 200


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.STALL_AFTER, Fault.SLOW_DRIP])
def test_in_process_a_timeout_only_moves_the_clock(sandbox: Sandbox, fault: Fault) -> None:
    sandbox.fail_next("tools/list", fault)
    with pytest.raises(OutcomeUnknownError, match=r"12\.5 seconds"):
        sandbox.transport().request(Request("tools/list", {}, timeout=12.5))
    assert sandbox.clock.monotonic() == 12.5
    assert sandbox.clock.sleeps == []


@pytest.mark.parametrize("fault", [Fault.RESET_BEFORE, Fault.RESET_AFTER])
def test_in_process_a_reset_takes_no_time(sandbox: Sandbox, fault: Fault) -> None:
    sandbox.fail_next("tools/list", fault)
    with pytest.raises(OutcomeUnknownError, match="connection broke"):
        sandbox.transport().request(Request("tools/list", {}, timeout=12.5))
    assert sandbox.clock.monotonic() == 0.0


def test_served_a_refused_connection_is_reset_before_acting(sandbox: Sandbox, server: Server) -> None:
    sandbox.fail_next(TOOL, Fault.REFUSE_CONNECTION)
    with httpx.Client(timeout=SHORT) as client, pytest.raises(OutcomeUnknownError):
        sign_up(OverHTTP(sandbox, client, server.url))
    assert not sandbox.inbox


@pytest.mark.parametrize(
    ("fault", "status", "content_type", "body"),
    [
        (Fault.SERVER_ERROR, 503, "text/html; charset=utf-8", "<h1>Service unavailable</h1>"),
        (Fault.server_error(502, body="empty"), 502, "text/plain", ""),
        (Fault.server_error(500, body="json"), 500, "application/json", "Service unavailable"),
        (Fault.HTML, 200, "text/html; charset=utf-8", "<h1>Sign in to the network</h1>"),
    ],
)
def test_a_page_comes_instead(wire: Wire, fault: Fault, status: int, content_type: str, body: str) -> None:
    wire.sandbox.fail_next(TOOL, fault)
    response = sign_up(wire)
    assert (response.status, response.headers["content-type"]) == (status, content_type)
    assert (response.result, response.error) == (None, None)
    assert body in response.body
    assert bool(body) is bool(response.body)
    assert "retry-after" not in response.headers
    assert response.headers["date"]
    assert response.x_request_id == wire.sandbox.calls[-1].request_id
    assert not wire.sandbox.inbox


def test_a_server_error_s_json_is_no_json_rpc(sandbox: Sandbox) -> None:
    sandbox.fail_next(TOOL, Fault.server_error(body="json"))
    told = json.loads(sign_up(InProcess(sandbox)).body)
    assert told == {"success": False, "error": {"message": "Service unavailable"}}


@pytest.mark.parametrize(
    ("retry_after", "header"),
    [(7, "7"), (7.0, "7"), ("Mon, 11 May 2026 12:00:30 GMT", "Mon, 11 May 2026 12:00:30 GMT")],
)
def test_a_server_error_may_ask_to_wait(wire: Wire, retry_after: float | str, header: str) -> None:
    wire.sandbox.fail_next(TOOL, Fault.server_error(503, retry_after=retry_after))
    assert sign_up(wire).headers["retry-after"] == header


def test_a_server_error_may_come_after_acting(wire: Wire) -> None:
    wire.sandbox.fail_next(TOOL, Fault.server_error(500, acts=True))
    assert sign_up(wire).status == 500
    assert len(wire.sandbox.inbox) == 1


@pytest.mark.parametrize("payload_form", PayloadForm)
def test_an_event_breaks_off_before_the_key(wire: Wire, payload_form: PayloadForm) -> None:
    wire.sandbox.payload_form = PayloadForm.ENVELOPE
    pending = ask(wire)
    wire.sandbox.payload_form = payload_form
    wire.sandbox.fail_next("register_organisation_verify", Fault.TRUNCATED_SSE)
    code = wire.sandbox.inbox.code_for(EMAIL)
    response = call(wire, "register_organisation_verify", requestId=pending["requestId"], code=code)
    assert response.headers["content-type"] == "text/event-stream"
    assert (response.complete, response.result) == (False, None)
    assert response.body
    assert "apiKey" not in response.body
    assert key_of(wire.sandbox) not in response.body


def test_an_event_breaks_off_behind_the_key(wire: Wire) -> None:
    response = verify(wire, Fault.TRUNCATED_SSE_AFTER_KEY)
    assert (response.complete, response.result) == (False, None)
    assert response.body.endswith(f'"apiKey":"{key_of(wire.sandbox)}"')


def test_behind_the_key_inside_a_text_too(wire: Wire) -> None:
    pending = ask(wire)
    wire.sandbox.payload_form = PayloadForm.TEXT
    wire.sandbox.fail_next("register_organisation_verify", Fault.TRUNCATED_SSE_AFTER_KEY)
    code = wire.sandbox.inbox.code_for(EMAIL)
    response = call(wire, "register_organisation_verify", requestId=pending["requestId"], code=code)
    assert response.body.endswith(f'\\"apiKey\\":\\"{key_of(wire.sandbox)}\\"')


@pytest.mark.parametrize("fault", [Fault.TRUNCATED_SSE, Fault.TRUNCATED_SSE_AFTER_KEY])
def test_an_event_without_a_key_breaks_off_too(wire: Wire, fault: Fault) -> None:
    wire.sandbox.fail_next("tools/list", fault)
    response = wire.request("tools/list", {})
    assert (response.complete, response.result) == (False, None)
    assert response.body.startswith('data: {"jsonrpc"')


def test_a_slow_answer_never_ends(sandbox: Sandbox) -> None:
    sandbox.fail_next(TOOL, Fault.SLOW_DRIP)
    with pytest.raises(OutcomeUnknownError):
        sign_up(InProcess(sandbox))
    assert len(sandbox.inbox) == 1


def test_served_a_slow_answer_comes_byte_by_byte(sandbox: Sandbox, server: Server) -> None:
    sandbox.fail_next("tools/list", Fault.SLOW_DRIP)
    with httpx.stream(
        "POST", server.url, content=encode_request(1, "tools/list", {}), headers=HEADERS
    ) as answer:
        chunks = answer.iter_raw()
        assert [next(chunks) for _ in range(3)] == [b"{", b'"', b"j"]


def test_served_a_slow_answer_lacks_its_last_byte(
    sandbox: Sandbox, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("favcrm.sandbox.wire.DRIP_SECONDS", 0)
    sandbox.fail_next("delete_everything", Fault.SLOW_DRIP)
    body = encode_request(1, "tools/call", {"name": "delete_everything"})
    read: list[bytes] = []
    with (
        pytest.raises(httpx.ReadTimeout),
        httpx.stream("POST", server.url, content=body, headers=HEADERS, timeout=SHORT) as answer,
    ):
        read.extend(answer.iter_raw())
    message = json.loads(b"".join(read) + b"}")
    assert message["result"]["content"][0]["text"] == "Unknown tool: delete_everything."


def test_fields_of_wrong_types(wire: Wire) -> None:
    made = data(verify(wire, Fault.WRONG_TYPES))
    assert made.pop("apiKey") == key_of(wire.sandbox)
    assert isinstance(made.pop("nextSteps"), dict)
    assert set(made) == {"organisationId", "companyId", "userId", "loginUrl"}
    assert all(isinstance(value, list) for value in made.values())


def test_fields_of_wrong_types_at_the_request(wire: Wire) -> None:
    wire.sandbox.fail_next(TOOL, Fault.WRONG_TYPES)
    pending = data(sign_up(wire))
    types = {name: type(value).__name__ for name, value in pending.items()}
    assert types == {"requestId": "list", "expiresAt": "int", "maskedEmail": "int", "instructions": "list"}


def test_fields_of_wrong_types_elsewhere(wire: Wire) -> None:
    key = wire.sandbox.add_organisation()
    wire.sandbox.fail_next("get_whatsapp_connection_status", Fault.WRONG_TYPES)
    assert data(call(wire, "get_whatsapp_connection_status", key)) == {
        "connected": "false",
        "status": ["not_connected"],
    }


def test_a_refusal_has_no_fields_to_distort(wire: Wire) -> None:
    wire.sandbox.fail_next("list_services", Fault.WRONG_TYPES)
    result: Any = call(wire, "list_services").result
    assert result["content"][0]["text"].startswith("Unauthorized")


@pytest.mark.parametrize(("seconds", "date"), [(3600, "13:00:00"), (-60, "11:59:00")])
def test_a_wrong_date(wire: Wire, seconds: float, date: str) -> None:
    wire.sandbox.fail_next(TOOL, Fault.clock_skew(seconds))
    response = sign_up(wire)
    assert response.headers["date"] == f"Mon, 11 May 2026 {date} GMT"
    assert data(response)["expiresAt"] == "2026-05-11T12:10:00.000Z"
    assert sign_up(wire).headers["date"] == "Mon, 11 May 2026 12:00:00 GMT"


def test_faults_queue_for_one_target_and_leave_others_alone(wire: Wire) -> None:
    sandbox = wire.sandbox
    sandbox.fail_next(TOOL, Fault.server_error(500), Fault.server_error(501))
    sandbox.fail_next(TOOL, Fault.server_error(502))
    assert wire.request("tools/list", {}).status == 200
    assert [sign_up(wire).status for _ in range(4)] == [500, 501, 502, 200]


def test_a_cut_event_is_cut_whatever_the_framing_and_the_refusal(sandbox: Sandbox) -> None:
    wire = InProcess(sandbox)
    for answer_form in AnswerForm:
        sandbox.answer_form = answer_form
        sandbox.refusal_form = RefusalForm.HTTP_JSON
        sandbox.fail_next("list_services", Fault.TRUNCATED_SSE)
        response = call(wire, "list_services")
        assert (response.status, response.complete) == (401, False)


def test_a_key_made_before_a_lost_answer_works(wire: Wire) -> None:
    with pytest.raises(OutcomeUnknownError):
        verify(wire, Fault.RESET_AFTER)
    assert data(call(wire, "list_services", Secret(key_of(wire.sandbox)))) == {"services": []}


def test_a_fault_shows_its_name_and_whether_the_tool_acts() -> None:
    assert repr(Fault.RESET_AFTER) == "Fault(name='RESET_AFTER', acts=True)"
    names = [name for name in vars(Fault) if name.isupper()]
    assert len(names) == 11
    assert all(getattr(Fault, name).name == name for name in names)
