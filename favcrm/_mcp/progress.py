"""Reports of progress, which servers send before an answer."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from favcrm._mcp.jsonrpc import as_id
from favcrm._text import clean
from favcrm.events import logger
from favcrm.models import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from favcrm.typing import JSON

NOTIFICATION = "notifications/progress"


def tell_progress(message: Mapping[str, JSON], token: int, listener: Callable[[Progress], None]) -> None:
    """Tell a listener of a message, if it is a report of progress of its own call."""
    params = message.get("params")
    if message.get("method") != NOTIFICATION or not isinstance(params, dict):
        return
    done, total, words = params.get("progress"), params.get("total"), params.get("message")
    if as_id(params.get("progressToken")) != token or not isinstance(done, int | float):
        return
    progress = Progress(
        progress=done,
        total=total if isinstance(total, int | float) else None,
        message=clean(words) if isinstance(words, str) else "",
    )
    try:
        listener(progress)
    except Exception:  # noqa: BLE001  # a listener's mistake must not lose an answer
        with suppress(Exception):
            logger.warning("the on_progress callback failed")
