"""A sandbox on loopback, the processes that are started against it, and what must be true in the end."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from attrs import asdict, evolve
from crash import flow

from favcrm import errors
from favcrm.sandbox import CallRecord, Mail, Sandbox
from favcrm.stores.config_file import ConfigFileStore

REQUEST, VERIFY = "register_organisation_request", flow.VERIFY
PATIENCE = 60.0
PORTAL = "https://app.favcrm.io"


class Watched(Sandbox):
    """A sandbox that lets a test do something between the server's acting and its answer."""

    after: Callable[[CallRecord], None] | None = None

    def record(self, call: CallRecord) -> None:
        super().record(call)
        if self.after is not None:
            self.after(call)


class Starter:
    """Starts processes, one at a time, from one that has imported everything already."""

    def __init__(self) -> None:
        self._starter = self._again()
        self._process = 0

    def start(self, settings: flow.Settings) -> int:
        """Start a process and return its id."""
        if self._starter.poll() is not None:
            # It was killed with a process that did not end; the next test begins anew.
            self._starter = self._again()
        self._process = 0
        assert self._starter.stdin is not None
        self._starter.stdin.write(json.dumps(asdict(settings)).encode() + b"\n")
        self._starter.stdin.flush()
        self._process = self._line(PATIENCE)
        return self._process

    def end(self) -> int:
        """Wait for the process and return how it ended."""
        return self._line(PATIENCE)

    def ended_within(self, seconds: float) -> bool:
        """Tell whether the process has ended."""
        assert self._starter.stdout is not None
        return bool(select.select([self._starter.stdout], [], [], seconds)[0])

    def close(self) -> None:
        """End it."""
        self._starter.communicate(timeout=PATIENCE)

    @staticmethod
    def _again() -> subprocess.Popen[bytes]:
        # Unmeasured: on Python 3.11 a worker thread under a tracer goes round and round once a signal has come, until
        # the main thread wakes, which may wait for that one.
        env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
        return subprocess.Popen(
            [sys.executable, flow.__file__], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def _line(self, seconds: float) -> int:
        if not self.ended_within(seconds):
            if self._process:
                # It writes where each of its threads is.
                os.kill(self._process, signal.SIGABRT)
                self.ended_within(PATIENCE)
            self._starter.kill()
            self._starter.communicate()
            raise TimeoutError("the process did not end")
        # Lines come one at a time, since each is asked for; so nothing stays in the buffer.
        assert self._starter.stdout is not None
        return int(self._starter.stdout.readline())


class Arena:
    """One test's sandbox, directory and processes."""

    def __init__(self, directory: Path, starter: Starter) -> None:
        self.starter = starter
        self.directory = directory
        self.sandbox = Watched(on_mail=self._deliver)
        self._server = self.sandbox.serve()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()

    def _deliver(self, mail: Mail) -> None:
        assert mail.code is not None
        (self.directory / "code").write_text(mail.code, encoding="ascii")

    def settings(self, colour: str, **options: Any) -> flow.Settings:
        return flow.Settings(colour=colour, url=self._server.url, directory=str(self.directory), **options)

    # The first run

    def end(self, number: int) -> str:
        """Wait for the process, which the signal must have ended; return what it wrote to stderr."""
        written = self.end_with(-number)
        if number == signal.SIGINT:
            assert written.splitlines()[-1] == "KeyboardInterrupt", written
        return written

    def end_with(self, status: int) -> str:
        """Wait for the process, which must end with a status; return what it wrote to stderr."""
        try:
            ended = self.starter.end()
        except TimeoutError as error:
            error.add_note((self.directory / "stderr").read_text(encoding="utf-8"))
            raise
        written = (self.directory / "stderr").read_text(encoding="utf-8")
        assert ended == status, written
        assert (self.directory / "stdout").read_text(encoding="utf-8") == ""
        return written

    def hit(self, settings: flow.Settings) -> str:
        """Run a process until the signal ends it at its step."""
        self.starter.start(settings)
        return self.end(settings.signal)

    # The second run

    def again(self, settings: flow.Settings) -> str:
        """Run once more, unharmed, with the same files; say how it ended, after checking that it ended well."""
        settings = evolve(settings, hit_at="", signal=0, full=False, handler="", host="main")
        try:
            done = flow.provision(settings)
        except errors.FavCRMError as error:
            self._check_told(error, settings)
            return "told"
        assert done.report.ready
        assert self.key(done.ref) == done.workspace.api_key
        assert self.made() == 1
        assert not (self.directory / "escrow").exists() or not list((self.directory / "escrow").iterdir())
        return "key"

    def _check_told(self, error: errors.FavCRMError, settings: flow.Settings) -> None:
        """The workspace exists without its key: the error says so, and asking again says it too."""
        assert isinstance(error, errors.OutcomeUnknownError | errors.AlreadyRegisteredError), repr(error)
        assert self.made() == 1 or flow.EMAIL in self.sandbox.state.accounts
        assert PORTAL in error.next_step
        assert "MCP Keys" in error.next_step
        if isinstance(error, errors.OutcomeUnknownError):
            with pytest.raises(errors.AlreadyRegisteredError, match=PORTAL):
                flow.provision(settings)

    def key(self, ref: Any) -> Any:
        return ConfigFileStore(self.directory / "config.toml").get(ref)

    def made(self) -> int:
        """Return how many workspaces were made."""
        return self.sandbox.count(VERIFY, "done")


class Striking:
    """Sends signals to the process once the server has acted on a tool, and keeps the answer back for a moment."""

    def __init__(self, arena: Arena, tool: str, *numbers: int) -> None:
        self._arena, self._tool, self._numbers = arena, tool, numbers
        self._process = 0
        arena.sandbox.after = self

    def __call__(self, call: CallRecord) -> None:
        if call.name == self._tool:
            for number in self._numbers:
                os.kill(self._process, number)
                # Whoever gives up at once has ended by then, without the answer.
                self._arena.starter.ended_within(0.3)

    def start(self, settings: flow.Settings) -> None:
        """Start the process; no call is answered before it is known."""
        with self._arena.sandbox.lock:
            self._process = self._arena.starter.start(settings)
