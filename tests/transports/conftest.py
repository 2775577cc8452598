from __future__ import annotations

import secrets
import threading
from types import ModuleType
from typing import TYPE_CHECKING

import httpx
import httpx2
import pytest

from favcrm.secret import Secret
from favcrm.transports.http import verdicts

if TYPE_CHECKING:
    from colours import Colour

WAYS: dict[str, tuple[Colour, str]] = {
    "blocking": ("blocking", "asyncio"),
    "asyncio": ("asynchronous", "asyncio"),
    "trio": ("asynchronous", "trio"),
}


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest) -> tuple[Colour, str]:
    """Every colour on every event loop it knows; the blocking one needs none, and works inside one."""
    return WAYS[request.param]


@pytest.fixture
def colour(way: tuple[Colour, str]) -> Colour:
    """The colour under test."""
    return way[0]


@pytest.fixture
def anyio_backend(way: tuple[Colour, str]) -> str:
    """The event loop of the test."""
    return way[1]


@pytest.fixture(params=[httpx, httpx2], ids=lambda library: library.__name__)
def library(request: pytest.FixtureRequest) -> ModuleType:
    """The library of a client that is handed over."""
    chosen: ModuleType = request.param
    return chosen


@pytest.fixture
def key() -> Secret:
    """A key, different in every test."""
    return Secret(f"fav_mcp_{secrets.token_urlsafe(24)}")


@pytest.fixture(autouse=True)
def no_verdicts() -> None:
    """Forget what was found out about an address: a port is used again by the server of another test."""
    verdicts.forget()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """Keep what this machine's user has set out of the tests."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in (
        "FAVCRM_API_KEY",
        "FAVCRM_MCP_TOKEN",
        "FAVCRM_MCP_URL",
        "FAVCRM_MCP_ENDPOINT",
        "FAVCRM_API_BASE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.fixture
def never() -> threading.Event:
    """A gate that opens when the server ends."""
    return threading.Event()
