"""Types that appear in signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias, Union

__all__ = ["JSON"]

# A union that exists at run time: agent frameworks resolve the annotations of what they are given.
JSON: TypeAlias = Union[  # noqa: UP007  # text in an X | Y union would not be resolved
    bool, int, float, str, Sequence["JSON"], Mapping[str, "JSON"], None
]
"""Any JSON value."""
