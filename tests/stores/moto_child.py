"""Serves AWS as moto imitates it, on a free port of loopback, until stdin ends. Prints its address."""

from __future__ import annotations

import logging
import sys

from moto.server import ThreadedMotoServer


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)  # noqa: T201  # whoever started this reads it
    sys.stdin.read()
    server.stop()


main()
