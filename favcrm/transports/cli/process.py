"""Running the command, in both colours: bounded in time and in size, and with all that it started.

No event loop owns the process, so the colours share all but the way they wait.
"""

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from tempfile import TemporaryDirectory
from threading import Event, Lock, Thread
from typing import IO, TYPE_CHECKING

from favcrm.errors import FavCRMError, InvalidInputError, NotSentError, Problem
from favcrm.transports.cli.answer import Ran, too_much

if TYPE_CHECKING:
    from collections.abc import Generator

    from favcrm.secret import Secret
    from favcrm.transports.cli.command import Program
    from favcrm.transports.waiting import Signal, Waiting

PIECE = 64 * 1024
START_SECONDS = 2.0

# Where there are no process groups, the command alone is ended.
END: Callable[[int, int], None] = getattr(os, "killpg", os.kill)
KILL: int = getattr(signal, "SIGKILL", signal.SIGTERM)
BUSY_MACHINE = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC})


async def run(
    waiting: Waiting, program: Program, line: list[str], api_key: Secret | None, timeout: float
) -> Ran:
    """Run the command. It ends when this does, whatever ends this."""
    if not math.isfinite(timeout):
        raise InvalidInputError([Problem("timeout", "must be a number of seconds above 0")])
    path = program.find()
    with _config_home() as home:
        start = partial(_start, [path, *line], partial(program.environment, api_key, home, timeout))
        child = _Child(start, waiting.signal())
        try:
            await child.end(timeout)
        finally:
            child.give_up()
    return child.ran(timeout)


class _Child:
    """The running command. A thread starts it and waits for its end, as Ctrl-C does not reach into that.

    Args:
        start: Starts it.
        signal: Rings at its end.
    """

    def __init__(self, start: Callable[[], subprocess.Popen[bytes] | FavCRMError], signal: Signal) -> None:
        self._start = start
        self._signal = signal
        self._output = bytearray()
        self._errors = bytearray()
        self._process: subprocess.Popen[bytes] | None = None
        self._failure: FavCRMError | None = None
        self._status: int | None = None
        self._over = self._given_up = False
        self._lock = Lock()
        self._started = Event()

    async def end(self, seconds: float) -> None:
        """Start it, and wait until it has ended and all is read, until it writes too much, or for so long."""
        _in_thread(self._run)
        ends_at = time.monotonic() + seconds
        while not self._over and (left := ends_at - time.monotonic()) > 0:
            await self._signal.wait(left)

    def give_up(self) -> None:
        """Kill it if it still runs, with what it started."""
        with self._lock:
            self._given_up = True
            if self._process is not None and self._status is None:
                _kill(self._process.pid)
        # A program that ends now would end the thread too, between the start and the kill.
        self._started.wait(START_SECONDS)

    def ran(self, timeout: float) -> Ran:
        """Return how it went, or raise why it was not started."""
        if self._failure is not None:
            raise self._failure
        return Ran(
            output=bytes(self._output), errors=bytes(self._errors), status=self._status, timeout=timeout
        )

    def _run(self) -> None:
        started = self._start()
        if isinstance(started, FavCRMError):
            self._failure = started
            self._started.set()
        else:
            self._follow(started)
        self._ring()

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._process = process
            if self._given_up:
                _kill(process.pid)
        self._started.set()
        assert process.stdout is not None
        assert process.stderr is not None
        # Both at once, so that the command never waits for a reader.
        output = _in_thread(self._take, process.stdout, self._output)
        self._take(process.stderr, self._errors)
        output.join()
        status = process.wait()
        with self._lock:
            self._status = None if self._given_up else status

    def _take(self, stream: IO[bytes], kept: bytearray) -> None:
        with stream:
            while piece := stream.read(PIECE):
                kept += piece
                if too_much(kept):
                    self._ring()
                    break

    def _ring(self) -> None:
        self._over = True
        self._signal.set()


def _in_thread(function: Callable[..., None], *arguments: object) -> Thread:
    thread = Thread(target=function, args=arguments, name="favcrm-cli", daemon=True)
    thread.start()
    return thread


def _start(
    command: list[str], environment: Callable[[], Mapping[str, str]]
) -> subprocess.Popen[bytes] | FavCRMError:
    """Start the command, or return why not: the key is in the frames of what goes wrong."""
    try:
        return subprocess.Popen(  # noqa: S603  # no shell, and whoever made the transport named the command
            command,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    except (OSError, ValueError, TypeError) as error:
        return _cannot_start(error)


@contextmanager
def _config_home() -> Generator[str]:
    """Lend an empty directory that only its owner can read."""
    try:
        directory = TemporaryDirectory(prefix="favcrm-", ignore_cleanup_errors=True)
    except OSError as error:
        failure = _cannot_start(error)
    else:
        with directory as path:
            yield path
        return
    raise failure


def _kill(group: int) -> None:
    """Kill the command and what it started."""
    with suppress(ProcessLookupError, PermissionError):
        END(group, KILL)


def _cannot_start(error: OSError | ValueError | TypeError) -> FavCRMError:
    if not isinstance(error, OSError):
        return InvalidInputError([Problem("api_key or env", "holds what no environment can carry")])
    if error.errno == errno.E2BIG:
        return InvalidInputError([Problem("arguments", "are longer than a command line can be")])
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    return NotSentError(
        f"The command cannot be started: {reason}. Nothing was sent.",
        permanent=error.errno not in BUSY_MACHINE,
        next_step="Check that the command can be run here.",
    )
