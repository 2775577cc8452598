from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

LOOKS = {
    "COLUMNS",
    "FORCE_COLOR",
    "LINES",
    "NO_COLOR",
    "PYTHONIOENCODING",
    "PYTHONUNBUFFERED",
    "TTY_COMPATIBLE",
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who has never used FavCRM, in an ordinary terminal."""
    kept = {name: value for name, value in os.environ.items() if name not in LOOKS and "FAVCRM" not in name}
    return {**kept, "HOME": str(tmp_path), "TERM": "xterm-256color", "PYTHONUTF8": "1"}
