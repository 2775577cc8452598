from __future__ import annotations

import json
import re
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest
from cli.processes import Terminal, start

from favcrm import FavCRMClient, FavCRMProvisioner

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

EMAIL = "ada@example.com"


@pytest.fixture(autouse=True)
def sigterm() -> Iterator[None]:
    """Give SIGTERM back its handler, which the command changes where it runs in this process."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    """Read lines until one matches, and return what its group found."""
    assert process.stdout
    for line in process.stdout:
        if found := re.search(pattern, line):
            return found[1]
    raise AssertionError(f"no line matched {pattern}")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_a_served_sandbox_shows_its_mails_until_a_signal(
    end: signal.Signals, environment: dict[str, str]
) -> None:
    with start("sandbox", environment=environment) as process:
        url = read_until(process, "^    export FAVCRM_MCP_URL=(.*)")
        with FavCRMProvisioner(url) as favcrm:
            pending = favcrm.initiate(email=EMAIL, organisation_name="Stretch + Breathe")
            assert read_until(process, "^To: (.*)") == EMAIL
            favcrm.confirm(pending, read_until(process, r"code is (\d{6})\."))
            assert favcrm.diagnose().ready
        process.send_signal(end)
        _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "Stopped. What was written in the sandbox is gone.\n")


def test_json_is_a_line_for_each_event(environment: dict[str, str]) -> None:
    with start("sandbox", "--json", "--doctor", environment=environment) as process:
        assert process.stdout
        began = json.loads(process.stdout.readline())
        assert began == {"url": began["url"], "environment": {"FAVCRM_MCP_URL": began["url"]}}
        with FavCRMProvisioner(began["url"]) as favcrm:
            pending = favcrm.initiate(email=EMAIL, organisation_name="Stretch + Breathe")
            mail = json.loads(process.stdout.readline())["mail"]
            assert mail.keys() == {"to", "subject", "body", "code", "sent_at"}
            assert mail["to"] == EMAIL
            favcrm.confirm(pending, mail["code"])
        with FavCRMClient(began["url"]) as crm:
            assert "favcrm_doctor" in {tool.name for tool in crm.list_tools()}
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate()
    assert (process.returncode, rest) == (0, "")


def test_a_mail_in_a_terminal_holds_no_control_characters(environment: dict[str, str]) -> None:
    terminal = Terminal("sandbox", environment=environment)
    try:
        terminal.read_until("FAVCRM_MCP_URL=")
        terminal.read_until("Ctrl-C stops the sandbox.")
        found = re.search(r"FAVCRM_MCP_URL=(\S+?)\x1b", terminal.text)
        assert found
        with FavCRMProvisioner(found[1]) as favcrm:
            favcrm.initiate(email=EMAIL, organisation_name="[red]\x1b]0;Title\x07\nCode")
        terminal.read_until("╭─ Mail")
        terminal.read_until("[red]]0;Title Code")
        terminal.read_until("╯")
        terminal.type("\x03")
        assert terminal.end() == 0
        assert terminal.text.endswith("\r\nStopped. What was written in the sandbox is gone.\r\n")
    finally:
        terminal.close()


def test_a_taken_port_is_an_error(fail: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = fail("sandbox", "--port", str(port))
    assert re.fullmatch(rf"Error: Port {port} cannot be used: [^()\n]+\.\n", told)


def test_a_port_that_does_not_exist_is_a_wrong_use(fail: Any) -> None:
    assert "65536 is not in the range" in fail("sandbox", "--port", "65536", status=2)


def test_a_missing_extra_is_named(fail: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "favcrm.sandbox.server", raising=False)
    monkeypatch.setitem(sys.modules, "mcp", None)
    assert 'pip install "favcrm[sandbox]"' in fail("sandbox")
