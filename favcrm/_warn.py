"""Warnings that name the line of the user's, not one of ours."""

from __future__ import annotations

import inspect
import warnings


def warn(message: str, category: type[Warning]) -> None:
    """Warn of what the user's own code does, however deep in this package that is noticed."""
    level, frame = 0, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "favcrm":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level + 1)
