from __future__ import annotations

import pytest
from colours import Colour

from favcrm.sandbox import Sandbox


@pytest.fixture(params=["blocking", "asynchronous"])
def colour(request: pytest.FixtureRequest) -> Colour:
    """The colour of the facade under test."""
    chosen: Colour = request.param
    return chosen


@pytest.fixture
def sandbox() -> Sandbox:
    """A fresh sandbox, whose time stands still."""
    return Sandbox()
