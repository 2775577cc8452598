from __future__ import annotations

import time

import pytest

from favcrm.sandbox import SandboxClock


def test_a_new_clock_shows_the_real_time() -> None:
    before = time.time()
    assert before <= SandboxClock().time() <= time.time()


def test_a_clock_stands_still_until_it_is_advanced() -> None:
    clock = SandboxClock(start=1000.0)
    assert (clock.time(), clock.monotonic()) == (1000.0, 0.0)
    clock.advance(2.5)
    assert (clock.time(), clock.monotonic()) == (1002.5, 2.5)


def test_a_negative_advance_raises_value_error() -> None:
    with pytest.raises(ValueError, match="forward"):
        SandboxClock().advance(-1)


def test_a_sleep_advances_the_clock_and_is_recorded() -> None:
    clock = SandboxClock(start=0.0)
    clock.sleep(3)
    clock.sleep(4)
    assert (clock.time(), clock.sleeps) == (7.0, [3, 4])


@pytest.mark.anyio
async def test_an_async_sleep_advances_the_clock_and_is_recorded() -> None:
    clock = SandboxClock(start=0.0)
    await clock.sleep_async(5)
    assert (clock.time(), clock.sleeps) == (5.0, [5])


def test_a_running_clock_follows_the_system_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 50.0
    monkeypatch.setattr("favcrm.sandbox.clock.system.monotonic", lambda: now)
    clock = SandboxClock(start=1000.0, running=True)
    now = 52.0
    clock.advance(100)
    assert (clock.time(), clock.monotonic()) == (1102.0, 102.0)
