"""Regular expressions that are compiled when they are first used, because one call uses few of them."""

from __future__ import annotations

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


VISIBLE = lazy_pattern("[!-~]+")
"""Visible ASCII: what a key and an id of a session are made of."""
