from __future__ import annotations

from typing import get_args

import pytest
from colours import Colour

from favcrm.sandbox import Sandbox


@pytest.fixture(params=get_args(Colour))
def colour(request: pytest.FixtureRequest) -> Colour:
    """The colour of the facade under test."""
    chosen: Colour = request.param
    return chosen


@pytest.fixture
def anyio_backend() -> str:
    """One event loop for the flows: only the backends know on which one they are."""
    return "asyncio"


@pytest.fixture
def sandbox() -> Sandbox:
    """A fresh sandbox, whose time stands still."""
    return Sandbox()
