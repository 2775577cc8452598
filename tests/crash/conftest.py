from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.arena import Arena, Starter


@pytest.fixture(scope="session")
def starter() -> Iterator[Starter]:
    """What starts processes: once for all tests."""
    starter = Starter()
    yield starter
    starter.close()


@pytest.fixture
def arena(tmp_path: Path, starter: Starter) -> Iterator[Arena]:
    """A served sandbox, and a directory in which processes leave what the next one finds."""
    with Arena(tmp_path, starter) as arena:
        yield arena
