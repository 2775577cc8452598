from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from attrs import evolve
from click.testing import CliRunner, Result

from favcrm.cli.commands import favcrm
from favcrm.sandbox import Sandbox
from favcrm.sandbox.forms import ToolAnswer
from favcrm.sandbox.server import Server
from favcrm.sandbox.tools import SandboxTool
from favcrm.typing import JSON

EMAIL = "you@example.com"
VERIFY, ACCEPT = "register_organisation_verify", "accept_team_invite_verify"
REQUEST = ("signup", "request", "--email", EMAIL, "--organisation-name", "Acme")
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


def replace_tool(sandbox: Sandbox, name: str, first: Callable[[], object]) -> None:
    """Let something happen at the server before a tool acts."""
    tools = cast("dict[str, SandboxTool]", sandbox.tools)
    function = tools[name].function

    def call_later(*arguments: object, **fields: JSON) -> ToolAnswer:
        first()
        return function(*arguments, **fields)

    tools[name] = evolve(tools[name], function=call_later)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who has never used FavCRM, in an ordinary terminal."""
    kept = {name: value for name, value in os.environ.items() if name not in LOOKS and "FAVCRM" not in name}
    return {
        **kept,
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
        "TERM": "xterm-256color",
        "PYTHONUTF8": "1",
    }


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.fixture
def server(sandbox: Sandbox) -> Iterator[Server]:
    with sandbox.serve() as server:
        yield server


@pytest.fixture
def url(environment: dict[str, str], server: Server) -> str:
    """The address of the sandbox, which the environment names."""
    environment["FAVCRM_MCP_URL"] = server.url
    return server.url


@pytest.fixture
def config(server: Server, tmp_path: Path) -> Path:
    """The config file, which names the sandbox and has no key yet."""
    path = tmp_path / "favcrm" / "config.toml"
    path.parent.mkdir()
    path.write_text(f'url = "{server.url}"\n')
    return path


@pytest.fixture
def key(environment: dict[str, str], url: str, sandbox: Sandbox) -> str:
    """The key of a workspace in the sandbox at the address in the environment, which holds the key."""
    assert url
    environment["FAVCRM_API_KEY"] = sandbox.add_organisation("Acme").reveal()
    return environment["FAVCRM_API_KEY"]


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


@pytest.fixture
def verification(load: Any, sandbox: Sandbox) -> Callable[..., tuple[str, ...]]:
    """Ask for a code, and return the arguments that confirm the code."""

    def arguments(way: str = VERIFY) -> tuple[str, ...]:
        words: tuple[str, ...]
        if way == VERIFY:
            words = ("signup", "verify", "--request-id", load(*REQUEST)["requestId"])
        else:
            owner = sandbox.add_organisation("Acme").reveal()
            token = load("--api-key", owner, "team", "invite", "create", "--email", EMAIL)["token"]
            load("team", "invite", "accept-request", "--token", token)
            words = ("team", "invite", "accept-verify", "--token", token)
        return (*words, "--code", sandbox.inbox.code_for(EMAIL))

    return arguments
