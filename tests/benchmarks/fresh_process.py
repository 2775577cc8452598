"""A process that starts, imports and completes one registration, against bare httpx and the official client.

httpx is measured where the core alone is installed, and the official client in an environment of its own: it brings
click, and httpx would then load its command line too and look slower than it is. Certificates are told apart, since
httpx.Client() loads them even for plain HTTP, where favcrm has no use for them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmarks.measure import HERE, Row, Setting, compare, fresh, in_turn, main, server

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUNDS = 20
WHAT = "fresh process, one initiate"
BOTH = f"{WHAT}, certificates in both"
NEITHER = f"{WHAT}, certificates in neither"
IN_CORE = ("bare", "bare_without_certificates", "favcrm", "favcrm_with_certificates")


def fresh_process(setting: Setting) -> Sequence[Row]:
    with server() as address:
        runs = {name: fresh(sys.executable, str(HERE / "once.py"), name, address(0)) for name in IN_CORE}
        runs["mcp"] = fresh(setting.mcp, str(HERE / "once.py"), "mcp", address(0))
        took = in_turn(runs, ROUNDS)
    bare, plain = took["bare"], took["bare_without_certificates"]
    return [
        compare(WHAT, took["favcrm"], "httpx.Client()", bare, unit="ms", reach=1.35),
        compare(BOTH, took["favcrm_with_certificates"], "httpx", bare, unit="ms"),
        compare(NEITHER, took["favcrm"], "httpx", plain, unit="ms"),
        compare(WHAT, took["favcrm"], "mcp Client", took["mcp"], unit="ms", reach=0.25),
    ]


if __name__ == "__main__":
    main(fresh_process)
