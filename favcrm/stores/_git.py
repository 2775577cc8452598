"""Whether git would commit a file."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from favcrm.errors import StoreError

PATIENCE = 10.0
IGNORED, NOT_IGNORED = 0, 1


def refuse_if_git_would_commit(path: Path) -> None:
    """Do nothing where the file is in no work tree, or is ignored there.

    Where git cannot tell, such as where it is not installed, the file is taken for one that would be committed.

    Raises:
        StoreError: git would commit the file, or cannot tell.
    """
    # A link is followed, since git keeps the link and not what it leads to.
    target = Path(os.path.realpath(path))
    tree = next((parent for parent in target.parents if (parent / ".git").exists()), None)
    if tree is None:
        return
    status = _ignored(tree, target)
    if status == NOT_IGNORED:
        raise StoreError(
            f"git would commit {target}, so no key is written to it.",
            next_step=f"Add {target.name} to the .gitignore of {tree}. "
            f"If git tracks the file already, also run: git rm --cached {target.name}",
        )
    if status != IGNORED:
        raise StoreError(
            f"git could not tell whether it would commit {target}, so no key is written to it.",
            next_step=f"See what this says in {tree}: git check-ignore -v {target.name}. "
            "Or choose a file outside of the work tree.",
        )


def _ignored(tree: Path, target: Path) -> int | None:
    """Return git's exit status, or None where it has none."""
    git = shutil.which("git")
    if git is None:
        return None
    # A hook runs with variables that name another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = [git, "-C", str(tree), "check-ignore", "--quiet", "--", str(target)]
    try:
        return subprocess.run(  # noqa: S603  # no shell, and no option can come from the path
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        ).returncode
    except (OSError, subprocess.TimeoutExpired):
        return None
