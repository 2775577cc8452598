"""How the command starts and ends, whatever it does."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from cli.processes import PATIENCE, READ_ONLY, run_into

import favcrm
from favcrm.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INSTALL = 'This command needs the extra "cli". Install it with: pip install "favcrm[cli]"'
LOADED = "import atexit, json, sys; atexit.register(lambda: print(json.dumps(sorted(sys.modules)))); "
AS_COMMAND = "from favcrm.cli import main; main()"
AS_MODULE = "import runpy; runpy.run_module('favcrm', run_name='__main__')"


class InterruptingFinder:
    """Presses Ctrl-C while a module is looked for."""

    def __init__(self, module: str) -> None:
        self._module = module

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == self._module:
            raise KeyboardInterrupt


@pytest.fixture
def ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[object, str, str]]]:
    """Run the command to its end in this process; return its status, its output and what it wrote on stderr."""

    def run(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["favcrm", *arguments])
        with pytest.raises(SystemExit) as exited:
            main()
        written = capsys.readouterr()
        return exited.value.code, written.out, written.err

    handler = signal.getsignal(signal.SIGINT)
    yield run
    signal.signal(signal.SIGINT, handler)


def test_version_prints_the_version(ended: Any) -> None:
    assert ended("--version") == (0, f"favcrm {favcrm.__version__}\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["sandbox", "-h"], ["login", "-h"]])
def test_the_help_fits_a_terminal(arguments: list[str], succeed: Any) -> None:
    shown = succeed(*arguments)
    assert shown.startswith("Usage:")
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_a_missing_extra_is_named(missing: str, ended: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("favcrm.cli.commands", "favcrm.cli.terminal"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    assert ended("demo")[0] == INSTALL


def test_a_missing_module_of_our_own_is_not_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "favcrm.cli.commands", None)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(ModuleNotFoundError, match=r"favcrm\.cli\.commands"):
        main()
    signal.signal(signal.SIGINT, handler)


@pytest.mark.parametrize("module", ["click", "favcrm.cli.demo"])
def test_ctrl_c_while_the_command_loads_does_nothing(
    module: str, ended: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("favcrm.cli.commands", module):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [InterruptingFinder(module), *sys.meta_path])
    assert ended("demo") == (130, "", "Stopped. Nothing was done.\n")


def test_a_closed_standard_output_does_nothing(ended: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert ended("demo")[0] == "Error: The standard output is closed. Nothing was done."


# Processes of their own


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize("arguments", [("demo",), ("--json", "tool", "list")])
def test_an_output_that_cannot_be_written_is_one_line(
    arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    ran = run_into(READ_ONLY, *arguments, environment=environment)
    assert (ran.returncode, ran.stderr) == (
        1,
        "Error: The command stopped before its end: Bad file descriptor.\n",
    )


def test_the_command_and_the_module_are_the_same_and_load_neither_client_nor_server(
    environment: dict[str, str],
) -> None:
    command, module = (
        subprocess.run(
            [sys.executable, "-c", LOADED + script, "--help"],
            env=environment,
            capture_output=True,
            check=True,
            text=True,
            timeout=PATIENCE,
        ).stdout.splitlines()
        for script in (AS_COMMAND, AS_MODULE)
    )
    assert command[1:-1] == module[1:-1]
    assert not {*json.loads(command[-1]), *json.loads(module[-1])} & {
        "httpx",
        "mcp",
        "rich",
        "tenacity",
        "uvicorn",
    }


def test_importing_the_module_runs_nothing(environment: dict[str, str]) -> None:
    script = [sys.executable, "-c", "import favcrm.__main__", "demo"]
    ran = subprocess.run(script, env=environment, capture_output=True, check=True, timeout=PATIENCE)
    assert (ran.stdout, ran.stderr) == (b"", b"")
