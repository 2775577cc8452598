"""What installing the core brings: favcrm, its dependencies and what they bring, and nothing more."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution, distributions
from typing import TYPE_CHECKING

from benchmarks.measure import Row, Setting, main

if TYPE_CHECKING:
    from collections.abc import Sequence

DEPENDENCIES = ("attrs", "cattrs", "httpx", "tenacity")
# What a new environment may hold before anything is installed.
TOOLS = {"pip", "setuptools", "wheel"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def brought_by(*names: str) -> set[str]:
    """Return the distributions of these names and all that they require here, extras aside."""
    found: set[str] = set()
    waiting = [normal(name) for name in names]
    while waiting:
        name = waiting.pop()
        try:
            required = distribution(name).requires or []
        except PackageNotFoundError:  # required by another Python or on another system
            continue
        if name not in found:
            found.add(name)
            plain = (entry for entry in required if "extra ==" not in entry)
            waiting += [normal(match[0]) for entry in plain if (match := re.match(r"[\w.-]+", entry))]
    return found


def size(_: Setting) -> Sequence[Row]:
    allowed = brought_by(*DEPENDENCIES)
    installed = {normal(found.name) for found in distributions()} - TOOLS - {"favcrm"}
    more = sorted(installed - allowed)
    return [
        Row(
            what="distributions beside favcrm",
            favcrm=f"{len(installed)}",
            against="the four dependencies' own",
            other=f"{len(allowed)}",
            met=not more,
        ),
        *(Row(what="  one too many", favcrm=name, against="", other="") for name in more),
        Row(what=f"  {' '.join(sorted(allowed))}", favcrm="", against="", other=""),
    ]


if __name__ == "__main__":
    main(size)
