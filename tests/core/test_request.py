"""What a `Request` shows of itself."""

from __future__ import annotations

import attrs
import pytest

from favcrm import Secret
from favcrm.transports import Request


def test_a_request_shows_neither_its_parameters_nor_its_key() -> None:
    request = Request(
        "tools/call", {"name": "verify", "code": "271828"}, api_key=Secret("made up for this"), timeout=30.0
    )
    assert repr(request) == "Request(method='tools/call', timeout=30.0)"


def test_a_request_cannot_be_changed() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Request("tools/list", {}, timeout=30.0).timeout = 1.0  # type: ignore[misc]
