"""The clock that codes live by."""

from __future__ import annotations

import time
from functools import partial

import pytest

from favcrm._backends.clock import clock_of, monotonic


@pytest.mark.parametrize(("platform", "name"), [("linux", "CLOCK_BOOTTIME"), ("darwin", "CLOCK_MONOTONIC")])
def test_the_time_that_a_machine_sleeps_is_counted(platform: str, name: str) -> None:
    clock = clock_of(platform)
    assert isinstance(clock, partial)
    assert clock.func is time.clock_gettime
    assert clock.args == (getattr(time, name),)


@pytest.mark.parametrize("platform", ["win32", "unheard of"])
def test_elsewhere_the_usual_clock_serves(platform: str) -> None:
    assert clock_of(platform) is time.monotonic


def test_it_goes_forward() -> None:
    assert monotonic() <= monotonic()
