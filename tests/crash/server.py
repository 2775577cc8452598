"""A sandbox in a process of its own, killed when a tool is called: ``python server.py TOOL MOMENT FILE``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from favcrm.sandbox import CallRecord, Mail, Sandbox

if TYPE_CHECKING:
    from favcrm.sandbox.handler import RequestHandler
    from favcrm.typing import JSON


class Dying(Sandbox):
    """A sandbox that dies before or after a tool acts."""

    tool: str
    moment: str

    def receive(self, message: Mapping[str, JSON], *, key: str | None, ip: str) -> RequestHandler:
        handler = super().receive(message, key=key, ip=ip)
        self._die(handler.target, "before")
        return handler

    def record(self, call: CallRecord) -> None:
        super().record(call)
        self._die(call.name, "after")

    def _die(self, tool: str, moment: str) -> None:
        if (tool, moment) == (self.tool, self.moment):
            os.kill(os.getpid(), signal.SIGKILL)


def main(tool: str, moment: str, code_file: str) -> None:
    """Serve until killed."""

    def deliver(mail: Mail) -> None:
        assert mail.code is not None
        Path(code_file).write_text(mail.code, encoding="ascii")

    sandbox = Dying(on_mail=deliver)
    sandbox.tool, sandbox.moment = tool, moment
    with sandbox.serve() as server:
        print(server.port, flush=True)  # noqa: T201 - this is how the test learns it
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
