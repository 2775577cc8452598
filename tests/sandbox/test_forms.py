"""Every client form of an answer, and every reason in each form of a refusal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from sandbox.clients import EMAIL, InProcess, ask, call, data, other_code

from favcrm.sandbox import AnswerForm, PayloadForm, RefusalForm, RefusalReason, Sandbox
from favcrm.transport import JSONRPCError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.clients import SandboxClient

    from favcrm.transport import Response

PORTAL = "https://app.favcrm.io"
REQUEST = {"email": EMAIL, "organisationName": "Stretch"}
WORDS = "Rate limit exceeded for sign-up requests. Try again in 60 minutes."
TOLD: dict[str, Any] = {"code": "RATE_LIMITED", "message": WORDS, "retryAfter": 3600}


@pytest.fixture
def limited(client: SandboxClient) -> SandboxClient:
    """A sandbox that takes no more sign-up requests for an hour."""
    client.sandbox.rules.requests_per_hour = 1
    ask(client)
    return client


def refused(client: SandboxClient, form: RefusalForm) -> Response:
    client.sandbox.refusal_form = form
    return call(client, "register_organisation_request", **REQUEST)


def result(response: Response) -> Any:
    assert response.status == 200
    assert response.error is None
    return response.result


def test_http_json_answers_the_reason_inside_of_error(limited: SandboxClient) -> None:
    response = refused(limited, RefusalForm.HTTP_JSON)
    assert (response.status, response.result, response.error) == (429, None, None)
    assert json.loads(response.body) == {"success": False, "error": TOLD}
    assert response.headers["retry-after"] == "3600"
    assert response.headers["content-type"] == "application/json"


def test_http_json_flat_answers_the_reason_at_the_top(limited: SandboxClient) -> None:
    response = refused(limited, RefusalForm.HTTP_JSON_FLAT)
    assert response.status == 429
    assert json.loads(response.body) == {"success": False, **TOLD}
    assert response.headers["retry-after"] == "3600"


def test_http_html_answers_a_page(limited: SandboxClient) -> None:
    response = refused(limited, RefusalForm.HTTP_HTML)
    assert response.status == 429
    assert f"<h1>{WORDS}</h1>" in response.body
    assert response.headers["content-type"].startswith("text/html")
    assert response.headers["retry-after"] == "3600"


def test_http_empty_answers_no_body(limited: SandboxClient) -> None:
    response = refused(limited, RefusalForm.HTTP_EMPTY)
    assert (response.status, response.body) == (429, "")
    assert response.headers["retry-after"] == "3600"


def test_json_rpc_error_answers_code_message_and_data(limited: SandboxClient) -> None:
    response = refused(limited, RefusalForm.JSON_RPC_ERROR)
    assert response.error == JSONRPCError(-32009, WORDS, TOLD)
    assert (response.result, response.status) == (None, 200)


def test_is_error_text_answers_the_reason_as_text(limited: SandboxClient) -> None:
    response = refused(limited, RefusalForm.IS_ERROR_TEXT)
    assert result(response) == {"content": [{"type": "text", "text": WORDS}], "isError": True}


def test_is_error_structured_answers_the_reason_as_structured_content(limited: SandboxClient) -> None:
    response = refused(limited, RefusalForm.IS_ERROR_STRUCTURED)
    assert result(response) == {
        "content": [{"type": "text", "text": WORDS}],
        "structuredContent": {"data": TOLD, "summary": WORDS, "renderType": "error"},
        "isError": True,
    }


@pytest.mark.parametrize(
    ("form", "payload", "summary"),
    [
        (RefusalForm.SUMMARY_ONLY, {}, WORDS),
        (RefusalForm.DATA_ERROR, {"error": WORDS}, "The request was not completed."),
        (RefusalForm.DATA_MESSAGE, {"message": WORDS}, "The request was not completed."),
        (RefusalForm.DATA_CODE, {"code": "RATE_LIMITED"}, "The request was not completed."),
    ],
)
def test_an_ordinary_result_holds_the_reason(
    limited: SandboxClient, form: RefusalForm, payload: dict[str, str], summary: str
) -> None:
    answer = result(refused(limited, form))
    assert answer["isError"] is False
    assert answer["structuredContent"] == {"data": payload, "summary": summary, "renderType": "json"}
    assert json.loads(answer["content"][0]["text"]) == payload


def test_a_page_escapes_the_reason() -> None:
    sandbox = Sandbox(refusal_form=RefusalForm.HTTP_HTML)
    response = InProcess(sandbox).request("tools/call", {"name": "<script>"})
    assert "<script>" not in response.body
    assert "&lt;script&gt;" in response.body


def provoke(sandbox: Sandbox, reason: RefusalReason, form: RefusalForm) -> Response:
    """Make the sandbox refuse for a reason."""
    client = InProcess(sandbox)
    verify = {"requestId": ask(client)["requestId"], "code": sandbox.inbox.code_for(EMAIL)}
    key = sandbox.add_organisation()
    invited = data(call(client, "create_team_member_invite", key, email=EMAIL))
    arrange: dict[RefusalReason, Callable[[], object]] = {
        RefusalReason.PLAN_LIMIT: lambda: setattr(sandbox.rules, "plan_status", "suspended"),
        RefusalReason.ACCOUNT_EXISTS: lambda: sandbox.add_account(EMAIL),
        RefusalReason.CODE_EXPIRED: lambda: sandbox.clock.advance(600),
        RefusalReason.TOO_MANY_ATTEMPTS: lambda: setattr(sandbox.rules, "code_attempts", 0),
        RefusalReason.RATE_LIMITED: lambda: setattr(sandbox.rules, "requests_per_hour", 1),
        RefusalReason.INVITATION_EXPIRED: lambda: sandbox.clock.advance(72 * 3600),
    }
    calls: dict[RefusalReason, tuple[str, dict[str, str]]] = {
        RefusalReason.INVALID_INPUT: ("register_organisation_request", {**REQUEST, "email": "nobody"}),
        RefusalReason.UNAUTHORIZED: ("list_services", {}),
        RefusalReason.PLAN_LIMIT: ("create_member", {"name": "Ada"}),
        RefusalReason.NOT_FOUND: ("register_organisation_verify", {**verify, "requestId": "made up"}),
        RefusalReason.ACCOUNT_EXISTS: ("register_organisation_request", REQUEST),
        RefusalReason.CODE_EXPIRED: ("register_organisation_verify", verify),
        RefusalReason.INVALID_CODE: (
            "register_organisation_verify",
            {**verify, "code": other_code(verify["code"])},
        ),
        RefusalReason.TOO_MANY_ATTEMPTS: ("register_organisation_verify", verify),
        RefusalReason.RATE_LIMITED: ("register_organisation_request", REQUEST),
        RefusalReason.INVITATION_EXPIRED: ("accept_team_invite_request", {"token": invited["token"]}),
        RefusalReason.CODE_NOT_REQUESTED: (
            "accept_team_invite_verify",
            {"token": invited["token"], "code": "123456"},
        ),
    }
    arrange.get(reason, lambda: None)()
    sandbox.refusal_form = form
    tool, arguments = calls[reason]
    return call(client, tool, key if reason is RefusalReason.PLAN_LIMIT else None, **arguments)


@pytest.mark.parametrize(
    ("reason", "status", "details"),
    [
        (RefusalReason.INVALID_INPUT, 400, {}),
        (RefusalReason.UNAUTHORIZED, 401, {}),
        (RefusalReason.PLAN_LIMIT, 402, {"upgradeAction": f"{PORTAL}/settings/plan"}),
        (RefusalReason.NOT_FOUND, 404, {}),
        (RefusalReason.ACCOUNT_EXISTS, 409, {"loginUrl": PORTAL}),
        (RefusalReason.CODE_EXPIRED, 410, {}),
        (RefusalReason.INVALID_CODE, 422, {}),
        (RefusalReason.TOO_MANY_ATTEMPTS, 423, {}),
        (RefusalReason.RATE_LIMITED, 429, {"retryAfter": 3600}),
        (RefusalReason.INVITATION_EXPIRED, 410, {}),
        (RefusalReason.CODE_NOT_REQUESTED, 422, {}),
    ],
)
def test_each_reason_has_its_status_word_and_details(
    sandbox: Sandbox, reason: RefusalReason, status: int, details: dict[str, object]
) -> None:
    response = provoke(sandbox, reason, RefusalForm.HTTP_JSON_FLAT)
    told = json.loads(response.body)
    assert response.status == status
    assert told.pop("message")
    assert told == {"success": False, "code": reason.word, **details}
    assert sandbox.calls[-1].outcome == reason.name.lower()


def test_only_a_refused_key_is_answered_with_a_challenge(sandbox: Sandbox) -> None:
    unauthorized = provoke(sandbox, RefusalReason.UNAUTHORIZED, RefusalForm.HTTP_JSON)
    assert "Bearer" in unauthorized.headers["www-authenticate"]
    assert (
        "www-authenticate" not in provoke(Sandbox(), RefusalReason.NOT_FOUND, RefusalForm.HTTP_JSON).headers
    )


@pytest.mark.parametrize("answer_form", AnswerForm)
@pytest.mark.parametrize("refusal_form", RefusalForm)
def test_the_framing_leaves_refusals_on_http_alone(
    limited: SandboxClient, answer_form: AnswerForm, refusal_form: RefusalForm
) -> None:
    limited.sandbox.answer_form = answer_form
    response = refused(limited, refusal_form)
    on_http = response.status != 200
    assert on_http is refusal_form.name.startswith("HTTP")
    if not on_http:
        assert response.headers["content-type"] == answer_form.value
        assert response.result is not None or response.error is not None


def test_sse_answers_as_an_event_stream(client: SandboxClient) -> None:
    client.sandbox.answer_form = AnswerForm.SSE
    assert ask(client)["requestId"]
    response = client.request("tools/list", {})
    assert response.headers["content-type"] == "text/event-stream"
    assert isinstance(response.result, dict)


def test_an_sse_answer_is_one_event(sandbox: Sandbox) -> None:
    sandbox.answer_form = AnswerForm.SSE
    reply = sandbox.handle(b'{"jsonrpc":"2.0","id":"x","method":"tools/list"}', key=None, ip="192.0.2.1")
    name, message, *end = reply.body.split(b"\n")
    assert (name, end) == (b"event: message", [b"", b""])
    assert json.loads(message.removeprefix(b"data: "))["id"] == "x"


def test_a_bare_payload_is_the_structured_content(client: SandboxClient) -> None:
    client.sandbox.payload_form = PayloadForm.BARE
    answer = result(call(client, "register_organisation_request", **REQUEST))
    assert answer["structuredContent"]["maskedEmail"] == "yo*@example.com"
    assert json.loads(answer["content"][0]["text"]) == answer["structuredContent"]


def test_a_text_payload_has_no_structured_content(client: SandboxClient) -> None:
    client.sandbox.payload_form = PayloadForm.TEXT
    answer = result(call(client, "register_organisation_request", **REQUEST))
    assert "structuredContent" not in answer
    assert json.loads(answer["content"][0]["text"])["maskedEmail"] == "yo*@example.com"
