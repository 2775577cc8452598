"""What a machine does to files: rights, full disks, other processes, and what is left behind."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

PATIENCE = 60
NOBODY = 65534
KILLED = -signal.SIGKILL

KILLED_BEFORE_REPLACING = """
import os, signal
from pathlib import Path
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
"""


def new_key() -> str:
    """Return a key that was never used before."""
    return f"fav_mcp_{secrets.token_urlsafe(24)}"


def start(script: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """Start Python as a process of its own."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    # One that is killed would leave half of a file of what it has covered.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    )


def run(script: str, *arguments: str | Path) -> tuple[int, str]:
    """Run Python as a process of its own; return its exit status and what it said."""
    with start(script, *arguments) as process:
        said, complained = process.communicate(timeout=PATIENCE)
    return process.returncode, said + complained


def mode(path: Path) -> int:
    """Return the permissions of a file."""
    return path.stat().st_mode & 0o777


def there(directory: Path) -> set[str]:
    """Return the names in a directory."""
    return {path.name for path in directory.iterdir()}


@contextmanager
def as_an_ordinary_user() -> Generator[None]:
    """Give up the rights of root, which no permission stops."""
    # An ordinary user may not be able to read the Python that root runs, so what is imported late is imported now.
    for module in ("dotenv", "tomllib"):
        import_module(module)
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def read_only_directory() -> Generator[Path]:
    """Make a directory that everybody can read and nobody but root can write."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name, "closed")
        directory.mkdir()
        Path(name).chmod(0o755)
        yield directory
        directory.chmod(0o755)


def seen(error: BaseException) -> str:
    """Return all that a report of an error may show: texts, causes, and the variables of this package's frames."""
    shown: list[str] = []
    left: BaseException | None = error
    while left is not None:
        shown += [str(left), repr(left), repr(left.args), repr(vars(left))]
        for frame, _ in traceback.walk_tb(left.__traceback__):
            if "tests" not in Path(frame.f_code.co_filename).parts:
                shown.append(repr(frame.f_locals))
        left = left.__cause__ or left.__context__
    return "\n".join(shown)
