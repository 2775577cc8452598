"""How a request is written in each protocol era.

FavCRM takes the bare form: one POST of one JSON-RPC message, with no handshake, no session and no protocol version
header. This is the place for the other eras: each is one more way to write the same method and parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from favcrm._core.jsonrpc import encode_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from favcrm.typing import JSON

# Servers refuse a request that does not accept both, spelled out.
COMMON_HEADERS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


@frozen(eq=False)
class Outgoing:
    """One HTTP request, before the headers that do not depend on the era."""

    request_id: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)


def write_bare(request_id: int, method: str, params: Mapping[str, JSON]) -> Outgoing:
    """Write a request of the bare era.

    Raises:
        InvalidInputError: The parameters hold something that JSON cannot carry.
    """
    return Outgoing(request_id, COMMON_HEADERS, encode_request(request_id, method, params))
