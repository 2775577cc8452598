"""The limits of the HTTP transport."""

from __future__ import annotations

from typing import NamedTuple

from favcrm._mcp.jsonrpc import MAX_ANSWER_BYTES
from favcrm._mcp.requests import MAX_PAGES


class Limits(NamedTuple):
    """The limits of a transport, which a test makes narrower.

    Attributes:
        timeout: The longest timeout in seconds. A socket does not take any number.
        grace: Seconds after the deadline in which httpx may still end a request, because its own error says more.
            A notice to the server may take as long.
        leaving: Seconds in which the rest of a closed body is read.
        answer_bytes: The largest answer, after its encodings are undone.
        connections: How many requests of one event loop are under way at once.
        pages: How many pages of ``tools/list`` are read for the headers of a call.
        vain_resumptions: How often in a row a stream is resumed without a new event.
        resumption_wait: Seconds before a stream is resumed, if the server does not say how many.
    """

    timeout: float = 86400.0
    grace: float = 1.0
    leaving: float = 5.0
    answer_bytes: int = MAX_ANSWER_BYTES
    connections: int = 100
    pages: int = MAX_PAGES
    vain_resumptions: int = 2
    resumption_wait: float = 1.0


LIMITS = Limits()
