"""Errors without what led to them."""

from __future__ import annotations

from typing import TypeVar

E = TypeVar("E", bound=BaseException)


def bare(error: E) -> E:
    """Take off an error the frames and the cause it had: they saw the key and the answer."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
