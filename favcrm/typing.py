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
"""The protocol era in which a server is spoken to.

``bare`` is one POST for each call, without a handshake. ``legacy`` is MCP 2024-11-05 to 2025-11-25, which begins with a
handshake. ``modern`` is MCP 2026-07-28. With ``auto`` the server is asked first.
"""

Profile: TypeAlias = Literal["compact", "full"]
"""Which tools FavCRM lists.

``compact`` is ``search_tools`` and ``execute_tool``, which find and run every other tool. ``full`` is all tools, as by
default.
"""
