"""The commands that the vendor's own command has too, against a sandbox on loopback."""

from __future__ import annotations

import json
import secrets
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from favcrm import Secret
from favcrm.sandbox import RefusalForm, Sandbox
from favcrm.sandbox.server import Server

Command = Callable[..., Result]

EMAIL = "you@example.com"
REQUEST = ("signup", "request", "--email", EMAIL, "--organisation-name", "Acme", "--country", "HK")
VERIFY = "register_organisation_verify"


@pytest.fixture
def url(environment: dict[str, str], server: Server) -> str:
    """The address of the sandbox, which the environment names."""
    environment["FAVCRM_MCP_URL"] = server.url
    return server.url


@pytest.fixture
def key(environment: dict[str, str], url: str, sandbox: Sandbox) -> str:
    """The key of a workspace in the sandbox, which the environment holds."""
    environment["FAVCRM_API_KEY"] = sandbox.add_organisation("Acme").reveal()
    return environment["FAVCRM_API_KEY"]


def code_in(sandbox: Sandbox) -> str:
    return str(sandbox.inbox.code_for(EMAIL))


def test_a_sign_up_in_json_saves_the_key_and_masks_it(
    load: Any, fail: Any, config: Path, sandbox: Sandbox
) -> None:
    asked = load(*REQUEST)
    assert asked.keys() == {
        "requestId", "expiresAt", "maskedEmail", "instructions", "reused", "confirmed"
    }  # fmt: skip
    verify = ("signup", "verify", "--request-id", asked["requestId"], "--code")
    assert json.loads(fail("--json", *verify, "000000"))["error"]["code"] == "invalid_code"
    received = load(*verify, code_in(sandbox))
    assert received["apiKey"] == str(Secret(tomllib.loads(config.read_text())["api_key"]))
    assert received["apiKeySavedTo"] == str(config)
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert received.keys() >= {"organisationId", "companyId", "userId", "loginUrl", "nextSteps"}
    # The saved key is used from now on.
    assert load("whoami")["companies"][0]["name"] == "Acme"


def test_a_sign_up_in_words_names_the_next_command(succeed: Any, config: Path, sandbox: Sandbox) -> None:
    lines = succeed(*REQUEST).splitlines()
    assert lines[0].startswith("A code was sent to yo*@example.com, and is good for 10 minutes.")
    verify = lines[-1].removeprefix("Then: favcrm ").split()
    verify[-1] = code_in(sandbox)
    shown = succeed(*verify)
    assert "Key: ..." in shown
    assert f"Saved in: {config}" in shown
    assert "fav_mcp_" not in shown
    assert "url =" not in shown


@pytest.mark.usefixtures("url")
def test_no_save_without_show_key_is_a_wrong_use(fail: Any) -> None:
    verify = ("signup", "verify", "--request-id", "a", "--code", "123456", "--no-save")
    assert "give --show-key or --json" in fail(*verify, status=2)


def test_a_key_that_is_not_saved_is_shown(
    succeed: Any, load: Any, server: Server, sandbox: Sandbox, tmp_path: Path
) -> None:
    asked = load("--url", server.url, *REQUEST)
    verify = ("signup", "verify", "--request-id", asked["requestId"], "--no-save", "--show-key")
    shown = succeed("--url", server.url, *verify, "--code", code_in(sandbox))
    assert "Key: fav_mcp_" in shown
    assert not list(tmp_path.rglob("config.toml"))


def test_a_key_saved_for_another_address_is_told(succeed: Any, load: Any, url: str, sandbox: Sandbox) -> None:
    asked = load(*REQUEST)
    shown = succeed("signup", "verify", "--request-id", asked["requestId"], "--code", code_in(sandbox))
    assert f'add this to that file: url = "{url}"' in shown


def test_a_code_is_not_used_where_no_key_can_be_saved(fail: Any, config: Path, sandbox: Sandbox) -> None:
    # A directory would have to be where the file is.
    verify = ("signup", "verify", "--request-id", "a", "--code", "123456")
    assert str(config) in fail(*verify, XDG_CONFIG_HOME=str(config))
    assert sandbox.count(VERIFY) == 0


@pytest.mark.usefixtures("url")
def test_an_invitation_is_created_and_accepted(succeed: Any, load: Any, fail: Any, sandbox: Sandbox) -> None:
    invite = ("team", "invite")
    key = sandbox.add_organisation("Acme").reveal()
    create = ("create", "--email", EMAIL, "--role", "manager", "--expires-in-hours", "5")
    created = load(*invite, *create, FAVCRM_API_KEY=key)
    assert created["role"] == "manager"
    token = ("--token", created["token"])
    assert "maskedEmail" in load(*invite, "accept-request", *token)
    verify = ("accept-verify", *token, "--code", code_in(sandbox), "--name", "Ada", "--no-save")
    joined = load(*invite, *verify)
    assert "apiKeySavedTo" not in joined
    assert "Acme" in succeed("whoami", FAVCRM_API_KEY=joined["apiKey"])
    assert created["token"] not in fail("--json", *invite, *verify)


def test_an_invitation_of_no_address_is_a_wrong_use(fail: Any, server: Server) -> None:
    told = fail("--url", server.url, "team", "invite", "create", "--email", "nobody", status=2)
    assert told.startswith("Error: The input is not valid")
    assert "must be an email address" in told


def test_the_doctor_of_a_ready_workspace_succeeds(load: Any, server: Server, sandbox: Sandbox) -> None:
    key = sandbox.add_organisation("Acme").reveal()
    told = load("--url", server.url, "--api-key", key, "doctor")
    assert (told["url"], told["authenticated"], told["reachable"]) == (server.url, True, True)
    assert told["toolCount"] == len(sandbox.tools)
    assert told.keys() == {
        "url", "authenticated", "reachable", "toolCount", "currentUser", "plan", "whatsapp"
    }  # fmt: skip


@pytest.mark.usefixtures("key")
def test_the_doctor_of_an_unreachable_server_fails(command: Command, server: Server) -> None:
    server.close()
    ran = command("--json", "doctor")
    told = json.loads(ran.stdout)
    assert ran.exit_code == 1
    assert told["reachable"] is False
    assert told["error"]
    assert told.keys() >= {"currentUserError", "planError", "whatsappError"}
    assert json.loads(ran.stderr)["error"]["code"] == "not_ready"
    shown = command("doctor")
    assert "endpoint      failed" in shown.stdout
    assert "Nothing was sent. Check the endpoint" in shown.stdout
    assert ".." not in shown.stdout
    assert shown.stderr.startswith("Error: The workspace is not ready")


def test_the_doctor_without_a_key_fails(command: Command, server: Server) -> None:
    ran = command("--url", server.url, "doctor", "--json")
    assert ran.exit_code == 1
    assert json.loads(ran.stdout).keys() == {"url", "authenticated", "reachable", "toolCount"}


def test_a_saved_key_of_another_address_is_named(
    command: Command, environment: dict[str, str], server: Server, tmp_path: Path
) -> None:
    environment["XDG_CONFIG_HOME"] = str(tmp_path)
    config = tmp_path / "favcrm" / "config.toml"
    config.parent.mkdir()
    config.write_text(f'url = "http://127.0.0.1:9/mcp"\napi_key = "{secrets.token_urlsafe()}"\n')
    told = f"key in {config} is for http://127.0.0.1:9/mcp, so it was not sent to {server.url}."
    doctor = command("--url", server.url, "doctor")
    assert f"the {told} Give the key of this address" in doctor.stdout
    assert f"the {told}" in doctor.stderr
    whoami = command("--url", server.url, "whoami")
    assert (whoami.exit_code, whoami.stdout) == (1, "")
    assert whoami.stderr.startswith(f"Warning: The {told}\n")


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
    told = fail("tool", "call", "get_member", '{"memberId": "nobody"}')
    assert told.startswith("Error: The server refused")
    assert "Next step: " in told
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
        ("create_team_member_invite", 'run "favcrm team invite create"'),
        ("mcp__favcrm__create_team_member_invite", "has a method of its own"),
    ],
)
def test_a_tool_with_a_command_of_its_own_is_refused(
    fail: Any, tool: str, own: str, sandbox: Sandbox
) -> None:
    assert own in fail("tool", "call", tool, '{"email": "a@example.com"}', status=2)
    assert sandbox.calls == ()


@pytest.mark.usefixtures("url")
def test_a_rate_limit_in_json_holds_retry_after(load: Any, fail: Any, sandbox: Sandbox) -> None:
    sandbox.refusal_form = RefusalForm.HTTP_JSON
    sandbox.rules.requests_per_hour = 1
    load(*REQUEST)
    told = json.loads(fail("--json", *REQUEST, "--resend"))["error"]
    assert told["code"] == "rate_limited"
    assert told["retry_after"] > 0
    assert told["request_id"]


@pytest.mark.parametrize("piped", [False, True], ids=["argument", "pipe"])
def test_login_saves_a_key(piped: bool, command: Command, config: Path, sandbox: Sandbox) -> None:
    key = sandbox.add_organisation("Acme").reveal()
    ran = command("login", stdin=f"{key}\n") if piped else command("login", key)
    assert (ran.exit_code, ran.stdout) == (0, f"Saved in: {config}\n")
    assert key not in ran.stderr
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert "Acme" in command("whoami").stdout


@pytest.mark.parametrize("stdin", ["", " \n"], ids=["nothing", "a blank line"])
def test_login_without_a_key_says_what_to_run(stdin: str, fail: Any, config: Path) -> None:
    told = fail("login", stdin=stdin)
    assert "Error: No key was given, so none was saved.\n" in told
    assert 'Run "favcrm login" in a terminal and type the key, or run "favcrm login KEY".' in told
    assert "api_key" not in config.read_text()


@pytest.mark.parametrize("key", ["", " ", "a b", "\N{KEY}"], ids=["empty", "blank", "two words", "no letter"])
def test_a_malformed_key_replaces_none(
    key: str, succeed: Any, fail: Any, config: Path, sandbox: Sandbox
) -> None:
    succeed("login", sandbox.add_organisation().reveal())
    saved = config.read_text()
    assert "holds characters that no key has" in fail("login", key, status=2)
    assert config.read_text() == saved


def test_blanks_around_a_key_are_ignored(succeed: Any, config: Path, sandbox: Sandbox) -> None:
    key = sandbox.add_organisation("Acme").reveal()
    assert "Acme" in succeed("--api-key", f" {key}\n", "whoami")
    assert "url =" not in succeed("login", f" {key}\n")
    assert f'"{key}"' in config.read_text()


def test_login_for_another_address_says_how_the_key_is_used(
    succeed: Any, url: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    told = succeed("login", sandbox.add_organisation().reveal(), XDG_CONFIG_HOME=str(tmp_path))
    assert f'add this to that file: url = "{url}"' in told


def test_wrong_settings_save_no_key(fail: Any, config: Path) -> None:
    login = ("login", f"fav_mcp_{secrets.token_urlsafe()}")
    assert "FAVCRM_TIMEOUT_MS" in fail(*login, status=2, FAVCRM_TIMEOUT_MS="soon")
    assert "api_key" not in config.read_text()
