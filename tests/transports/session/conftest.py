from __future__ import annotations

import pytest
from transports.session.official_clients import KINDS, Opener

from favcrm.sandbox import Sandbox


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loop of a test: clients of MCP are asynchronous."""
    backend: str = request.param
    return backend


@pytest.fixture(params=list(KINDS))
def opened(request: pytest.FixtureRequest) -> Opener:
    """A way to open a session: each kind that the official library has."""
    return KINDS[request.param]


@pytest.fixture
def sandbox() -> Sandbox:
    """A fresh sandbox."""
    return Sandbox()
