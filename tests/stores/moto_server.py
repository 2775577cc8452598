"""AWS on loopback: moto's server as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen
from stores.service_checks import PATIENCE

CHILD = Path(__file__).with_name("moto_child.py")


@frozen
class AWS:
    """A running server."""

    url: str

    def reset(self) -> None:
        """Forget everything."""
        self._tell("reset")

    def allow_everybody_for(self, calls: float) -> None:
        """Ask for credentials and policies after this many calls, counted from now."""
        self._tell("reset-auth", str(calls))

    def _tell(self, what: str, data: str = "") -> None:
        url, headers = f"{self.url}/moto-api/{what}", {"content-type": "text/plain"}
        request = urllib.request.Request(url, data.encode(), headers, method="POST")  # noqa: S310
        with urllib.request.urlopen(request, timeout=PATIENCE):  # noqa: S310  # it is on loopback
            pass


@contextmanager
def aws_on_loopback() -> Generator[AWS, None, None]:
    """Run the server. It ends with its stdin, so none is left over."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    with subprocess.Popen(
        [sys.executable, str(CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        url = child.stdout.readline().strip()
        assert url, "moto's server did not start"
        try:
            yield AWS(url)
        finally:
            child.stdin.close()
            child.wait(PATIENCE)
