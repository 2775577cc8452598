"""Whatever ends a run behind the code, short of SIGKILL: a workspace that exists has its key in the store."""

from __future__ import annotations

import signal

import pytest
from crash import flow
from crash.arena import VERIFY, Arena, Striking

COLOURS = ["blocking", "asyncio", "trio"]
EACH_COLOUR = pytest.mark.parametrize("colour", COLOURS)
HANGUP, INTERRUPT, QUIT, ALARM, END = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGALRM,
    signal.SIGTERM,
)


def check_key(arena: Arena, settings: flow.Settings) -> None:
    assert arena.made() == 1
    assert (arena.directory / "config.toml").exists()
    arena.sandbox.after = None
    assert arena.again(settings) == "key"
    assert arena.sandbox.count(VERIFY) == 1


@EACH_COLOUR
@pytest.mark.parametrize("number", [HANGUP, QUIT, ALARM, END])
def test_a_signal_that_nobody_handles_ends_the_process_once_the_key_is_stored(
    arena: Arena, colour: str, number: int
) -> None:
    settings = arena.settings(colour)
    Striking(arena, VERIFY, number).start(settings)
    arena.end(number)
    check_key(arena, settings)


@EACH_COLOUR
@pytest.mark.parametrize("numbers", [(END, END), (HANGUP, END), (INTERRUPT, INTERRUPT, INTERRUPT)])
def test_several_signals(arena: Arena, colour: str, numbers: tuple[int, ...]) -> None:
    settings = arena.settings(colour)
    Striking(arena, VERIFY, *numbers).start(settings)
    arena.end(numbers[0])
    check_key(arena, settings)


@EACH_COLOUR
@pytest.mark.parametrize(
    ("number", "handler", "status", "last"),
    [
        (END, "exits", flow.STATUS, ""),
        (ALARM, "raises", 1, "TimeoutError"),
        (INTERRUPT, "exits", flow.STATUS, ""),
    ],
)
def test_what_a_handler_raises_is_raised_once_the_key_is_stored(
    arena: Arena, colour: str, number: int, handler: str, status: int, last: str
) -> None:
    settings = arena.settings(colour, signal=number, handler=handler)
    Striking(arena, VERIFY, number, number).start(settings)
    assert arena.end_with(status).rpartition("\n")[0].endswith(last)
    check_key(arena, settings)


@EACH_COLOUR
@pytest.mark.parametrize(
    "step",
    ["before the ledger marks", "the answer has arrived", "before the store puts", "after the store put"],
)
@pytest.mark.parametrize(("number", "handler", "status"), [(END, "", -END), (END, "exits", flow.STATUS)])
def test_at_any_step(arena: Arena, colour: str, step: str, number: int, handler: str, status: int) -> None:
    settings = arena.settings(colour, hit_at=step, signal=number, handler=handler)
    arena.starter.start(settings)
    arena.end_with(status)
    check_key(arena, settings)


@pytest.mark.parametrize(
    ("colour", "host"),
    [
        *((colour, "daemon thread") for colour in COLOURS),
        ("asyncio", "asyncio.run ends"),
        ("asyncio", "loop is closed"),
        ("asyncio", "handler of the loop exits"),
        ("asyncio", "task is cancelled again and again"),
        ("asyncio", "sibling fails"),
        ("trio", "nursery is cancelled"),
    ],
)
def test_whoever_runs_it_and_leaves_it(arena: Arena, colour: str, host: str) -> None:
    settings = arena.settings(colour, signal=signal.SIGUSR1, host=host)
    Striking(arena, VERIFY, signal.SIGUSR1).start(settings)
    arena.end_with(flow.STATUS)
    check_key(arena, settings)


@EACH_COLOUR
@pytest.mark.parametrize(("number", "status"), [(END, -END), (INTERRUPT, flow.STATUS)])
def test_a_signal_while_the_end_of_the_process_waits_for_a_thread(
    arena: Arena, colour: str, number: int, status: int
) -> None:
    settings = arena.settings(colour, signal=signal.SIGUSR1, host="daemon thread")
    Striking(arena, VERIFY, signal.SIGUSR1, number).start(settings)
    arena.end_with(status)
    check_key(arena, settings)


@EACH_COLOUR
@pytest.mark.parametrize("host", ["joined thread", "pool"])
@pytest.mark.parametrize("times", [1, 3])
def test_ctrl_c_while_the_main_thread_waits_for_the_thread_that_signs_up(
    arena: Arena, colour: str, host: str, times: int
) -> None:
    """On Python 3.11 an interrupted join takes a thread that runs for one that has ended."""
    settings = arena.settings(colour, host=host)
    Striking(arena, VERIFY, *[INTERRUPT] * times).start(settings)
    arena.end_with(-INTERRUPT)
    check_key(arena, settings)
