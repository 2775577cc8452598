"""The command as a process of its own, with pipes or in a terminal."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PATIENCE = 60.0
GLANCE = 0.05
CLOSED = ">&-"
# Every write fails, on any system.
READ_ONLY = "1</dev/null"
COMMAND = (sys.executable, "-m", "favcrm")

# A terminal sends Ctrl-C to those that it controls.
TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def run_into(
    redirection: str, *arguments: str, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, with what a shell makes of its output."""
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *COMMAND, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        encoding="utf-8",
        timeout=PATIENCE,
    )


def start(*arguments: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start the command, to talk with it line by line."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


class Terminal:
    """The command in a terminal of 24 lines of 80 columns."""

    def __init__(self, *arguments: str, environment: Mapping[str, str]) -> None:
        self._near, far = os.openpty()
        termios.tcsetwinsize(far, (24, 80))
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, "-m", "favcrm", *arguments],
            env=environment,
            stdin=far,
            stdout=far,
            stderr=far,
            start_new_session=True,
        )
        self._far = far
        self._seen = b""
        self._read = 0

    @property
    def text(self) -> str:
        """Everything that was written so far."""
        return self._seen.decode("utf-8")

    @property
    def echoes(self) -> bool:
        """Whether what is typed is seen."""
        return bool(termios.tcgetattr(self._far)[3] & termios.ECHO)

    def read_until(self, words: str) -> None:
        """Read until these words come."""
        while (found := self._seen.find(words.encode(), self._read)) < 0:
            if not self._read_more(PATIENCE):
                raise TimeoutError(f"nothing more was written after: {self.text}")
        self._read = found + len(words.encode())

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._near, keys.encode())

    def end(self) -> int:
        """Read what is left, and return the exit status."""
        while (status := self.process.poll()) is None or self._read_more(0):
            self._read_more(GLANCE)
        return status

    def close(self) -> None:
        """Take the terminal away."""
        self.process.kill()
        self.process.wait()
        os.close(self._near)
        os.close(self._far)

    def _read_more(self, seconds: float) -> bool:
        ready = select.select([self._near], [], [], seconds)[0]
        if ready:
            self._seen += os.read(self._near, 4096)
        return bool(ready)
