"""What happens to a key that a command is given, receives or finds."""

from __future__ import annotations

import json
import secrets
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli.sandboxes import ACCEPT, VERIFY, replace_tool

from favcrm import Secret
from favcrm.sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from click.testing import Result

    from favcrm.sandbox.server import Server

Command = Callable[..., "Result"]

EMAIL = "you@example.com"
OTHER_KEY = "not-a-real-key-6789"
FILES_WITH_ANOTHER_KEY = {
    "of any workspace": f'api_key = "{OTHER_KEY}"\n',
    "of a sign-up": f'api_key = "{OTHER_KEY}"\napi_key_name = "org_1"\n',
    "of an earlier login": f'api_key = "{OTHER_KEY}"\napi_key_name = "workspace"\n',
    "by hand": f"# mine\n'api_key' = ' {OTHER_KEY} ' # from the portal\n",
}
another_key = pytest.mark.parametrize("line", FILES_WITH_ANOTHER_KEY.values(), ids=FILES_WITH_ANOTHER_KEY)
each_mode = pytest.mark.parametrize("mode", [(), ("--json",)], ids=["for people", "for machines"])
each_way = pytest.mark.parametrize("way", [VERIFY, ACCEPT])


def new_key(sandbox: Sandbox, name: str = "Acme") -> str:
    return sandbox.add_organisation(name).reveal()


def key_in(config: Path) -> str:
    key = tomllib.loads(config.read_text())["api_key"]
    return str(key).strip()


def verification(sandbox: Sandbox, command: Command, way: str) -> tuple[str, ...]:
    """Return the arguments that confirm a new code."""
    if way == VERIFY:
        ran = command("--json", "signup", "request", "--email", EMAIL, "--organisation-name", "Acme")
        words = ["signup", "verify", "--request-id", json.loads(ran.stdout)["requestId"]]
    else:
        ran = command("--json", "--api-key", new_key(sandbox), "team", "invite", "create", "--email", EMAIL)
        words = ["team", "invite", "accept-verify", "--token", json.loads(ran.stdout)["token"]]
        command("team", "invite", "accept-request", *words[3:])
    return (*words, "--code", str(sandbox.inbox.code_for(EMAIL)))


@another_key
def test_login_over_another_key_is_refused(
    line: str, command: Command, config: Path, sandbox: Sandbox
) -> None:
    config.write_text(f"{line}{config.read_text()}")
    before = config.read_bytes()
    ran = command("login", new_key(sandbox))
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr.startswith(
        f"Error: Another key is in {config}. It was not replaced, and the new one was"
    )
    assert "--replace" in ran.stderr
    assert config.read_bytes() == before
    assert len(sandbox.calls) == 0


@another_key
@each_mode
def test_login_with_replace_keeps_the_old_file(
    mode: tuple[str, ...], line: str, command: Command, config: Path, sandbox: Sandbox
) -> None:
    config.write_text(f"{line}{config.read_text()}")
    config.chmod(0o644)
    before = config.read_bytes()
    key = new_key(sandbox)
    ran = command(*mode, "login", "--replace", key)
    assert (ran.exit_code, ran.stderr) == (0, "")
    copy = config.with_name("config.toml.backup-1")
    if mode:
        assert json.loads(ran.stdout) == {"apiKeySavedTo": str(config), "oldFileKeptAs": str(copy)}
    else:
        assert f"The file with the old key is kept: {copy}" in ran.stdout
    assert copy.read_bytes() == before
    assert [stat.S_IMODE(path.stat().st_mode) for path in (config, copy)] == [0o600, 0o600]
    assert key_in(config) == key
    assert "Acme" in command("whoami").stdout


def test_each_replaced_file_is_kept(command: Command, config: Path, sandbox: Sandbox) -> None:
    keys = [new_key(sandbox) for _ in range(3)]
    for key in keys:
        assert command("login", "--replace", key).exit_code == 0
    copies = [config.with_name(f"config.toml.backup-{number}") for number in (1, 2)]
    assert [key_in(path) for path in (*copies, config)] == keys
    assert sorted(path.name for path in config.parent.iterdir()) == [
        config.name,
        *(path.name for path in copies),
    ]


@pytest.mark.parametrize("options", [(), ("--replace",)], ids=["plain", "with replace"])
def test_login_with_the_key_that_is_there_changes_nothing(
    options: tuple[str, ...], command: Command, config: Path, sandbox: Sandbox
) -> None:
    key = new_key(sandbox)
    config.write_text(f'{config.read_text()}api_key = "{key}" # mine\napi_key_name = "org_1"\n')
    before = config.read_bytes()
    ran = command("login", *options, key)
    assert (ran.exit_code, ran.stdout) == (0, f"Saved in: {config}\n")
    assert config.read_bytes() == before
    assert [path.name for path in config.parent.iterdir()] == [config.name]


@pytest.mark.parametrize("line", ["", FILES_WITH_ANOTHER_KEY["of a sign-up"]], ids=["no key", "another key"])
def test_a_key_that_the_server_refuses_is_not_saved(line: str, command: Command, config: Path) -> None:
    config.write_text(f"{config.read_text()}{line}")
    before = config.read_bytes()
    ran = command("--json", "login", "--replace", f"fav_mcp_{secrets.token_urlsafe()}")
    assert (ran.exit_code, ran.stdout) == (1, "")
    error = json.loads(ran.stderr)["error"]
    assert error["code"] == "authentication_failed"
    assert error["message"].endswith("The key was not saved.")
    assert config.read_bytes() == before
    assert [path.name for path in config.parent.iterdir()] == [config.name]


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.HTML, Fault.RESET_BEFORE, Fault.RESET_AFTER])
def test_a_key_that_could_not_be_checked_is_not_saved(
    fault: Fault, command: Command, config: Path, sandbox: Sandbox
) -> None:
    sandbox.fail_next("list_my_companies", fault)
    before = config.read_bytes()
    ran = command("login", new_key(sandbox))
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "The key was not saved." in ran.stderr
    assert config.read_bytes() == before


def test_an_unreachable_server_saves_no_key(
    command: Command, config: Path, server: Server, sandbox: Sandbox
) -> None:
    server.close()
    ran = command("login", new_key(sandbox))
    assert ran.exit_code == 1
    assert "Nothing was sent. The key was not saved." in ran.stderr
    assert "api_key" not in config.read_text()


def test_a_key_whose_plan_is_used_up_is_saved(command: Command, config: Path, sandbox: Sandbox) -> None:
    sandbox.rules.calls_per_month = 0
    key = new_key(sandbox)
    assert command("login", key).exit_code == 0
    assert key_in(config) == key


def test_a_key_that_the_file_cannot_take_is_not_sent(
    command: Command, config: Path, sandbox: Sandbox
) -> None:
    config.write_text(f"{config.read_text()}api_key = 1\n")
    ran = command("login", "--replace", new_key(sandbox))
    assert ran.exit_code == 1
    assert "api_key in the file is not a plain text" in ran.stderr
    assert len(sandbox.calls) == 0


@another_key
@each_way
def test_a_code_is_not_used_while_a_key_is_in_the_file(
    line: str, way: str, command: Command, config: Path, sandbox: Sandbox
) -> None:
    verify = verification(sandbox, command, way)
    config.write_text(f"{line}{config.read_text()}")
    before = config.read_bytes()
    ran = command(*verify)
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr.startswith(f"Error: A key is in {config} already. The code was not used.\n")
    assert sandbox.count(way) == 0
    # The next step that the error names works with the same code.
    assert "give --no-save and --show-key" in ran.stderr
    shown = command(*verify, "--no-save", "--show-key")
    assert "Key: fav_mcp_" in shown.stdout
    assert config.read_bytes() == before


@each_way
@pytest.mark.parametrize("variable", ["FAVCRM_API_KEY", "FAVCRM_MCP_TOKEN"])
def test_a_key_in_the_environment_does_not_stop_a_save(
    variable: str,
    way: str,
    command: Command,
    config: Path,
    sandbox: Sandbox,
    environment: dict[str, str],
) -> None:
    verify = verification(sandbox, command, way)
    environment[variable] = OTHER_KEY
    assert command(*verify).exit_code == 0
    assert key_in(config).startswith("fav_mcp_")


@each_way
def test_a_saved_key_is_masked_in_json(way: str, command: Command, config: Path, sandbox: Sandbox) -> None:
    ran = command("--json", *verification(sandbox, command, way))
    received = json.loads(ran.stdout)
    assert received["apiKey"] == str(Secret(key_in(config)))
    assert received["apiKeySavedTo"] == str(config)
    assert key_in(config) not in ran.output


@each_way
@each_mode
def test_show_key_shows_a_saved_key(
    mode: tuple[str, ...], way: str, command: Command, config: Path, sandbox: Sandbox
) -> None:
    ran = command(*mode, *verification(sandbox, command, way), "--show-key")
    assert key_in(config) in ran.stdout


@each_way
@pytest.mark.parametrize("option", ["--json", "--show-key"])
def test_a_key_that_is_not_saved_is_shown_whole(
    option: str, way: str, command: Command, config: Path, sandbox: Sandbox
) -> None:
    ran = command(*verification(sandbox, command, way), "--no-save", option)
    assert ran.exit_code == 0
    assert "fav_mcp_" in ran.stdout
    assert "api_key" not in config.read_text()


@each_way
@each_mode
def test_a_key_whose_save_fails_is_shown(
    mode: tuple[str, ...], way: str, command: Command, config: Path, sandbox: Sandbox
) -> None:
    """Somebody saves another key while the code is on its way."""
    verify = verification(sandbox, command, way)
    taken = f'{config.read_text()}api_key = "{OTHER_KEY}"\n'
    replace_tool(sandbox, way, lambda: config.write_text(taken))
    ran = command(*mode, *verify)
    assert ran.exit_code == 1
    assert "fav_mcp_" in ran.stdout
    assert "Another key is in" in ran.stderr
    assert "fav_mcp_" not in ran.stderr
    assert config.read_text() == taken
