from __future__ import annotations

import json
import os
import re
import secrets
import signal
from typing import TYPE_CHECKING, Any

import pytest
from cli.processes import Terminal, run, start
from click.testing import CliRunner

from favcrm.cli.commands import favcrm
from favcrm.cli.demo import REGISTRATION
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
WRONG_CODE = "Read the newest email from FavCRM again"
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


def demo(*arguments: str) -> Result:
    """Run the demo in this process."""
    return CliRunner().invoke(favcrm, ["demo", *arguments])


def secrets_of(sandbox: Sandbox) -> set[str]:
    """What the sandbox knows and nobody may show."""
    keys = set(sandbox.state.keys)
    codes = {mail.code for mail in sandbox.inbox if mail.code}
    assert keys
    assert codes
    return keys | codes | {REGISTRATION.email}


def test_through_a_pipe_it_is_plain(environment: dict[str, str]) -> None:
    ran = run("demo", environment={**environment, "FORCE_COLOR": "1"})
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.isascii()
    assert "\x1b" not in ran.stdout
    intro, phases, report, end = ran.stdout.strip().split("\n\n")
    assert "Nothing leaves it." in intro
    assert re.findall(rf"^(\S.*?) +{TOOK}  \S", phases, re.MULTILINE) == TITLES
    assert re.findall(rf"^(\w+) +ok +{TOOK}  \S", report, re.MULTILINE) == CHECKS
    assert re.search(rf"sent to {re.escape(MASKED_EMAIL)}, \d+ min \d+ s left$", phases, re.MULTILINE)
    assert end.startswith("Ready.")


def test_json_is_one_document(environment: dict[str, str]) -> None:
    ran = run("demo", "--json", environment=environment)
    assert (ran.returncode, ran.stderr) == (0, "")
    told = json.loads(ran.stdout)
    assert told.keys() == {"ready", "phases", "report", "error"}
    assert told["ready"] is True
    assert told["error"] is None
    assert [phase["name"] for phase in told["phases"]] == PHASES
    assert {phase["status"] for phase in told["phases"]} == {"ok"}
    assert all(phase.keys() == {"name", "status", "duration"} for phase in told["phases"])
    assert all(0 <= phase["duration"] < 60 for phase in told["phases"])
    report = told["report"]
    assert report.keys() == {
        "endpoint_reachable", "auth_configured", "tool_count", "organisation", "plan_status",
        "whatsapp_connected", "checks",
    }  # fmt: skip
    assert [check["name"] for check in report["checks"]] == CHECKS
    assert all(
        check.keys() == {"name", "status", "detail", "advice", "duration"} for check in report["checks"]
    )


def test_in_a_terminal_it_is_for_people(environment: dict[str, str], terminals: list[Terminal]) -> None:
    terminal = Terminal("demo", environment=environment)
    terminals.append(terminal)
    terminal.read_until("Start the sandbox")
    for title in TITLES:
        terminal.read_until(title)
    terminal.read_until("╭")
    for check in CHECKS:
        terminal.read_until(check)
    terminal.read_until("Ready.")
    assert terminal.end() == 0
    assert "\x1b[32m✓" in terminal.text
    assert MASKED_EMAIL in terminal.text
    assert REGISTRATION.email not in terminal.text
    assert "fav_mcp_" not in terminal.text


@pytest.mark.parametrize(
    ("variable", "value", "absent"), [("TERM", "dumb", "\x1b"), ("PYTHONIOENCODING", "ascii", "\\u")]
)
def test_a_modest_terminal_gets_what_it_can_show(
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


def test_the_users_settings_are_left_alone(
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
    assert SOMEBODYS_KEY not in ran.output


def test_a_workspace_that_is_not_ready(sandbox: Watched) -> None:
    sandbox.rules.plan_status = "suspended"
    ran = demo()
    assert ran.exit_code == 1
    assert re.search(rf"^Diagnose +{TOOK}  failed$", ran.stdout, re.MULTILINE)
    assert re.search(rf"^plan +failed +{TOOK}  suspended\. The owner of", ran.stdout, re.MULTILINE)
    assert "List the services" not in ran.stdout
    assert ran.stderr.startswith(
        "Error: The workspace is not ready: plan: suspended.\nNext step: The owner of"
    )


def test_a_refusal_in_json(sandbox: Watched) -> None:
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


def test_a_refusal_in_words(sandbox: Watched) -> None:
    sandbox.add_account(REGISTRATION.email)
    ran = demo()
    assert ran.exit_code == 1
    assert re.search(rf"^Ask for a code +{TOOK}  failed$", ran.stdout, re.MULTILINE)
    assert [line.partition(":")[0] for line in ran.stderr.splitlines()] == [
        "Error",
        "Next step",
        "Request id",
    ]


def test_a_person_types_the_code(environment: dict[str, str], terminals: list[Terminal]) -> None:
    terminal = Terminal("demo", "--ask", environment=environment)
    terminals.append(terminal)
    terminal.read_until(QUESTION)
    assert not terminal.echoes
    code = mailed_code(terminal.text)
    terminal.type(f"{another(code)}\n")
    terminal.read_until(WRONG_CODE)
    terminal.read_until(QUESTION)
    terminal.type("a code\n")
    terminal.read_until("must be exactly six")
    terminal.read_until(QUESTION)
    terminal.type(f"{code[:3]} {code[3:]}\n")
    terminal.read_until("Ready.")
    assert terminal.end() == 0
    assert terminal.echoes
    assert terminal.text.count(code) == 1
    assert terminal.text.count("✗") == 2


def test_ctrl_c_while_something_goes_on(environment: dict[str, str], terminals: list[Terminal]) -> None:
    terminal = Terminal("demo", environment=environment)
    terminals.append(terminal)
    terminal.read_until("Start the sandbox")
    terminal.type("\x03")
    # Where it hits inside exec(), as importing does, Python ends by the signal itself; a shell says 130 to both.
    assert terminal.end() in {130, -signal.SIGINT}
    assert terminal.text.endswith("\nStopped.\r\n")
    assert "Traceback" not in terminal.text
    # The cursor, which the spinner hid, is back.
    assert terminal.text.rindex("\x1b[?25h") > terminal.text.rindex("\x1b[?25l")


def test_ctrl_c_at_the_question(environment: dict[str, str], terminals: list[Terminal]) -> None:
    terminal = Terminal("demo", "--ask", environment=environment)
    terminals.append(terminal)
    terminal.read_until(QUESTION)
    terminal.type("\x03")
    assert terminal.end() == 130
    assert terminal.echoes
    assert terminal.text.endswith(f"{QUESTION}\r\nStopped.\r\n")


def test_ctrl_d_at_the_question(environment: dict[str, str], terminals: list[Terminal]) -> None:
    terminal = Terminal("demo", "--ask", environment=environment)
    terminals.append(terminal)
    terminal.read_until(QUESTION)
    terminal.type("\x04")
    terminal.read_until(NO_CODE)
    assert terminal.end() == 1


def test_an_interrupt_without_a_terminal(environment: dict[str, str]) -> None:
    with start("demo", "--ask", environment=environment) as process:
        assert process.stderr
        assert f"{QUESTION}\n" in iter(process.stderr.readline, "")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert (process.returncode, errors) == (130, "Stopped.\n")


def test_the_code_through_a_pipe_and_json(environment: dict[str, str]) -> None:
    with start("demo", "--ask", "--json", environment=environment) as process:
        assert process.stdin
        assert process.stderr
        mail = json.loads(process.stderr.readline())["mail"]
        assert process.stderr.readline() == f"{QUESTION}\n"
        process.stdin.write(f"{another(mail['code'])}\n")
        process.stdin.flush()
        assert json.loads(process.stderr.readline())["error"]["code"] == "invalid_code"
        out, _ = process.communicate(f"{mail['code']}\n")
    told = json.loads(out)
    assert process.returncode == 0
    assert told["ready"] is True
    statuses = [phase["status"] for phase in told["phases"] if phase["name"] == "confirm"]
    assert statuses == ["failed", "ok"]
    assert mail["to"] == REGISTRATION.email
    assert REGISTRATION.email not in out
    assert mail["code"] not in out


def test_nobody_types_the_code(environment: dict[str, str]) -> None:
    ran = run("demo", "--ask", environment=environment)
    assert ran.returncode == 1
    assert ran.stderr.endswith(
        f"Error: {NO_CODE}\nNext step: Run it again, and type the code that is in the mail.\n"
    )
    assert mailed_code(ran.stderr)
