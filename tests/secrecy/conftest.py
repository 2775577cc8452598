from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from colours import Colour
from secrecy.stage import Stage

from favcrm.sandbox import Sandbox


@pytest.fixture
def anyio_backend() -> str:
    """One event loop is enough: what comes out of the other is the same."""
    return "asyncio"


@pytest.fixture(params=["blocking", "asynchronous"])
def colour(request: pytest.FixtureRequest) -> Colour:
    chosen: Colour = request.param
    return chosen


@pytest.fixture(params=["in process", "over HTTP"])
def stage(
    request: pytest.FixtureRequest, colour: Colour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stage]:
    """A sandbox, reached in one of two ways, and everybody listening."""
    monkeypatch.setenv("HOME", str(tmp_path))
    sandbox = Sandbox()
    if request.param == "in process":
        yield Stage(sandbox, colour, tmp_path)
        return
    with sandbox.serve() as server:
        yield Stage(sandbox, colour, tmp_path, url=server.url)
