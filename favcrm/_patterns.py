"""What values are compared with: ranges, and regular expressions that are compiled when they are first used.

One call uses few of the regular expressions.
"""

from __future__ import annotations

import math
import re
from typing import Any, AnyStr, cast


class _Pattern:
    """Stands in for a compiled pattern, and takes over each of its methods when it is first asked for."""

    def __init__(self, text: str | bytes, flags: int) -> None:
        self._text = text
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        value = getattr(re.compile(self._text, self._flags), name)
        setattr(self, name, value)
        return value


def lazy_pattern(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return what behaves like ``re.compile(text, flags)``, and costs nothing until it is used."""
    return cast("re.Pattern[AnyStr]", _Pattern(text, flags))


def is_number(value: object, *, above: float | None = None, least: float = 0, most: float = math.inf) -> bool:
    """Tell whether a value, which may be anything, is a number in a range; where ``above`` is given, a finite one."""
    if not isinstance(value, int | float):
        return False
    return least <= value <= most and (above is None or (value > above and math.isfinite(value)))


VISIBLE = lazy_pattern("[!-~]+")
"""Visible ASCII: what a key and an id of a session are made of."""
