from __future__ import annotations

import json
import os
import re
import secrets
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
from cli.processes import Terminal
from click.testing import CliRunner

from favcrm.cli.commands import favcrm
from favcrm.cli.demo import REGISTRATION
from favcrm.cli.output import took
from favcrm.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from click.testing import Result

    from favcrm.sandbox.handler import RequestHandler
    from favcrm.typing import JSON

TITLES = [
    "Start the sandbox",
    "Ask for a code",
    "Read the code",
    "Confirm the code",
    "Diagnose",
    "List the services",
    "Create a member",
    "Read the member back",
]
PHASES = ["sandbox", "initiate", "code", "confirm", "diagnose", "services", "create_member", "read_member"]
CHECKS = ["endpoint", "key", "tools", "organisation", "plan", "whatsapp"]
TOOK = r"(?:\d+ ms|\d+\.\d s)"
MASKED_EMAIL = "yo*@example.com"
SOMEBODYS_KEY = f"fav_mcp_{secrets.token_urlsafe(24)}"
NO_CODE = "No code was typed."
QUESTION = "The code (hidden while you type): "


def mailed_code(text: str) -> str:
    found = re.search(r"code is (\d{6})", text)
    assert found
    return found[1]


def another(code: str) -> str:
    return code[:-1] + ("1" if code.endswith("0") else "0")


class Watched(Sandbox):
    """A sandbox that notes which keys it was shown."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.shown: set[str | None] = set()

    def receive(self, message: Mapping[str, JSON], *, key: str | None, ip: str) -> RequestHandler:
        self.shown.add(key)
        return super().receive(message, key=key, ip=ip)


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """The sandbox of the next demo in this process."""
    sandbox = Watched()

    def the_same(**_: object) -> Sandbox:
        return sandbox

    monkeypatch.setattr("favcrm.cli.demo.Sandbox", the_same)
    return sandbox


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def demo(*arguments: str, stdin: str = "") -> Result:
    """Run the demo in this process."""
    return CliRunner().invoke(favcrm, ["demo", *arguments], input=stdin)


def secrets_of(sandbox: Sandbox) -> set[str]:
    """What the sandbox knows and nobody may show."""
    keys = set(sandbox.state.keys)
    codes = {mail.code for mail in sandbox.inbox if mail.code}
    assert keys
    assert codes
    return keys | codes | {REGISTRATION.email}


@pytest.mark.parametrize("extra", [True, False], ids=["over HTTP", "in process"])
def test_without_a_terminal_the_output_is_plain(extra: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    if not extra:
        monkeypatch.delitem(sys.modules, "favcrm.sandbox.server", raising=False)
        monkeypatch.setitem(sys.modules, "mcp", None)
    ran = demo()
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ('in this process, because the extra "sandbox" is not installed' in ran.stdout) is not extra
    assert ran.stdout.isascii()
    assert "\x1b" not in ran.stdout
    intro, phases, report, end = ran.stdout.strip().split("\n\n")
    assert "Nothing leaves this machine." in intro
    assert re.findall(rf"^(\S.*?) +{TOOK}  \S", phases, re.MULTILINE) == TITLES
    assert re.findall(rf"^(\w+) +ok +{TOOK}  \S", report, re.MULTILINE) == CHECKS
    assert re.search(rf"sent to {re.escape(MASKED_EMAIL)}, good for 10 minutes$", phases, re.MULTILINE)
    assert end.startswith("Ready.")


def test_json_is_one_document() -> None:
    ran = demo("--json")
    assert (ran.exit_code, ran.stderr) == (0, "")
    told = json.loads(ran.stdout)
    report, phases = told.pop("report"), told.pop("phases")
    assert told == {"ready": True, "error": None}
    assert [phase["name"] for phase in phases] == PHASES
    assert all(phase.keys() == {"name", "status", "duration"} for phase in phases)
    assert all(phase["status"] == "ok" and 0 <= phase["duration"] < 60 for phase in phases)
    assert report.keys() >= {"endpoint_reachable", "auth_configured", "tool_count", "organisation"}
    assert [check["name"] for check in report["checks"]] == CHECKS
    assert {*report["checks"][0]} == {"name", "status", "detail", "advice", "duration"}


@pytest.mark.parametrize(
    ("variable", "value", "absent"), [("TERM", "dumb", "\x1b"), ("PYTHONIOENCODING", "ascii", "\\u")]
)
def test_a_modest_terminal_gets_only_what_it_can_show(
    variable: str, value: str, absent: str, environment: dict[str, str], terminals: list[Terminal]
) -> None:
    terminal = Terminal("demo", environment={**environment, variable: value})
    terminals.append(terminal)
    terminal.read_until("Ready.")
    assert terminal.end() == 0
    assert terminal.text.isascii()
    assert absent not in terminal.text


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_no_key_no_code_and_no_email_is_shown(arguments: list[str], sandbox: Watched) -> None:
    ran = demo(*arguments)
    assert ran.exit_code == 0
    assert not [secret for secret in secrets_of(sandbox) if secret in ran.output]
    assert (MASKED_EMAIL in ran.output) is not ("--json" in arguments)


def test_the_settings_of_the_user_are_left_alone(
    sandbox: Watched, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "favcrm" / "config.toml"
    config.parent.mkdir()
    config.write_text("this is not TOML", encoding="utf-8")
    settings = {
        "FAVCRM_API_KEY": SOMEBODYS_KEY,
        "FAVCRM_MCP_TOKEN": SOMEBODYS_KEY,
        "FAVCRM_MCP_URL": "http://127.0.0.1:9/mcp",
        "FAVCRM_TIMEOUT_MS": "soon",
        "XDG_CONFIG_HOME": str(tmp_path),
        "HTTP_PROXY": "http://127.0.0.1:9",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    ran = demo()
    assert ran.exit_code == 0
    assert sandbox.shown == {None, *sandbox.state.keys}
    assert settings.items() <= os.environ.items()


def test_a_workspace_that_is_not_ready_exits_with_1(sandbox: Watched) -> None:
    sandbox.rules.plan_status = "suspended"
    ran = demo()
    assert ran.exit_code == 1
    assert re.search(rf"^Diagnose +{TOOK}  failed$", ran.stdout, re.MULTILINE)
    assert re.search(rf"^plan +failed +{TOOK}  suspended\. The owner of", ran.stdout, re.MULTILINE)
    assert "List the services" not in ran.stdout
    assert ran.stderr.startswith(
        "Error: The workspace is not ready: plan: suspended.\nNext step: The owner of"
    )


def test_a_refusal_in_json_holds_the_error_and_the_phases(sandbox: Watched) -> None:
    sandbox.add_account(REGISTRATION.email)
    ran = demo("--json")
    assert ran.exit_code == 1
    told, error = json.loads(ran.stdout), json.loads(ran.stderr)
    assert [(phase["name"], phase["status"]) for phase in told["phases"]] == [
        ("sandbox", "ok"),
        ("initiate", "failed"),
    ]
    assert told["ready"] is False
    assert told["report"] is None
    assert told["error"] == error["error"]
    assert error["error"]["code"] == "already_registered"
    assert all(error["error"][name] for name in ("message", "next_step", "request_id"))
    assert REGISTRATION.email not in ran.output


def test_a_refusal_in_words_is_on_stderr(sandbox: Watched) -> None:
    sandbox.add_account(REGISTRATION.email)
    ran = demo()
    assert ran.exit_code == 1
    assert ran.stdout.endswith("failed\n")
    assert ran.stderr.startswith("Error: The email has an account")


def test_in_a_terminal_a_person_types_the_code(
    environment: dict[str, str], terminals: list[Terminal]
) -> None:
    terminal = Terminal("demo", "--ask", environment=environment)
    terminals.append(terminal)
    terminal.read_until(QUESTION)
    assert not terminal.echoes
    code = mailed_code(terminal.text)
    terminal.type(f"{another(code)}\n")
    terminal.read_until("✗")
    terminal.read_until(QUESTION)
    terminal.type("a code\n")
    terminal.read_until("the code: must be exactly")
    terminal.read_until(QUESTION)
    terminal.type(f"{code[:3]} {code[3:]}\n")
    terminal.read_until("╭")
    for check in CHECKS:
        terminal.read_until(check)
    terminal.read_until("Ready.")
    assert terminal.end() == 0
    assert terminal.echoes
    assert "\x1b[32m✓" in terminal.text
    assert all(title in terminal.text for title in TITLES)
    assert terminal.text.count(code) == 1
    assert terminal.text.count("✗") == 2
    assert "fav_mcp_" not in terminal.text


def test_ctrl_c_while_the_demo_works_keeps_nothing(
    environment: dict[str, str], terminals: list[Terminal]
) -> None:
    terminal = Terminal("demo", environment=environment)
    terminals.append(terminal)
    terminal.read_until("Start the sandbox")
    terminal.type("\x03")
    # Where the signal comes inside exec(), as in an import, Python ends by the signal; a shell says 130 to both.
    assert terminal.end() in {130, -signal.SIGINT}
    assert re.search(r"\nStopped\. Nothing was (kept|done)\.\r\n$", terminal.text)
    assert "Traceback" not in terminal.text
    # The cursor, which the spinner hid, is back.
    assert terminal.text.rindex("\x1b[?25h") > terminal.text.rindex("\x1b[?25l")


@pytest.mark.parametrize(
    ("keys", "status", "told"),
    [("\x03", 130, "\r\nStopped. Nothing was kept.\r\n"), ("\x04", 1, NO_CODE)],
    ids=["ctrl-c", "ctrl-d"],
)
def test_ctrl_c_and_ctrl_d_end_the_question(
    keys: str, status: int, told: str, environment: dict[str, str], terminals: list[Terminal]
) -> None:
    terminal = Terminal("demo", "--ask", environment=environment)
    terminals.append(terminal)
    terminal.read_until(QUESTION)
    terminal.type(keys)
    terminal.read_until(told)
    assert terminal.end() == status
    assert terminal.echoes


def test_a_piped_code_is_asked_for_until_it_is_right(
    sandbox: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong_first = [True, False]

    def type_code() -> str:
        code = str(sandbox.inbox[-1].code)
        return another(code) if wrong_first.pop(0) else code

    monkeypatch.setattr("builtins.input", type_code)
    ran = demo("--ask", "--json")
    told = json.loads(ran.stdout)
    assert ran.exit_code == 0
    assert told["ready"] is True
    assert [phase["status"] for phase in told["phases"] if phase["name"] == "confirm"] == ["failed", "ok"]
    mail, question, wrong, question_again = ran.stderr.splitlines()
    assert question == question_again == QUESTION
    assert json.loads(wrong)["error"]["code"] == "invalid_code"
    code = json.loads(mail)["mail"]["code"]
    assert code not in ran.stdout
    assert REGISTRATION.email not in ran.stdout


@pytest.mark.parametrize(("seconds", "shown"), [(0.0124, "12 ms"), (1.25, "1.2 s")])
def test_a_duration_is_shown_in_milliseconds_or_seconds(seconds: float, shown: str) -> None:
    assert took(seconds) == shown
