from __future__ import annotations

import asyncio
import getpass
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio.lowlevel
import anyio.to_thread
import pytest

from favcrm import CodeExpiredError, FavCRMError, PendingRegistration
from favcrm.codes import CodeUnavailableError, prompt, prompt_async

module = sys.modules[prompt.__module__]  # the function hides it
PATIENCE = 60.0
PENDING = """
import fcntl, signal, sys, termios
from datetime import UTC, datetime, timedelta
from functools import partial
import anyio
from favcrm import PendingRegistration
from favcrm.codes import CodeUnavailableError, prompt, prompt_async

pending = PendingRegistration(
    request_id="r", masked_email="yo*@example.com", expires_at=datetime.now(UTC) + timedelta(seconds=599.9)
)
"""
CONTROLLING = "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
ASK = "print('got', sum(map(int, prompt(pending))))\n"
ASK_ASYNC = "print('got', sum(map(int, anyio.run(prompt_async, pending))))\n"


class Terminal:
    """The person's side of a terminal that a child process has."""

    def __init__(self, script: str) -> None:
        self.screen = ""
        self._ours, theirs = pty.openpty()
        self._theirs = theirs
        self.child = subprocess.Popen(
            [sys.executable, "-c", PENDING + script],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )

    def read_until(self, text: str) -> None:
        while text not in self.screen:
            assert select.select([self._ours], [], [], PATIENCE)[0], self.screen
            self.screen += os.read(self._ours, 4096).decode()

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self._theirs)[3] & termios.ECHO)

    def end(self) -> None:
        self.child.kill()
        self.child.wait(PATIENCE)
        os.close(self._ours)
        os.close(self._theirs)


@contextmanager
def terminal(script: str) -> Generator[Terminal]:
    running = Terminal(script)
    try:
        yield running
    finally:
        running.end()


def pending(seconds: float = 599.9, **fields: Any) -> PendingRegistration:
    return PendingRegistration(
        request_id="r", expires_at=datetime.now(UTC) + timedelta(seconds=seconds), **fields
    )


@pytest.mark.parametrize("script", [CONTROLLING + ASK, ASK, CONTROLLING + ASK_ASYNC])
def test_a_terminal_shows_the_question_and_never_the_code(script: str) -> None:
    with terminal(script) as person:
        person.read_until("left): ")
        assert "The 6-digit code that FavCRM sent to yo*@example.com (9:5" in person.screen
        assert not person.echoes
        person.type("12345x\n")
        person.read_until("That is not six digits. The code (")
        person.read_until("left): ")
        person.screen = person.screen.replace("left)", "")
        person.type("123 456\n")
        person.read_until("got 21")
        assert person.child.wait(PATIENCE) == 0
        assert person.echoes
        assert "123" not in person.screen


def test_ctrl_c_passes_through() -> None:
    with terminal(
        CONTROLLING + "try: prompt(pending)\nexcept KeyboardInterrupt: print('interrupted')\n"
    ) as person:
        person.read_until("left): ")
        person.type("\x03")
        person.read_until("interrupted")
        assert person.child.wait(PATIENCE) == 0
        assert person.echoes


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cancelling_gives_the_terminal_back_and_lets_the_process_end(backend: str) -> None:
    script = f"""
async def main():
    with anyio.open_signal_receiver(signal.SIGUSR1) as signals:
        async with anyio.create_task_group() as group:
            group.start_soon(prompt_async, pending)
            await anext(signals)
            group.cancel_scope.cancel()
    assert termios.tcgetattr(0)[3] & termios.ECHO

anyio.run(main, backend={backend!r})
"""
    with terminal(CONTROLLING + script) as person:
        person.read_until("left): ")
        assert not person.echoes
        person.child.send_signal(signal.SIGUSR1)
        assert person.child.wait(PATIENCE) == 0


@pytest.mark.parametrize("closed", ["sys.stdin.close()", "sys.stdin = None", "pass"])
def test_a_missing_terminal_raises_an_error_that_says_what_to_do(closed: str) -> None:
    script = f"{closed}\ntry: prompt(pending)\nexcept CodeUnavailableError as error: print(error)\n"
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", PENDING + script],
        input="123456\n",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        start_new_session=True,
        check=True,
    )
    assert "Nobody can be asked" in ran.stdout
    assert "in a terminal or a notebook, or let it take the code from elsewhere" in ran.stdout
    assert "123456" not in ran.stdout + ran.stderr


# A notebook puts a getpass of its own in


class StdinNotImplementedError(NotImplementedError):
    """What a kernel without a front end raises."""


@pytest.mark.parametrize("error", [StdinNotImplementedError("no stdin"), EOFError(), OSError()])
def test_a_notebook_that_cannot_ask_raises_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def ask(question: str) -> str:
        raise error

    monkeypatch.setattr(getpass, "getpass", ask)
    with pytest.raises(CodeUnavailableError, match="Nobody can be asked") as caught:
        prompt(pending())
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert isinstance(caught.value, FavCRMError)


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a notebook was asked. It answers a code."""
    questions: list[str] = []

    def ask(question: str) -> str:
        questions.append(question)
        return " 123-456 "

    monkeypatch.setattr(getpass, "getpass", ask)
    return questions


def test_a_notebook_is_asked(questions: list[str]) -> None:
    assert prompt(pending(65.9)) == "123456"
    assert questions == ["The 6-digit code that FavCRM sent to your email (1:05 left): "]


@pytest.mark.parametrize(
    ("tries_left", "said"),
    [(None, ""), (1, "This is the last try. "), (2, "2 tries are left. ")],
)
def test_the_question_says_why_the_last_code_was_refused_and_how_many_tries_are_left(
    questions: list[str], tries_left: int | None, said: str
) -> None:
    prompt(pending(tries_left=tries_left))
    prompt(pending(tries_left=tries_left, last_refusal="The code is wrong."))
    assert questions[0].startswith("The 6-digit code")
    assert questions[1].startswith(f"The code is wrong. {said}The 6-digit code")


def test_three_wrong_answers_raise_no_code_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getpass", lambda _: "31415")
    with pytest.raises(CodeUnavailableError, match="3 times") as caught:
        prompt(pending())
    assert "31415" not in str(caught.value)


def test_an_expired_code_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getpass", lambda _: pytest.fail("asked"))
    with pytest.raises(CodeExpiredError):
        prompt(pending(0))


def test_on_windows_the_console_is_asked(questions: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Console:
        def isatty(self) -> bool:
            return True

    console = Console()
    monkeypatch.setitem(sys.modules, "termios", None)
    monkeypatch.setattr(getpass.getpass, "__module__", "getpass")
    monkeypatch.setattr(sys, "stdin", console)
    monkeypatch.setattr(sys, "__stdin__", console)
    assert prompt(pending()) == "123456"
    for another in (None, Console()):
        monkeypatch.setattr(sys, "__stdin__", another)
        with pytest.raises(CodeUnavailableError):
            prompt(pending())


@pytest.mark.anyio
async def test_other_tasks_run_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def ask(_: str) -> str:
        assert answered.wait(PATIENCE)
        return "123456"

    monkeypatch.setattr(getpass, "getpass", ask)
    codes: list[str] = []

    async def read() -> None:
        codes.append(await prompt_async(pending()))

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await anyio.lowlevel.checkpoint()
        answered.set()
    assert codes == ["123456"]


class Front:
    """A notebook that nobody answers. As ipykernel's, its question looks for an answer again and again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = threading.Event()
        self.thread = threading.current_thread()
        monkeypatch.setattr(getpass, "getpass", self.ask)

    def ask(self, question: str) -> str:
        self.thread = threading.current_thread()
        self.asked.set()
        while True:
            threading.Event().wait(0.01)


@pytest.mark.anyio
async def test_a_question_in_a_notebook_ends_when_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it would take the answer to the next question."""
    front = Front(monkeypatch)
    async with anyio.create_task_group() as group:
        group.start_soon(prompt_async, pending())
        assert await anyio.to_thread.run_sync(front.asked.wait, PATIENCE)
        group.cancel_scope.cancel()
    await anyio.to_thread.run_sync(front.thread.join, PATIENCE)
    assert not front.thread.is_alive()


def test_a_cell_that_is_interrupted_ends_although_nothing_wakes_its_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ipykernel cancels it from a signal handler, and leaves the loop asleep."""
    front = Front(monkeypatch)

    async def cell() -> None:
        asking = asyncio.ensure_future(prompt_async(pending()))
        loop = asyncio.get_running_loop()
        before = signal.signal(signal.SIGUSR1, lambda *_: loop.call_soon(asking.cancel))
        threading.Thread(target=interrupt).start()
        try:
            await asking
        finally:
            signal.signal(signal.SIGUSR1, before)

    def interrupt() -> None:
        assert front.asked.wait(PATIENCE)
        os.kill(os.getpid(), signal.SIGUSR1)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cell())
