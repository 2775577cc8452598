"""``favcrm signup`` and ``favcrm team invite``: a code is asked for and confirmed, and the key is saved or shown."""

from __future__ import annotations

import json
import re
import stat
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from cli.conftest import ACCEPT, EMAIL, REQUEST, VERIFY, Command, replace_tool
from cli.processes import PATIENCE, start
from servers import Peer, Request, message, serve, whole

from favcrm import PendingRegistration, Secret
from favcrm.cli.signup import told
from favcrm.sandbox import Fault, Sandbox
from favcrm.sandbox.server import Server

OTHER_KEY = "not-a-real-key-6789"
UNREMEMBERED = "This request could not be remembered, so asking again sends another email."
UNUSABLE = "The ledger cannot be used, so asking again may send another email: "
each_mode = pytest.mark.parametrize("mode", [(), ("--json",)], ids=["for people", "for machines"])
each_way = pytest.mark.parametrize("way", [VERIFY, ACCEPT])


def key_in(config: Path) -> str:
    return str(tomllib.loads(config.read_text())["api_key"])


# The request


def test_a_second_request_sends_no_second_email(load: Any, config: Path, sandbox: Sandbox) -> None:
    asked, found = load(*REQUEST), load(*REQUEST)
    assert asked.keys() == {
        "requestId", "expiresAt", "maskedEmail", "instructions", "reused", "confirmed"
    }  # fmt: skip
    assert (asked["reused"], found["reused"]) == (False, True)
    assert found["requestId"] == asked["requestId"]
    assert len(sandbox.inbox) == 1
    path = config.with_name("pending.json")
    assert "example.com" not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.usefixtures("config")
def test_the_same_request_again_says_that_no_email_was_sent(succeed: Any, load: Any) -> None:
    request_id = load(*REQUEST)["requestId"]
    first, second, third = succeed(*REQUEST, "--country", "HK").splitlines()
    assert re.fullmatch(
        r"A code was sent by an earlier request, and is good for \d+ minutes more. No second email was sent.",
        first,
    )
    assert second == "Give --resend to ask for a new code."
    assert third == f"Then: favcrm signup verify --request-id {request_id} --code CODE"


@pytest.mark.usefixtures("config")
def test_resend_sends_a_new_code(load: Any, sandbox: Sandbox) -> None:
    first, second = load(*REQUEST), load(*REQUEST, "--resend")
    assert not second["reused"]
    assert second["requestId"] != first["requestId"]
    assert len(sandbox.inbox) == 2


@pytest.mark.usefixtures("config")
def test_another_endpoint_gets_its_own_code(load: Any) -> None:
    load(*REQUEST)
    with Sandbox().serve() as server:
        assert not load("--url", server.url, *REQUEST)["reused"]
    assert load(*REQUEST)["reused"]


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize(
    ("options", "kept", "then"),
    [
        ((), "its key was saved.", 'See with "favcrm whoami"'),
        (("--no-save",), "its key was shown and not saved.", "If you do not have the key, sign in at"),
    ],
    ids=["saved", "shown"],
)
def test_a_confirmed_sign_up_says_so_to_a_request_and_to_a_code(
    options: tuple[str, ...], kept: str, then: str, load: Any, succeed: Any, fail: Any, verification: Any
) -> None:
    verify = (*verification(), *options)
    load(*verify)
    asked = load(*REQUEST)
    assert (asked["reused"], asked["confirmed"]) == (True, True)
    confirmed = f"This sign-up is confirmed already, and {kept}"
    assert succeed(*REQUEST).startswith(f"{confirmed} No email was sent.\n{then}")
    error = json.loads(fail("--json", *verify))["error"]
    assert (error["code"], error["message"]) == ("store_failed", f"{confirmed} The code was not used.")
    assert error["next_step"].startswith(then)


def _is_no_ledger(path: Path) -> None:
    path.write_text("something else")


def _is_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [_is_no_ledger, _is_a_directory])
def test_an_unusable_ledger_is_a_warning(
    spoil: Callable[[Path], None], load: Any, command: Command, config: Path, sandbox: Sandbox
) -> None:
    load(*REQUEST)
    spoil(config.with_name("pending.json"))
    ran = command(*REQUEST)
    warned = ran.stderr.splitlines()
    assert ran.exit_code == 0
    assert warned == list(dict.fromkeys(warned)) != []
    assert all(line.startswith(f"Warning: {UNUSABLE}") and line.endswith(".") for line in warned)
    ran = command("--json", *REQUEST)
    assert [f"Warning: {json.loads(line)['warning']}" for line in ran.stderr.splitlines()] == warned
    request_id = json.loads(ran.stdout)["requestId"]
    code = sandbox.inbox.code_for(EMAIL)
    assert command("signup", "verify", "--request-id", request_id, "--code", code).exit_code == 0


@pytest.mark.usefixtures("url")
def test_a_machine_without_a_home_sends_a_code_with_a_warning(
    environment: dict[str, str], command: Command, sandbox: Sandbox
) -> None:
    del environment["HOME"], environment["XDG_CONFIG_HOME"]
    ran = command(*REQUEST)
    assert (ran.exit_code, ran.stderr) == (0, f"Warning: {UNREMEMBERED}\n")
    code = sandbox.inbox.code_for(EMAIL)
    verify = ("signup", "verify", "--request-id", ran.stdout.splitlines()[-1].split()[5], "--code", code)
    assert "this machine names no home directory" in command(*verify).stderr
    assert "fav_mcp_" in command(*verify, "--no-save", "--show-key").stdout


@pytest.mark.usefixtures("config")
def test_a_short_time_left_is_shown_in_seconds(succeed: Any, sandbox: Sandbox) -> None:
    sandbox.rules.code_ttl = 110
    assert re.search(r"is good for \d+ seconds\.", succeed(*REQUEST))


def test_an_answer_without_a_masked_email_is_shown_without_one() -> None:
    pending = PendingRegistration(
        request_id="signup_req_1", expires_at=datetime.now(UTC) + timedelta(seconds=600.4)
    )
    assert told(pending) == ("A code was sent, and is good for 10 minutes.",)


# The code


def test_a_sign_up_in_words_names_the_next_command(succeed: Any, config: Path, sandbox: Sandbox) -> None:
    lines = succeed(*REQUEST).splitlines()
    assert lines[0].startswith("A code was sent to yo*@example.com, and is good for 10 minutes.")
    verify = lines[-1].removeprefix("Then: favcrm ").split()
    verify[-1] = sandbox.inbox.code_for(EMAIL)
    shown = succeed(*verify)
    assert "Key: ..." in shown
    assert f"Saved in: {config}" in shown
    # FavCRM says how to save the key, which is done.
    assert "FavCRM says" not in shown
    assert shown.endswith("\nThen: favcrm whoami\n")
    assert "fav_mcp_" not in shown
    assert "url =" not in shown
    # The saved key is used from now on.
    assert "Acme" in succeed("whoami")


@each_way
def test_a_saved_key_is_masked_in_json(way: str, load: Any, verification: Any, config: Path) -> None:
    received = load(*verification(way))
    assert received["apiKey"] == str(Secret(key_in(config)))
    assert received["apiKeySavedTo"] == str(config)
    assert received.keys() >= {"organisationId", "companyId", "userId", "loginUrl", "nextSteps"}
    assert stat.S_IMODE(config.stat().st_mode) == 0o600


@each_way
def test_the_options_of_a_key_save_it_or_show_it(
    way: str, load: Any, succeed: Any, verification: Any, config: Path
) -> None:
    verify = verification(way)
    assert "fav_mcp_" in load(*verify, "--no-save")["apiKey"]
    assert "api_key" not in config.read_text()
    verify = verification(ACCEPT)
    assert (
        f"Key: {succeed(*verify, '--show-key').split('Key: ')[1].split()[0]}\n" == f"Key: {key_in(config)}\n"
    )


@each_way
def test_no_save_without_show_key_is_a_wrong_use(
    way: str, fail: Any, verification: Any, config: Path
) -> None:
    assert "give --show-key or --json" in fail(*verification(way), "--no-save", status=2)
    assert "api_key" not in config.read_text()


def test_a_key_saved_for_another_address_is_told(
    succeed: Any, url: str, verification: Any, tmp_path: Path
) -> None:
    shown = succeed(*verification())
    assert "Commands send this key to https://api.favcrm.io/mcp only." in shown
    line = f'write this line into {tmp_path / "favcrm" / "config.toml"}: url = "{url}"'
    assert f"To have the key sent to {url}, {line}" in shown
    again = succeed(*REQUEST)
    assert line in again
    assert again.endswith('See with "favcrm whoami" which companies the key opens.\n')


@each_way
def test_a_code_is_not_used_while_a_key_is_in_the_file(
    way: str, succeed: Any, fail: Any, verification: Any, config: Path, sandbox: Sandbox
) -> None:
    verify = verification(way)
    config.write_text(f'{config.read_text()}api_key = "{OTHER_KEY}"\n')
    before = config.read_bytes()
    said = fail(*verify)
    assert said.startswith(f"Error: A key is in {config} already. The code was not used.\n")
    assert sandbox.count(way) == 0
    # The next step that the error names works with the same code.
    assert "give --no-save and --show-key" in said
    shown = succeed(*verify, "--no-save", "--show-key")
    assert "Key: fav_mcp_" in shown
    assert "FavCRM says: Save the API key" in shown
    assert config.read_bytes() == before


@pytest.mark.parametrize("elsewhere", [False, True], ids=["of this address", "of another address"])
def test_a_key_in_the_file_is_looked_at_where_it_goes(
    elsewhere: bool, fail: Any, verification: Any, config: Path
) -> None:
    verify = verification()
    text, whoami = config.read_text(), "favcrm whoami"
    if elsewhere:
        text, whoami = 'url = "http://127.0.0.1:9/mcp"\n', "favcrm --url http://127.0.0.1:9/mcp whoami"
    url = tomllib.loads(config.read_text())["url"]
    config.write_text(f'{text}api_key = "{OTHER_KEY}"\n')
    assert f'Next step: See with "{whoami}" what that key opens.' in fail("--url", url, *verify)


@pytest.mark.parametrize("variable", ["FAVCRM_API_KEY", "FAVCRM_MCP_TOKEN"])
def test_a_key_in_the_environment_does_not_stop_a_save(
    variable: str, load: Any, verification: Any, config: Path
) -> None:
    load(*verification(), **{variable: OTHER_KEY})
    assert key_in(config).startswith("fav_mcp_")


@each_mode
def test_a_key_whose_save_fails_is_shown(
    mode: tuple[str, ...], verification: Any, command: Command, config: Path, sandbox: Sandbox
) -> None:
    """Somebody saves another key while the code is on its way."""
    verify = verification()
    taken = f'{config.read_text()}api_key = "{OTHER_KEY}"\n'
    replace_tool(sandbox, VERIFY, lambda: config.write_text(taken))
    ran = command(*mode, *verify)
    assert ran.exit_code == 1
    assert "fav_mcp_" in ran.stdout
    assert "Another key is in" in ran.stderr
    assert "fav_mcp_" not in ran.stderr
    assert config.read_text() == taken


def test_a_code_that_a_killed_process_sent_has_an_unknown_outcome(
    environment: dict[str, str], config: Path, verification: Any, fail: Any, sandbox: Sandbox
) -> None:
    verify = verification()
    arrived = Event()
    replace_tool(sandbox, VERIFY, arrived.set)
    sandbox.fail_next(VERIFY, Fault.STALL_AFTER)
    with start(*verify, environment=environment) as process:
        assert arrived.wait(PATIENCE)
        process.kill()
    assert "api_key" not in config.read_text()
    assert json.loads(fail("--json", *verify))["error"]["code"] == "outcome_unknown"


# Invitations


@pytest.mark.usefixtures("url")
def test_an_invitation_is_created_and_accepted(succeed: Any, load: Any, fail: Any, sandbox: Sandbox) -> None:
    invite = ("team", "invite")
    key = sandbox.add_organisation("Acme").reveal()
    create = ("create", "--email", EMAIL, "--role", "manager", "--expires-in-hours", "5")
    created = load(*invite, *create, FAVCRM_API_KEY=key)
    assert created["role"] == "manager"
    token = ("--token", created["token"])
    asked = succeed(*invite, "accept-request", *token)
    assert asked.endswith("Then: favcrm team invite accept-verify --token TOKEN --code CODE\n")
    code = sandbox.inbox.code_for(EMAIL)
    verify = ("accept-verify", *token, "--code", code, "--name", "Ada", "--no-save")
    joined = load(*invite, *verify)
    assert "apiKeySavedTo" not in joined
    assert "Acme" in succeed("whoami", FAVCRM_API_KEY=joined["apiKey"])
    assert created["token"] not in fail("--json", *invite, *verify)


@pytest.mark.usefixtures("key")
def test_an_invitation_in_words_names_the_person_and_the_next_command(
    succeed: Any, load: Any, sandbox: Sandbox
) -> None:
    lines = succeed("team", "invite", "create", "--email", EMAIL).splitlines()
    assert lines[0] == f"{EMAIL} is invited."
    accept = lines[-1].removeprefix("Then, where that person works: favcrm ").split()
    assert load(*accept)["maskedEmail"] == "yo*@example.com"
    assert sandbox.inbox.code_for(EMAIL)


def test_an_invitation_without_a_token_leaves_the_token_out_of_the_next_command(succeed: Any) -> None:
    def answer(peer: Peer, request: Request) -> None:
        if request.json["method"] == "tools/call":
            peer.send(whole(message(request, {"structuredContent": {"data": {}, "summary": ""}})))
        else:
            unknown = {"code": -32601, "message": "Method not found"}
            answered = {"jsonrpc": "2.0", "id": request.json["id"], "error": unknown}
            peer.send(whole(json.dumps(answered).encode()))

    with serve(answer) as server:
        create = ("--url", server.url, "team", "invite", "create", "--email", EMAIL)
        lines = succeed(*create, FAVCRM_API_KEY=OTHER_KEY).splitlines()
    assert lines[-1].endswith("favcrm team invite accept-request --token TOKEN")


def test_an_invitation_of_no_address_is_a_wrong_use(fail: Any, server: Server) -> None:
    said = fail("--url", server.url, "team", "invite", "create", "--email", "nobody", status=2)
    assert said.startswith("Error: The input is not valid")
    assert "--email: must be an email address" in said
