"""Other people's software as processes: where the session put it, how it is started, and how it is ended."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from attrs import frozen

HERE = Path(__file__).parent
PATIENCE = 60.0
"""Seconds after which a process that does not end has failed."""


@frozen
class Peer:
    """A server on somebody else's code.

    Attributes:
        home: The folder in which the session installed its library.
        script: The script that runs it.
        how: The script's argument.
    """

    home: str
    script: str
    how: str

    @property
    def name(self) -> str:
        """What the test's name calls it."""
        return f"{self.home}-{self.how}"

    @property
    def command(self) -> tuple[str, str, str]:
        """The program and its arguments."""
        return (*program(self.home, f"servers/{self.script}"), self.how)


def installed(home: str) -> Path:
    """Return the folder in which the session installed something."""
    return Path(os.environ["FAVCRM_PEERS"]) / home


def program(home: str, script: str) -> tuple[str, str]:
    """Return the interpreter and the script: Python's from here, JavaScript's from beside its packages."""
    if script.endswith(".mjs"):
        return node(), str(installed(home) / Path(script).name)
    (python,) = (path for path in installed(home).glob("[bS]*/python*") if path.stem == "python")
    return str(python), str(HERE / script)


@cache
def node() -> str:
    """Return Node itself; the command in the session's venv is a Python program that starts it."""
    asked = subprocess.run(["node", "-p", "process.execPath"], check=True, capture_output=True, text=True)  # noqa: S607
    return asked.stdout.strip()


def environment(**variables: str) -> Mapping[str, str]:
    """Return this environment without what is meant for this Python and this package."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FAVCRM_"))}
    return {**kept, **variables}


@contextmanager
def serving(peer: Peer, upstream: str, log: Path) -> Generator[str]:
    """Run a server that forwards to a sandbox, and give its address."""
    with log.open("w+") as errors:
        process = subprocess.Popen(
            peer.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(FAVCRM_UPSTREAM=upstream),
        )
        assert process.stdout is not None
        with process.stdout:
            try:
                ready, _, url = process.stdout.readline().strip().partition(" ")
                assert ready == "READY", f"{peer.name} did not start:\n{log.read_text()}"
                yield url
            finally:
                process.kill()
                process.wait(PATIENCE)
