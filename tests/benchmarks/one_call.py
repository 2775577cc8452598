"""One call after the other, blocking and awaited, against the same POST with bare httpx: a tool, and a sign-up."""

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
REACHES = {"call": 1.15, "initiate": 1.15, "confirm": 1.25}


def per_call(ask: Callable[[str], str], calls: int) -> float:
    return float(ask(str(calls))) / calls


def one_call(_: Setting) -> Sequence[Row]:
    return [_row(job, task, reach) for job, reach in REACHES.items() for task in ("blocking", "asynchronous")]


def _row(job: str, task: str, reach: float) -> Row:
    with ExitStack() as stack:
        url = stack.enter_context(server())(0)
        took = in_turn(
            {
                name: partial(
                    per_call,
                    stack.enter_context(staying(sys.executable, "worker.py", name, task, url, job)),
                    CALLS,
                )
                for name in ("bare", "favcrm")
            },
            ROUNDS,
        )
    return compare(f"one {job}, {task}", took["favcrm"], "httpx", took["bare"], unit="us", reach=reach)


if __name__ == "__main__":
    main(one_call)
