"""The server is killed while a client waits for it: an error of ours, and the next run goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crash import flow, server
from crash.arena import REQUEST, VERIFY

from favcrm import errors
from favcrm.sandbox import Mail, Sandbox

PATIENCE = 60.0
LISTING = "tools/list"
Start = Callable[[str, str], int]


@pytest.fixture(params=["blocking", "asyncio"])
def colour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(tool: str, moment: str) -> int:
        arguments = [sys.executable, server.__file__, tool, moment, str(tmp_path / "code")]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, encoding="utf-8")
        started.append(process)
        assert process.stdout is not None
        return int(process.stdout.readline())

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=PATIENCE)


def settings_for(colour: str, port: int, directory: Path) -> flow.Settings:
    url = f"http://127.0.0.1:{port}/mcp"
    return flow.Settings(colour=colour, url=url, directory=str(directory))


def go_on(settings: flow.Settings, port: int, directory: Path) -> None:
    """Run against a server that has come back and remembers nothing."""

    def deliver(mail: Mail) -> None:
        assert mail.code is not None
        (directory / "code").write_text(mail.code, encoding="ascii")

    sandbox = Sandbox(on_mail=deliver)
    with sandbox.serve(port=port):
        assert flow.provision(settings).report.ready
    assert sandbox.count(VERIFY, "done") == 1


@pytest.mark.parametrize("moment", ["before", "after"])
def test_while_a_code_is_requested(colour: str, moment: str, start: Start, tmp_path: Path) -> None:
    port = start(REQUEST, moment)
    settings = settings_for(colour, port, tmp_path)
    with pytest.raises(errors.OutcomeUnknownError, match="may have been carried out"):
        flow.provision(settings)
    go_on(settings, port, tmp_path)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_while_the_code_is_used(colour: str, moment: str, start: Start, tmp_path: Path) -> None:
    port = start(VERIFY, moment)
    settings = settings_for(colour, port, tmp_path)
    with pytest.raises(errors.OutcomeUnknownError, match=r"The workspace may exist.*MCP Keys"):
        flow.provision(settings)
    go_on(settings, port, tmp_path)


def test_while_it_is_diagnosed(colour: str, start: Start, tmp_path: Path) -> None:
    port = start(LISTING, "before")
    settings = settings_for(colour, port, tmp_path)
    done = flow.provision(settings)
    assert not done.report.ready
    assert flow.Store(settings).get(done.ref) == done.workspace.api_key
