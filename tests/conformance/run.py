"""Run the official client scenarios against this package: `nox -s conformance`.

Without nox: `python tests/conformance/run.py FOLDER`, with Node 22 or newer on the path. Both versions of the harness
are installed in the folder unless they are there.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HERE = Path(__file__).parent
BASELINE = HERE / "baseline.yml"
PACKAGE = "@modelcontextprotocol/conformance"
# The released harness knows the protocols of 2025. The other is the first whose 2026-07-28 is complete.
OLD, NEW = "0.1.16", "0.2.0-alpha.12"
COLOURS = ("blocking", "asyncio", "trio")

# Every scenario that a client with tools and a static key can pass, with the wires it exists for: 17 runs. A wire is a
# revision of MCP, spoken by the new harness, or the old harness itself, which speaks one.
WIRES: Mapping[str, Sequence[str]] = {
    "initialize": (OLD, "2025-06-18", "2025-11-25"),
    "tools_call": (OLD, "2025-06-18", "2025-11-25", "2026-07-28"),
    "sse-retry": (OLD, "2025-11-25"),
    "json-schema-2020-12-preservation": ("2025-11-25", "2026-07-28"),
    "request-metadata": ("2026-07-28",),
    "http-standard-headers": ("2026-07-28",),
    "http-custom-headers": ("2026-07-28",),
    "http-invalid-tool-headers": ("2026-07-28",),
    "json-schema-ref-no-deref": ("2026-07-28",),
    "sep-2322-client-request-state": ("2026-07-28",),
}
# The harness measures how long the client waits, so nothing else may run meanwhile.
TIMED = {"sse-retry"}
# What a revision requires, all of it; the harness compares it with the baseline. Both colours have a turn.
REQUIREMENTS: Mapping[str, str] = {"2025-11-25": "blocking", "2026-07-28": "asyncio"}

# No setting of this machine reaches the client: no key and no endpoint.
ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TEMP") if name in os.environ}
# Seconds that a client may take, and the harness. It starts the clients of all that a revision requires at once.
CLIENT_TIMEOUT = 120
TIMEOUT = 180
PASSED = re.compile(r"^✓ (?P<name>\S+): (?P<passed>\d+) passed, ", re.MULTILINE)
EXPECTED = re.compile(r"^  ~ (?P<entry>\S+)$", re.MULTILINE)
ENTRY = re.compile(r"^ *- *(?P<entry>[^\s#]+)", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One scenario on one wire in one colour."""

    scenario: str
    wire: str
    colour: str


@dataclass(frozen=True)
class Outcome:
    """What came of it: how many checks passed, and what is wrong, with the harness's own words."""

    passed: int
    total: int
    problem: str = ""
    output: str = ""

    def __str__(self) -> str:
        return f"{self.passed}/{self.total}" + (" FAILED" if self.problem else "")


class Harness:
    """Both versions of the harness, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def install(self) -> None:
        """Install what is not there yet."""
        quiet = ("--no-audit", "--no-fund", "--loglevel=error")
        nothing_else = ("--no-save", "--no-package-lock", "--ignore-scripts")
        for version in (OLD, NEW):
            if not self._script(version).exists():
                folder = f"--prefix={self._folder / version}"
                command = [_find("npm"), "install", folder, *nothing_else, *quiet, f"{PACKAGE}@{version}"]
                subprocess.run(command, check=True)

    def _script(self, version: str) -> Path:
        return self._folder / version / "node_modules" / PACKAGE / "dist" / "index.js"

    def test(self, version: str, colour: str, *arguments: str) -> tuple[int, str]:
        """Let the harness test the client; return its exit code and what it printed."""
        # The harness gives this to a shell.
        client = shlex.join([sys.executable, str(HERE / "client.py")])
        options = (f"--command={client}", f"--timeout={CLIENT_TIMEOUT * 1000}", *arguments)
        command = [_find("node"), str(self._script(version)), "client", *options]
        environment = ENVIRONMENT | {"FAVCRM_CONFORMANCE_COLOUR": colour, "PYTHONSAFEPATH": "1"}
        # Not a pipe, which the harness's own children may hold open after it was killed.
        with tempfile.TemporaryFile() as output:
            ended = subprocess.run(
                command, env=environment, stdout=output, stderr=output, timeout=TIMEOUT, check=False
            )
            output.seek(0)
            return ended.returncode, output.read().decode(errors="replace")

    def run(self, run: Run) -> Outcome:
        """Run one scenario."""
        version, revision = (OLD, ()) if run.wire == OLD else (NEW, (f"--spec-version={run.wire}",))
        with tempfile.TemporaryDirectory() as results:
            arguments = (f"--scenario={run.scenario}", *revision, f"--output-dir={results}")
            code, output = self.test(version, run.colour, *arguments)
            # There is none where the harness broke down.
            written = [json.loads(file.read_bytes()) for file in Path(results).glob("*/checks.json")]
        return judge(Counter(check["status"] for checks in written for check in checks), code, output)


def judge(statuses: Counter[str], code: int, output: str) -> Outcome:
    """Return what a run came to: a client of which nothing was checked has not passed."""
    passed = statuses["SUCCESS"]
    total = passed + statuses["FAILURE"] + statuses["WARNING"]
    if not total:
        return Outcome(0, 0, "nothing was checked", output)
    problem = f"the harness ended with {code}" if code or passed < total else ""
    return Outcome(passed, total, problem, output)


def run_all(harness: Harness, colours: Iterable[str], scenarios: Iterable[str]) -> Mapping[Run, Outcome]:
    runs = [
        Run(scenario, wire, colour)
        for scenario, colour in product(scenarios, colours)
        for wire in WIRES[scenario]
    ]
    together = [run for run in runs if run.scenario not in TIMED]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = dict(zip(together, pool.map(harness.run, together), strict=True))
    return outcomes | {run: harness.run(run) for run in runs if run.scenario in TIMED}


def print_table(outcomes: Mapping[Run, Outcome], colours: Sequence[str]) -> None:
    rows = [("scenario", "wire", *colours)]
    for scenario, wire in ((scenario, wire) for scenario, wires in WIRES.items() for wire in wires):
        cells = [str(outcomes.get(Run(scenario, wire, colour), "")) for colour in colours]
        rows += [(scenario, wire, *cells)] if any(cells) else []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def check_requirements(harness: Harness) -> list[str]:
    """Run what each revision requires; return what is wrong, in it or in the baseline."""
    problems: list[str] = []
    unused = set(ENTRY.findall(BASELINE.read_text(encoding="utf-8")))
    for revision, colour in REQUIREMENTS.items():
        arguments = (f"--requirements={revision}", f"--expected-failures={BASELINE}")
        code, output = harness.test(NEW, colour, *arguments)
        failed = set(EXPECTED.findall(output))
        # Of some the harness says that they passed where it saw nothing to check.
        passed = {name for name, checks in PASSED.findall(output) if int(checks)}
        missing = {scenario for scenario, wires in WIRES.items() if revision in wires} - passed
        print(
            f"{revision}: {len(passed)} scenarios passed, {len(failed)} failed as the baseline says ({colour})"
        )
        if code or missing:
            named = ", ".join(sorted(missing)) or "none"
            problems.append(f"{revision}: the harness ended with {code}; did not pass: {named}\n{output}")
        unused -= failed
    return problems + [f"{BASELINE.name}: nothing fails as {entry}" for entry in sorted(unused)]


def _find(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise SystemExit(f"There is no {program} on the path.")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the harnesses are, or are installed")
    parser.add_argument(
        "--colour", choices=COLOURS, action="append", help="this colour only; may be repeated"
    )
    parser.add_argument(
        "--scenario", choices=WIRES, action="append", help="this scenario only; may be repeated"
    )
    asked = parser.parse_args()
    harness = Harness(asked.folder.absolute())
    harness.install()

    colours = asked.colour or COLOURS
    outcomes = run_all(harness, colours, asked.scenario or WIRES)
    print_table(outcomes, colours)
    problems = [
        f"{run.scenario} {run.wire} {run.colour}: {outcome.problem}\n{outcome.output}"
        for run, outcome in outcomes.items()
        if outcome.problem
    ]
    if not asked.scenario:
        problems += check_requirements(harness)
    if problems:
        print(*problems, sep="\n\n", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
