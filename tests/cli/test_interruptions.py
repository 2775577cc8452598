"""Ctrl-C and a broken output, while a command works: what was done is told, and no key is lost."""

from __future__ import annotations

import json
import os
import re
import subprocess
from _thread import interrupt_main
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli.conftest import ACCEPT, EMAIL, REQUEST, VERIFY, Command, replace_tool
from cli.processes import COMMAND, PATIENCE, READ_ONLY, run_into

from favcrm.cli.keys import receive
from favcrm.cli.options import Given
from favcrm.sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import Mapping

    from click.testing import Result

    from favcrm import FavCRMProvisioner, Workspace
    from favcrm.sandbox.handler import RequestHandler
    from favcrm.typing import JSON

SHOW = ("--no-save", "--show-key")


class Interrupting(Sandbox):
    """Presses Ctrl-C when a request of a method arrives."""

    method: str | None = None

    def receive(self, message: Mapping[str, JSON], *, key: str | None, ip: str) -> RequestHandler:
        if message.get("method") == self.method:
            interrupt_main()
        return super().receive(message, key=key, ip=ip)


@pytest.fixture
def sandbox() -> Interrupting:
    return Interrupting()


def stopped(ran: Result) -> str:
    """Return what a command says that Ctrl-C ended."""
    assert (ran.exit_code, ran.stdout) == (130, "")
    assert ran.stderr.startswith("Stopped. ")
    return ran.stderr.removeprefix("Stopped. ").rstrip("\n")


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        ("register_organisation_request", REQUEST, "An email with a code may have been sent."),
        ("list_my_companies", ("whoami",), "Nothing was changed."),
        ("list_my_companies", ("login", "not-a-real-key-6789"), "The key was not saved."),
        (
            "create_team_member_invite",
            ("team", "invite", "create", "--email", EMAIL),
            "The invitation may have",
        ),
        (
            "accept_team_invite_request",
            ("team", "invite", "accept-request", "--token", "a"),
            "An email with a code",
        ),
        (
            "create_member",
            ("tool", "call", "create_member", '{"name": "Ada"}'),
            "The tool may have done its work.",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[:3]),
)
def test_ctrl_c_tells_what_may_have_been_done(
    tool: str, arguments: tuple[str, ...], told: str, command: Command, sandbox: Interrupting
) -> None:
    sandbox.method = "tools/call"
    key = sandbox.add_organisation().reveal()
    ran = command(*arguments, FAVCRM_API_KEY=key)
    assert stopped(ran).startswith(told)
    assert sandbox.count(tool) <= 1


def test_ctrl_c_before_the_code_is_sent_uses_no_code(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: FavCRMProvisioner) -> Workspace:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        receive(Given(None, None, as_json=False), interrupted, ledger=None, save=False, show_key=True)
    assert (ended.value.code, capsys.readouterr().err) == (130, "Stopped. The code was not used.\n")


@pytest.mark.parametrize("way", [VERIFY, ACCEPT])
def test_ctrl_c_while_the_key_comes_saves_the_key(
    way: str, verification: Any, command: Command, config: Path, sandbox: Sandbox
) -> None:
    arguments = verification(way)
    replace_tool(sandbox, way, interrupt_main)
    assert stopped(command(*arguments)) == f"The code was used. The key is in {config}."
    assert "fav_mcp_" in config.read_text()


def test_ctrl_c_while_a_key_comes_that_is_only_shown_keeps_the_key_aside(
    verification: Any, command: Command, config: Path, sandbox: Sandbox
) -> None:
    arguments = verification()
    replace_tool(sandbox, VERIFY, interrupt_main)
    told = stopped(command(*arguments, *SHOW))
    (kept,) = (config.parent / "escrow").iterdir()
    assert told == f"The code was used. The key is in {kept}."
    assert "fav_mcp_" in kept.read_text()
    assert "api_key" not in config.read_text()


@pytest.mark.parametrize("home", ["none", "unusable"])
def test_a_key_that_can_be_kept_nowhere_is_shown(
    home: str,
    verification: Any,
    command: Command,
    config: Path,
    environment: dict[str, str],
    sandbox: Sandbox,
) -> None:
    arguments = verification()
    environment["FAVCRM_MCP_URL"] = config.read_text().split('"')[1]
    if home == "none":
        del environment["HOME"], environment["XDG_CONFIG_HOME"]
    else:
        (config.parent / "escrow").write_text("")
    replace_tool(sandbox, VERIFY, interrupt_main)
    assert "The code was used. The key is fav_mcp_" in stopped(command(*arguments, *SHOW))


@pytest.mark.usefixtures("config")
def test_ctrl_c_without_an_answer_says_what_to_run(
    verification: Any, command: Command, sandbox: Sandbox
) -> None:
    arguments = verification()
    replace_tool(sandbox, VERIFY, interrupt_main)
    sandbox.fail_next(VERIFY, *[Fault.STALL_AFTER] * 2)
    told = stopped(command(*arguments, FAVCRM_TIMEOUT_MS="300"))
    assert told.startswith(
        "The code was sent. To see whether FavCRM took the code, run the same command again."
    )


# Processes of their own, with an output that breaks


@pytest.mark.usefixtures("config")
def test_no_code_is_used_where_the_key_cannot_be_shown(
    verification: Any, environment: dict[str, str], sandbox: Sandbox
) -> None:
    ran = run_into(READ_ONLY, *verification(), *SHOW, environment=environment)
    assert ran.returncode == 1
    assert ran.stderr.startswith(
        "Error: The key could not be shown, because the standard output cannot be written"
    )
    assert sandbox.count(VERIFY) == 0


@pytest.mark.parametrize("mode", [(), ("--json",)], ids=["words", "json"])
def test_a_key_that_a_broken_pipe_does_not_take_is_kept_aside(
    mode: tuple[str, ...], verification: Any, environment: dict[str, str], config: Path
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ran = subprocess.run(
        [*COMMAND, *mode, *verification(), *SHOW],
        env=environment,
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
        encoding="utf-8",
        timeout=PATIENCE,
    )
    os.close(writing)
    assert ran.returncode == 1
    told = json.loads(ran.stderr)["warning"] if mode else ran.stderr.strip()
    found = re.fullmatch(r"(?:Warning: )?The key is in (.*)\.", told)
    assert found
    assert Path(found[1]).parent == config.parent / "escrow"
    assert "fav_mcp_" in Path(found[1]).read_text()
