"""Commands for the tests: programs of their own, that a transport runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from select import select
from typing import Any

import colours
from attrs import field, frozen
from colours import Colour
from servers import PATIENCE

from favcrm.transports.cli import AsyncCLITransport, CLITransport

VENDOR = Path(__file__).with_name("vendor.py")
OWN = "from favcrm.cli import main\nmain()\n"
PYTHON = f"#!{sys.executable}\n"
SHELL = "#!/bin/sh\n"

HANGS = 'exec 9>"$ALIVE"; echo started >&9; sleep 1000 & sleep 1000\n'
"""A command that never ends and has a child; both hold the other end of `Alive`."""


@frozen
class Command:
    """A command: its path, and what its environment needs."""

    path: Path
    env: Mapping[str, str] = field(factory=dict[str, str])

    def transport(self, colour: Colour, endpoint: str | None = None, **env: str) -> Any:
        """Return a transport of a colour."""
        kind = CLITransport if colour == "blocking" else AsyncCLITransport
        return kind(self.path, endpoint=endpoint, env={**self.env, **env})

    def reach(self, colour: Colour, endpoint: str | None = None, **env: str) -> colours.Facade:
        """Return a transport of a colour, with async methods."""
        return colours.Facade(self.transport(colour, endpoint, **env))


def write_command(directory: Path, content: str, env: Mapping[str, str] | None = None) -> Command:
    """Write a program."""
    path = directory / "favcrm"
    path.write_text(content)
    path.chmod(0o700)
    return Command(path, env or {})


def vendors(directory: Path) -> Command:
    """Return the stand-in for the vendor's command."""
    return write_command(directory, PYTHON + VENDOR.read_text())


def own(directory: Path) -> Command:
    """Return this project's command, as an installer writes it."""
    needed = {name: value for name, value in os.environ.items() if name.startswith(("COVERAGE", "PYTHON"))}
    return write_command(directory, PYTHON + OWN, needed)


class Alive:
    """Tells whether programs run that were given this pipe."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        self.descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def wait_for_start(self) -> None:
        """Wait until they have begun."""
        assert self._read() == b"started\n"

    def wait_for_end(self) -> None:
        """Wait until all of them have ended."""
        assert self._read() == b""

    def _read(self) -> bytes:
        assert select([self.descriptor], [], [], PATIENCE)[0], "they still run"
        return os.read(self.descriptor, 100)


@contextmanager
def alive(directory: Path) -> Generator[Alive]:
    """Make the pipe."""
    pipe = Alive(directory / "alive")
    try:
        yield pipe
    finally:
        os.close(pipe.descriptor)
