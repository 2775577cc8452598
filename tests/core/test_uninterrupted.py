"""A section runs to its end, whatever signal handlers raise, and the process does not end before it."""

from __future__ import annotations

import asyncio
import faulthandler
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, TypeAlias

import pytest

from favcrm import MemoryLedger
from favcrm._backends import run_sync
from favcrm._backends import signals as _signals
from favcrm._backends.asynchronous import AsyncBackend
from favcrm._backends.blocking import BlockingBackend
from favcrm._backends.sections import Section, Sections
from favcrm._flows.records import Records
from favcrm.errors import NotSentError
from favcrm.sandbox import Sandbox

# What `signal` calls, and the code under test too.
_signal: Any = import_module("_signal")
NUMBER = signal.SIGUSR1
HELD = "raised by a handler"
PATIENCE = 60


Disposition: TypeAlias = Callable[[int, object], object] | int | None


class Raised(BaseException):
    """What a handler raises."""


def raising(number: int, _: object) -> None:
    raise Raised(HELD, number)


@pytest.fixture
def handler() -> Iterator[Callable[[int, object], None]]:
    """A handler that raises, set."""
    before = signal.signal(NUMBER, raising)
    yield raising
    signal.signal(NUMBER, before)


@pytest.fixture
def unhandled() -> Iterator[None]:
    """A signal that nobody handles."""
    before = signal.signal(NUMBER, signal.SIG_DFL)
    yield
    signal.signal(NUMBER, before)


def run(task: Callable[[], object]) -> None:
    """Run a task on the blocking side that nothing interrupts."""

    async def flow() -> None:
        task()

    run_sync(BlockingBackend(Sandbox().transport()).uncancelled(flow))


def test_a_handler_runs_at_once_and_what_it_raises_is_raised_afterwards() -> None:
    done = list[str]()

    def handle(*_: object) -> None:
        done.append("handled")
        raise Raised

    def task() -> None:
        signal.raise_signal(NUMBER)
        done.append("stored")

    before = signal.signal(NUMBER, handle)
    try:
        with pytest.raises(Raised) as caught:
            run(task)
        assert signal.getsignal(NUMBER) is handle
    finally:
        signal.signal(NUMBER, before)
    assert done == ["handled", "stored"]
    assert caught.value.__context__ is None


@pytest.mark.usefixtures("handler")
def test_the_first_of_several_is_raised() -> None:
    def task() -> None:
        signal.raise_signal(NUMBER)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(Raised):
        run(task)


@pytest.mark.usefixtures("handler")
def test_it_is_raised_in_place_of_an_error_which_it_does_not_show() -> None:
    def task() -> None:
        signal.raise_signal(NUMBER)
        raise LookupError

    with pytest.raises(Raised) as caught:
        run(task)
    assert caught.value.__context__ is None


def test_an_error_of_the_task_itself_passes_through() -> None:
    def task() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        run(task)


@pytest.mark.usefixtures("unhandled")
def test_a_signal_that_would_end_the_process_is_sent_again_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done, send = list[object](), signal.raise_signal

    def task() -> None:
        send(NUMBER)
        done.append("stored")

    def record(number: int) -> None:
        done.append((number, signal.getsignal(number)))

    monkeypatch.setattr("_signal.raise_signal", record)
    run(task)
    assert done == ["stored", (NUMBER, signal.SIG_DFL)]


@pytest.mark.usefixtures("handler")
def test_while_something_is_held_nothing_new_begins() -> None:
    """So that a process which is never idle ends, too."""
    refused = list[str]()

    def task() -> None:
        signal.raise_signal(NUMBER)
        try:
            run(lambda: None)
        except NotSentError as error:
            refused.append(error.message)

    with pytest.raises(Raised):
        run(task)
    assert refused == ["The process is ending or was interrupted, so nothing was sent."]


def test_a_handler_that_is_set_meanwhile_stays(handler: Callable[[int, object], None]) -> None:
    def another(*_: object) -> None: ...

    run(lambda: signal.signal(NUMBER, another))
    assert signal.getsignal(NUMBER) is another
    assert handler is not another


@pytest.mark.parametrize("known", [signal.SIG_DFL, raising])
def test_a_handler_that_python_knows_nothing_of_stays(known: Disposition) -> None:
    """Python takes the signal for unhandled, or handled by what was set before."""
    during = list[object]()
    before = signal.signal(NUMBER, known)
    faulthandler.register(NUMBER)
    try:
        run(lambda: during.append(signal.getsignal(NUMBER)))
    finally:
        faulthandler.unregister(NUMBER)
        signal.signal(NUMBER, before)
    assert during == [known]


@pytest.mark.usefixtures("unhandled")
def test_without_ctypes_nobody_can_tell_so_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    during = list[object]()
    monkeypatch.setitem(sys.modules, "ctypes", None)
    _signals._finder_in_c.cache_clear()
    try:
        run(lambda: during.append(signal.getsignal(NUMBER)))
    finally:
        _signals._finder_in_c.cache_clear()
    assert during == [signal.SIG_DFL]


def test_where_no_handler_may_be_set_it_runs_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a subinterpreter."""
    done = list[str]()

    def refuse(*_: object) -> None:
        raise ValueError("signal only works in main thread of the main interpreter")

    monkeypatch.setattr(_signal, "signal", refuse)
    run(lambda: done.append("stored"))
    assert done == ["stored"]


@pytest.mark.parametrize("handled", [False, True])
def test_where_every_signal_has_a_handler_each_is_held(
    monkeypatch: pytest.MonkeyPatch, handler: Callable[[int, object], None], *, handled: bool
) -> None:
    numbers = {NUMBER, signal.SIGTERM} - ({signal.SIGTERM} if handled else set())
    during = list[object]()
    monkeypatch.setattr(_signal, "valid_signals", lambda: numbers)
    run(lambda: during.append(signal.getsignal(NUMBER)))
    assert during != [handler]
    assert signal.getsignal(NUMBER) is handler


def test_what_is_ignored_stays_ignored() -> None:
    during = list[object]()
    before = signal.signal(NUMBER, signal.SIG_IGN)
    try:
        run(lambda: during.append(signal.getsignal(NUMBER)))
    finally:
        signal.signal(NUMBER, before)
    assert during == [signal.SIG_IGN]


@pytest.mark.usefixtures("handler")
def test_a_signal_before_it_begins_keeps_it_from_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    done, get = list[str](), _signal.getsignal
    before = {number: get(number) for number in signal.valid_signals()}

    def interrupted(number: int) -> object:
        # Some handlers are wrapped by now.
        if number == max(signal.valid_signals()):
            raise KeyboardInterrupt
        return get(number)

    with monkeypatch.context() as patch:
        patch.setattr(_signal, "getsignal", interrupted)
        patch.setattr(_signal, "valid_signals", lambda: sorted(before))
        with pytest.raises(KeyboardInterrupt):
            run(lambda: done.append("never"))
    assert done == []


def test_a_signal_while_handlers_are_put_back_keeps_none_of_them_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before: dict[int, object] = {number: signal.getsignal(number) for number in signal.valid_signals()}
    set_handler, interrupts = _signal.signal, [Raised()]

    def interrupted(number: int, handler: object) -> object:
        if handler is before[number] and interrupts:
            raise interrupts.pop()
        return set_handler(number, handler)

    monkeypatch.setattr(_signal, "signal", interrupted)
    with pytest.raises(Raised):
        run(lambda: None)
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == before


# Sections beside each other


@pytest.mark.usefixtures("handler")
def test_of_two_sections_on_one_loop_the_last_to_end_raises() -> None:
    done = list[str]()

    async def main() -> None:
        port = AsyncBackend(Sandbox().async_transport())
        struck, other_ended = asyncio.Event(), asyncio.Event()

        async def first() -> None:
            await struck.wait()
            done.append("first")

        async def second() -> None:
            signal.raise_signal(NUMBER)
            struck.set()
            await other_ended.wait()
            done.append("second")

        other = asyncio.create_task(port.uncancelled(first))
        other.add_done_callback(lambda _: other_ended.set())
        await port.uncancelled(second)

    with pytest.raises(Raised):
        asyncio.run(main())
    assert done == ["first", "second"]


def test_asyncio_run_leaves_pythons_own_handler_though_a_section_outlives_its_main_task() -> None:
    done = list[str]()

    async def main() -> None:
        begun = asyncio.Event()

        async def task() -> None:
            begun.set()
            await asyncio.sleep(0)
            done.append("stored")

        tasks.append(asyncio.create_task(AsyncBackend(Sandbox().async_transport()).uncancelled(task)))
        await begun.wait()

    tasks = list[asyncio.Task[None]]()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        asyncio.run(main())
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == ["stored"]


def test_a_loop_that_is_given_up_does_not_make_the_process_deaf(
    handler: Callable[[int, object], None],
) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def task() -> None:
        begun.set()
        await may_end.wait()

    async def main() -> asyncio.Task[None]:
        section = asyncio.create_task(AsyncBackend(Sandbox().async_transport()).uncancelled(task))
        await begun.wait()
        return section

    loop = asyncio.new_event_loop()
    section = loop.run_until_complete(main())
    # It may yet run again, as it does when it shuts down, so the first signal is held.
    signal.raise_signal(NUMBER)
    with pytest.raises(Raised):
        signal.raise_signal(NUMBER)
    assert signal.getsignal(NUMBER) is handler
    may_end.set()
    # Neither of them is raised again.
    loop.run_until_complete(section)
    loop.close()


# Other threads, and the end of the process


def in_thread(function: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def test_a_section_in_another_thread_touches_no_signals(handler: Callable[[int, object], None]) -> None:
    during = list[object]()
    in_thread(lambda: run(lambda: during.append(signal.getsignal(NUMBER)))).join()
    assert during == [handler]


def test_the_end_of_the_process_waits_for_a_section_of_another_thread() -> None:
    sections = Sections()
    begun, may_end, done = threading.Event(), threading.Event(), list[str]()

    def work() -> None:
        section = Section(lambda: True)
        sections.begin(section)
        begun.set()
        may_end.wait()
        done.append("stored")
        sections.end(section)

    thread = in_thread(work)
    begun.wait()
    releasing = in_thread(may_end.set)
    sections.end_with_process()
    assert done == ["stored"]
    thread.join()
    releasing.join()


def test_it_does_not_wait_for_a_loop_that_stands_still() -> None:
    sections, begun, may_end = Sections(), threading.Event(), threading.Event()
    runs = [True, True, True]

    def work() -> None:
        sections.begin(Section(lambda: bool(runs and runs.pop())))
        begun.set()
        may_end.wait()

    thread = in_thread(work)
    begun.wait()
    sections.end_with_process()
    may_end.set()
    thread.join()
    assert runs == []


def test_it_does_not_wait_for_its_own_thread() -> None:
    sections = Sections()
    section = Section(lambda: True)
    sections.begin(section)
    sections.end_with_process()
    sections.end(section)


def test_while_the_process_ends_another_thread_sends_no_code() -> None:
    sections, errors = Sections(), list[NotSentError]()
    sections.end_with_process()

    def work() -> None:
        try:
            sections.begin(Section(lambda: True))
        except NotSentError as error:
            errors.append(error)

    in_thread(work).join()
    assert [error.message for error in errors] == [
        "The process is ending or was interrupted, so nothing was sent."
    ]


def test_while_the_process_ends_a_ledger_is_asked_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise NotSentError("The process is ending or was interrupted, so nothing was sent.")

    class BlockingLedger(MemoryLedger):
        blocks = True

    ledger, port = BlockingLedger(), BlockingBackend(Sandbox().transport())
    reservation = Records(port, ledger).reservation("a name")
    assert run_sync(reservation.take())
    monkeypatch.setattr(port, "uncancelled", refuse)
    run_sync(reservation.give_back())
    assert ledger.reserve("a name")


def test_a_section_that_is_collected_in_another_thread_leaves_signals_alone() -> None:
    sections = Sections()
    section = Section(lambda: True)
    sections.begin(section)
    held = list[object]()
    in_thread(lambda: held.append(sections.end(section))).join()
    assert held == [None]
    sections.forget()


FORKING = """
import os, signal, sys
from favcrm import MemoryLedger
from favcrm._backends import signals as _signals
from favcrm._backends import run_sync
from favcrm._flows.records import Records
from favcrm._backends.sections import uninterrupted

def handle(*_): ...

async def task():
    signal.raise_signal(signal.SIGINT)
    if not os.fork():
        print(signal.getsignal(signal.SIGUSR1) is handle, flush=True)
        os._exit(0)
    os.wait()

signal.signal(signal.SIGUSR1, handle)
try:
    run_sync(uninterrupted(task))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_process_that_is_forked_meanwhile_has_its_own_handlers() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING], capture_output=True, timeout=PATIENCE, check=True, encoding="utf-8"
    )
    assert done.stdout.splitlines() == ["True", "interrupted"]
