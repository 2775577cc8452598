"""`import favcrm` against `import httpx`, in fresh processes.

Gross is a whole process. Net is gross without what the same round measured for a process that does nothing.
"""

from __future__ import annotations

import sys
from operator import sub
from typing import TYPE_CHECKING

from benchmarks.measure import Row, Setting, compare, fresh, in_turn, main

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUNDS = 20


def import_time(_: Setting) -> Sequence[Row]:
    snippets = {"nothing": "pass", "httpx": "import httpx", "favcrm": "import favcrm"}
    gross = in_turn({name: fresh(sys.executable, "-c", code) for name, code in snippets.items()}, ROUNDS)
    net = {name: [*map(sub, measured, gross["nothing"])] for name, measured in gross.items()}
    return [
        compare("import, net of Python's start", net["favcrm"], "httpx", net["httpx"], unit="ms", reach=0.10),
        compare("import, gross", gross["favcrm"], "httpx", gross["httpx"], unit="ms"),
    ]


if __name__ == "__main__":
    main(import_time)
