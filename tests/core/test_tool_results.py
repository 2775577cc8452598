"""What a tool answers shows no key and no one-time token, loses none, and can be kept anywhere."""

from __future__ import annotations

import copy
import json
import pickle
import secrets
from typing import Any

import attrs
import pytest
from colours import Facade, client, own_transport, provisioner, transport_to

from favcrm import Registration, Tool, ToolResult, errors
from favcrm._flows import calls
from favcrm._flows.attempts import Answered, Failed, judge
from favcrm.models import PendingRegistration
from favcrm.sandbox import Sandbox, SandboxClock
from favcrm.transport import JSONRPCError, Response

pytestmark = pytest.mark.anyio

CLOCK = SandboxClock(1_778_500_000.0)
TOKEN = "not-a-real-token-6789"
LINK = f"https://app.favcrm.example/s/{TOKEN}"


@pytest.fixture
def key() -> str:
    return f"fav_mcp_{secrets.token_urlsafe(24)}"


def answer(result: Any, tool: str = "create_survey_invitation") -> ToolResult:
    outcome = judge(calls.any_tool(tool, {}), Response(result=result, status=200), CLOCK)
    assert isinstance(outcome, Answered), outcome
    value: ToolResult = outcome.value
    return value


def enveloped(data: Any, summary: str = "Done.") -> dict[str, Any]:
    content = [{"type": "text", "text": json.dumps(data)}]
    return {
        "structuredContent": {"data": data, "summary": summary, "renderType": "json"},
        "content": content,
    }


def pickled(result: ToolResult) -> ToolResult:
    kept: ToolResult = pickle.loads(pickle.dumps(result))  # noqa: S301 - made here
    return kept


def everything(result: ToolResult) -> str:
    """Return all that can be made of a result without revealing a secret."""
    copies = (result, copy.copy(result), copy.deepcopy(result), pickled(result))
    shown = [repr(each) + str(each.content) + str(each.raw) + str(each.data) for each in copies]
    shown += [json.dumps(result.to_dict()), repr(attrs.asdict(result)), json.dumps(result._asdict())]
    shown += [f"{pickle.dumps(result, protocol)!r}" for protocol in (0, pickle.HIGHEST_PROTOCOL)]
    return "\n".join(shown)


SECRET_FIELDS = [
    "token",
    "INVITE-TOKEN",
    "refresh_token",
    "apiKey",
    "api_key",
    "clientSecret",
    "temporaryPassword",
    "otp",
    "inviteCode",
    "surveyLink",
    "invitationURL",
]


@pytest.mark.parametrize("name", SECRET_FIELDS)
def test_a_secret_is_known_by_the_name_of_its_field(name: str) -> None:
    told: Any = answer(enveloped({name: TOKEN}, f"Give them {TOKEN}."), "any_tool_at_all")
    assert told.data[name].reveal() == TOKEN
    assert TOKEN not in everything(told)


@pytest.mark.parametrize(
    ("form", "path"),
    [
        (lambda data: {"structuredContent": data}, []),
        (lambda data: {"content": [{"type": "text", "text": json.dumps(data)}]}, []),
        (lambda data: enveloped([data]), [0]),
        (lambda data: enveloped({"invitation": data}), ["invitation"]),
    ],
    ids=["bare", "text", "list", "inside"],
)
@pytest.mark.parametrize("wraps", [False, True], ids=["text", "value"])
def test_a_secret_is_found_wherever_it_stands(form: Any, path: list[Any], *, wraps: bool) -> None:
    value = {"value": TOKEN, "expiresAt": "soon"} if wraps else TOKEN
    told: Any = answer(form({"inviteToken": value}), "any_tool_at_all")
    found = told.data
    for step in [*path, "inviteToken", *(["value"] if wraps else [])]:
        found = found[step]
    assert found.reveal() == TOKEN
    assert TOKEN not in everything(told)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tokenCount", 5),
        ("token", 7),
        ("token", ""),
        ("tokenType", "Bearer"),
        ("nextPageToken", TOKEN),
        ("continuationToken", TOKEN),
        ("code", "SUMMER-2026"),
        ("hasPassword", True),
        ("key", "booking.confirmed"),
        ("link", "https://example.com"),
        ("bookingUrl", "https://example.com/book?page=2&nextPageToken=abc"),
        ("note", "A token of thanks: the password is on the door."),
        ("howTo", "Set FAVCRM_API_KEY=fav_mcp_XXXXXXXXXXXXXXXXXXXXXXXX, or fav_mcp_..."),
        ("json", '{"a": 1'),
        ("json", '{"a":  [1]}'),
    ],
    ids=repr,
)
def test_what_is_no_secret_stays_as_it_is(name: str, value: object) -> None:
    result = enveloped({name: value, "items": [{name: value}]})
    told = answer(result, "list_things")
    assert told.data == {name: value, "items": [{name: value}]}
    assert told.raw == result
    assert list(told.content) == result["content"]


def test_a_link_in_an_invitation_is_a_secret() -> None:
    told: Any = answer(enveloped({"link": LINK, "logoUrl": "https://example.com/logo.png"}), "list_invites")
    assert told.data["link"].reveal() == LINK
    assert told.data["logoUrl"] == "https://example.com/logo.png"
    assert TOKEN not in everything(told)
    nested: Any = answer(enveloped({"invitation": {"url": LINK}}), "get_anything")
    assert nested.data["invitation"]["url"].reveal() == LINK


@pytest.mark.parametrize(
    "address",
    [
        f"https://app.example/?a=1&invite_token={TOKEN}&b=2",
        f"https://app.example/#access_token={TOKEN}",
        f"Open https://app.example/?surveyToken={TOKEN} now.",
    ],
)
def test_a_token_in_a_link_is_known_by_the_name_of_its_parameter(address: str) -> None:
    told: Any = answer(enveloped({"address": address}, address), "get_anything")
    assert told.data["address"].reveal() == address
    assert TOKEN not in everything(told)
    assert told.summary == address.replace(TOKEN, "[hidden]")


def test_a_token_that_stands_elsewhere_too_is_hidden_there() -> None:
    odd = f"{TOKEN}/+é"
    data = {
        "token": odd,
        "text": f"Use {odd}.",
        "address": "https://app.example/%2Fx?for=not-a-real-token-6789%2F%2B%C3%A9",
    }
    told: Any = answer(enveloped(data, f"Use {odd}."), "get_anything")
    assert (told.data["text"].reveal(), told.data["address"].reveal()) == (data["text"], data["address"])
    assert told.summary == "Use [hidden]."
    assert TOKEN not in everything(told)


def test_a_short_token_is_hidden_in_its_own_field_only() -> None:
    told: Any = answer(enveloped({"token": "a", "name": "Ada"}, "Ada is invited."))
    assert (told.data["token"].reveal(), told.data["name"], told.summary) == ("a", "Ada", "Ada is invited.")


def test_a_key_is_known_by_its_form(key: str) -> None:
    quoted = json.dumps({"inner": json.dumps({"x": key})})
    data = {"x": key, "text": f"Your key is {key}.", "list": [key], "quoted": quoted, key: "name"}
    told: Any = answer(enveloped(data, f"It is {key}."), "get_anything")
    assert told.data["x"].reveal() == told.data["list"][0].reveal() == key
    assert told.data["text"].reveal() == data["text"]
    assert told.data["quoted"].reveal() == quoted
    assert told.data["[hidden]"] == "name"
    assert told.summary == "It is [hidden]."
    assert key not in everything(told)


def test_a_key_in_the_words_of_a_tool_is_not_lost(key: str) -> None:
    told: Any = answer({"content": [{"type": "text", "text": f"Your key is {key}."}]}, "get_anything")
    assert told.data.reveal() == f"Your key is {key}."
    assert key not in everything(told)


def test_what_is_hidden_in_the_content_leaves_the_rest_readable() -> None:
    told = answer(enveloped({"token": TOKEN, "n": 1.5, "é": [True, None]}))
    assert json.loads(str(told.content[0]["text"])) == {"token": "[hidden]", "n": 1.5, "é": [True, None]}


def test_what_is_too_deep_to_be_searched_is_not_shown() -> None:
    deep: Any = TOKEN
    for _ in range(100_000):
        deep = [deep]
    outcome = judge(calls.any_tool("x", {}), Response(result={"structuredContent": deep}), CLOCK)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, errors.OutcomeUnknownError)
    assert "$ nests too deep" in outcome.error.message


# In other answers


def test_no_secret_is_in_the_data_of_an_error() -> None:
    response = Response(error=JSONRPCError(-32602, "Wrong", {"sent": {"inviteToken": TOKEN}}))
    outcome = judge(calls.any_tool("x", {}), response, CLOCK)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, errors.RefusedError)
    assert outcome.error.data == {"sent": {"inviteToken": "[hidden]"}}


def test_a_token_among_the_arguments_is_not_told_by_an_error() -> None:
    result: Any = {"isError": True, "content": [{"type": "text", "text": f"{TOKEN} is over."}]}
    for arguments in ({"token": TOKEN}, {"survey": json.dumps({"surveyToken": TOKEN})}):
        outcome = judge(calls.any_tool("x", arguments), Response(result=result), CLOCK)
        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, errors.RefusedError)
        assert outcome.error.summary == "[hidden] is over."


def test_no_secret_is_in_the_fields_that_are_not_known(key: str) -> None:
    more = {"refreshToken": TOKEN, "tokenCount": 5}
    call = calls.verify_code("signup_req_1", "271828")
    outcome = judge(call, Response(result=enveloped({"apiKey": key, **more})), CLOCK)
    assert isinstance(outcome, Answered)
    assert outcome.value.extra == {"refreshToken": "[hidden]", "tokenCount": 5}


async def test_no_secret_is_in_a_report() -> None:
    transport = answering({"token": TOKEN, "name": "Acme", "status": "active"})
    report = await provisioner("blocking", transport=transport, api_key="not-a-real-key-6789").diagnose()
    assert json.dumps(report.plan) == '{"token": "...6789", "name": "Acme", "status": "active"}'
    allowance = await client("blocking", transport=transport).check_plan(tool="create_member")
    assert allowance.raw == report.plan


# Kept, and brought back


def test_a_result_is_kept_whole_and_its_secret_masked() -> None:
    told = answer(enveloped({"token": TOKEN, "n": [1, 2.5, None, {"a": True}]}, "Done."))
    kept = pickled(told)
    assert kept.data == {"token": "...6789", "n": [1, 2.5, None, {"a": True}]}
    assert (kept.summary, kept.content, kept.raw) == (told.summary, told.content, told.raw)
    assert ToolResult(**json.loads(json.dumps(told.to_dict()))) == kept


def test_a_copy_keeps_the_secret_and_shares_nothing() -> None:
    told: Any = answer(enveloped({"token": TOKEN, "n": [1]}))
    deep: Any = copy.deepcopy(told)
    assert copy.copy(told) == deep == told
    assert deep.data["token"].reveal() == TOKEN
    deep.data["n"].append(2)
    assert told.data["n"] == [1]


# The tools that have a method of their own

RESERVED = {
    "register_organisation_request": "FavCRMProvisioner.initiate",
    "register_organisation_verify": "FavCRMProvisioner.confirm",
    "create_team_member_invite": "FavCRMClient.invite",
    "accept_team_invite_request": "FavCRMProvisioner.request_invite_code",
    "accept_team_invite_verify": "FavCRMProvisioner.confirm_invite",
}


@pytest.fixture
def crm(sandbox: Sandbox) -> Facade:
    transport = transport_to(sandbox, "blocking")
    return client("blocking", transport=transport, api_key=sandbox.add_organisation("Acme"))


@pytest.mark.parametrize("spelling", ["{}", " {} ", "mcp__favcrm__{}", "favcrm.{}", "favcrm/{}"])
@pytest.mark.parametrize("tool", RESERVED)
async def test_a_tool_with_a_method_of_its_own_is_refused_and_the_method_named(
    sandbox: Sandbox, crm: Facade, tool: str, spelling: str
) -> None:
    name = spelling.format(tool)
    for spelt in (name, name.upper(), name.replace("_", "-")):
        with pytest.raises(errors.InvalidInputError) as caught:
            await crm.call_tool(spelt, {"token": TOKEN, "code": "271828"})
        assert [problem.field for problem in caught.value.problems] == ["name"]
        assert f"call {RESERVED[tool]}" in str(caught.value)
        assert TOKEN not in str(caught.value)
    assert sandbox.calls == ()


THE_TOOL = "accept_team_invite_verify"
WRAPPINGS: list[Any] = [
    {"toolName": THE_TOOL},
    {"timeout": 5, "tool": THE_TOOL, "arguments": {}},
    {"tool_name": f"favcrm.{THE_TOOL}"},
    {"call": {"function": THE_TOOL}},
    {"calls": [{"name": "list_services"}, {"name": THE_TOOL}]},
    {"tools": ["list_services", THE_TOOL]},
    {"request": json.dumps({"name": THE_TOOL})},
    {"name": "execute_tool", "arguments": {"name": THE_TOOL}},
]


@pytest.mark.parametrize("arguments", WRAPPINGS, ids=repr)
async def test_another_tool_is_not_asked_to_call_it(sandbox: Sandbox, crm: Facade, arguments: Any) -> None:
    with pytest.raises(errors.InvalidInputError, match=f"{THE_TOOL} has a method of its own"):
        await crm.call_tool("execute_tool", arguments)
    assert sandbox.calls == ()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("execute_tool", {"name": "list_services", "arguments": {"query": THE_TOOL, "ids": ["a"]}}),
        ("search_tools", {"query": THE_TOOL}),
        ("check_plan_operation", {"toolName": THE_TOOL}),
    ],
)
async def test_other_calls_that_name_such_a_tool_are_made(name: str, arguments: Any) -> None:
    crm = client("blocking", transport=answering({"ok": True}))
    assert (await crm.call_tool(name, arguments)).data == {"ok": True}


@pytest.mark.parametrize("name", ["execute_tool", "create_member"])
async def test_arguments_without_a_bottom_are_refused(sandbox: Sandbox, crm: Facade, name: str) -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(errors.InvalidInputError):
        await crm.call_tool(name, {"deep": deep})
    assert sandbox.calls == ()


# What a tool may do, and its answer as text for a model


@pytest.mark.parametrize(
    ("annotations", "read_only", "destructive"),
    [
        ({}, False, True),
        ({"readOnlyHint": True}, True, False),
        ({"readOnlyHint": False, "destructiveHint": False}, False, False),
        ({"readOnlyHint": "yes", "destructiveHint": None}, False, True),
    ],
)
def test_a_tool_without_hints_is_taken_for_one_that_may_destroy(
    annotations: Any, read_only: bool, destructive: bool
) -> None:
    tool = Tool(name="a", annotations=annotations)
    assert (tool.read_only, tool.destructive) == (read_only, destructive)


def test_the_text_for_a_model_has_the_summary_and_the_payload_without_secrets(key: str) -> None:
    result = answer(enveloped({"apiKey": key, "token": TOKEN, "name": "Ada\u202e\x07"}, "Done."))
    text = result.text()
    assert text.startswith('Done.\n{"apiKey": "...')
    assert key not in text
    assert TOKEN not in text
    assert "\u202e" not in text


def test_the_text_for_a_model_is_the_payload_itself_where_that_is_text() -> None:
    assert ToolResult(data="One line.\nAnother.").text() == "One line.\nAnother."


@pytest.mark.parametrize("limit", [0, 30, 100])
def test_the_text_for_a_model_is_never_longer_than_its_limit(limit: int) -> None:
    text = ToolResult(data=list(range(10_000)), summary="Many.").text(limit)
    assert len(text) <= limit
    assert limit < 100 or text.endswith("of 58896 characters]")


def answering(data: Any) -> Any:
    return own_transport("blocking", lambda _: Response(result=enveloped(data)))


def test_a_pending_registration_has_no_token_in_its_extra() -> None:
    told = {"requestId": "r", "expiresAt": "2026-05-11T12:00:00Z", "maskedEmail": "", "instructions": ""}
    call = calls.request_code(Registration(email="you@example.com", organisation_name="Acme"), CLOCK)
    outcome = judge(call, Response(result=enveloped({**told, "token": TOKEN})), CLOCK)
    assert isinstance(outcome, Answered)
    assert isinstance(outcome.value, PendingRegistration)
    assert outcome.value.extra == {"token": "[hidden]"}
