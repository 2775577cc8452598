"""What many pending registrations cost: an `initiate` beside 3,000 of them and beside 10, and the memory they take."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.measure import Row, Setting, compare, in_turn, main, server, staying

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROUNDS = 60
CALLS = 100
FEW, MANY = 10, 3_000
SECONDS = 600


def per_call(ask: Callable[[str], str]) -> float:
    return float(ask(str(CALLS))) / CALLS


def pending(_: Setting) -> Sequence[Row]:
    return [*(_beside_many(task) for task in ("blocking", "asynchronous")), *_memory()]


def _beside_many(task: str) -> Row:
    with ExitStack() as stack:
        url = stack.enter_context(server())(0)
        took = in_turn(
            {
                str(number): partial(
                    per_call, stack.enter_context(staying(sys.executable, "kept.py", task, url, str(number)))
                )
                for number in (FEW, MANY)
            },
            ROUNDS,
        )
    what = f"one initiate, {task}, {MANY:,} pending"
    return compare(what, took[str(MANY)], f"{FEW} pending", took[str(FEW)], unit="us", reach=1.05)


def _memory() -> Sequence[Row]:
    with staying(sys.executable, "kept.py", "memory", "", str(MANY)) as ask:
        kept, expired = (float(size) / 1024 for size in ask("").split())
    return [
        Row(what=f"memory of {MANY:,} pending", favcrm=f"{kept:,.0f} KiB", against="", other=""),
        Row(what="the same, after they expired", favcrm=f"{expired:,.0f} KiB", against="", other=""),
    ]


if __name__ == "__main__":
    main(pending)
