"""What objects do in a forked child, before anything else runs there."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

_objects: WeakKeyDictionary[Any, Callable[[Any], None]] = WeakKeyDictionary()


def at_fork(it: T, act: Callable[[T], None]) -> None:
    """Let an object act in each forked child of this process, for as long as it lives."""
    _objects[it] = act


def _act() -> None:
    for it, act in list(_objects.items()):
        with suppress(Exception):
            act(it)


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows does not fork
    os.register_at_fork(after_in_child=_act)
