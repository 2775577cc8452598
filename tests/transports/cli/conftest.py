from __future__ import annotations

from pathlib import Path

import pytest
from transports.cli.commands import Command, vendors


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the command is."""
    return tmp_path_factory.mktemp("bin")


@pytest.fixture
def vendor(directory: Path) -> Command:
    """The stand-in for the vendor's command."""
    return vendors(directory)
