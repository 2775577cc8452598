"""How a thread waits: for a bell, and for a function that Ctrl-C must not cut short."""

from __future__ import annotations

import signal
import sys
import threading
from traceback import walk_stack

import pytest
from transports.stdio.talk import TIMEOUT

from favcrm._backends import run_sync
from favcrm.transports import waiting
from favcrm.transports.waiting import Blocking, BlockingSignal


def test_a_bell_that_rings_and_one_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "GLANCE", 0.001)
    bell = BlockingSignal()
    bell.set()
    assert run_sync(bell.wait(-1.0))
    assert not run_sync(bell.wait(0.01))
    assert not run_sync(bell.wait(-1.0))


def test_a_bell_that_rings_after_some_glances(monkeypatch: pytest.MonkeyPatch) -> None:
    class RingsAtTheThird(threading.Event):
        waits = 0

        def wait(self, timeout: float | None = None) -> bool:
            self.waits += 1
            if self.waits == 3:
                self.set()
            return super().wait(timeout)

    monkeypatch.setattr(waiting, "GLANCE", 0.001)
    bell = BlockingSignal()
    bell._event = RingsAtTheThird()
    assert run_sync(bell.wait(TIMEOUT))


def test_ctrl_c_is_noticed_where_it_wakes_nobody() -> None:
    bell, noticed, late = BlockingSignal(), threading.Event(), threading.Event()
    main = threading.get_ident()

    def waits() -> bool:
        codes = [frame.f_code for frame, _ in walk_stack(sys._current_frames()[main])]
        return codes[0] is threading.Condition.wait.__code__ and BlockingSignal.wait.__code__ in codes

    def interrupt() -> None:
        while not waits():
            pass
        # In this thread, as if it came just before the other began to wait.
        signal.raise_signal(signal.SIGINT)
        if not noticed.wait(TIMEOUT):
            late.set()
            bell.set()

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_sync(bell.wait(2 * TIMEOUT))
    noticed.set()
    thread.join()
    assert not late.is_set()


def test_a_function_runs_in_a_thread_that_the_program_ends_after() -> None:
    found: list[threading.Thread] = []

    def run() -> None:
        found.append(run_sync(Blocking().run(threading.current_thread)))

    # A thread that is started by a daemon is one, unless told otherwise.
    caller = threading.Thread(target=run, daemon=True)
    caller.start()
    caller.join()
    assert found[0] is not caller
    assert not found[0].daemon


def test_what_a_function_raises_is_raised_here() -> None:
    def fail() -> None:
        raise KeyError("name")

    with pytest.raises(KeyError, match="name"):
        run_sync(Blocking().run(fail))


def test_where_no_thread_can_be_started_it_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert run_sync(Blocking().run(threading.get_ident)) == threading.get_ident()
