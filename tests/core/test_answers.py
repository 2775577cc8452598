"""From what came back to what it means: payloads, refusals, problems as paths. No input of any shape breaks it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from favcrm import errors
from favcrm._error_codes import ERROR_CODES
from favcrm._flows import calls
from favcrm._flows.attempts import Answered, Failed, Kind, judge
from favcrm._text import clean, without_emails
from favcrm.registration import Registration
from favcrm.sandbox import SandboxClock
from favcrm.transport import JSONRPCError, Response

NOW = 1_778_500_000.0
CLOCK = SandboxClock(NOW)
EMAIL = "you@example.com"
CODE = "271828"
REQUEST = calls.request_code(Registration(email=EMAIL, organisation_name="Acme"), CLOCK)
VERIFY = calls.verify_code("signup_req_1", CODE)
LIST = calls.list_tools(None, authenticated=True)
PLAN = calls.check_tool("get_plan_status")
ANY = calls.any_tool("create_member", {})
EVERY_CALL: list[calls.Call[Any]] = [REQUEST, VERIFY, LIST, PLAN, ANY]

PENDING = {
    "requestId": "signup_req_1",
    "expiresAt": "2026-05-11T12:00:00.000Z",
    "maskedEmail": "yo*@example.com",
    "instructions": "Read the email.",
}


@pytest.fixture
def key() -> str:
    return f"fav_mcp_{secrets.token_urlsafe(24)}"


def enveloped(data: Any, summary: str = "Done.", **more: Any) -> Response:
    content = [{"type": "text", "text": json.dumps(data)}]
    structured = {"data": data, "summary": summary, "renderType": "json"}
    return Response(result={"structuredContent": structured, "content": content, **more}, status=200)


def in_text(text: str, **more: Any) -> Response:
    return Response(result={"content": [{"type": "text", "text": text}], **more}, status=200)


def refusing(words: str) -> Response:
    return in_text(words, isError=True)


def by_http(status: int, body: Any, **more: Any) -> Response:
    return Response(status=status, body=json.dumps(body), **more)


def value_of(call: calls.Call[Any], response: Response) -> Any:
    outcome = judge(call, response, CLOCK)
    assert isinstance(outcome, Answered), outcome
    return outcome.value


def error_of(call: calls.Call[Any], response: Response) -> Any:
    outcome = judge(call, response, CLOCK)
    assert isinstance(outcome, Failed), outcome
    return outcome.error


# Where the payload is

BARE: dict[str, Any] = {"content": [{"type": "text", "text": json.dumps(PENDING)}]}
PLACES: dict[str, Any] = {
    "structuredContent.data": {"structuredContent": {"data": PENDING, "summary": "", "renderType": "json"}},
    "structuredContent": {"structuredContent": PENDING},
    "text": BARE,
    "enveloped text": {
        "content": [
            {"type": "image", "data": ""},
            {"type": "text", "text": json.dumps({"data": PENDING, "summary": "s", "renderType": "json"})},
        ]
    },
    "result": PENDING,
    "the first that has it": {"structuredContent": {"data": {}, "summary": "", "renderType": "json"}, **BARE},
}


@pytest.mark.parametrize("result", PLACES.values(), ids=PLACES.keys())
def test_a_payload_is_found_in_each_place(result: dict[str, Any]) -> None:
    pending = value_of(REQUEST, Response(result=result))
    assert pending.request_id == "signup_req_1"
    assert pending.masked_email == "yo*@example.com"
    assert pending.expires_at == datetime(2026, 5, 11, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("result", "data"),
    [
        ({"structuredContent": {"data": None, "summary": "s", "renderType": "json"}}, None),
        ({"structuredContent": [1, 2]}, [1, 2]),
        ({"structuredContent": None, "content": []}, None),
        ({"content": [{"type": "text", "text": '{"a": 1}'}]}, {"a": 1}),
        ({"content": [{"type": "text", "text": "hello"}]}, "hello"),
        ({"content": "odd"}, {"content": "odd"}),
    ],
    ids=range(6),
)
def test_any_tool_answers_the_first_payload_as_data(result: dict[str, Any], data: object) -> None:
    answer = value_of(ANY, Response(result=result))
    assert (answer.data, answer.raw) == (data, result)


def test_a_tool_result_keeps_content_and_summary() -> None:
    result = value_of(ANY, enveloped({"a": 1}, "One.\x07"))
    assert result.summary == "One."
    assert result.content == ({"type": "text", "text": '{"a": 1}'},)
    assert value_of(ANY, in_text("hello")).summary == "hello"


# What is missing or wrong: after a call that may act, nobody knows what became of it (design rule 2)


def lacks(problem: str) -> str:
    """Return what is told of an answer to a call that acts."""
    return f"The answer does not hold what the request promises: {problem}, so the request may have been carried out."


def test_a_result_that_is_no_object_leaves_the_outcome_unknown() -> None:
    assert error_of(ANY, Response(result=[1])).message == lacks("$ is not an object")


@pytest.mark.parametrize("name", ["expiresAt", "maskedEmail", "instructions"])
def test_a_missing_field_is_named_by_its_path(name: str) -> None:
    payload = {field: value for field, value in PENDING.items() if field != name}
    error = error_of(REQUEST, enveloped(payload))
    assert isinstance(error, errors.OutcomeUnknownError)
    assert error.message == lacks(f"$.{name} is missing")


@pytest.mark.parametrize("wrong", [7, None, {"SECRET": "SECRET"}, ["SECRET"]], ids=repr)
@pytest.mark.parametrize(
    ("name", "expected"), [("requestId", "text"), ("expiresAt", "an ISO 8601 time")], ids=["text", "time"]
)
def test_a_wrong_field_is_named_without_its_value(name: str, expected: str, wrong: object) -> None:
    error = error_of(REQUEST, enveloped({**PENDING, name: wrong}))
    assert error.message == lacks(f"$.{name} is not {expected}")
    assert "SECRET" not in str(error)


def test_a_text_that_is_no_time_is_named_without_its_value() -> None:
    error = error_of(REQUEST, enveloped({**PENDING, "expiresAt": "SECRET"}))
    assert error.message == lacks("$.expiresAt is not an ISO 8601 time")


def test_an_answer_without_request_id_and_reason_leaves_the_outcome_unknown() -> None:
    error = error_of(REQUEST, enveloped({"expiresAt": "x"}, "Code sent."))
    assert error.message == lacks("$.requestId is missing")


def test_unknown_fields_become_extra() -> None:
    assert value_of(REQUEST, enveloped({**PENDING, "more": [1]})).extra == {"more": [1]}


def test_a_time_without_a_zone_is_taken_as_utc() -> None:
    pending = value_of(REQUEST, enveloped({**PENDING, "expiresAt": "2026-05-11T12:00:00"}))
    assert pending.expires_at == datetime(2026, 5, 11, 12, tzinfo=UTC)


def test_tools_keep_their_schemas_verbatim() -> None:
    schema = {"$schema": "x", "allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {}}}
    page: Any = {
        "tools": [{"name": "a", "inputSchema": schema, "annotations": {"readOnlyHint": True}}, {"name": "b"}]
    }
    tools, cursor = value_of(LIST, Response(result={**page, "nextCursor": ""}))
    assert (tools[0].input_schema, tools[0].annotations) == (schema, {"readOnlyHint": True})
    assert (tools[1].description, tools[1].input_schema, tools[1].output_schema) == ("", {}, None)
    assert cursor == ""
    assert value_of(LIST, Response(result=page))[1] is None


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ({"tools": "none"}, "$.tools is missing"),
        ({"tools": [7]}, "$.name is missing"),
        ({"tools": [{"name": "a", "inputSchema": "SECRET"}]}, "$.inputSchema is not an object"),
    ],
    ids=range(3),
)
def test_a_malformed_list_of_tools_raises_unexpected_answer(page: dict[str, Any], problem: str) -> None:
    assert error_of(LIST, Response(result=page)).problems == (problem,)


# A key is never lost (design rule 1)

SIBLINGS = {
    "organisationId": "org_1",
    "companyId": "co_1",
    "userId": "usr_1",
    "loginUrl": "https://app.example",
    "nextSteps": "Start.",
}


def test_rule_1_a_whole_answer_becomes_a_workspace_without_problems(key: str) -> None:
    workspace = value_of(VERIFY, enveloped({**SIBLINGS, "apiKey": key, "more": {"copy": key}}))
    assert workspace.api_key.reveal() == key
    assert (workspace.organisation_id, workspace.company_id, workspace.user_id) == ("org_1", "co_1", "usr_1")
    assert (workspace.login_url, workspace.next_steps) == ("https://app.example", ("Start.",))
    assert workspace.problems == ()
    assert key not in str(workspace.extra)
    assert "more" in workspace.extra


@pytest.mark.parametrize(
    ("told", "steps"),
    [(None, ()), ("", ()), (["One.", "Two."], ("One.", "Two.")), ("One.", ("One.",))],
    ids=repr,
)
def test_next_steps_may_be_a_text_a_list_or_nothing(told: Any, steps: tuple[str, ...], key: str) -> None:
    workspace = value_of(VERIFY, enveloped({**SIBLINGS, "apiKey": key, "nextSteps": told}))
    assert (workspace.next_steps, workspace.problems) == (steps, ())


def test_a_key_in_the_next_steps_is_masked(key: str) -> None:
    workspace = value_of(VERIFY, enveloped({**SIBLINGS, "apiKey": key, "nextSteps": f"export KEY={key}"}))
    assert workspace.next_steps == ("export KEY=[hidden]",)


@pytest.mark.parametrize(
    ("name", "wrong", "problem"),
    [
        ("organisationId", None, "$.organisationId is missing"),
        ("companyId", "", "$.companyId is missing"),
        ("userId", 7, "$.userId is not text"),
        ("loginUrl", [], "$.loginUrl is not text"),
        ("nextSteps", {"a": 1}, "$.nextSteps is neither text nor a list of texts"),
        ("nextSteps", [7], "$.nextSteps is neither text nor a list of texts"),
    ],
)
def test_rule_1_a_malformed_field_beside_a_key_becomes_a_problem(
    name: str, wrong: object, problem: str, key: str
) -> None:
    workspace = value_of(VERIFY, enveloped({**SIBLINGS, "apiKey": key, name: wrong}))
    assert workspace.api_key.reveal() == key
    assert workspace.problems == (problem,)


ODD_ANSWERS: dict[str, Callable[[str], Response]] = {
    "isError": lambda key: enveloped({**SIBLINGS, "apiKey": key}, isError=True),
    "JSON-RPC error": lambda key: Response(error=JSONRPCError(-32603, "failed", {"apiKey": key})),
    "HTTP 500": lambda key: Response(status=500, body=json.dumps({"data": {"apiKey": key}})),
    "HTTP 200 without JSON-RPC": lambda key: Response(
        status=200, body=json.dumps({"apiKey": key}), defect="odd"
    ),
    "cut behind the key": lambda key: Response(
        status=200, body=f'data: {{"apiKey": "{key}", "org', complete=False
    ),
    "quoted JSON, cut": lambda key: Response(
        status=200, body=f'{{"text":"{{\\"apiKey\\":\\"{key}\\",\\"o', complete=False
    ),
    "snake case": lambda key: enveloped({"api_key": key}),
    "in words": lambda key: in_text(f"Your key is {key}."),
}


@pytest.mark.parametrize("answer", ODD_ANSWERS.values(), ids=ODD_ANSWERS.keys())
def test_rule_1_a_key_in_any_answer_is_found(answer: Any, key: str) -> None:
    workspace = value_of(VERIFY, answer(key))
    assert workspace.api_key.reveal() == key


def test_a_key_that_is_cut_off_is_not_taken_for_whole(key: str) -> None:
    response = Response(status=200, body=f'data: {{"apiKey": "{key[:-3]}', complete=False)
    assert isinstance(error_of(VERIFY, response), errors.OutcomeUnknownError)


def test_a_placeholder_is_not_taken_for_a_key() -> None:
    text = "Set FAVCRM_API_KEY=fav_mcp_XXXXXXXXXXXXXXXXXXXXXXXX and start."
    error = error_of(VERIFY, in_text(text))
    assert not isinstance(error, errors.TransportError)


def test_a_key_in_the_words_of_a_refusal_is_not_taken(key: str) -> None:
    text = f"Incorrect code. Not your key: {key}"
    result: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": True}
    error = error_of(VERIFY, Response(result=result))
    assert isinstance(error, errors.InvalidCodeError)
    assert key not in str(error)


def test_an_unusual_prefix_is_a_problem_and_no_refusal() -> None:
    value = f"fav_v0_{secrets.token_urlsafe(24)}"
    workspace = value_of(VERIFY, enveloped({**SIBLINGS, "apiKey": value}))
    assert workspace.api_key.reveal() == value
    assert workspace.problems == ("$.apiKey has an unusual prefix",)


def test_an_answer_without_a_key_leaves_the_outcome_unknown() -> None:
    error = error_of(VERIFY, enveloped(SIBLINGS))
    assert isinstance(error, errors.OutcomeUnknownError)
    assert error.message == lacks("$.apiKey is missing")


UNREADABLE: dict[str, Response] = {
    "empty": Response(status=202, defect="is empty"),
    "a login page": Response(status=200, body="<html>Sign in</html>", defect="is no JSON-RPC answer"),
    "another's confirmation": Response(
        status=202, body='{"message": "Accepted", "code": 202}', defect="is no JSON-RPC answer"
    ),
    "a batch without ours": Response(
        status=200, body='[{"id": 8, "result": {}}]', defect="is no JSON-RPC answer"
    ),
    "a result of null": Response(status=200),
    "a result that is a number": Response(status=200, result=5),
}


@pytest.mark.parametrize("response", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_unreadable_answer_to_an_acting_call_leaves_the_outcome_unknown(response: Response) -> None:
    for call in EVERY_CALL:
        outcome = judge(call, response, CLOCK)
        assert isinstance(outcome, Failed)
        assert "Nothing was done" not in outcome.error.message
        if call.acts:
            assert outcome.kind is Kind.UNKNOWN
            assert type(outcome.error) is errors.OutcomeUnknownError
            assert outcome.error.message.endswith(", so the request may have been carried out.")
        else:
            assert outcome.kind is Kind.REFUSED
            assert type(outcome.error) is errors.UnexpectedAnswerError


def test_the_calls_that_only_read_do_not_act() -> None:
    asked = calls.ask_plan({"toolName": "create_member"})
    reading = [call.tool for call in [*EVERY_CALL, asked] if not call.acts]
    assert reading == ["tools/list", "get_plan_status", "check_plan_operation"]


# Refusals

REFUSALS: list[tuple[str, str, int, type[errors.FavCRMError]]] = [
    ("CODE_EXPIRED", "This code has expired.", 410, errors.CodeExpiredError),
    ("TOO_MANY_ATTEMPTS", "Too many wrong attempts.", 423, errors.TooManyAttemptsError),
    ("INVALID_CODE", "Incorrect verification code.", 422, errors.InvalidCodeError),
    ("ACCOUNT_EXISTS", "This email is already registered.", 409, errors.AlreadyRegisteredError),
    ("RATE_LIMITED", "Rate limit exceeded.", 429, errors.RateLimitError),
    ("UNAUTHORIZED", "Unauthorized.", 401, errors.AuthenticationError),
    ("PLAN_LIMIT", "Please upgrade your plan.", 402, errors.PlanLimitError),
    ("SOMETHING_ELSE", "It is Sunday.", 400, errors.RefusedError),
]
FORMS: dict[str, Callable[[str, str, int], Response]] = {
    "HTTP JSON": lambda code, words, status: by_http(
        status, {"success": False, "error": {"code": code, "message": words}}
    ),
    "HTTP JSON, words only": lambda _, words, status: by_http(status, {"error": words}),
    "HTTP JSON flat": lambda code, words, status: by_http(status, {"code": code, "message": words}),
    "HTTP text": lambda _, words, status: Response(status=status, body=words),
    "JSON-RPC with data": lambda code, _, status: Response(
        error=JSONRPCError(-32000, "Tool failed", {"code": code}), status=200
    ),
    "JSON-RPC words": lambda _, words, status: Response(error=JSONRPCError(-32000, words), status=200),
    "JSON-RPC with HTTP status": lambda code, words, status: Response(
        error=JSONRPCError(-32000, words, {"error": {"code": code}}), status=status
    ),
    "isError text": lambda _, words, __: refusing(words),
    "isError structured": lambda code, words, _: enveloped({"code": code}, words, isError=True),
    "isError JSON text": lambda code, words, _: refusing(
        json.dumps({"error": {"code": code, "message": words}})
    ),
    "summary": lambda _, words, __: enveloped({}, words),
    "summary, no data": lambda _, words, __: enveloped(None, words),
    "data.error": lambda _, words, __: enveloped({"error": words}, "It did not work out."),
    "data.message": lambda _, words, __: enveloped({"message": words}, "It did not work out."),
    "data.code": lambda code, _, __: enveloped({"code": code}, "It did not work out."),
    "REST at 200": lambda code, words, _: by_http(
        200, {"success": False, "error": {"code": code, "message": words}}, defect="odd"
    ),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize(("code", "words", "status", "kind"), REFUSALS, ids=[row[0] for row in REFUSALS])
def test_each_wire_form_of_each_refusal_raises_its_error(
    code: str, words: str, status: int, kind: type[errors.FavCRMError], form: Any
) -> None:
    error = error_of(VERIFY, form(code, words, status))
    assert type(error) is kind
    assert error.next_step


@pytest.mark.parametrize(
    ("status", "kind"),
    [(status, kind) for code, _, status, kind in REFUSALS if code not in {"INVALID_CODE", "SOMETHING_ELSE"}],
)
@pytest.mark.parametrize(
    "body", ["", "<html>Upgrade your plan, it has expired</html>"], ids=["empty", "HTML"]
)
def test_a_status_decides_where_the_body_is_a_page_or_empty(
    status: int, kind: type[errors.FavCRMError], body: str
) -> None:
    assert type(error_of(VERIFY, Response(status=status, body=body))) is kind


@pytest.mark.parametrize(
    ("words", "of_an_invitation"),
    [
        ("This invitation has expired.", True),
        ("The invite is no longer valid.", True),
        ("The code for this invitation has expired.", False),
        ("The code was not requested.", True),
        ("Invalid code: none was requested yet.", True),
        ("Invalid code. Please request a new one.", False),
    ],
)
@pytest.mark.parametrize("code", ["CODE_EXPIRED", "INVALID_CODE"])
def test_words_about_an_invitation_decide_before_a_code(
    words: str, of_an_invitation: bool, code: str
) -> None:
    error = error_of(VERIFY, enveloped({"code": code, "message": words}, isError=True))
    assert (type(error) is errors.RefusedError) == of_an_invitation


def test_words_decide_before_the_http_status() -> None:
    body = json.dumps({"message": "Too many wrong attempts."})
    assert isinstance(error_of(VERIFY, Response(status=429, body=body)), errors.TooManyAttemptsError)


def test_a_code_decides_before_words() -> None:
    error = error_of(VERIFY, enveloped({"code": "code-expired", "message": "Invalid code."}))
    assert isinstance(error, errors.CodeExpiredError)
    assert error.server_code == "code-expired"


@pytest.mark.parametrize(("status", "step"), [(404, "Check that the endpoint"), (302, "Set the endpoint")])
def test_a_status_of_the_endpoint_raises_refused_with_the_status_as_server_code(
    status: int, step: str
) -> None:
    error = error_of(ANY, Response(status=status, body="<html>", defect="is a redirect to nowhere"))
    assert type(error) is errors.RefusedError
    assert error.server_code == status
    assert f"HTTP {status}" in str(error)
    assert error.next_step.startswith(step)


@pytest.mark.parametrize(
    "words", ["This membership has expired", "The member already exists", "Invalid promo code"]
)
def test_words_of_a_sign_up_make_a_plain_refusal_of_other_calls(words: str) -> None:
    error = error_of(ANY, refusing(words))
    assert type(error) is errors.RefusedError
    assert error.summary == words


@pytest.mark.parametrize(
    "data",
    [
        {"message": "unauthorized"},
        [],
        None,
        {"error": None, "errors": [], "success": True},
        {"code": "ABC"},
        {"code": ["UNAUTHORIZED"]},
        {"error": "unauthorized", "services": []},
        {"data": {"error": "unauthorized"}, "services": []},
    ],
    ids=repr,
)
def test_an_ordinary_answer_of_any_tool_is_no_refusal(data: object) -> None:
    assert value_of(ANY, enveloped(data, "Your plan allows this.")).data == data


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"error": "no"}, errors.RefusedError),
        ({"success": False}, errors.RefusedError),
        ({"code": "UNAUTHORIZED", "more": 1}, errors.AuthenticationError),
        ({"error": {"message": "no"}}, errors.RefusedError),
        ({"error": "plan_limit"}, errors.PlanLimitError),
        ({"errors": [{"code": "plan_limit"}]}, errors.PlanLimitError),
        ({"error": "PLAN_NOT_FOUND"}, errors.RefusedError),
    ],
    ids=repr,
)
def test_a_payload_that_is_only_a_reason_is_a_refusal_of_any_tool(
    data: object, kind: type[errors.FavCRMError]
) -> None:
    assert type(error_of(ANY, enveloped(data))) is kind


def test_a_diagnosis_takes_empty_data_with_a_refusing_sentence_as_a_refusal() -> None:
    assert isinstance(error_of(PLAN, enveloped({}, "Unauthorized.")), errors.AuthenticationError)
    assert value_of(PLAN, enveloped({}, "Nothing to tell.")).data == {}
    assert value_of(PLAN, enveloped({"status": "ok"}, "Unauthorized.")).data == {"status": "ok"}


def test_a_reason_beside_a_null_is_found() -> None:
    text = json.dumps({"code": "PLAN_LIMIT", "message": "No."})
    result: dict[str, Any] = {"structuredContent": None, "content": [{"type": "text", "text": text}]}
    for told in ({**result, "isError": True}, result):
        error = error_of(ANY, Response(result=told))
        assert (type(error), error.server_code, error.summary) == (errors.PlanLimitError, "PLAN_LIMIT", "No.")


def test_login_url_and_upgrade_action_are_kept() -> None:
    known = enveloped({"code": "ACCOUNT_EXISTS", "loginUrl": "https://login.example"})
    assert error_of(VERIFY, known).login_url == "https://login.example"
    assert error_of(VERIFY, enveloped({"code": "ACCOUNT_EXISTS"})).login_url == "https://app.favcrm.io"
    limit: dict[str, Any] = {
        "isError": True,
        "structuredContent": {"code": "PLAN_LIMIT", "upgradeAction": "create_plan_upgrade_link"},
    }
    assert error_of(ANY, Response(result=limit)).upgrade_action == "create_plan_upgrade_link"


def test_rule_10_the_servers_words_are_cut_and_stripped_of_control_characters(key: str) -> None:
    words = f"Wrong code {CODE}\x1b[31m\u202e for Bearer abc.def, {key}" + "x" * 5000
    error = error_of(VERIFY, refusing(words))
    assert len(error.summary) <= 500
    assert not {"\x1b", "\u202e"} & set(error.summary)
    for secret in (CODE, key, "abc.def"):
        assert secret not in str(error) + error.summary


def test_an_email_that_the_server_repeats_is_hidden() -> None:
    error = error_of(REQUEST, enveloped({}, f"{EMAIL.upper()} is already registered"))
    assert EMAIL not in str(error).lower()
    assert clean("a\nb\tc", longest=4) == "a..."
    assert clean("a", hide=("",)) == "a"
    assert clean("No-Code", hide=("no-code",)) == "[hidden]"


# Where a reason stands

ACCOUNT = "An account with this email already exists"
ACCOUNT_REASONS: dict[str, Any] = {
    "a word as the error": {"error": "account_exists"},
    "a word with dots and capitals": {"error": "Account.Exists"},
    "a word in one piece": {"error": "accountExists"},
    "a longer word": {"code": "EMAIL_ALREADY_REGISTERED"},
    "a word beside other words": {"error": "account_exists", "message": "It did not work out."},
    "a word around the error": {"error": {"message": "No."}, "code": "account_exists"},
    "error in a list": {"error": [{"code": "account_exists"}]},
    "errors as objects": {"errors": [{"code": "OTHER"}, {"code": "account_exists", "message": "No."}]},
    "errors as texts": {"errors": [ACCOUNT]},
    "an error's description": {"error": "conflict_found", "error_description": ACCOUNT},
    "data in data": {"data": {"error": "account_exists"}},
}


@pytest.mark.parametrize("reason", ACCOUNT_REASONS.values(), ids=ACCOUNT_REASONS)
@pytest.mark.parametrize(
    "form",
    [
        enveloped,
        lambda told: Response(result={"isError": True, "structuredContent": told}),
        lambda told: Response(status=400, body=json.dumps(told)),
        lambda told: Response(error=JSONRPCError(-32000, "Tool failed", told)),
        lambda told: refusing(json.dumps(told)),
    ],
    ids=["a result", "isError", "HTTP", "JSON-RPC", "isError text"],
)
def test_a_reason_is_found_in_each_place(form: Callable[[Any], Response], reason: Any) -> None:
    assert isinstance(error_of(REQUEST, form(reason)), errors.AlreadyRegisteredError)


@pytest.mark.parametrize(
    "words",
    [
        ACCOUNT,
        "email is already in use",
        "This email has already been registered.",
        "You already have an account.",
        "The email address is already associated with another workspace.",
        "Email exists already.",
        "This email is taken.",
    ],
)
def test_the_words_of_the_summary_count_beside_an_unknown_error(words: str) -> None:
    refused = error_of(REQUEST, enveloped({"error": "E1042"}, words))
    assert isinstance(refused, errors.AlreadyRegisteredError)


def test_a_word_as_the_error_is_the_code_and_the_sentence_is_shown() -> None:
    error = error_of(REQUEST, enveloped({"error": "account_exists"}, f"{ACCOUNT}."))
    assert (error.server_code, error.summary) == ("account_exists", f"{ACCOUNT}.")
    assert (error_of(REQUEST, enveloped({"error": "no"}, "")).summary) == "no"


def test_a_secret_in_the_error_word_is_masked(key: str) -> None:
    for secret in (key, CODE):
        error = error_of(VERIFY, enveloped({"error": secret}, "", isError=True))
        assert (error.server_code, error.summary) == ("[hidden]", "[hidden]")
        assert secret not in str(error)


@pytest.mark.parametrize("nothing", [None, "", False, 0, [], {}], ids=repr)
def test_an_empty_error_is_no_refusal(nothing: object) -> None:
    data = {"error": nothing, "errors": nothing}
    assert value_of(ANY, enveloped(data, ACCOUNT)).data == data


def test_text_data_is_no_refusal() -> None:
    assert isinstance(error_of(VERIFY, enveloped({"data": "It is done."})), errors.OutcomeUnknownError)


def test_details_inside_the_error_are_found() -> None:
    limited = {"error": {"code": "RATE_LIMITED", "retryAfter": 12}}
    assert error_of(REQUEST, enveloped(limited)).retry_after == 12
    known = {"error": {"code": "ACCOUNT_EXISTS", "loginUrl": "https://login.example"}}
    assert error_of(VERIFY, enveloped(known)).login_url == "https://login.example"


def test_a_deeply_nested_reason_is_no_reason() -> None:
    reason: Any = {"code": "account_exists"}
    for _ in range(100_000):
        reason = {"error": [reason, reason]}
    assert type(error_of(REQUEST, Response(error=JSONRPCError(-32000, "No", reason)))) is errors.RefusedError


# What a refusal of the key tells, and what an error of JSON-RPC tells

CHALLENGES: dict[str, tuple[str, dict[str, str]]] = {
    "quoted": (
        'Bearer realm="x", error="invalid_token", error_description="It is over, since \\"May\\".", scope="a b"',
        {"error": "invalid_token", "error_description": 'It is over, since "May".', "scope": "a b"},
    ),
    "tokens": ("Bearer error=invalid_token,scope = a", {"error": "invalid_token", "scope": "a"}),
    "any scheme, any case": ('DPoP ERROR="invalid_token"', {"error": "invalid_token"}),
    "an address": (
        "Bearer resource_metadata=https://crm.example/.well-known/x?a=b",
        {"resource_metadata": "https://crm.example/.well-known/x?a=b"},
    ),
    "several": (
        'Negotiate YWJj==, Basic realm="error=no", Bearer error="invalid_token", DPoP error="b"',
        {"error": "invalid_token"},
    ),
    "nothing of use": ('Bearer realm="x", charset=UTF-8', {}),
    "never closed": ('Bearer scope="a", error="inval, x="', {"scope": "a", "error": "inval, x="}),
    "rubbish": ('=,"\\",,= ="\x00', {}),
}


@pytest.mark.parametrize(("header", "told"), CHALLENGES.values(), ids=CHALLENGES.keys())
def test_a_challenge_is_kept(header: str, told: dict[str, str]) -> None:
    error = error_of(ANY, Response(status=401, headers={"www-authenticate": header}))
    assert type(error) is errors.AuthenticationError
    assert error.challenge == told
    assert error.next_step == ERROR_CODES["authentication_failed"].next_step


def test_without_a_challenge_there_is_an_empty_one() -> None:
    assert error_of(ANY, Response(status=401)).challenge == {}
    assert errors.AuthenticationError("It failed.").challenge == {}


@pytest.mark.parametrize(
    ("scope", "lacking"),
    [
        (', scope="crm:write crm:send"', 'lacks the scope "crm:write crm:send"'),
        (r', scope="a\"b"', """lacks the scope "a'b"."""),
        ("", "lacks a scope"),
    ],
)
def test_a_key_without_the_scope_is_called_good(scope: str, lacking: str) -> None:
    headers = {"www-authenticate": f'Bearer error="insufficient_scope"{scope}'}
    error = error_of(ANY, Response(status=403, headers=headers))
    assert type(error) is errors.AuthenticationError
    assert error.message == "The key has no scope for the request. Nothing was done."
    assert f"this one is good, but {lacking}" in error.next_step
    assert (error.human_action or "").startswith("Ask the owner of the workspace")


def test_a_challenge_is_cut_and_masked(key: str) -> None:
    header = f'Bearer error="{CODE}", error_description="{EMAIL} \x1b[31m {key}", scope="{"x" * 5000}"'
    error = error_of(VERIFY, Response(status=401, headers={"www-authenticate": header}))
    assert error.challenge["error"] == "[hidden]"
    assert error.challenge["error_description"] == "[hidden] [31m [hidden]"
    assert len(error.challenge["scope"]) == 500


def test_the_data_of_an_error_is_kept(key: str) -> None:
    data: Any = {"errors": [{"path": "name", "n": 1}, ("a", None, True)], "sent": f"Bearer {key}", key: "x"}
    error = error_of(ANY, Response(error=JSONRPCError(-32602, "Wrong arguments", data)))
    assert error.server_code == -32602
    assert error.data == {
        "errors": [{"path": "name", "n": 1}, ["a", None, True]],
        "sent": "Bearer [hidden]",
        "[hidden]": "x",
    }
    assert "path" not in str(error) + repr(error)


@pytest.mark.parametrize(
    "call", [REQUEST, VERIFY, calls.any_tool("invite", {}, hide=(EMAIL,))], ids=lambda call: call.tool
)
def test_the_data_of_an_error_is_not_kept_where_something_is_hidden(call: calls.Call[Any]) -> None:
    response = Response(error=JSONRPCError(-32602, "Wrong arguments", {"email": EMAIL, "code": "ODD"}))
    error = error_of(call, response)
    assert (error.server_code, error.data) == ("ODD", None)


def test_data_that_is_too_deep_is_left_out() -> None:
    data: Any = []
    for _ in range(100_000):
        data = [data]
    assert error_of(ANY, Response(error=JSONRPCError(-32602, "Wrong", data))).data is None


# Busy, unknown, waits


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        (formatdate(NOW - 90, usegmt=True), 0.0),
        ("1.5", 1.5),
        ("soon", None),
        ("-5", None),
        ("nan", None),
        ("9" * 400, 1e9),
        ("Mon, 01 Jan 8999 00:00:00 GMT", 1e9),
        ("Fri, 31 Dec 9999 23:59:59 GMT", None),
    ],
    ids=repr,
)
def test_retry_after_is_seconds_or_a_date(header: str, seconds: float | None) -> None:
    error = error_of(REQUEST, Response(status=429, headers={"retry-after": header}))
    assert error.retry_after == seconds


def test_a_date_in_retry_after_counts_by_the_servers_clock() -> None:
    headers = {
        "retry-after": formatdate(NOW + 5030, usegmt=True),
        "date": formatdate(NOW + 5000, usegmt=True),
    }
    assert error_of(REQUEST, Response(status=429, headers=headers)).retry_after == 30
    body = json.dumps({"retryAfter": headers.pop("retry-after")})
    assert error_of(REQUEST, Response(status=429, headers=headers, body=body)).retry_after == 30


@pytest.mark.parametrize(
    ("data", "words", "seconds"),
    [
        ({"code": "RATE_LIMITED", "retryAfter": 12}, "", 12),
        ({"code": "RATE_LIMITED", "retryAfter": "x"}, "", None),
        ({"code": "RATE_LIMITED", "retryAfter": True}, "", None),
        ({"code": "RATE_LIMITED", "retry_after": " 1.5 "}, "", 1.5),
        ({"code": "RATE_LIMITED", "retryAfter": formatdate(NOW + 90, usegmt=True)}, "", 90),
        ({"code": "RATE_LIMITED", "message": "Try again in 12 minutes."}, "", 720),
        ({}, "Rate limit exceeded, wait for 1 hour", 3600),
    ],
    ids=range(7),
)
def test_a_wait_that_the_payload_names(data: dict[str, Any], words: str, seconds: float | None) -> None:
    assert error_of(REQUEST, enveloped(data, words)).retry_after == seconds


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (Response(status=500, body="<html>"), Kind.UNKNOWN),
        (Response(status=503), Kind.UNKNOWN),
        (Response(status=503, headers={"retry-after": "3"}), Kind.BUSY),
        (Response(status=502, headers={"retry-after": "3"}), Kind.UNKNOWN),
        (Response(status=200, complete=False), Kind.UNKNOWN),
        (Response(status=500, error=JSONRPCError(-32603, "internal")), Kind.UNKNOWN),
        (Response(status=429), Kind.BUSY),
    ],
    ids=range(7),
)
def test_an_answer_without_a_value_has_its_outcome(response: Response, kind: Kind) -> None:
    for call in EVERY_CALL:
        outcome = judge(call, response, CLOCK)
        assert isinstance(outcome, Failed)
        assert outcome.kind is kind


def test_the_message_names_a_defect() -> None:
    error = error_of(LIST, Response(status=200, defect="is empty", headers={"x-request-id": "req_1"}))
    assert error.message == "The answer is empty."
    assert error.request_id == "req_1"


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("\x1b[31mreq\x07 1 ", "[31mreq 1"),
        ("x" * 5000, f"{'x' * 197}..."),
        ("", None),
        ("\u202e", None),
    ],
    ids=["controls", "long", "empty", "unseen"],
)
def test_a_request_id_can_be_shown(told: str, shown: str | None) -> None:
    assert error_of(ANY, Response(status=404, headers={"x-request-id": told})).request_id == shown


# The remaining time is the server's (design rule 4)


@pytest.mark.parametrize("skew", [0, -86_400, 86_400])
def test_rule_4_a_wrong_local_clock_does_not_change_the_expiry(skew: float) -> None:
    server_now = datetime.fromisoformat(PENDING["expiresAt"]).timestamp() - 600
    clock = SandboxClock(server_now + skew)
    call = calls.request_code(Registration(email=EMAIL, organisation_name="Acme"), clock)
    response = enveloped(PENDING)
    dated = Response(result=response.result, headers={"date": formatdate(server_now, usegmt=True)})
    outcome = judge(call, dated, clock)
    assert isinstance(outcome, Answered)
    assert outcome.value.remaining() == 599
    clock.advance(598)
    assert not outcome.value.expired
    clock.advance(1)
    assert outcome.value.expired
    assert outcome.value.remaining() == 0


def test_without_a_date_the_local_clock_is_used() -> None:
    clock = SandboxClock(datetime.fromisoformat(PENDING["expiresAt"]).timestamp() - 60)
    call = calls.request_code(Registration(email=EMAIL, organisation_name="Acme"), clock)
    for date in ("", "yesterday", "Mon, 32 Foo 99999 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"):
        outcome = judge(call, Response(result=enveloped(PENDING).result, headers={"date": date}), clock)
        assert isinstance(outcome, Answered)
        assert outcome.value.remaining() == 60


# Whatever comes back

FIELDS = [
    "data", "summary", "structuredContent", "content", "text", "isError", "error", "errors", "code", "message",
    "apiKey", "requestId", "expiresAt", "tools", "name", "nextCursor", "success", "retryAfter",
]  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
JSON_VALUES = st.recursive(
    LEAVES | st.sampled_from([CODE, EMAIL]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=20,
)
HEADERS = st.dictionaries(
    st.sampled_from(["date", "retry-after", "x-request-id", "content-type", "location", "www-authenticate"]),
    st.text(max_size=40),
)
RESPONSES = st.builds(
    Response,
    result=JSON_VALUES,
    error=st.none() | st.builds(JSONRPCError, code=st.integers(), message=st.text(), data=JSON_VALUES),
    status=st.none() | st.integers(100, 599),
    headers=HEADERS,
    body=st.text() | JSON_VALUES.map(json.dumps),
    defect=st.sampled_from(["", "is empty"]),
    complete=st.booleans(),
)


@settings(max_examples=300)
@given(RESPONSES, st.sampled_from(EVERY_CALL))
@example(Response(status=429, body=json.dumps({"retryAfter": CODE})), calls.verify_code("signup_req_1", CODE))
def test_a_response_of_any_shape_ends_in_an_outcome(response: Response, call: calls.Call[Any]) -> None:
    outcome = judge(call, response, CLOCK)
    if isinstance(outcome, Failed):
        assert isinstance(outcome.error, errors.FavCRMError)
        assert outcome.error.next_step
        for secret in call.hide:
            assert secret not in str(outcome.error)


@pytest.mark.parametrize("unseen", ["\u200b", "\0", "\u2060", "\ufeff", "\u202e"])
@pytest.mark.parametrize("refused", [True, False])
def test_a_secret_with_characters_in_it_that_nobody_sees_is_masked(
    key: str, unseen: str, refused: bool
) -> None:
    split = f"{key[:5]}{unseen}{key[5:]}"
    result: Any = {"content": [{"type": "text", "text": f"Use {split} now."}], "isError": refused}
    outcome = judge(calls.any_tool("look", {}), Response(result=result), CLOCK)
    told = str(outcome.error) if isinstance(outcome, Failed) else f"{outcome.value.text()}{outcome.value!r}"
    assert key not in told
    assert split not in told
    assert clean(f"The code 271{unseen}828 is wrong.", hide=[CODE]) == "The code [hidden] is wrong."
    assert "example" not in without_emails(f"Mail to you@exam{unseen}ple.com.").replace("[hidden]", "")


def test_rule_1_a_key_is_found_beside_a_bearer_in_an_unknown_field(key: str) -> None:
    told = {**SIBLINGS, "apiKey": key, "usage": f"Authorization: Bearer {key}"}
    workspace = value_of(VERIFY, enveloped(told))
    assert workspace.api_key.reveal() == key
    assert workspace.extra == {"usage": "Authorization: Bearer [hidden]"}


def test_rule_1_a_key_is_found_beside_deeply_nested_unknown_fields(key: str) -> None:
    deep: Any = "down here"
    for _ in range(100_000):
        deep = [deep]
    told = {**SIBLINGS, "apiKey": key, "deep": deep}
    workspace = value_of(VERIFY, Response(result={"structuredContent": {"data": told}}))
    assert (workspace.api_key.reveal(), workspace.extra) == (key, {})


# Faults of the server's own

FAULTS: dict[str, Response] = {
    "internal error": Response(error=JSONRPCError(-32603, "Internal error")),
    "time-out of the server": Response(error=JSONRPCError(-32001, "Request timed out")),
    "connection behind the server": Response(error=JSONRPCError(-32000, "Connection closed")),
    "tool": refusing("Internal server error"),
    "tool behind a slow one": refusing("The read operation timed out"),
    "code": enveloped({"error": {"code": "INTERNAL_ERROR", "message": "Oops"}}),
    "HTTP 408": Response(status=408, body="<html>"),
    "HTTP 499": Response(status=499, body="<html>"),
}


@pytest.mark.parametrize("response", FAULTS.values(), ids=FAULTS)
def test_a_fault_of_the_server_leaves_the_outcome_unknown(response: Response) -> None:
    for call in EVERY_CALL:
        outcome = judge(call, response, CLOCK)
        told = isinstance(outcome, Failed) and outcome.kind is Kind.UNKNOWN
        assert told == call.acts


@pytest.mark.parametrize(
    "words", ["Invalid timeout value", "Session not found", "Member not found", "The internal id is missing"]
)
def test_words_like_those_of_a_fault_are_a_refusal(words: str) -> None:
    refused = refusing(words)
    assert type(error_of(ANY, refused)) is errors.RefusedError
