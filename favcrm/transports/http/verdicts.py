"""Which era each endpoint was found to speak, for all that this process opens to it later."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from favcrm.typing import Era

LIFE = 3600.0
"""Seconds for which a verdict is believed: a server that was upgraded goes on taking the older eras."""
MAX_VERDICTS = 1000

_verdicts: dict[str, tuple[Era, float]] = {}


def recall(url: str) -> Era:
    """Return the era of an endpoint, or ``auto`` where it is to be found out."""
    era, ends_at = _verdicts.get(url, ("auto", 0.0))
    return era if time.monotonic() < ends_at else "auto"


def remember(url: str, era: Era) -> None:
    """Keep the era of an endpoint."""
    if len(_verdicts) >= MAX_VERDICTS:
        forget()
    _verdicts[url] = (era, time.monotonic() + LIFE)


def forget() -> None:
    """Forget every verdict."""
    _verdicts.clear()
