"""The faults that `Sandbox.fail_next` orders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from sandbox.clients import EMAIL, SHORT, InProcess, OverHTTP, ask, call, data
from servers import PATIENCE

from favcrm.errors import NotSentError, OutcomeUnknownError
from favcrm.sandbox import Fault, PayloadForm, RefusalForm, Sandbox
from favcrm.transport import Request

if TYPE_CHECKING:
    from sandbox.clients import SandboxClient

    from favcrm.sandbox.server import Server
    from favcrm.transport import Response

REQUEST = {"email": EMAIL, "organisationName": "Stretch"}
TOOL = "register_organisation_request"


def sign_up(client: SandboxClient) -> Response:
    return call(client, TOOL, **REQUEST)


def verify(client: SandboxClient, *faults: Fault) -> Response:
    """Sign up and verify, with faults at the verification."""
    pending = ask(client)
    client.sandbox.fail_next("register_organisation_verify", *faults)
    code = client.sandbox.inbox.code_for(EMAIL)
    return call(client, "register_organisation_verify", requestId=pending["requestId"], code=code)


def key_of(sandbox: Sandbox) -> str:
    """Return the only key that there is."""
    (key,) = sandbox.state.keys
    return key


def test_a_refused_connection_raises_not_sent_error(sandbox: Sandbox) -> None:
    client = InProcess(sandbox)
    sandbox.fail_next(TOOL, Fault.REFUSE_CONNECTION)
    with pytest.raises(NotSentError):
        sign_up(client)
    assert not sandbox.inbox
    assert sign_up(client).status == 200


@pytest.mark.parametrize(
    ("fault", "acts"),
    [
        (Fault.RESET_BEFORE, False),
        (Fault.RESET_AFTER, True),
        (Fault.STALL, False),
        (Fault.STALL_AFTER, True),
    ],
)
def test_a_lost_answer_raises_outcome_unknown_error(client: SandboxClient, fault: Fault, acts: bool) -> None:
    client.sandbox.fail_next(TOOL, fault)
    if fault in (Fault.STALL, Fault.STALL_AFTER):
        client.timeout = SHORT
    with pytest.raises(OutcomeUnknownError):
        sign_up(client)
    client.timeout = PATIENCE
    assert len(client.sandbox.inbox) == acts
    assert client.sandbox.calls[-1].outcome == ("done" if acts else "not done")
    assert client.sandbox.calls[-1].fault == fault.name
    if fault in (Fault.RESET_BEFORE, Fault.RESET_AFTER):
        assert client.sandbox.clock.monotonic() == 0
    assert sign_up(client).status == 200


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.STALL_AFTER])
def test_a_stall_in_process_advances_the_clock_by_the_timeout(sandbox: Sandbox, fault: Fault) -> None:
    sandbox.fail_next("tools/list", fault)
    with pytest.raises(OutcomeUnknownError, match=r"12\.5 seconds"):
        sandbox.transport().request(Request("tools/list", {}, timeout=12.5))
    assert sandbox.clock.monotonic() == 12.5
    assert sandbox.clock.sleeps == []


def test_a_served_refused_connection_breaks_before_the_tool_acts(sandbox: Sandbox, server: Server) -> None:
    sandbox.fail_next(TOOL, Fault.REFUSE_CONNECTION)
    with httpx.Client() as client, pytest.raises(OutcomeUnknownError):
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
def test_a_page_fault_replaces_the_answer(
    client: SandboxClient, fault: Fault, status: int, content_type: str, body: str
) -> None:
    client.sandbox.fail_next(TOOL, fault)
    response = sign_up(client)
    assert (response.status, response.headers["content-type"]) == (status, content_type)
    assert (response.result, response.error) == (None, None)
    assert body in response.body
    assert bool(body) is bool(response.body)
    assert "retry-after" not in response.headers
    assert response.headers["date"]
    assert response.x_request_id == client.sandbox.calls[-1].request_id
    assert not client.sandbox.inbox


@pytest.mark.parametrize(
    ("retry_after", "header"),
    [(7, "7"), (7.0, "7"), ("Mon, 11 May 2026 12:00:30 GMT", "Mon, 11 May 2026 12:00:30 GMT")],
)
def test_a_server_error_sends_retry_after_also_where_the_tool_acts(
    client: SandboxClient, retry_after: float | str, header: str
) -> None:
    client.sandbox.fail_next(TOOL, Fault.server_error(503, retry_after=retry_after, acts=True))
    assert sign_up(client).headers["retry-after"] == header
    assert len(client.sandbox.inbox) == 1


@pytest.mark.parametrize("payload_form", PayloadForm)
def test_a_truncated_event_ends_before_the_key(client: SandboxClient, payload_form: PayloadForm) -> None:
    client.sandbox.payload_form = PayloadForm.ENVELOPE
    pending = ask(client)
    client.sandbox.payload_form = payload_form
    client.sandbox.fail_next("register_organisation_verify", Fault.TRUNCATED_SSE)
    code = client.sandbox.inbox.code_for(EMAIL)
    response = call(client, "register_organisation_verify", requestId=pending["requestId"], code=code)
    assert response.headers["content-type"] == "text/event-stream"
    assert (response.complete, response.result) == (False, None)
    assert response.body
    assert "apiKey" not in response.body
    assert key_of(client.sandbox) not in response.body


def test_an_event_truncated_after_the_key_holds_the_whole_key(client: SandboxClient) -> None:
    response = verify(client, Fault.TRUNCATED_SSE_AFTER_KEY)
    assert (response.complete, response.result) == (False, None)
    assert response.body.endswith(f'"apiKey":"{key_of(client.sandbox)}"')


@pytest.mark.parametrize("fault", [Fault.TRUNCATED_SSE, Fault.TRUNCATED_SSE_AFTER_KEY])
def test_a_truncated_event_without_a_key_is_incomplete(client: SandboxClient, fault: Fault) -> None:
    client.sandbox.fail_next("tools/list", fault)
    response = client.request("tools/list", {})
    assert (response.complete, response.result) == (False, None)
    assert response.body.startswith('data: {"jsonrpc"')


def test_wrong_types_spare_only_the_key(client: SandboxClient) -> None:
    made = data(verify(client, Fault.WRONG_TYPES))
    assert made.pop("apiKey") == key_of(client.sandbox)
    assert isinstance(made.pop("nextSteps"), dict)
    assert set(made) == {"organisationId", "companyId", "userId", "loginUrl"}
    assert all(isinstance(value, list) for value in made.values())


def test_wrong_types_change_every_field_of_a_pending_registration(client: SandboxClient) -> None:
    client.sandbox.fail_next(TOOL, Fault.WRONG_TYPES)
    pending = data(sign_up(client))
    types = {name: type(value).__name__ for name, value in pending.items()}
    assert types == {"requestId": "list", "expiresAt": "int", "maskedEmail": "int", "instructions": "list"}


def test_wrong_types_leave_a_refusal_alone(client: SandboxClient) -> None:
    client.sandbox.fail_next("list_services", Fault.WRONG_TYPES)
    result: Any = call(client, "list_services").result
    assert result["content"][0]["text"].startswith("Unauthorized")


def test_a_refusal_is_truncated_as_any_answer_is(client: SandboxClient) -> None:
    client.sandbox.refusal_form = RefusalForm.HTTP_JSON
    client.sandbox.fail_next("list_services", Fault.TRUNCATED_SSE)
    response = call(client, "list_services")
    assert (response.status, response.complete) == (401, False)


@pytest.mark.parametrize(("seconds", "date"), [(3600, "13:00:00"), (-60, "11:59:00")])
def test_a_clock_skew_changes_only_the_date_header(client: SandboxClient, seconds: float, date: str) -> None:
    client.sandbox.fail_next(TOOL, Fault.clock_skew(seconds))
    response = sign_up(client)
    assert response.headers["date"] == f"Mon, 11 May 2026 {date} GMT"
    assert data(response)["expiresAt"] == "2026-05-11T12:10:00.000Z"
    assert sign_up(client).headers["date"] == "Mon, 11 May 2026 12:00:00 GMT"


def test_faults_queue_for_their_target_only(client: SandboxClient) -> None:
    sandbox = client.sandbox
    sandbox.fail_next(TOOL, Fault.server_error(500), Fault.server_error(501))
    sandbox.fail_next(TOOL, Fault.server_error(502))
    assert client.request("tools/list", {}).status == 200
    assert [sign_up(client).status for _ in range(4)] == [500, 501, 502, 200]


def test_the_repr_of_a_fault_shows_its_name_and_whether_the_tool_acts() -> None:
    assert repr(Fault.RESET_AFTER) == "Fault(name='RESET_AFTER', acts=True)"
    names = [name for name in vars(Fault) if name.isupper()]
    assert len(names) == 10
    assert all(getattr(Fault, name).name == name for name in names)
