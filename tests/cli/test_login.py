"""``favcrm login``: a key that the server takes is saved, and no key is replaced that was not to be."""

from __future__ import annotations

import json
import secrets
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import Command

from favcrm.sandbox import Fault, Sandbox

OTHER_KEY = "not-a-real-key-6789"
FILES_WITH_ANOTHER_KEY = {
    "of a sign-up": f'api_key = "{OTHER_KEY}"\napi_key_name = "org_1"\n',
    "by hand": f"# mine\n'api_key' = ' {OTHER_KEY} ' # from the portal\n",
}
another_key = pytest.mark.parametrize("line", FILES_WITH_ANOTHER_KEY.values(), ids=FILES_WITH_ANOTHER_KEY)


def new_key(sandbox: Sandbox) -> str:
    return sandbox.add_organisation("Acme").reveal()


def key_in(config: Path) -> str:
    return str(tomllib.loads(config.read_text())["api_key"])


@pytest.mark.parametrize("piped", [False, True], ids=["argument", "pipe"])
def test_login_saves_a_key(
    piped: bool, command: Command, succeed: Any, config: Path, sandbox: Sandbox
) -> None:
    key = new_key(sandbox)
    ran = command("login", stdin=f" {key}\n") if piped else command("login", f" {key}\n")
    assert (ran.exit_code, ran.stdout) == (0, f"Saved in: {config}\n")
    assert key not in ran.stderr
    assert key_in(config) == key
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert "Acme" in succeed("whoami")


@pytest.mark.parametrize("stdin", ["", " \n"], ids=["nothing", "a blank line"])
def test_login_without_a_key_says_what_to_run(stdin: str, fail: Any, config: Path) -> None:
    assert fail("login", stdin=stdin) == (
        "Key: \nError: No key was given, so none was saved.\n"
        'Next step: Run "favcrm login" in a terminal and type the key, or run "favcrm login KEY".\n'
    )
    assert "api_key" not in config.read_text()


@another_key
def test_login_over_another_key_is_refused(line: str, fail: Any, config: Path, sandbox: Sandbox) -> None:
    config.write_text(f"{line}{config.read_text()}")
    before = config.read_bytes()
    said = fail("login", new_key(sandbox))
    assert said.startswith(
        f"Error: Another key is in {config}. That key was not replaced, and the new key was"
    )
    assert "--replace" in said
    assert config.read_bytes() == before
    assert len(sandbox.calls) == 0


@another_key
def test_login_with_replace_keeps_the_old_file(
    line: str, succeed: Any, config: Path, sandbox: Sandbox
) -> None:
    config.write_text(f"{line}{config.read_text()}")
    config.chmod(0o644)
    before = config.read_bytes()
    key = new_key(sandbox)
    copy = config.with_name("config.toml.backup-1")
    assert f"The file with the old key is kept: {copy}" in succeed("login", "--replace", key)
    assert copy.read_bytes() == before
    assert [stat.S_IMODE(path.stat().st_mode) for path in (config, copy)] == [0o600, 0o600]
    assert key_in(config) == key


def test_each_replaced_file_is_kept(load: Any, config: Path, sandbox: Sandbox) -> None:
    keys = [new_key(sandbox) for _ in range(3)]
    answers = [load("login", "--replace", key) for key in keys]
    copies = [config.with_name(f"config.toml.backup-{number}") for number in (1, 2)]
    saved = {"apiKeySavedTo": str(config)}
    assert answers == [saved, *({**saved, "oldFileKeptAs": str(copy)} for copy in copies)]
    assert [key_in(path) for path in (*copies, config)] == keys


@pytest.mark.parametrize("options", [(), ("--replace",)], ids=["plain", "with replace"])
def test_login_with_the_key_that_is_there_changes_nothing(
    options: tuple[str, ...], succeed: Any, config: Path, sandbox: Sandbox
) -> None:
    key = new_key(sandbox)
    config.write_text(f'{config.read_text()}api_key = "{key}" # mine\napi_key_name = "org_1"\n')
    before = config.read_bytes()
    assert succeed("login", *options, key) == f"Saved in: {config}\n"
    assert config.read_bytes() == before
    assert [path.name for path in config.parent.iterdir()] == [config.name]


@pytest.mark.parametrize("line", ["", FILES_WITH_ANOTHER_KEY["of a sign-up"]], ids=["no key", "another key"])
def test_a_key_that_the_server_refuses_is_not_saved(line: str, fail: Any, config: Path) -> None:
    config.write_text(f"{config.read_text()}{line}")
    before = config.read_bytes()
    error = json.loads(fail("--json", "login", "--replace", f"fav_mcp_{secrets.token_urlsafe()}"))["error"]
    assert error["code"] == "authentication_failed"
    assert error["message"].startswith("The server refused the key.")
    assert error["message"].endswith("The key was not saved.")
    assert config.read_bytes() == before
    assert [path.name for path in config.parent.iterdir()] == [config.name]


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.RESET_BEFORE])
def test_a_key_that_could_not_be_checked_is_not_saved(
    fault: Fault, fail: Any, config: Path, sandbox: Sandbox
) -> None:
    sandbox.fail_next("list_my_companies", fault)
    assert "The key was not saved." in fail("login", new_key(sandbox))
    assert "api_key" not in config.read_text()


def test_a_key_whose_plan_is_used_up_is_saved(succeed: Any, config: Path, sandbox: Sandbox) -> None:
    sandbox.rules.calls_per_month = 0
    key = new_key(sandbox)
    succeed("login", key)
    assert key_in(config) == key


def test_a_key_that_the_file_cannot_take_is_not_sent(fail: Any, config: Path, sandbox: Sandbox) -> None:
    config.write_text(f"{config.read_text()}api_key = 1\n")
    said = fail("login", "--replace", new_key(sandbox))
    assert "api_key in the file is not a plain text" in said
    assert len(sandbox.calls) == 0


@pytest.mark.parametrize("key", ["", "a b"], ids=["empty", "two words"])
def test_a_malformed_key_replaces_none(
    key: str, succeed: Any, fail: Any, config: Path, sandbox: Sandbox
) -> None:
    succeed("login", new_key(sandbox))
    saved = config.read_text()
    assert "holds characters that no key has" in fail("login", "--replace", key, status=2)
    assert config.read_text() == saved


def test_login_for_another_address_says_how_the_key_is_used(
    succeed: Any, url: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    config = tmp_path / "favcrm" / "config.toml"
    told = succeed("login", new_key(sandbox), FAVCRM_API_KEY=OTHER_KEY)
    assert f'write this line into {config}: url = "{url}"' in told


def test_wrong_settings_save_no_key(fail: Any, config: Path) -> None:
    login = ("login", f"fav_mcp_{secrets.token_urlsafe()}")
    assert "FAVCRM_TIMEOUT_MS" in fail(*login, status=2, FAVCRM_TIMEOUT_MS="soon")
    assert "api_key" not in config.read_text()
