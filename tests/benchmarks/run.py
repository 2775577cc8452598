"""Every benchmark, one table: `nox -s bench`.

Without nox: `PYTHONPATH=tests python -m benchmarks.run --mcp OTHER_PYTHON`, where the one Python has favcrm with its
core dependencies alone and the other the official mcp package. Each other script here runs alone in the same way.
"""

from __future__ import annotations

from benchmarks.at_once import at_once
from benchmarks.diagnosis import diagnosis
from benchmarks.fresh_process import fresh_process
from benchmarks.import_time import import_time
from benchmarks.measure import main
from benchmarks.one_call import one_call
from benchmarks.pending import pending
from benchmarks.size import size

if __name__ == "__main__":
    main(import_time, fresh_process, one_call, at_once, pending, diagnosis, size)
