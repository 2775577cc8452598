"""A child process that is talked to in lines. Threads of its own write, read and wait for its end.

So no event loop owns it: asyncio, trio and blocking callers share all but the way they wait.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import weakref
from contextlib import suppress
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import IO, TYPE_CHECKING, Protocol

from attrs import field, frozen

from favcrm._text import clean
from favcrm.errors import InvalidInputError, NotSentError, Problem
from favcrm.transports.stdio.lines import LineReader, Tail

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from favcrm.secret import Secret

POSIX = os.name == "posix"
PASSED_ON = (
    ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER")
    if POSIX
    else (
        "APPDATA",
        "HOMEDRIVE",
        "HOMEPATH",
        "LOCALAPPDATA",
        "PATH",
        "PATHEXT",
        "PROCESSOR_ARCHITECTURE",
        "SYSTEMDRIVE",
        "SYSTEMROOT",
        "TEMP",
        "USERNAME",
        "USERPROFILE",
    )
)
SHELL_FUNCTION = "()"
CHUNK = 64 * 1024
GRACE = 2.0
"""Seconds that a child has to end by itself, and again after it was asked to."""
LAST_WORDS = 1.0
"""Seconds to read what a child wrote before it ended; a grandchild may hold its pipes open for ever."""


@frozen
class Launch:
    """How a child is started.

    Attributes:
        command: The program.
        args: Its arguments.
        env: What its environment has besides a few variables of ours.
        key_variable: The variable in which it gets the key, or None.
    """

    command: str
    args: tuple[str, ...] = field(repr=False)
    env: Mapping[str, str] = field(repr=False)
    key_variable: str | None

    def start(self, api_key: Secret | None) -> subprocess.Popen[bytes]:
        """Start a child with this key.

        Raises:
            InvalidInputError: The key holds what no variable can carry.
            NotSentError: It cannot be started.
        """
        if api_key is not None and self.key_variable is not None and not api_key.reveal().isprintable():
            raise InvalidInputError([Problem("api_key", "holds characters that no key has")])
        started = self._try_to_start(api_key)
        if isinstance(started, subprocess.Popen):
            return started
        # From a frame that never saw the environment.
        raise NotSentError(
            f"The command {clean(self.command)} cannot be started: {started}. Nothing was sent.",
            permanent=True,
            next_step="Check that it is installed, that PATH leads to it, and that it may be run.",
        )

    def _try_to_start(self, api_key: Secret | None) -> subprocess.Popen[bytes] | str:
        try:
            return subprocess.Popen(  # noqa: S603  # what the caller names; there is no shell
                [self.command, *self.args],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=self._environment(api_key),
                # A group of its own: Ctrl-C here does not reach it, and it is ended with all that it started.
                start_new_session=POSIX,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except OSError as error:
            return error.strerror or type(error).__name__
        except ValueError:
            return "its name, an argument or a variable holds what none can carry"

    def _environment(self, api_key: Secret | None) -> dict[str, str]:
        ours = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        plain = {name: value for name, value in ours.items() if not value.startswith(SHELL_FUNCTION)}
        key = {} if api_key is None or self.key_variable is None else {self.key_variable: api_key.reveal()}
        return plain | dict(self.env) | key


class Line:
    """One line to write. Whoever claims it first decides: the writer writes it, anybody else takes it back."""

    def __init__(self, content: bytes) -> None:
        self.content: bytes = content + b"\n"
        self._claimed = Lock()

    def claim(self) -> bool:
        """Return whether nobody has claimed it before."""
        return self._claimed.acquire(blocking=False)

    def release(self) -> None:
        """Give it back: not a byte of it was written."""
        self._claimed.release()


class Listener(Protocol):
    """Who is told what a child says. Called from its threads."""

    def take(self, line: bytes | None) -> None:
        """Take a line, or None for one that is too long."""
        ...

    def end(self) -> None:
        """Learn that there will be no more."""
        ...


class Child:
    """A running child process.

    Args:
        process: The process.
        listener: Who is told what it says.
    """

    def __init__(self, process: subprocess.Popen[bytes], listener: Listener) -> None:
        self.tail: Tail = Tail()
        self._owner = os.getpid()
        self._process = process
        self._listener = listener
        self._outbox: SimpleQueue[Line | None] = SimpleQueue()
        self._signalling = Lock()
        self._exited, self._ended, self._leaving = Event(), Event(), Event()
        stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
        assert stdin is not None
        assert stdout is not None
        assert stderr is not None
        self._pipes = [
            Thread(target=self._write, args=(stdin,), name="favcrm-stdin", daemon=True),
            Thread(target=self._hear, args=(stdout,), name="favcrm-stdout", daemon=True),
            Thread(target=self._drain, args=(stderr,), name="favcrm-stderr", daemon=True),
        ]

    def begin(self) -> None:
        """Start to listen."""
        RUNNING.add(self)
        watcher = Thread(target=self._watch, name="favcrm-child", daemon=True)
        # From the beginning: at the end of the interpreter no thread can be started any more.
        ender = Thread(target=self._escalate, name="favcrm-leave", daemon=True)
        for thread in (*self._pipes, watcher, ender):
            thread.start()

    @property
    def usable(self) -> bool:
        """Whether it can be written to."""
        return self.ours and not (self._leaving.is_set() or self._exited.is_set())

    @property
    def ours(self) -> bool:
        """Whether this process started it; a fork has no threads that serve it, and must not end it."""
        return self._owner == os.getpid()

    @property
    def ended(self) -> bool:
        """Whether it has ended, and its listener knows."""
        return self._ended.is_set()

    @property
    def backlog(self) -> int:
        """How many lines it has not read yet."""
        return self._outbox.qsize()

    def write(self, line: Line) -> None:
        """Have a line written; never blocks."""
        self._outbox.put(line)

    def leave(self) -> None:
        """Close its input, and see to it that it ends; returns at once."""
        if self.ours and not self._leaving.is_set():
            self._leaving.set()
            self._outbox.put(None)

    def join(self, seconds: float | None = None) -> bool:
        """Wait for the end of a child that was left, and return whether it came."""
        return self._ended.wait(seconds) if self.ours else True

    def describe_end(self) -> str:
        """Say how it ended."""
        status = self._process.returncode
        if status >= 0:
            return f"ended with exit status {status}"
        names = {number.value: number.name for number in signal.Signals}
        return f"was ended by the signal {names.get(-status, str(-status))}"

    def _escalate(self) -> None:
        """Once it is left, wait for its end by itself, then ask its whole group to end, then make it."""
        self._leaving.wait()
        for force in (False, True):
            if self._exited.wait(GRACE):
                return
            self._end(force=force)

    def _end(self, *, force: bool) -> None:
        with self._signalling:
            # Not once it may have been waited for: its number may then be that of another process.
            if not self._exited.is_set():
                end_group(self._process, force=force)

    def _watch(self) -> None:
        await_exit(self._process)
        with self._signalling:
            self._exited.set()
        self.leave()
        for pipe in self._pipes:
            pipe.join(LAST_WORDS)
        # Asked anew, as somebody else may have waited for it meanwhile.
        if await_exit(self._process):
            # What it started and left behind.
            end_group(self._process, force=True)
        self._process.wait()
        self._listener.end()
        self._ended.set()

    def _hear(self, stdout: IO[bytes]) -> None:
        lines = LineReader()

        def take(chunk: bytes) -> None:
            for line in lines.feed(chunk):
                self._listener.take(line)

        self._read(stdout, take)
        # It says nothing any more, so it is of no use even if it lives on.
        self.leave()

    def _drain(self, stderr: IO[bytes]) -> None:
        self._read(stderr, self.tail.feed)

    def _read(self, stream: IO[bytes], take: Callable[[bytes], object]) -> None:
        with stream:
            while chunk := stream.read(CHUNK):
                take(chunk)

    def _write(self, stdin: IO[bytes]) -> None:
        with suppress(OSError), stdin:
            while (line := self._outbox.get()) is not None:
                if line.claim():
                    write_whole(stdin, line)
        self.leave()


def write_whole(stdin: IO[bytes], line: Line) -> None:
    """Write a line that was claimed; give it back where the pipe takes not even its beginning.

    Raises:
        OSError: The pipe is broken.
    """
    rest = memoryview(line.content)
    while rest:
        try:
            rest = rest[stdin.write(rest) :]
        except OSError:
            if len(rest) == len(line.content):
                line.release()
            raise


def await_unreaped(process: subprocess.Popen[bytes]) -> bool:
    """Wait for the end of a process; return whether its number is still its own, so that it can be signalled."""
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        # Somebody else has waited for it.
        return False
    return True


def await_plainly(process: subprocess.Popen[bytes]) -> bool:
    """Wait for the end of a process where nothing better is to be had: its number is free after it."""
    process.wait()
    return False


def signal_group(process: subprocess.Popen[bytes], *, force: bool) -> None:
    """End a process and those that it started and that stayed in its group."""
    # What has just ended cannot be signalled any more.
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL if force else signal.SIGTERM)


def signal_process(process: subprocess.Popen[bytes], *, force: bool) -> None:
    """End a process, where there are no groups."""
    (process.kill if force else process.terminate)()


await_exit: Callable[[subprocess.Popen[bytes]], bool] = (
    await_unreaped if hasattr(os, "waitid") else await_plainly
)
end_group: Callable[..., None] = signal_group if POSIX else signal_process

RUNNING: weakref.WeakSet[Child] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """End the children of transports that nobody closed."""
    children = [child for child in RUNNING if not child.ended]
    for child in children:
        child.leave()
    for child in children:
        child.join()
