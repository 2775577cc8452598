"""What a fork copies: the child closes its copies of the blocking connections, which only the parent goes on using.

Left open, they would keep a connection alive that the parent closes. Nothing is sent on them by closing.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any
from weakref import WeakSet

_opened: WeakSet[socket.socket] = WeakSet()


def note(stream: Any) -> None:
    """Remember a connection: what httpx calls a network stream."""
    sock = stream.get_extra_info("socket")
    if isinstance(sock, socket.socket):
        _opened.add(sock)


def close_inherited() -> None:
    """Close every connection that was opened before the fork, as far as this process goes."""
    for sock in tuple(_opened):
        sock.close()


# Windows has no fork.
with suppress(AttributeError):
    os.register_at_fork(after_in_child=close_inherited)
