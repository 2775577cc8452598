"""200 calls at once, awaited together, against bare httpx and the official client, with and without latency.

`--bounds 10 50 100` measures favcrm with each of them as the bound of what is in flight.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.measure import Row, Setting, compare, in_turn, main, server, staying

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROUNDS = 12
CALLS = 200
LATENCIES = (0, 50)


def all_calls(ask: Callable[[str], str]) -> float:
    return float(ask(str(CALLS)))


def at_once(setting: Setting) -> Sequence[Row]:
    return [
        row for job in ("call", "initiate") for latency in LATENCIES for row in _rows(setting, job, latency)
    ]


def _rows(setting: Setting, job: str, latency: int) -> Sequence[Row]:
    ours = [f"favcrm:{bound}" for bound in setting.bounds] or ["favcrm"]
    with ExitStack() as stack:
        url = stack.enter_context(server())(latency)
        pythons = dict.fromkeys(["bare", *ours], sys.executable) | {"mcp": setting.mcp}
        took = in_turn(
            {
                name: partial(
                    all_calls, stack.enter_context(staying(python, "worker.py", name, "at_once", url, job))
                )
                for name, python in pythons.items()
            },
            ROUNDS,
        )
    rows: list[Row] = []
    for name in ours:
        bound = name.removeprefix("favcrm").replace(":", ", bound ")
        what = f"{CALLS} {job}s at once, {latency} ms of latency{bound}"
        rows += [
            compare(what, took[name], "mcp Client", took["mcp"], unit="ms", reach=1.0),
            compare(what, took[name], "httpx", took["bare"], unit="ms"),
        ]
    return rows


if __name__ == "__main__":
    main(at_once)
