"""AWS on loopback: moto's server."""

from __future__ import annotations

import logging
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager

from attrs import frozen
from stores.service_checks import PATIENCE


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
    """Run the server. It is imported here, because few test processes need it and it is slow to load."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield AWS(f"http://{host}:{port}")
    finally:
        server.stop()
