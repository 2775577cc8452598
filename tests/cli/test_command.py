from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from cli.processes import CLOSED, PATIENCE, READ_ONLY, run, run_into

import favcrm

if TYPE_CHECKING:
    from collections.abc import Mapping

INSTALL = 'This command needs the extra "cli". Install it with: pip install "favcrm[cli]"\n'
AS_COMMAND = "from favcrm.cli import main; main()"
AS_MODULE = "import runpy; runpy.run_module('favcrm', run_name='__main__')"
HIDE = "import sys; sys.modules[sys.argv.pop(1)] = None; "
INTERRUPT_IMPORTS = """
import sys

class Interrupting:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "click":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting)
"""


def run_script(
    script: str, *arguments: str, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environment,
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE,
    )


def test_the_version(environment: dict[str, str]) -> None:
    ran = run("--version", environment=environment)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"favcrm {favcrm.__version__}\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["sandbox", "-h"]])
def test_the_help_fits_a_terminal(arguments: list[str], environment: dict[str, str]) -> None:
    ran = run(*arguments, environment=environment)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("Usage:")
    assert max(map(len, ran.stdout.splitlines())) <= 80


def test_the_command_and_the_module_are_the_same(environment: dict[str, str]) -> None:
    command, module = (
        run_script(script, "--help", environment=environment) for script in (AS_COMMAND, AS_MODULE)
    )
    assert command.returncode == module.returncode == 0
    assert command.stdout.splitlines()[1:] == module.stdout.splitlines()[1:]


def test_importing_the_module_runs_nothing(environment: dict[str, str]) -> None:
    ran = run_script("import favcrm.__main__", "demo", environment=environment)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("missing", "script"),
    [("click", AS_COMMAND), ("click", AS_MODULE), ("rich", AS_COMMAND)],
)
def test_a_missing_extra_is_told_in_one_line(missing: str, script: str, environment: dict[str, str]) -> None:
    ran = run_script(HIDE + script, missing, "demo", environment=environment)
    assert (ran.returncode, ran.stderr) == (1, INSTALL)


def test_a_missing_module_of_our_own_is_no_missing_extra(environment: dict[str, str]) -> None:
    ran = run_script(HIDE + AS_COMMAND, "favcrm.cli.commands", "demo", environment=environment)
    assert ran.returncode == 1
    assert "favcrm.cli.commands" in ran.stderr
    assert INSTALL not in ran.stderr


@pytest.mark.parametrize(
    ("redirection", "told"),
    [
        (CLOSED, "The standard output is closed. Nothing was done."),
        (READ_ONLY, "The command stopped before its end: Bad file descriptor."),
    ],
)
def test_an_output_that_takes_nothing_is_told_in_one_line(
    redirection: str, told: str, environment: dict[str, str]
) -> None:
    ran = run_into(redirection, "--version", environment=environment)
    assert (ran.returncode, ran.stderr) == (1, f"Error: {told}\n")


def test_ctrl_c_while_things_load(environment: dict[str, str]) -> None:
    ran = run_script(INTERRUPT_IMPORTS + AS_COMMAND, "demo", environment=environment)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "Stopped.\n")


def test_help_and_version_load_no_client_and_no_server(environment: dict[str, str]) -> None:
    script = (
        "import atexit, json, sys; atexit.register(lambda: print(json.dumps(sorted(sys.modules)))); "
        + AS_COMMAND
    )
    ran = run_script(script, "--version", environment=environment)
    loaded = set(json.loads(ran.stdout.splitlines()[-1]))
    assert not loaded & {"httpx", "mcp", "rich", "tenacity", "uvicorn"}
