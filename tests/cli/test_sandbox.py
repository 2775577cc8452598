from __future__ import annotations

import json
import re
import signal
import socket
from typing import TYPE_CHECKING

import pytest
from cli.processes import Terminal, run, start

from favcrm import FavCRMClient, FavCRMProvisioner

if TYPE_CHECKING:
    import subprocess

EMAIL = "ada@example.com"


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    """Read lines until one matches, and return what its group found."""
    assert process.stdout
    for line in process.stdout:
        if found := re.search(pattern, line):
            return found[1]
    raise AssertionError(f"no line matched {pattern}")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_and_shows_its_mails_until_it_is_stopped(
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
    assert (process.returncode, errors) == (0, "Stopped.\n")


def test_json_is_a_line_for_each_thing_that_happens(environment: dict[str, str]) -> None:
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


def test_in_a_terminal_a_mail_is_drawn_and_obeys_nobody(environment: dict[str, str]) -> None:
    terminal = Terminal("sandbox", environment=environment)
    try:
        terminal.read_until("FAVCRM_MCP_URL=")
        terminal.read_until("Ctrl-C stops it.")
        found = re.search(r"FAVCRM_MCP_URL=(\S+?)\x1b", terminal.text)
        assert found
        with FavCRMProvisioner(found[1]) as favcrm:
            favcrm.initiate(email=EMAIL, organisation_name="[red]\x1b]0;Title\x07\nCode")
        terminal.read_until("╭─ Mail")
        terminal.read_until("[red]]0;Title Code")
        terminal.read_until("╯")
        terminal.type("\x03")
        assert terminal.end() == 0
        assert terminal.text.endswith("\r\nStopped.\r\n")
    finally:
        terminal.close()


def test_it_has_the_port_that_is_asked_for_and_says_when_it_is_taken(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = run("sandbox", "--port", str(port), environment=environment)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert re.fullmatch(rf"Error: Port {port} cannot be used: [^()\n]+\.\n", ran.stderr)


def test_a_port_that_does_not_exist_is_refused(environment: dict[str, str]) -> None:
    ran = run("sandbox", "--port", "65536", environment=environment)
    assert ran.returncode == 2
    assert "65536 is not in the range" in ran.stderr
