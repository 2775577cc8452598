from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, and nothing of the package.
settings.register_profile("favcrm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("favcrm")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loop of an async test: each runs on both."""
    backend: str = request.param
    return backend
