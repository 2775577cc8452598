"""A diagnosis under 50 ms of latency, against two round trips with bare httpx.

One is for the questions, which are asked side by side, and one for the server's own doctor.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.measure import Row, Setting, compare, in_turn, main, server, staying

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROUNDS = 20
LATENCY = 50


def once(ask: Callable[[str], str]) -> float:
    return float(ask("1"))


def diagnosis(_: Setting) -> Sequence[Row]:
    rows: list[Row] = []
    for task in ("blocking", "asynchronous"):
        with ExitStack() as stack:
            url = stack.enter_context(server())(LATENCY)
            took = in_turn(
                {
                    name: partial(
                        once,
                        stack.enter_context(
                            staying(sys.executable, "worker.py", name, task, url, "diagnose")
                        ),
                    )
                    for name in ("bare", "favcrm")
                },
                ROUNDS,
            )
        what = f"diagnose, {task}, {LATENCY} ms of latency"
        rows.append(compare(what, took["favcrm"], "2 round trips", took["bare"], unit="ms", reach=1.15))
    return rows


if __name__ == "__main__":
    main(diagnosis)
