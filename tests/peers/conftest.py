from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from favcrm.sandbox import Rules, Sandbox
from favcrm.sandbox.server import Server

if TYPE_CHECKING:
    from colours import Colour

WAYS: dict[str, tuple[Colour, str]] = {
    "blocking": ("blocking", "asyncio"),
    "asyncio": ("asynchronous", "asyncio"),
    "trio": ("asynchronous", "trio"),
}


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest) -> tuple[Colour, str]:
    """Every colour on every event loop it knows."""
    return WAYS[request.param]


@pytest.fixture
def colour(way: tuple[Colour, str]) -> Colour:
    """The colour under test."""
    return way[0]


@pytest.fixture
def anyio_backend(way: tuple[Colour, str]) -> str:
    """The event loop of the test."""
    return way[1]


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    """The FavCRM behind every server. All tests sign up from one address."""
    return Sandbox(rules=Rules(requests_per_hour=1000, requests_per_day=1000))


@pytest.fixture(scope="session")
def upstream(sandbox: Sandbox) -> Generator[Server]:
    """The sandbox, served."""
    with sandbox.serve() as server:
        yield server
