"""Whole flows through the command, the vendor's and this project's."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import colours
import pytest
from colours import WAYS, Colour
from servers import answers, serve
from transports.cli.commands import SHELL, Command, own, vendors, write_command
from transports.speakers import MODERN, speaks

from favcrm import (
    AlreadyRegisteredError,
    AuthenticationError,
    FavCRMClient,
    FavCRMError,
    FavCRMProvisioner,
    InputRequiredError,
    InvalidCodeError,
    NotSentError,
    OutcomeUnknownError,
    PlanLimitError,
    RateLimitError,
    RefusedError,
    Registration,
    RetryPolicy,
    Secret,
    ServerBusyError,
    __version__,
)
from favcrm.sandbox import Fault, PayloadForm, RefusalForm, Sandbox
from favcrm.stores import MemoryStore
from favcrm.transports import HTTPTransport

pytestmark = pytest.mark.anyio

MEETINGS = {
    "vendor-blocking": ("blocking", vendors),
    "vendor-asyncio": ("asyncio", vendors),
    "vendor-trio": ("trio", vendors),
    # What differs between the colours is how a command is run, whichever it is.
    "own-blocking": ("blocking", own),
}

EMAIL = "you@example.com"
REGISTRATION = Registration(
    email=EMAIL, organisation_name="--help", industry="fitness", country="HK", timezone="Asia/Hong_Kong"
)
ONCE = RetryPolicy.never()


@pytest.fixture(params=list(MEETINGS))
def meeting(request: pytest.FixtureRequest) -> str:
    """A colour on an event loop, and a command."""
    name: str = request.param
    return name


@pytest.fixture
def way(meeting: str) -> tuple[Colour, str]:
    return WAYS[MEETINGS[meeting][0]]


@pytest.fixture
def command(meeting: str, directory: Path) -> Command:
    return MEETINGS[meeting][1](directory)


def notes(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_sign_up_diagnosis_and_work(colour: Colour, command: Command, tmp_path: Path) -> None:
    sandbox = Sandbox()
    noted = tmp_path / "notes"
    noted.touch()
    with sandbox.serve() as server:
        transport = command.transport(colour, server.url, NOTES=str(noted))
        favcrm = colours.provisioner(colour, transport=transport)
        pending = await favcrm.initiate(REGISTRATION)
        assert pending.masked_email == "yo*@example.com"
        assert pending.instructions
        code = sandbox.inbox.code_for(EMAIL)
        workspace = await favcrm.confirm(pending, code)
        report = await favcrm.diagnose()
        assert (report.ready, report.organisation, report.whatsapp_connected) == (True, "--help", False)
        assert report.tool_count == len(sandbox.tools)
        crm = colours.client(colour, transport=transport, api_key=workspace.api_key)
        made = await crm.call_tool("create_member", {"name": "Ada", "phone": "+852 5555 0100"})
        read = await crm.call_tool("get_member", {"memberId": made.data["member"]["memberId"]})
        assert read.data["member"] == made.data["member"]
        tools = await crm.list_tools()
    assert workspace.problems == ()
    assert [tool.name for tool in tools] == list(sandbox.tools)
    assert all(tool.input_schema for tool in tools)
    # Nothing was saved behind anybody's back, and the key was in no argument.
    assert [entry.name for entry in os.scandir(tmp_path)] == ["notes"]
    for note in notes(noted):
        assert workspace.api_key.reveal() not in str(note["arguments"])


async def test_invitations(colour: Colour, command: Command) -> None:
    sandbox = Sandbox()
    key = sandbox.add_organisation("Acme")
    with sandbox.serve() as server:
        transport = command.transport(colour, server.url)
        crm = colours.client(colour, transport=transport, api_key=key)
        invitation = await crm.invite("ada@example.com", name="Ada", role="manager", expires_in_hours=24)
        assert invitation.token is not None
        assert invitation.expires_at is not None
        favcrm = colours.provisioner(colour, transport=transport)

        def read(_: object) -> str:
            return str(sandbox.inbox.code_for("ada@example.com"))

        async def read_later(_: object) -> str:
            return read(_)

        joined = await favcrm.accept_invite(
            invitation.token,
            name="Ada",
            read_code=read if colour == "blocking" else read_later,
            store=MemoryStore(),
        )
    assert joined.report.organisation == "Acme"


async def test_the_version(colour: Colour, command: Command) -> None:
    told = await command.reach(colour).version()
    assert told == (f"favcrm {__version__}" if command.env else "favcrm 0.1.4")


# Refusals. The vendor's command ends with 0 on most of them.

SPOKEN = [
    RefusalForm.HTTP_JSON,
    RefusalForm.HTTP_JSON_FLAT,
    RefusalForm.HTTP_HTML,
    RefusalForm.HTTP_EMPTY,
    RefusalForm.JSON_RPC_ERROR,
    RefusalForm.IS_ERROR_TEXT,
    RefusalForm.IS_ERROR_STRUCTURED,
    RefusalForm.DATA_ERROR,
]
WITHOUT_WORDS = {RefusalForm.HTTP_HTML, RefusalForm.HTTP_EMPTY}


def wrong_code(sandbox: Sandbox, transport: Any) -> None:
    with FavCRMProvisioner(transport=transport, retry=ONCE) as favcrm:
        pending = favcrm.initiate(REGISTRATION)
        code = sandbox.inbox.code_for(EMAIL)
        favcrm.confirm(pending, f"{(int(code) + 1) % 1_000_000:06}")


def known_email(sandbox: Sandbox, transport: Any) -> None:
    sandbox.add_account(EMAIL)
    with FavCRMProvisioner(transport=transport, retry=ONCE) as favcrm:
        favcrm.initiate(REGISTRATION)


def too_often(sandbox: Sandbox, transport: Any) -> None:
    with FavCRMProvisioner(transport=sandbox.transport()) as favcrm:
        for _ in range(3):
            favcrm.initiate(REGISTRATION, resend=True)
    with FavCRMProvisioner(transport=transport, retry=ONCE) as favcrm:
        favcrm.initiate(REGISTRATION)


def unknown_member(sandbox: Sandbox, transport: Any) -> None:
    with FavCRMClient(transport=transport, api_key=sandbox.add_organisation()) as crm:
        crm.call_tool("get_member", {"memberId": "nobody"})


def revoked_key(sandbox: Sandbox, transport: Any) -> None:
    key = sandbox.add_organisation()
    sandbox.revoke(key)
    with FavCRMClient(transport=transport, api_key=key) as crm:
        crm.call_tool("list_services")


def full_plan(sandbox: Sandbox, transport: Any) -> None:
    sandbox.rules.customers = 0
    with FavCRMClient(transport=transport, api_key=sandbox.add_organisation()) as crm:
        crm.call_tool("create_member", {"name": "Ada", "phone": "+852 5555 0100"})


def used_twice(sandbox: Sandbox, transport: Any) -> None:
    with FavCRMProvisioner(transport=transport, retry=ONCE) as favcrm:
        favcrm.accept_invite("invite_unknown", read_code=lambda _: "123456", store=MemoryStore())


SIGN_UP: Any = {wrong_code: InvalidCodeError, known_email: AlreadyRegisteredError, too_often: RateLimitError}
WORK: Any = {
    unknown_member: RefusedError,
    revoked_key: AuthenticationError,
    full_plan: PlanLimitError,
    used_twice: RefusedError,
}
SCENES = [
    *product(SIGN_UP, [*SPOKEN, RefusalForm.DATA_MESSAGE, RefusalForm.DATA_CODE]),
    *product(WORK, SPOKEN),
]


def refusal(scene: Any, form: RefusalForm, command: Command | None) -> FavCRMError:
    """Return what a scene raises through the command, or over HTTP where there is none."""
    sandbox = Sandbox(refusal_form=form)
    with sandbox.serve() as server:
        transport = command.transport("blocking", server.url) if command else HTTPTransport(server.url)
        with pytest.raises(FavCRMError) as raised:
            scene(sandbox, transport)
        transport.close()
    return raised.value


@pytest.mark.parametrize(
    ("scene", "form"), SCENES, ids=[f"{scene.__name__}-{form.name}" for scene, form in SCENES]
)
def test_a_refusal_through_the_vendors_command(scene: Any, form: RefusalForm, vendor: Command) -> None:
    ours, theirs = refusal(scene, form, vendor), refusal(scene, form, None)
    assert type(ours) is type(theirs)
    assert type(ours) is {**SIGN_UP, **WORK}[scene] or form in WITHOUT_WORDS


def test_a_refusal_in_the_summary_is_lost_by_the_vendors_command(vendor: Command) -> None:
    assert type(refusal(wrong_code, RefusalForm.SUMMARY_ONLY, vendor)) is OutcomeUnknownError


@pytest.mark.parametrize(
    ("scene", "form"),
    [
        (wrong_code, RefusalForm.SUMMARY_ONLY),
        (wrong_code, RefusalForm.IS_ERROR_TEXT),
        (known_email, RefusalForm.HTTP_JSON),
        (known_email, RefusalForm.DATA_ERROR),
        (unknown_member, RefusalForm.JSON_RPC_ERROR),
        (unknown_member, RefusalForm.HTTP_EMPTY),
        (full_plan, RefusalForm.IS_ERROR_STRUCTURED),
    ],
    ids=lambda part: getattr(part, "__name__", None) or part.name,
)
def test_a_refusal_through_our_command_is_the_same(scene: Any, form: RefusalForm, directory: Path) -> None:
    ours, theirs = refusal(scene, form, own(directory)), refusal(scene, form, None)
    assert type(ours) is type(theirs)
    for name in ("message", "next_step", "code", "summary", "login_url", "upgrade_action"):
        assert getattr(ours, name, None) == getattr(theirs, name, None)
    assert ours.request_id


def question(transport: Any) -> InputRequiredError:
    """Return what is raised where the server asks for input."""
    crm = FavCRMClient(transport=transport, api_key=secrets.token_urlsafe(), retry=ONCE)
    with crm, pytest.raises(InputRequiredError) as raised:
        crm.call_tool("count")
    return raised.value


def test_a_server_that_asks_for_input_is_the_same_through_our_command(directory: Path) -> None:
    asked = {"who": {"method": "elicitation/create", "params": {"message": "Who are you?"}}}
    asks = answers({"resultType": "input_required", "inputRequests": asked, "requestState": "kept"})
    with serve(speaks({**MODERN, "tools/call": asks})) as server:
        ours = question(own(directory).transport("blocking", server.url))
        with closing(HTTPTransport(server.url)) as http:
            theirs = question(http)
    # A command has no address of its own.
    assert vars(ours) | {"endpoint": theirs.endpoint} == vars(theirs)
    assert ours.input_requests == asked
    assert "The call was not completed" in ours.message


@pytest.mark.parametrize("more", ["", ', "input_requests": ["who"]'], ids=["untold", "of another shape"])
def test_a_command_that_does_not_say_what_is_asked_for(more: str, directory: Path) -> None:
    error = f'{{"type": "InputRequiredError", "message": "Asked."{more}}}'
    command = write_command(directory, f"{SHELL}echo '{{\"error\": {error}}}' >&2\nexit 1\n")
    raised = question(command.transport("blocking"))
    assert (raised.message, raised.input_requests) == ("Asked.", {})
    assert raised.next_step == InputRequiredError.default_next_step


def test_what_our_command_takes_for_wrong_input_was_not_sent(directory: Path) -> None:
    params = {
        "name": "register_organisation_request",
        "arguments": {"email": "no", "organisationName": "Acme"},
    }
    transport = own(directory).transport("blocking", "http://127.0.0.1:9/mcp")
    with pytest.raises(NotSentError, match="email: must be") as raised:
        transport.request("tools/call", params, api_key=None, timeout=30.0)
    assert raised.value.permanent


@pytest.mark.parametrize("make", [vendors, own])
def test_a_rate_limit_keeps_its_wait(make: Any, directory: Path) -> None:
    error = refusal(too_often, RefusalForm.HTTP_JSON, make(directory))
    assert isinstance(error, RateLimitError)
    assert error.retry_after is not None
    assert error.retry_after > 60


@pytest.mark.parametrize("form", list(PayloadForm), ids=lambda form: form.name)
async def test_every_payload_form(colour: Colour, vendor: Command, form: PayloadForm) -> None:
    sandbox = Sandbox(payload_form=form)
    with sandbox.serve() as server:
        crm = colours.client(
            colour, transport=vendor.transport(colour, server.url), api_key=sandbox.add_organisation()
        )
        assert (await crm.call_tool("list_services")).data == {"services": []}


# What goes wrong on the way


FAULTS: dict[str, tuple[Fault, type[FavCRMError]]] = {
    "reset": (Fault.RESET_AFTER, OutcomeUnknownError),
    "busy": (Fault.server_error(503, retry_after=7), ServerBusyError),
    "broken": (Fault.server_error(500), OutcomeUnknownError),
    "page": (Fault.HTML, OutcomeUnknownError),
    "cut": (Fault.TRUNCATED_SSE, OutcomeUnknownError),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_faults(colour: Colour, command: Command, fault: str) -> None:
    ordered, expected = FAULTS[fault]
    if fault == "busy" and not command.env:
        # The vendor's command does not tell how long to wait.
        expected = OutcomeUnknownError
    sandbox = Sandbox()
    sandbox.fail_next("list_services", ordered)
    with sandbox.serve() as server:
        transport = command.transport(colour, server.url)
        crm = colours.client(colour, transport=transport, api_key=sandbox.add_organisation(), retry=ONCE)
        with pytest.raises(FavCRMError) as raised:
            await crm.call_tool("list_services")
    assert type(raised.value) is expected
    if isinstance(raised.value, ServerBusyError):
        assert raised.value.retry_after == 7


async def test_nobody_answers(colour: Colour, command: Command) -> None:
    sandbox = Sandbox()
    key = sandbox.add_organisation()
    with sandbox.serve() as server, server.refusing():
        crm = colours.client(colour, transport=command.transport(colour, server.url), api_key=key, retry=ONCE)
        with pytest.raises(NotSentError) as raised:
            await crm.call_tool("list_services")
    assert not raised.value.permanent


async def test_a_code_whose_answer_is_lost_is_sent_once_more(colour: Colour, vendor: Command) -> None:
    sandbox = Sandbox()
    with sandbox.serve() as server:
        favcrm = colours.provisioner(colour, transport=vendor.transport(colour, server.url))
        pending = await favcrm.initiate(REGISTRATION)
        sandbox.fail_next("register_organisation_verify", Fault.RESET_BEFORE)
        workspace = await favcrm.confirm(pending, sandbox.inbox.code_for(EMAIL))
    assert workspace.api_key.reveal().startswith("fav_mcp_")
    assert sandbox.count("register_organisation_verify") == 2


# What the command gets


async def test_the_only_key_that_is_found_is_the_one_presented(
    colour: Colour, vendor: Command, key: Secret, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = Sandbox()
    noted = tmp_path / "notes"
    config = tmp_path / "favcrm" / "config.toml"
    config.parent.mkdir()
    config.write_text(f'api_key = "{key.reveal()}"\n')
    monkeypatch.setenv("FAVCRM_API_KEY", key.reveal())
    monkeypatch.setenv("FAVCRM_MCP_TOKEN", key.reveal())
    monkeypatch.setenv("SOME_PASSWORD", key.reveal())
    given = {"NOTES": str(noted), "FAVCRM_MCP_TOKEN": key.reveal()}
    with sandbox.serve() as server:
        transport = vendor.reach(colour, server.url, **given)
        params = {"name": "list_services", "arguments": {}}
        refused = await transport.request("tools/call", params, api_key=None, timeout=30.0)
        listed = await transport.request(
            "tools/call", params, api_key=sandbox.add_organisation(), timeout=30.0
        )
        await transport.end()
    without, with_key = notes(noted)
    assert key.reveal() not in str(without)
    assert not {"FAVCRM_API_KEY", "FAVCRM_MCP_TOKEN"} & without["environment"].keys()
    assert "FAVCRM_API_KEY" in with_key["environment"]
    assert key.reveal() not in str(with_key)
    assert without["arguments"] == ["--json", "tool", "call", "--", "list_services", "{}"]
    assert without["environment"]["FAVCRM_MCP_URL"] == server.url
    assert refused.result["isError"] is True
    assert listed.result["structuredContent"]["data"] == {"services": []}
    assert without["environment"]["XDG_CONFIG_HOME"] not in {
        str(tmp_path),
        with_key["environment"]["XDG_CONFIG_HOME"],
    }


async def test_the_endpoint_comes_from_the_settings(
    colour: Colour, vendor: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = Sandbox()
    with sandbox.serve() as server:
        monkeypatch.setenv("FAVCRM_MCP_URL", server.url)
        transport = vendor.reach(colour)
        monkeypatch.delenv("FAVCRM_MCP_URL")
        listed = await transport.request("tools/list", {}, api_key=None, timeout=30.0)
    assert len(listed.result["tools"]) == len(sandbox.tools)
