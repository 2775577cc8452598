"""How is measured: every contender once in each round, each in a process of its own, against one server.

What else the machine does thus hits all alike. The ratio is the median of the rounds' own ratios, and tells whether
a reach is met; beside it stands the ratio of the shortest measurements, which others disturbed the least.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

HERE = Path(__file__).parent
# No setting of this machine reaches a contender: no proxy, no key, and compiled files are written and used.
ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TEMP") if name in os.environ}
HEADINGS = ("what", "favcrm", "against", "", "ratio", "of shortest", "reach", "met")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table; without a reach it is there to be compared with the others."""

    what: str
    favcrm: str
    against: str
    other: str
    ratio: float | None = None
    of_shortest: float | None = None
    reach: float | None = None
    met: bool | None = None

    def cells(self) -> tuple[str, ...]:
        numbers = [
            "" if number is None else f"{number:.2f}" for number in (self.ratio, self.of_shortest, self.reach)
        ]
        met = "" if self.met is None else "yes" if self.met else "NO"
        return self.what, self.favcrm, self.against, self.other, *numbers, met


@dataclass(frozen=True)
class Setting:
    """What is asked for: the Python that has the official client, and bounds of what is in flight to try."""

    mcp: str
    bounds: tuple[str, ...]


class Benchmark(Protocol):
    def __call__(self, setting: Setting, /) -> Sequence[Row]: ...


def compare(
    what: str,
    favcrm: Sequence[float],
    against: str,
    other: Sequence[float],
    *,
    unit: str,
    reach: float | None = None,
) -> Row:
    """Compare times in seconds, round by round; what is shown are their medians, in ms or us."""
    scale = {"ms": 1e3, "us": 1e6}[unit]
    ratio = median(ours / theirs for ours, theirs in zip(favcrm, other, strict=True))
    return Row(
        what=what,
        favcrm=f"{median(favcrm) * scale:.1f} {unit}",
        against=against,
        other=f"{median(other) * scale:.1f} {unit}",
        ratio=ratio,
        of_shortest=min(favcrm) / min(other),
        reach=reach,
        met=None if reach is None else ratio <= reach,
    )


def in_turn(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return what each contender measured in each round, after one round to warm up; who begins changes."""
    measured: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds + 1):
        for name in names if number % 2 else reversed(names):
            seconds = contenders[name]()
            if number > 0:
                measured[name].append(seconds)
    return measured


def fresh(python: str, *arguments: str) -> Callable[[], float]:
    """Return what times a process from its start to its end."""

    def run() -> float:
        started = perf_counter()
        # -P: nothing is imported from the working directory, of which people have many.
        subprocess.run([python, "-P", *arguments], env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
        return perf_counter() - started

    return run


@contextmanager
def staying(python: str, script: str, *arguments: str) -> Generator[Callable[[str], str]]:
    """Start a script of this folder that answers a line for a line, until it ends with its input."""
    command = [python, "-P", str(HERE / script), *arguments]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        send, receive = process.stdin.write, process.stdout.readline

        def ask(line: str) -> str:
            send(f"{line}\n")
            return receive()

        yield ask


@contextmanager
def server() -> Generator[Callable[[int], str]]:
    """Start the server; yield what makes the address at which it takes so many milliseconds for each answer."""
    with staying(sys.executable, "server.py") as ask:
        port = int(ask("port"))
        yield lambda latency: f"http://127.0.0.1:{port}/mcp/{latency}"


def table(rows: Sequence[Row]) -> str:
    """Return the rows as aligned text; a row that only says something takes the whole width."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines if line[1]) for column in range(len(HEADINGS))]
    return "\n".join(_aligned(line, widths) for line in lines)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    words, numbers = line[0].ljust(widths[0]), {1, 3, 4, 5, 6}
    for column in range(1, len(line)):
        cell, width = line[column], widths[column]
        words += f"  {cell.rjust(width) if column in numbers else cell.ljust(width)}"
    return words.rstrip()


def main(*benchmarks: Benchmark) -> None:
    """Run benchmarks and print one table."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--mcp", default=sys.executable, help="the Python that has the official client")
    parser.add_argument("--bounds", nargs="*", default=(), help="how many calls favcrm may have in flight")
    asked = parser.parse_args()
    setting = Setting(asked.mcp, tuple(asked.bounds))
    print(table([row for benchmark in benchmarks for row in benchmark(setting)]))
