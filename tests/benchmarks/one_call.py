"""One call with a key after the other, blocking and awaited, against the same POST with bare httpx."""

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


def per_call(ask: Callable[[str], str], calls: int) -> float:
    return float(ask(str(calls))) / calls


def one_call(_: Setting) -> Sequence[Row]:
    rows: list[Row] = []
    for task in ("blocking", "asynchronous"):
        with ExitStack() as stack:
            url = stack.enter_context(server())(0)
            took = in_turn(
                {
                    name: partial(
                        per_call,
                        stack.enter_context(staying(sys.executable, "worker.py", name, task, url)),
                        CALLS,
                    )
                    for name in ("bare", "favcrm")
                },
                ROUNDS,
            )
        rows.append(
            compare(f"one call, {task}", took["favcrm"], "httpx", took["bare"], unit="us", reach=1.15)
        )
    return rows


if __name__ == "__main__":
    main(one_call)
