from __future__ import annotations

from pathlib import Path

import pytest
from servers import PATIENCE
from transports.cli.commands import Command, vendors


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a command that tells its version as long to start as any other process of the tests."""
    monkeypatch.setattr("favcrm.transports.cli.VERSION_TIMEOUT", PATIENCE)


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the command is."""
    return tmp_path_factory.mktemp("bin")


@pytest.fixture
def vendor(directory: Path) -> Command:
    """The stand-in for the vendor's command."""
    return vendors(directory)
