from __future__ import annotations

import secrets
import threading
from pathlib import Path
from types import ModuleType

import httpx
import httpx2
import pytest
import trustme
from colours import WAYS, Colour, anyio_backend, colour

from favcrm.secret import Secret
from favcrm.transports.http.session import ERA_CACHE

# Fixtures of this folder too.
__all__ = ["anyio_backend", "colour"]


@pytest.fixture(params=["blocking", "asyncio"])
def way(request: pytest.FixtureRequest) -> tuple[Colour, str]:
    """Sync and async. A module whose tests depend on the event loop imports `colours.way`, which has trio too."""
    return WAYS[request.param]


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
def empty_era_cache() -> None:
    """Forget the eras of other tests, because the server of another test may have had this port."""
    ERA_CACHE.clear()


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


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """An authority that signs certificates."""
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> trustme.CA:
    """The authority, which the environment names, as users of their own authority do."""
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    return authority
