"""Changes to a file that may hold a secret: whole or not at all, by one process at a time, for its owner alone."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from favcrm._text_files import UnreadableError
from favcrm.errors import StoreError

OWNER_ONLY = 0o600
OWNER_ONLY_DIRECTORY = 0o700
LOCK_TIMEOUT = 10.0
LOCK_POLL_INTERVAL = 0.01
MOUNT_TABLE = Path("/proc/self/mountinfo")
OCTAL_ESCAPE = re.compile(r"\\([0-7]{3})")
DRY_RUN_PREFIX = ".favcrm-check-"
ELSEWHERE = "Correct that, or choose another place for the file."


@contextmanager
def wrap_errors(complaint: str) -> Generator[None]:
    """Raise a `StoreError` in place of any other error of an action on a file.

    Args:
        complaint: What the failure means, a sentence without its full stop.
    """
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(
            f"{complaint}: {error.strerror or type(error).__name__}.", next_step=ELSEWHERE
        ) from None
    except UnreadableError as error:
        raise StoreError(
            f"{complaint}: {error}.", next_step="Correct the file by hand, and try again."
        ) from None
    except Exception as error:  # noqa: BLE001  # a caller who asks for a StoreError has to hear of every failure
        raise StoreError(f"{complaint}: {type(error).__name__}.") from None


def read(path: Path) -> bytes | None:
    """Return what is in a file, or None where there is no file. A pipe is an error: nobody may ever write to it."""
    _check_regular_file(path)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


@contextmanager
def updated(path: Path) -> Generator[Path]:
    """Yield a draft to write the file's next content to; at the end the draft replaces the file.

    Where nothing was written, nothing changes. A symbolic link is followed. Missing directories are made. Another
    process that updates the file waits.
    """
    target = Path(os.path.realpath(path))
    _check_regular_file(target)
    _make_directories(target.parent)
    with _locked_draft(target) as draft:
        yield draft
        if draft.exists():
            _finish(draft, target)
            draft.replace(target)
            sync_directory(target.parent)


@contextmanager
def dry_run(path: Path) -> Generator[Path]:
    """Do all that `updated` does, under the same lock and in the same directory, but for replacing the file itself.

    Something must be written to the draft. Nothing is left behind.
    """
    target = Path(os.path.realpath(path))
    existing = _nearest_directory(target)
    if existing != target.parent:
        with (
            _private_draft(existing, DRY_RUN_PREFIX) as stand_in,
            updated(stand_in / target.relative_to(existing)) as draft,
        ):
            yield draft
        return
    _check_regular_file(target)
    with _locked_draft(target) as draft:
        yield draft
        _finish(draft, target)
        _check_replaceable(target)
        # The draft has the other secrets of the file too, so it leaves its private directory empty.
        os.truncate(draft, 0)
        spare = target.with_name(f"{draft.parent.name}-rename")
        try:
            draft.replace(spare)
        finally:
            spare.unlink(missing_ok=True)
        sync_directory(target.parent)


def create(path: Path, content: bytes) -> None:
    """Make a new file with that content, or none at all.

    The content is written under another name first. A process that is killed meanwhile leaves that one; see
    `leftovers`.

    Raises:
        FileExistsError: There is a file of that name already.
    """
    _make_directories(path.parent)
    with _private_draft(path.parent, _draft_prefix(path)) as draft:
        draft.write_bytes(content)
        _finish(draft)
        _link(draft, path)
        sync_directory(path.parent)


def dry_run_create(path: Path, content: bytes) -> None:
    """Do all that `create` does, in a new private directory, and leave nothing behind."""
    existing = _nearest_directory(path)
    with _private_draft(existing, DRY_RUN_PREFIX) as stand_in:
        create(stand_in / path.relative_to(existing), content)


def leftovers(path: Path) -> list[Path]:
    """Return what processes that were killed while they wrote a file have left of it."""
    import glob

    return sorted(path.parent.glob(f"{glob.escape(_draft_prefix(path))}*/draft"))


def sync_directory(path: Path) -> None:
    """Write a change of names in a directory to the disk, where the system can do that."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        # Windows opens no directory, and some directories can be written and not read.
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems cannot do this. Any other error means that something was lost.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.EBADF}:
            raise
    finally:
        os.close(descriptor)


def _check_regular_file(target: Path) -> None:
    """Refuse a pipe or a device, because it would be replaced by a file."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(target.stat().st_mode):
            raise OSError(errno.EINVAL, "It is not a regular file")


def _check_replaceable(target: Path) -> None:
    """Find out whether the system lets the file be replaced, without replacing it."""
    if _is_mount_point(target):
        raise OSError(
            errno.EBUSY, "It is mounted as a single file, so it cannot be replaced; mount its directory"
        )
    # No system removes a file as a directory. But systems look at the rights first, so a file that may not be
    # removed, such as an immutable one, raises another error.
    with suppress(NotADirectoryError, FileNotFoundError):
        target.rmdir()


def _is_mount_point(target: Path) -> bool:
    """Tell whether something is mounted on a file, as containers do with a single ``.env``."""
    try:
        mounts = MOUNT_TABLE.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        # Only Linux has this table, and only there is it usual to mount single files.
        return False
    places = (line.split()[4] for line in mounts)
    return str(target) in {OCTAL_ESCAPE.sub(lambda found: chr(int(found[1], 8)), place) for place in places}


def _make_directories(path: Path) -> None:
    """Make the missing ones for the owner alone; ``Path.mkdir`` does so with the last one only."""
    if not path.exists():
        _make_directories(path.parent)
        path.mkdir(OWNER_ONLY_DIRECTORY, exist_ok=True)


def _nearest_directory(path: Path) -> Path:
    return next(parent for parent in path.parents if parent.exists())


@contextmanager
def _locked_draft(target: Path) -> Generator[Path]:
    """Yield a draft beside the target while nobody else changes the target; remove what killed processes have left."""
    lock = target.with_name(f".{target.name}.favcrm-lock")
    deadline = time.monotonic() + LOCK_TIMEOUT
    while (descriptor := acquire(lock)) is None:
        if time.monotonic() >= deadline:
            raise TimeoutError(errno.ETIMEDOUT, "Another process holds its lock")
        time.sleep(LOCK_POLL_INTERVAL)
    try:
        for found in target.parent.iterdir():
            if found.name.startswith(_draft_prefix(target)):
                _remove(found)
        with _private_draft(target.parent, _draft_prefix(target)) as draft:
            yield draft
    finally:
        release(lock, descriptor)


def _draft_prefix(target: Path) -> str:
    return f".{target.name}.favcrm-new-"


@contextmanager
def _private_draft(directory: Path, prefix: str) -> Generator[Path]:
    """Yield a path in a new private directory, which is removed at the end."""
    private = Path(tempfile.mkdtemp(prefix=prefix, dir=directory))
    try:
        # A killed process leaves the directory, and git must not commit the key in it.
        (private / ".gitignore").write_text("*\n", encoding="utf-8")
        yield private / "draft"
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _remove(found: Path) -> None:
    if found.is_dir():
        shutil.rmtree(found, ignore_errors=True)
    else:
        found.unlink(missing_ok=True)


def _finish(draft: Path, target: Path | None = None) -> None:
    """Give the draft the mode of a secret and the owner of the file that it replaces, and write it to the disk."""
    if target is not None:
        with suppress(FileNotFoundError):
            new, old = draft.stat(), target.stat()
            if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
                os.chown(draft, old.st_uid, old.st_gid)
    draft.chmod(OWNER_ONLY)
    with draft.open("r+b") as file:
        os.fsync(file.fileno())


def _link(draft: Path, path: Path) -> None:
    """Give a draft its name.

    Raises:
        FileExistsError: There is a file of that name already.
    """
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:
        # FAT and some file systems of networks and containers have no hard links, so the name is taken first.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY))
        try:
            draft.replace(path)
        except BaseException:
            path.unlink()
            raise


def acquire(lock: Path) -> int | None:
    """Lock a file without waiting, and make it where it is missing; return None where another process holds it."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), OWNER_ONLY)
    with ExitStack() as undo:
        undo.callback(os.close, descriptor)
        with suppress(BlockingIOError, PermissionError, FileNotFoundError):
            _lock(descriptor)
            # The last holder has removed its file, so another process may lock another file of that name already.
            if os.path.samestat(os.fstat(descriptor), lock.stat()):
                undo.pop_all()
                return descriptor
    return None


def release(lock: Path, descriptor: int) -> None:
    """Remove a lock file that `acquire` has locked, and unlock it."""
    try:
        # Windows removes no open file, so there the lock file stays.
        with suppress(PermissionError):
            lock.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Lock an open file without waiting."""
    try:
        import fcntl
    except ImportError:
        # Loaded by name, because type checkers look at this file as it is on POSIX.
        msvcrt: Any = import_module("msvcrt")
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
