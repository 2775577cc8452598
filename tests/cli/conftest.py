from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from favcrm.cli.commands import favcrm
from favcrm.sandbox import Sandbox
from favcrm.sandbox.server import Server

Command = Callable[..., Result]

LOOKS = {
    "COLUMNS",
    "FORCE_COLOR",
    "LINES",
    "NO_COLOR",
    "PYTHONIOENCODING",
    "PYTHONUNBUFFERED",
    "TTY_COMPATIBLE",
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who has never used FavCRM, in an ordinary terminal."""
    kept = {name: value for name, value in os.environ.items() if name not in LOOKS and "FAVCRM" not in name}
    return {**kept, "HOME": str(tmp_path), "TERM": "xterm-256color", "PYTHONUTF8": "1"}


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.fixture
def server(sandbox: Sandbox) -> Iterator[Server]:
    with sandbox.serve() as server:
        yield server


@pytest.fixture
def config(environment: dict[str, str], server: Server, tmp_path: Path) -> Path:
    """The config file, which names the sandbox and has no key yet."""
    environment["XDG_CONFIG_HOME"] = str(tmp_path)
    path = tmp_path / "favcrm" / "config.toml"
    path.parent.mkdir()
    path.write_text(f'url = "{server.url}"\n')
    return path


@pytest.fixture
def command(environment: dict[str, str]) -> Command:
    """The command in this process."""

    def run(*arguments: str, stdin: str = "", **variables: str) -> Result:
        absent = dict.fromkeys(os.environ.keys() - environment.keys())
        env = {**absent, **environment, **variables}
        ran = CliRunner().invoke(favcrm, arguments, input=stdin, env=env)
        assert ran.exception is None or isinstance(ran.exception, SystemExit)
        return ran

    return run


@pytest.fixture
def succeed(command: Command) -> Callable[..., str]:
    """Run a command that ends well, and return its output."""

    def run(*arguments: str, stdin: str = "", **variables: str) -> str:
        ran = command(*arguments, stdin=stdin, **variables)
        assert (ran.exit_code, ran.stderr) == (0, ""), ran.stderr
        return ran.stdout

    return run


@pytest.fixture
def load(succeed: Callable[..., str]) -> Callable[..., Any]:
    """Run a command that ends well, and return the JSON of its output."""
    return lambda *arguments, **variables: json.loads(succeed("--json", *arguments, **variables))


@pytest.fixture
def fail(command: Command) -> Callable[..., str]:
    """Run a command that fails and has no output, and return what it writes on stderr."""

    def run(*arguments: str, status: int = 1, stdin: str = "", **variables: str) -> str:
        ran = command(*arguments, stdin=stdin, **variables)
        assert (ran.exit_code, ran.stdout) == (status, "")
        return ran.stderr

    return run
