from __future__ import annotations

from collections.abc import Generator

import pytest
from colours import anyio_backend, colour, way

from favcrm.sandbox import Rules, Sandbox
from favcrm.sandbox.server import Server

# Fixtures of this folder too.
__all__ = ["anyio_backend", "colour", "way"]


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    """The FavCRM behind every server. All tests sign up from one address."""
    return Sandbox(rules=Rules(requests_per_hour=1000, requests_per_day=1000))


@pytest.fixture(scope="session")
def upstream(sandbox: Sandbox) -> Generator[Server]:
    """The sandbox, served."""
    with sandbox.serve() as server:
        yield server
