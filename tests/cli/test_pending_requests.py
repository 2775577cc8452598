"""What one command remembers of a request for a code, for the next one."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from cli.processes import PATIENCE, start
from cli.sandboxes import VERIFY, replace_tool

from favcrm import PendingRegistration
from favcrm.cli.work import told
from favcrm.sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from click.testing import Result

Command = Callable[..., "Result"]

EMAIL = "you@example.com"
REQUEST = ("signup", "request", "--email", EMAIL, "--organisation-name", "Acme")
UNREMEMBERED = "This request could not be remembered, so asking again sends another email."
UNUSABLE = "The ledger cannot be used, so asking again may send another email: "


def load(command: Command, *arguments: str) -> Any:
    """Return the JSON that a command writes that ends well."""
    ran = command("--json", *arguments)
    assert (ran.exit_code, ran.stderr) == (0, "")
    return json.loads(ran.stdout)


def pending_file(config: Path) -> Path:
    (path,) = config.parent.glob("pending-*.json")
    return path


def test_a_second_request_sends_no_second_email(command: Command, config: Path, sandbox: Sandbox) -> None:
    asked, found = load(command, *REQUEST), load(command, *REQUEST)
    assert (asked["reused"], found["reused"]) == (False, True)
    assert found["requestId"] == asked["requestId"]
    assert len(sandbox.inbox) == 1
    verify = ("signup", "verify", "--request-id", found["requestId"])
    code = str(sandbox.inbox.code_for(EMAIL))
    assert command(*verify, "--code", code).exit_code == 0
    assert "api_key" in config.read_text()


@pytest.mark.parametrize(
    "words",
    [
        ("--email", EMAIL, "--organisation-name", "Acme", "--country", "HK"),
        ("--email", "YOU@Example.com", "--organisation-name", "  ACME "),
    ],
    ids=["with another country", "written otherwise"],
)
@pytest.mark.usefixtures("config")
def test_the_same_request_again_says_that_no_email_was_sent(
    words: tuple[str, ...], command: Command, sandbox: Sandbox
) -> None:
    request_id = load(command, *REQUEST)["requestId"]
    ran = command("signup", "request", *words)
    assert (ran.exit_code, ran.stderr) == (0, "")
    first, second, third = ran.stdout.splitlines()
    assert re.fullmatch(
        r"A code was sent by an earlier request, and is good for \d+ minutes more. No second email was sent.",
        first,
    )
    assert second == "Give --resend to ask for a new code."
    assert third == f"Then: favcrm signup verify --request-id {request_id} --code CODE"
    assert len(sandbox.inbox) == 1


@pytest.mark.usefixtures("config")
def test_resend_sends_a_new_code(command: Command, sandbox: Sandbox) -> None:
    first = load(command, *REQUEST)
    second = load(command, *REQUEST, "--resend")
    assert not second["reused"]
    assert second["requestId"] != first["requestId"]
    assert len(sandbox.inbox) == 2
    assert load(command, *REQUEST)["requestId"] == second["requestId"]


@pytest.mark.usefixtures("config")
def test_another_organisation_gets_its_own_code(command: Command, sandbox: Sandbox) -> None:
    load(command, *REQUEST)
    assert not load(command, *REQUEST[:-1], "Other")["reused"]
    assert len(sandbox.inbox) == 2


@pytest.mark.usefixtures("config")
def test_another_endpoint_gets_its_own_code(command: Command, sandbox: Sandbox) -> None:
    load(command, *REQUEST)
    other = Sandbox()
    with other.serve() as server:
        assert not load(command, "--url", server.url, *REQUEST)["reused"]
    assert (len(sandbox.inbox), len(other.inbox)) == (1, 1)
    assert load(command, *REQUEST)["reused"]


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize(
    ("options", "kept", "then"),
    [
        ((), "its key was saved. No email was sent.", 'See with "favcrm whoami"'),
        (("--no-save",), "its key was shown and not saved.", "If you do not have the key, sign in at"),
    ],
    ids=["saved", "shown"],
)
def test_a_request_after_a_sign_up_says_that_it_is_confirmed(
    options: tuple[str, ...], kept: str, then: str, command: Command, sandbox: Sandbox
) -> None:
    request_id = load(command, *REQUEST)["requestId"]
    code = str(sandbox.inbox.code_for(EMAIL))
    verify = ("signup", "verify", "--request-id", request_id, "--code", code, *options)
    load(command, *verify)
    asked = load(command, *REQUEST)
    assert (asked["reused"], asked["confirmed"]) == (True, True)
    shown = command(*REQUEST).stdout
    assert shown.startswith(f"This sign-up is confirmed already, and {kept}\n{then}")
    assert "A code was sent" not in shown
    again = command("--json", *verify)
    assert again.exit_code == 1
    assert json.loads(again.stderr)["error"]["code"] == "store_failed"
    assert "The code was not used." in again.stderr
    assert sandbox.count(VERIFY) == 1


def test_the_pending_file_holds_no_email(command: Command, config: Path) -> None:
    load(command, *REQUEST)
    path = pending_file(config)
    assert "example.com" not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def _is_no_ledger(path: Path) -> None:
    path.write_text("something else")


def _is_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [_is_no_ledger, _is_a_directory])
def test_an_unusable_ledger_is_a_warning(
    spoil: Callable[[Path], None], command: Command, config: Path, sandbox: Sandbox
) -> None:
    load(command, *REQUEST)
    spoil(pending_file(config))
    ran = command(*REQUEST)
    told = ran.stderr.splitlines()
    assert ran.exit_code == 0
    assert told == list(dict.fromkeys(told)) != []
    assert all(line.startswith(f"Warning: {UNUSABLE}") and line.endswith(".") for line in told)
    ran = command("--json", *REQUEST)
    assert [f"Warning: {json.loads(line)['warning']}" for line in ran.stderr.splitlines()] == told
    assert ran.exit_code == 0
    request_id = json.loads(ran.stdout)["requestId"]
    code = str(sandbox.inbox.code_for(EMAIL))
    assert command("signup", "verify", "--request-id", request_id, "--code", code).exit_code == 0


def test_a_machine_without_a_home_sends_a_code_with_a_warning(
    environment: dict[str, str], config: Path, command: Command, sandbox: Sandbox
) -> None:
    environment["FAVCRM_MCP_URL"] = config.read_text().split('"')[1]
    del environment["HOME"], environment["XDG_CONFIG_HOME"]
    ran = command(*REQUEST)
    assert (ran.exit_code, ran.stderr) == (0, f"Warning: {UNREMEMBERED}\n")
    code = str(sandbox.inbox.code_for(EMAIL))
    request_id = ran.stdout.splitlines()[-1].split()[5]
    verify = ("signup", "verify", "--request-id", request_id, "--code", code)
    assert "this machine names no home directory" in command(*verify).stderr
    assert "fav_mcp_" in command(*verify, "--no-save", "--show-key").stdout


def test_a_code_that_a_killed_process_sent_has_an_unknown_outcome(
    environment: dict[str, str], config: Path, command: Command, sandbox: Sandbox
) -> None:
    request_id = load(command, *REQUEST)["requestId"]
    code = str(sandbox.inbox.code_for(EMAIL))
    verify = ("signup", "verify", "--request-id", request_id, "--code", code)
    arrived = Event()
    replace_tool(sandbox, VERIFY, arrived.set)
    sandbox.fail_next(VERIFY, Fault.STALL_AFTER)
    with start(*verify, environment=environment) as process:
        assert arrived.wait(PATIENCE)
        process.kill()
    assert "api_key" not in config.read_text()
    ran = command("--json", *verify)
    assert ran.exit_code == 1
    assert json.loads(ran.stderr)["error"]["code"] == "outcome_unknown"


@pytest.mark.usefixtures("config")
def test_a_short_time_left_is_shown_in_seconds(command: Command, sandbox: Sandbox) -> None:
    sandbox.rules.code_ttl = 110
    assert re.search(r"is good for \d+ seconds\.", command(*REQUEST).stdout)


def test_an_answer_without_a_masked_email_is_shown_without_one() -> None:
    pending = PendingRegistration(
        request_id="signup_req_1", expires_at=datetime.now(UTC) + timedelta(seconds=600.4)
    )
    assert told(pending) == ("A code was sent, and is good for 10 minutes.",)
