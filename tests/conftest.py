from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, and nothing of the package.
settings.register_profile("favcrm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("favcrm")


def pytest_configure() -> None:
    """Undo what a shell ignores for a job in the background, or no process of the tests would hear those signals."""
    for name in ("SIGINT", "SIGQUIT", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGQUIT and no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loop of an async test: each runs on both."""
    backend: str = request.param
    return backend
