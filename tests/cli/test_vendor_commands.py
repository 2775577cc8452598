"""The commands that the vendor's own command has too, as processes, against a sandbox on loopback."""

from __future__ import annotations

import json
import secrets
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cli.processes import CLOSED, READ_ONLY, Terminal, run, run_into

from favcrm import Secret
from favcrm.sandbox import RefusalForm, Sandbox
from favcrm.sandbox.server import Server

EMAIL = "you@example.com"
REQUEST = ("signup", "request", "--email", EMAIL, "--organisation-name", "Acme", "--country", "HK")


def succeed(environment: dict[str, str], *arguments: str, stdin: str = "") -> str:
    """Return what a command writes that ends well."""
    ran = run(*arguments, environment=environment, stdin=stdin)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    return ran.stdout


def load(environment: dict[str, str], *arguments: str) -> Any:
    """Return the JSON that a command writes that ends well."""
    return json.loads(succeed(environment, "--json", *arguments))


def fail(environment: dict[str, str], *arguments: str, status: int = 1) -> str:
    """Return what a command writes on stderr that fails and writes nothing else."""
    ran = run(*arguments, environment=environment)
    assert (ran.returncode, ran.stdout) == (status, "")
    return ran.stderr


def test_sign_up_for_machines(environment: dict[str, str], config: Path, sandbox: Sandbox) -> None:
    asked = load(environment, *REQUEST)
    assert asked.keys() == {"requestId", "expiresAt", "maskedEmail", "instructions", "reused"}
    verify = ("signup", "verify", "--request-id", asked["requestId"], "--code")
    told = json.loads(fail(environment, "--json", *verify, "000000"))
    assert told["error"]["code"] == "invalid_code"
    code = str(sandbox.inbox.code_for(EMAIL))
    received = load(environment, *verify, code)
    saved = tomllib.loads(config.read_text())["api_key"]
    assert received["apiKey"] == str(Secret(saved))
    assert received["apiKeySavedTo"] == str(config)
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert received.keys() >= {"organisationId", "companyId", "userId", "loginUrl", "nextSteps"}
    # The saved key is used from now on.
    assert load(environment, "whoami")["companies"][0]["name"] == "Acme"


def test_sign_up_for_people(environment: dict[str, str], config: Path, sandbox: Sandbox) -> None:
    lines = succeed(environment, *REQUEST).splitlines()
    assert lines[0].startswith("A code was sent to yo*@example.com, and is good for 10 minutes.")
    verify = lines[-1].removeprefix("Then: favcrm ").split()
    verify[-1] = str(sandbox.inbox.code_for(EMAIL))
    shown = succeed(environment, *verify)
    assert "Key: ..." in shown
    assert f"Saved in: {config}" in shown
    assert "fav_mcp_" not in shown
    assert "url =" not in shown


def test_a_key_that_would_be_lost_is_not_asked_for(environment: dict[str, str], server: Server) -> None:
    environment["FAVCRM_MCP_URL"] = server.url
    verify = ("signup", "verify", "--request-id", "a", "--code", "123456", "--no-save")
    assert "give --show-key or --json" in fail(environment, *verify, status=2)


def test_a_key_that_is_not_saved_is_shown(
    environment: dict[str, str], server: Server, sandbox: Sandbox, tmp_path: Path
) -> None:
    asked = load(environment, "--url", server.url, *REQUEST)
    verify = ("signup", "verify", "--request-id", asked["requestId"], "--no-save", "--show-key")
    shown = succeed(environment, "--url", server.url, *verify, "--code", str(sandbox.inbox.code_for(EMAIL)))
    assert "Key: fav_mcp_" in shown
    assert not list(tmp_path.rglob("config.toml"))


def test_where_the_saved_key_is_used_is_told(
    environment: dict[str, str], server: Server, sandbox: Sandbox
) -> None:
    """It goes to the address that the file names, or to FavCRM's own."""
    environment["FAVCRM_MCP_URL"] = server.url
    asked = load(environment, *REQUEST)
    verify = ("signup", "verify", "--request-id", asked["requestId"])
    shown = succeed(environment, *verify, "--code", str(sandbox.inbox.code_for(EMAIL)))
    assert f'add this to that file: url = "{server.url}"' in shown


def test_a_code_is_not_used_where_no_key_can_be_saved(
    environment: dict[str, str], config: Path, sandbox: Sandbox
) -> None:
    # A directory would have to be where the file is.
    odd = {**environment, "XDG_CONFIG_HOME": str(config)}
    told = fail(odd, "signup", "verify", "--request-id", "a", "--code", "123456")
    assert str(config) in told
    assert sandbox.count("register_organisation_verify") == 0


def test_no_code_is_used_where_nothing_can_be_shown(
    environment: dict[str, str], server: Server, sandbox: Sandbox
) -> None:
    environment["FAVCRM_MCP_URL"] = server.url
    verify = ("signup", "verify", "--request-id", "a", "--code", "123456", "--no-save", "--show-key")
    assert run_into(CLOSED, *verify, environment=environment).returncode == 1
    assert len(sandbox.calls) == 0


def test_invitations(environment: dict[str, str], server: Server, sandbox: Sandbox) -> None:
    environment["FAVCRM_MCP_URL"] = server.url
    invite = ("team", "invite")
    owner = {**environment, "FAVCRM_API_KEY": sandbox.add_organisation("Acme").reveal()}
    created = load(owner, *invite, "create", "--email", EMAIL, "--role", "manager", "--expires-in-hours", "5")
    assert created["role"] == "manager"
    token = ("--token", created["token"])
    assert "maskedEmail" in load(environment, *invite, "accept-request", *token)
    code = str(sandbox.inbox.code_for(EMAIL))
    verify = ("accept-verify", *token, "--code", code, "--name", "Ada", "--no-save")
    joined = load(environment, *invite, *verify)
    assert "apiKeySavedTo" not in joined
    whoami = succeed({**environment, "FAVCRM_API_KEY": joined["apiKey"]}, "whoami")
    assert "Acme" in whoami
    told = json.loads(fail(environment, "--json", *invite, *verify))
    assert created["token"] not in str(told)


def test_an_invitation_of_no_address(environment: dict[str, str], server: Server) -> None:
    told = fail(environment, "--url", server.url, "team", "invite", "create", "--email", "nobody", status=2)
    assert told.startswith("Error: The input is not valid, so nothing was sent: --email")


def test_the_doctor_of_a_ready_workspace(
    environment: dict[str, str], server: Server, sandbox: Sandbox
) -> None:
    key = sandbox.add_organisation("Acme").reveal()
    told = load(environment, "--url", server.url, "--api-key", key, "doctor")
    assert told["url"] == server.url
    assert (told["authenticated"], told["reachable"]) == (True, True)
    assert told["toolCount"] == len(sandbox.tools)
    assert told.keys() == {
        "url", "authenticated", "reachable", "toolCount", "currentUser", "plan", "whatsapp"
    }  # fmt: skip


def test_the_doctor_where_nobody_answers(
    environment: dict[str, str], server: Server, sandbox: Sandbox
) -> None:
    environment |= {"FAVCRM_MCP_URL": server.url, "FAVCRM_API_KEY": sandbox.add_organisation().reveal()}
    server.close()
    ran = run("--json", "doctor", environment=environment)
    shown = run("doctor", environment=environment)
    told = json.loads(ran.stdout)
    assert ran.returncode == shown.returncode == 1
    assert (told["reachable"], told["error"]) == (False, "The endpoint cannot be reached. Nothing was sent.")
    assert told.keys() >= {"currentUserError", "planError", "whatsappError"}
    assert json.loads(ran.stderr)["error"]["code"] == "not_ready"
    assert "endpoint      failed" in shown.stdout
    assert "Nothing was sent. Check the endpoint" in shown.stdout
    assert ".." not in shown.stdout
    assert shown.stderr.startswith("Error: The workspace is not ready")


def test_the_doctor_without_a_key(environment: dict[str, str], server: Server) -> None:
    ran = run("--url", server.url, "doctor", "--json", environment=environment)
    assert ran.returncode == 1
    assert json.loads(ran.stdout).keys() == {"url", "authenticated", "reachable", "toolCount"}


def test_looking_around(environment: dict[str, str], server: Server, sandbox: Sandbox) -> None:
    environment |= {"FAVCRM_MCP_URL": server.url, "FAVCRM_API_KEY": sandbox.add_organisation("Acme").reveal()}
    assert load(environment, "plan", "status")
    assert load(environment, "whatsapp", "status")["connected"] is False
    listed = load(environment, "tool", "list")
    assert [entry["name"] for entry in listed] == list(sandbox.tools)
    assert listed[0]["inputSchema"]["type"] == "object"
    described = load(environment, "tool", "describe", "list_services")
    assert described in listed
    assert json.loads(succeed(environment, "tool", "describe", "list_services")) == described
    lines = succeed(environment, "tool", "list").splitlines()
    assert len(lines) == len(sandbox.tools)
    assert max(map(len, lines)) <= 100
    shown = succeed(
        environment, "tool", "call", "create_member", '{"name": "Ada", "phone": "+852 5555 0100"}'
    )
    assert shown.startswith("Ada is a member now.\n{")


@pytest.mark.parametrize("mode", [(), ("--json",)], ids=["for people", "for machines"])
def test_a_list_that_cannot_be_written(
    mode: tuple[str, ...], environment: dict[str, str], server: Server, sandbox: Sandbox
) -> None:
    environment |= {"FAVCRM_MCP_URL": server.url, "FAVCRM_API_KEY": sandbox.add_organisation().reveal()}
    ran = run_into(READ_ONLY, *mode, "tool", "list", environment=environment)
    assert ran.returncode == 1
    assert ran.stderr == "Error: The command stopped before its end: Bad file descriptor.\n"


def test_what_is_refused(environment: dict[str, str], server: Server, sandbox: Sandbox) -> None:
    environment |= {"FAVCRM_MCP_URL": server.url, "FAVCRM_API_KEY": sandbox.add_organisation().reveal()}
    told = fail(environment, "tool", "call", "get_member", '{"memberId": "nobody"}')
    assert told.startswith("Error: The server refused the request. Nothing was done.")
    assert "Next step: " in told
    assert "must be an object" in fail(environment, "tool", "call", "get_member", "[]", status=2)
    assert "There is no tool of this name" in fail(environment, "tool", "describe", "nothing")


def test_a_rate_limit_for_machines(environment: dict[str, str], server: Server, sandbox: Sandbox) -> None:
    sandbox.refusal_form = RefusalForm.HTTP_JSON
    environment["FAVCRM_MCP_URL"] = server.url
    sandbox.rules.requests_per_hour = 1
    load(environment, *REQUEST)
    told = json.loads(fail(environment, "--json", *REQUEST, "--resend"))["error"]
    assert told["code"] == "rate_limited"
    assert told["retry_after"] > 0
    assert told["request_id"]


@pytest.mark.parametrize("given", [True, False], ids=["as an argument", "typed"])
def test_a_key_from_the_portal(
    given: bool, environment: dict[str, str], config: Path, sandbox: Sandbox
) -> None:
    key = sandbox.add_organisation("Acme").reveal()
    if given:
        assert f"Saved in: {config}" in succeed(environment, "login", key)
    else:
        terminal = Terminal("login", environment=environment)
        try:
            terminal.read_until("Key: ")
            terminal.type(f"{key}\n")
            assert terminal.end() == 0
            assert key not in terminal.text
        finally:
            terminal.close()
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert "Acme" in succeed(environment, "whoami")


@pytest.mark.parametrize("key", ["", " ", "a b", "\N{KEY}"], ids=["empty", "blank", "two words", "no letter"])
def test_a_key_that_cannot_be_sent_replaces_none(
    key: str, environment: dict[str, str], config: Path, sandbox: Sandbox
) -> None:
    succeed(environment, "login", sandbox.add_organisation().reveal())
    saved = config.read_text()
    told = fail(environment, "login", key, status=2)
    assert "holds characters that no key has" in told
    assert config.read_text() == saved


def test_blanks_around_a_key_are_no_part_of_it(
    environment: dict[str, str], config: Path, sandbox: Sandbox
) -> None:
    key = sandbox.add_organisation("Acme").reveal()
    assert "Acme" in succeed(environment, "--api-key", f" {key}\n", "whoami")
    assert "url =" not in succeed(environment, "login", f" {key}\n")
    assert f'"{key}"' in config.read_text()


def test_where_a_key_from_the_portal_is_used_is_told(
    environment: dict[str, str], server: Server, sandbox: Sandbox, tmp_path: Path
) -> None:
    environment |= {"FAVCRM_MCP_URL": server.url, "XDG_CONFIG_HOME": str(tmp_path)}
    told = succeed(environment, "login", sandbox.add_organisation().reveal())
    assert f'add this to that file: url = "{server.url}"' in told


def test_no_key_is_saved_where_the_settings_are_wrong(environment: dict[str, str], config: Path) -> None:
    environment["FAVCRM_TIMEOUT_MS"] = "soon"
    assert "FAVCRM_TIMEOUT_MS" in fail(environment, "login", f"fav_mcp_{secrets.token_urlsafe()}", status=2)
    assert "api_key" not in config.read_text()
