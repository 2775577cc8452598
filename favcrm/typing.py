"""Types that appear in signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, Union

__all__ = ["JSON", "Era", "Profile"]

# A union that exists at run time: agent frameworks resolve the annotations of what they are given.
JSON: TypeAlias = Union[  # noqa: UP007  # text in an X | Y union would not be resolved
    bool, int, float, str, Sequence["JSON"], Mapping[str, "JSON"], None
]
"""Any JSON value."""

Era: TypeAlias = Literal["auto", "bare", "legacy", "modern"]
"""How a server is spoken to: found out (``auto``), or one of the three behaviours to begin with.

``bare`` is one POST for each call. ``legacy`` is the handshake of MCP 2024-11-05 to 2025-11-25, and ``modern`` is
MCP 2026-07-28.
"""

Profile: TypeAlias = Literal["compact", "full"]
"""Which tools FavCRM offers: ``compact`` is ``search_tools`` and ``execute_tool``, which run every other tool; ``full``
is all of them, FavCRM's default.
"""
