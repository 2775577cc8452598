"""The commands that work with a workspace: ``doctor``, ``whoami``, ``plan``, ``whatsapp`` and ``tool``."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import VERIFY, Command
from servers import Peer, Request, message, serve, whole

from favcrm.sandbox import Sandbox
from favcrm.sandbox.server import Server

TOKEN = "not-a-real-token-6789"


def test_the_doctor_of_a_ready_workspace_succeeds(load: Any, server: Server, sandbox: Sandbox) -> None:
    key = sandbox.add_organisation("Acme").reveal()
    shown = load("--url", server.url, "--api-key", key, "doctor")
    assert (shown["url"], shown["authenticated"], shown["reachable"]) == (server.url, True, True)
    assert shown["toolCount"] == len(sandbox.tools)
    assert shown.keys() == {
        "url", "authenticated", "reachable", "toolCount", "currentUser", "plan", "whatsapp"
    }  # fmt: skip


@pytest.mark.usefixtures("key")
def test_the_doctor_of_an_unreachable_server_fails(command: Command, server: Server) -> None:
    server.close()
    ran = command("--json", "doctor")
    document = json.loads(ran.stdout)
    assert ran.exit_code == 1
    assert document["reachable"] is False
    assert document["error"]
    assert document.keys() >= {"currentUserError", "planError", "whatsappError"}
    assert json.loads(ran.stderr)["error"]["code"] == "not_ready"
    shown = command("doctor")
    assert "endpoint      failed" in shown.stdout
    assert "Nothing was sent. Check the endpoint" in shown.stdout
    assert ".." not in shown.stdout
    assert shown.stderr.startswith("Error: The workspace is not ready")


def test_the_doctor_without_a_key_fails(command: Command, url: str) -> None:
    ran = command("doctor", "--json")
    assert ran.exit_code == 1
    document = json.loads(ran.stdout)
    assert document.keys() == {"url", "authenticated", "reachable", "toolCount"}
    assert document["url"] == url


@pytest.mark.usefixtures("url")
@pytest.mark.parametrize("home", [True, False], ids=["with a home", "without a home"])
def test_without_a_key_a_command_says_where_a_key_was_looked_for(
    home: bool, fail: Any, command: Command, environment: dict[str, str], tmp_path: Path
) -> None:
    where = f"--api-key, FAVCRM_API_KEY, FAVCRM_MCP_TOKEN or {tmp_path / 'favcrm' / 'config.toml'}"
    if not home:
        del environment["HOME"], environment["XDG_CONFIG_HOME"]
        where = "--api-key, FAVCRM_API_KEY or FAVCRM_MCP_TOKEN"
    said = fail("whoami")
    assert said.startswith(
        f"Error: No key was found in {where}. Nothing was done.\n"
        'Next step: Sign up with "favcrm signup request". With an account, sign in at https://app.favcrm.io, '
    )
    assert json.loads(fail("--json", "whoami"))["error"]["code"] == "authentication_failed"
    assert f"no key was found in {where}. Sign up with" in command("doctor").stdout


@pytest.mark.usefixtures("url")
def test_a_refused_key_is_told_with_its_source(fail: Any) -> None:
    wrong = secrets.token_urlsafe()
    said = fail("whoami", FAVCRM_API_KEY=wrong)
    assert said.startswith("Error: The server refused the key.")
    assert "\nKey from: the variable FAVCRM_API_KEY\n" in said
    assert "\nKey from: --api-key\n" in fail("--api-key", wrong, "whoami")


@pytest.mark.usefixtures("url")
def test_the_doctor_of_a_refused_key_names_its_source_and_tells_the_refusal_once(command: Command) -> None:
    ran = command("doctor", FAVCRM_API_KEY=secrets.token_urlsafe())
    assert ran.exit_code == 1
    assert ran.stdout.count("The server refused the key.") == 1
    assert ran.stdout.count("  the same as key\n") == 3
    for shown in (ran.stdout, ran.stderr):
        assert shown.count("Key from: the variable FAVCRM_API_KEY.") == 1


def test_a_saved_key_of_another_address_is_named(
    fail: Any, command: Command, server: Server, config: Path
) -> None:
    config.write_text(f'url = "http://127.0.0.1:9/mcp"\napi_key = "{secrets.token_urlsafe()}"\n')
    reason = f"he key in {config} was not sent to {server.url}, because that key is for "
    reason += "http://127.0.0.1:9/mcp"
    doctor = command("--url", server.url, "doctor")
    assert f"  t{reason}. If that key is for {server.url}, write" in doctor.stdout
    assert f"t{reason}." in doctor.stderr
    assert fail("--url", server.url, "whoami").startswith(
        f"Error: T{reason}. Nothing was done.\nNext step: If that key is for"
    )


@pytest.mark.usefixtures("key")
def test_tools_are_listed_described_and_called(succeed: Any, load: Any, sandbox: Sandbox) -> None:
    assert load("plan", "status")
    assert load("whatsapp", "status")["connected"] is False
    listed = load("tool", "list")
    assert [entry["name"] for entry in listed] == list(sandbox.tools)
    assert listed[0]["inputSchema"]["type"] == "object"
    described = load("tool", "describe", "list_services")
    assert described in listed
    assert json.loads(succeed("tool", "describe", "list_services")) == described
    lines = succeed("tool", "list").splitlines()
    assert len(lines) == len(sandbox.tools)
    assert max(map(len, lines)) <= 100
    shown = succeed("tool", "call", "create_member", '{"name": "Ada", "phone": "+852 5555 0100"}')
    assert shown.startswith("Ada is a member now.\n{")


@pytest.mark.usefixtures("key")
def test_a_refused_call_says_why(fail: Any) -> None:
    said = fail("tool", "call", "get_member", '{"memberId": "nobody"}')
    assert said.startswith("Error: The server refused")
    assert "Next step: " in said
    assert "There is no tool of this name" in fail("tool", "describe", "nothing")


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("arguments", ["[]", "{", "[" * 100_000])
def test_arguments_that_are_no_object_are_a_wrong_use(fail: Any, arguments: str, sandbox: Sandbox) -> None:
    assert "must be an object" in fail("tool", "call", "get_member", arguments, status=2)
    assert sandbox.calls == ()


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize(
    ("tool", "own"),
    [
        (VERIFY, 'run "favcrm signup verify"'),
        ("mcp__favcrm__create_team_member_invite", 'run "favcrm team invite create"'),
    ],
)
def test_a_tool_with_a_command_of_its_own_is_refused(
    fail: Any, tool: str, own: str, sandbox: Sandbox
) -> None:
    assert own in fail("tool", "call", tool, '{"email": "a@example.com"}', status=2)
    assert sandbox.calls == ()


def invitation(peer: Peer, request: Request) -> None:
    if request.json["method"] != "tools/call":
        # The client first asks whether the server has sessions, and this one has none.
        unknown = {"code": -32601, "message": "Method not found"}
        peer.send(whole(json.dumps({"jsonrpc": "2.0", "id": request.json["id"], "error": unknown}).encode()))
        return
    data = {"surveyToken": TOKEN, "tokenCount": 5}
    answer = {"structuredContent": {"data": data, "summary": f"Send {TOKEN}.", "renderType": "card"}}
    peer.send(whole(message(request, answer)))


@pytest.mark.parametrize("mode", [(), ("--json",)], ids=["for people", "for machines"])
@pytest.mark.parametrize(("options", "shown"), [((), "...6789"), (("--show-key",), TOKEN)])
def test_a_token_that_a_tool_answers_is_masked_unless_the_user_asks_for_it(
    succeed: Any, mode: tuple[str, ...], options: tuple[str, ...], shown: str
) -> None:
    call = (*mode, "tool", "call", "create_survey_invitation", *options)
    with serve(invitation) as server:
        output = succeed(*call, FAVCRM_MCP_URL=server.url, FAVCRM_API_KEY="not-a-real-key-6789")
    payload = json.loads(output[output.index("{") :])
    assert payload == {"surveyToken": shown, "tokenCount": 5}
    assert ("Send [hidden]." in output) is not bool(mode)
