"""Changes to a file that may hold a secret: whole or not at all, by one process at a time, for its owner alone."""

from __future__ import annotations

import errno
import glob
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from favcrm._text_files import UnreadableError
from favcrm.errors import StoreError

T = TypeVar("T")

OWNER_ONLY = 0o600
OWNER_ONLY_DIRECTORY = 0o700
PATIENCE = 10.0
PAUSE = 0.01
MOUNTS = Path("/proc/self/mountinfo")
ELSEWHERE = "Correct that, or choose another place for the file."
REHEARSAL = ".favcrm-check-"
OCTAL = re.compile(r"\\([0-7]{3})")


def attempted(action: Callable[[], T], complaint: str) -> T:
    """Return what an action on a file returns; raise what it raises anew, without the frames that saw a secret.

    Args:
        action: What to do.
        complaint: What its failure means, a sentence without its stop.

    Raises:
        StoreError: The action failed.
    """
    failure: BaseException
    try:
        return action()
    except OSError as error:
        failure = StoreError(f"{complaint}: {error.strerror or type(error).__name__}.", next_step=ELSEWHERE)
    except UnreadableError as error:
        failure = StoreError(f"{complaint}: {error}.", next_step="Correct the file by hand, and try again.")
    except ValueError as error:
        failure = StoreError(f"{complaint}: {type(error).__name__}.")
    except BaseException as error:  # noqa: BLE001  # Ctrl-C too comes through frames that hold the key
        failure = error.with_traceback(None)
        failure.__cause__ = failure.__context__ = None
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
    with _drafted(target) as draft:
        yield draft
        if draft.exists():
            _take_over(draft, target)
            draft.replace(target)
            sync_directory(target.parent)


@contextmanager
def rehearsed(path: Path) -> Generator[Path]:
    """Do all that `updated` does, under the same lock and in the same directory, but for replacing the file itself.

    Something must be written to it. Nothing is left behind.
    """
    target = Path(os.path.realpath(path))
    _refuse_what_is_no_file(target)
    with _where_it_would_be(target) as place:
        _make_directories(place.parent)
        with _drafted(place) as draft:
            yield draft
            _take_over(draft, place)
            _refuse_what_cannot_be_replaced(place)
            # The draft holds what else is in the file, and that stays in its private directory.
            os.truncate(draft, 0)
            spare = place.with_name(f"{draft.parent.name}-rename")
            try:
                draft.replace(spare)
            finally:
                spare.unlink(missing_ok=True)
            sync_directory(place.parent)


def create(path: Path, content: bytes) -> None:
    """Make a new file with that content, or none at all.

    It is written under another name first. A process that is killed meanwhile leaves that one; see `leftovers`.

    Raises:
        FileExistsError: There is a file of that name already.
    """
    _make_directories(path.parent)
    with _workplace(path.parent, _mark(path)) as draft:
        draft.write_bytes(content)
        _finish(draft)
        _give_name(draft, path)
        sync_directory(path.parent)


def rehearse_create(path: Path, content: bytes) -> None:
    """Do all that `create` does, and leave nothing behind."""
    there = _nearest_directory(path)
    with _workplace(there, REHEARSAL) as stand_in:
        create(stand_in / path.relative_to(there), content)


def leftovers(path: Path) -> list[Path]:
    """Return what processes that were killed while they wrote a file have left of it."""
    return sorted(path.parent.glob(f"{glob.escape(_mark(path))}*/draft"))


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


def _refuse_what_is_no_file(target: Path) -> None:
    """A pipe or a device would be replaced by a file."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(target.stat().st_mode):
            raise OSError(errno.EINVAL, "It is not a regular file")


def _refuse_what_cannot_be_replaced(target: Path) -> None:
    """Ask the system whether it would let go of the file, without letting go of it."""
    if _is_mount_point(target):
        raise OSError(
            errno.EBUSY, "It is mounted as a single file, so it cannot be replaced; mount its directory"
        )
    # No system removes a file as a directory. One that could be removed is told apart from one that could not, such
    # as an immutable one, because rights are looked at first.
    with suppress(NotADirectoryError, FileNotFoundError):
        target.rmdir()


def _is_mount_point(target: Path) -> bool:
    """Look whether something is mounted on a file, as containers do with a single ``.env``."""
    try:
        mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        # Only Linux has this list, and only Linux mounts single files often.
        return False
    return str(target) in {OCTAL.sub(lambda found: chr(int(found[1], 8)), line.split()[4]) for line in mounts}


def _make_directories(path: Path) -> None:
    """Make the missing ones for the owner alone, as ``Path.mkdir`` does with the last one only."""
    if not path.exists():
        _make_directories(path.parent)
        path.mkdir(OWNER_ONLY_DIRECTORY, exist_ok=True)


@contextmanager
def _where_it_would_be(target: Path) -> Generator[Path]:
    """Give the file's own place, or one like it in a private directory where the file's directory is missing."""
    there = _nearest_directory(target)
    if there == target.parent:
        yield target
    else:
        with _workplace(there, REHEARSAL) as stand_in:
            yield stand_in / target.relative_to(there)


def _nearest_directory(path: Path) -> Path:
    return next(parent for parent in path.parents if parent.exists())


@contextmanager
def _drafted(target: Path) -> Generator[Path]:
    """Give a place to write to beside the target while nobody else changes it, and clean up after the dead."""
    with _locked(target):
        for left in target.parent.iterdir():
            if left.name.startswith(_mark(target)):
                _remove(left)
        with _workplace(target.parent, _mark(target)) as draft:
            yield draft


def _mark(target: Path) -> str:
    """Return what the names of the drafts for a file begin with."""
    return f".{target.name}.favcrm-new-"


@contextmanager
def _workplace(directory: Path, prefix: str) -> Generator[Path]:
    """Give a name in a new private directory, which is removed in the end; git ignores what a killed process left."""
    workplace = Path(tempfile.mkdtemp(prefix=prefix, dir=directory))
    try:
        (workplace / ".gitignore").write_text("*\n", encoding="utf-8")
        yield workplace / "draft"
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def _remove(left: Path) -> None:
    if left.is_dir():
        shutil.rmtree(left, ignore_errors=True)
    else:
        left.unlink(missing_ok=True)


def _take_over(draft: Path, target: Path) -> None:
    """Give the draft the owner of the file that it replaces, and bring it to the disk."""
    new = draft.stat()
    with suppress(FileNotFoundError):
        old = target.stat()
        if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
            os.chown(draft, old.st_uid, old.st_gid)
    _finish(draft)


def _finish(draft: Path) -> None:
    """Give the draft the mode of a secret, and bring it to the disk."""
    draft.chmod(OWNER_ONLY)
    with draft.open("r+b") as file:
        os.fsync(file.fileno())


def _give_name(draft: Path, path: Path) -> None:
    """Give a draft its name, unless that is taken.

    Raises:
        FileExistsError: It is.
    """
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:
        # FAT and some file systems of networks and containers have no hard links. There the name is taken first.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY))
        try:
            draft.replace(path)
        except BaseException:
            path.unlink()
            raise


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
    try:
        # Windows removes no open file, and there it stays.
        with suppress(PermissionError):
            lock.unlink(missing_ok=True)
    finally:
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
