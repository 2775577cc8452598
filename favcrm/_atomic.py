"""Changes to a file that may hold a secret: whole or not at all, by one process at a time, for its owner alone."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from favcrm.errors import StoreError

T = TypeVar("T")

OWNER_ONLY = 0o600
OWNER_ONLY_DIRECTORY = 0o700
PATIENCE = 10.0
PAUSE = 0.01
PROBE = bytes(4096)


def attempted(action: Callable[[], T], complaint: str) -> T:
    """Return what an action on a file returns; raise what it raises anew, without the frames that saw a secret.

    Args:
        action: What to do.
        complaint: What its failure means, a sentence without its stop.

    Raises:
        StoreError: The action failed.
    """
    try:
        return action()
    except StoreError as error:
        failure = error.with_traceback(None)
        failure.__cause__ = failure.__context__ = None
    except OSError as error:
        failure = StoreError(f"{complaint}: {error.strerror or type(error).__name__}.")
    except ValueError as error:
        failure = StoreError(f"{complaint}: {type(error).__name__}.")
    raise failure


def read(path: Path) -> bytes | None:
    """Return what is in a file, or None where there is no file. A pipe is an error: nobody may ever write to it."""
    _refuse_what_is_no_file(path)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


@contextmanager
def updated(path: Path) -> Generator[Path]:
    """Give a place to write the file's next content to; at the end it becomes the file. Nothing written, no change.

    A symbolic link is followed. Missing directories are made. Another process that updates the file waits.
    """
    target = Path(os.path.realpath(path))
    _refuse_what_is_no_file(target)
    _make_directories(target.parent)
    with _locked(target):
        leftovers = f".{target.name}.favcrm-new-"
        for path_there in target.parent.iterdir():
            if path_there.name.startswith(leftovers):
                shutil.rmtree(path_there, ignore_errors=True)
        with _workplace(target.parent, leftovers) as draft:
            yield draft
            if draft.exists():
                _take_over(draft, target)
                draft.replace(target)
                sync_directory(target.parent)


@contextmanager
def rehearsed(path: Path) -> Generator[Path]:
    """Give a place to write to that is as good as the file's own, and leave nothing behind."""
    target = Path(os.path.realpath(path))
    _refuse_what_is_no_file(target)
    there = target.parent
    while not there.exists():
        there = there.parent
    with _workplace(there, ".favcrm-check-") as draft:
        draft.write_bytes(PROBE)
        yield draft
        _take_over(draft, target)


def create(path: Path, content: bytes) -> None:
    """Make a new file with that content, or none at all.

    Raises:
        FileExistsError: There is a file of that name already.
    """
    _make_directories(path.parent)
    with open(path, "xb", opener=_owner_only) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            path.unlink()
            raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make a change of names in a directory last, where the system can do that."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        # Windows opens no directory, and some directories can be written and not read.
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Not every file system knows how; one that knows and fails has lost something.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.EBADF}:
            raise
    finally:
        os.close(descriptor)


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, OWNER_ONLY)


def _refuse_what_is_no_file(target: Path) -> None:
    """A pipe or a device would be replaced by a file."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(target.stat().st_mode):
            raise OSError(errno.EINVAL, "It is not a regular file")


def _make_directories(path: Path) -> None:
    """Make the missing ones for the owner alone, as ``Path.mkdir`` does with the last one only."""
    if not path.exists():
        _make_directories(path.parent)
        path.mkdir(OWNER_ONLY_DIRECTORY, exist_ok=True)


@contextmanager
def _workplace(directory: Path, prefix: str) -> Generator[Path]:
    """Give a name in a new private directory, which is removed in the end; git ignores what a killed process left."""
    workplace = Path(tempfile.mkdtemp(prefix=prefix, dir=directory))
    try:
        (workplace / ".gitignore").write_text("*\n", encoding="ascii")
        yield workplace / "draft"
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def _take_over(draft: Path, target: Path) -> None:
    """Give the draft the owner of the file that it replaces and the mode of a secret, and bring it to the disk."""
    new = draft.stat()
    with suppress(FileNotFoundError):
        old = target.stat()
        if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
            os.chown(draft, old.st_uid, old.st_gid)
    draft.chmod(OWNER_ONLY)
    with draft.open("r+b") as file:
        os.fsync(file.fileno())


@contextmanager
def _locked(target: Path) -> Generator[None]:
    """Keep other processes and threads out, by a file beside the target that is gone afterwards."""
    lock = target.with_name(f".{target.name}.favcrm-lock")
    deadline = time.monotonic() + PATIENCE
    while (descriptor := acquire(lock)) is None:
        if time.monotonic() >= deadline:
            raise TimeoutError(errno.ETIMEDOUT, "Another process holds its lock")
        time.sleep(PAUSE)
    try:
        yield
    finally:
        release(lock, descriptor)


def acquire(lock: Path) -> int | None:
    """Lock a file, which is made where it is missing, without waiting; return None where somebody else holds it."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), OWNER_ONLY)
    try:
        _lock(descriptor)
        # Whoever held the lock has removed the file, and the next one locks another file of that name.
        if os.path.samestat(os.fstat(descriptor), lock.stat()):
            return descriptor
    except (BlockingIOError, PermissionError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def release(lock: Path, descriptor: int) -> None:
    """Remove a file that is locked, and let go of it."""
    # Windows removes no open file, and there it stays.
    with suppress(PermissionError):
        lock.unlink(missing_ok=True)
    os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Lock an open file without waiting."""
    try:
        import fcntl
    except ImportError:
        # Loaded by name: type checkers look at this file as it is on POSIX.
        msvcrt: Any = import_module("msvcrt")
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
