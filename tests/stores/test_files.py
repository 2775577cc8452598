"""What may go wrong with any file that is replaced: rights, space, other processes, sudden death."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from stores.machine import (
    KILLED,
    KILLED_BEFORE_REPLACING,
    as_an_ordinary_user,
    mode,
    new_key,
    read_only_directory,
    run,
    seen,
    start,
    there,
)

from favcrm import Secret, SecretRef, StoreError
from favcrm._atomic import acquire, dry_run, release, sync_directory, updated
from favcrm.ledger_file import FileLedger
from favcrm.stores.config_file import ConfigFileStore
from favcrm.stores.dotenv import DotenvStore
from favcrm.stores.escrow import EscrowStore

PUT = """
import sys
from favcrm import Secret
from favcrm.stores import ConfigFileStore
ConfigFileStore(sys.argv[1]).put("acme", Secret(sys.argv[2]), {}, if_absent=False)
"""


@pytest.fixture
def key() -> str:
    return new_key()


def test_a_read_only_directory(key: str) -> None:
    with read_only_directory() as directory:
        path = directory / "file"
        store = ConfigFileStore(path)
        ref = store.put("acme", Secret(key), {})
        path.chmod(0o644)
        before = path.read_bytes()
        directory.chmod(0o555)
        other = new_key()
        empty = ConfigFileStore(directory / "new")
        uses: list[Callable[[], object]] = [
            empty.check,
            lambda: empty.put("acme", Secret(other), {}),
            lambda: store.put("acme", Secret(other), {}, if_absent=False),
            lambda: store.delete(ref),
            lambda: FileLedger(directory / "ledger").mark_sent("signup_req_1", sent=True),
            lambda: FileLedger(directory / "ledger").reserve("registration"),
            EscrowStore(directory).check,
            EscrowStore(directory / "made").check,
            lambda: EscrowStore(directory).put("acme", Secret(other), {}),
        ]
        with as_an_ordinary_user():
            for use in uses:
                with pytest.raises(StoreError, match="Permission denied") as caught:
                    use()
                assert not any(secret in seen(caught.value) for secret in (key, other))
            assert store.get(ref) == Secret(key)
        assert path.read_bytes() == before
        assert there(directory) == {"file"}


def test_a_killed_writer_leaves_the_file_as_it_was(tmp_path: Path, key: str) -> None:
    path = tmp_path / "file"
    store = ConfigFileStore(path)
    ref = store.put("acme", Secret(key), {})
    before = path.read_bytes()
    other = new_key()
    assert run(KILLED_BEFORE_REPLACING + PUT, path, other) == (KILLED, "")
    assert path.read_bytes() == before
    assert store.get(ref) == Secret(key)
    (left,) = tmp_path.glob(".file.favcrm-new-*")
    assert mode(left) == 0o700
    # The next writer removes the lock and the draft of the killed process.
    store.put("acme", Secret(other), {}, if_absent=False)
    assert store.get(ref) == Secret(other)
    assert there(tmp_path) == {"file"}


PUT_OFTEN = """
import sys
from favcrm import Secret
from favcrm.stores.dotenv import DotenvStore
store = DotenvStore(sys.argv[1], sys.argv[2])
for number in range(25):
    store.put("acme", Secret(f"{sys.argv[2]}-{number}"), {}, if_absent=False)
"""


def test_two_processes_at_once_lose_nothing_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("MINE=1 # stays\n")
    with start(PUT_OFTEN, path, "AAA") as first, start(PUT_OFTEN, path, "BBB") as second:
        while first.poll() is None or second.poll() is None:
            content = path.read_text()
            assert content.startswith("MINE=1 # stays\n")
            assert content.endswith("\n")
        assert (first.communicate(), second.communicate()) == (("", ""), ("", ""))
    for variable in ("AAA", "BBB"):
        ref = SecretRef("dotenv://favcrm/acme")
        assert DotenvStore(path, variable).get(ref) == Secret(f"{variable}-24")
    assert there(tmp_path) == {".env"}


def write(path: Path, content: str) -> None:
    with updated(path) as draft:
        draft.write_text(content)


def test_a_lock_is_taken_when_it_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / ".file.favcrm-lock"
    held = acquire(lock)
    assert held is not None

    def give_back(_: float) -> None:
        release(lock, held)

    monkeypatch.setattr("time.sleep", give_back)
    write(tmp_path / "file", "new")
    assert there(tmp_path) == {"file"}


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / ".file.favcrm-lock"
    really = fcntl.flock

    def replace() -> None:
        lock.unlink()
        lock.touch()

    def leave() -> None:
        pass

    happens: Iterator[Callable[[], None]] = iter([lock.unlink, replace, leave])

    def meanwhile(descriptor: int, operation: int) -> None:
        really(descriptor, operation)
        next(happens)()

    monkeypatch.setattr(fcntl, "flock", meanwhile)
    write(tmp_path / "file", "new")
    assert list(happens) == []
    assert there(tmp_path) == {"file"}


def test_without_fcntl_the_file_is_locked_with_msvcrt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: list[tuple[int, int]] = []

    def locking(descriptor: int, how: int, size: int) -> None:
        locked.append((how, size))

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(LK_NBLCK=2, locking=locking))
    write(tmp_path / "file", "new")
    assert locked == [(2, 1)]


def test_the_owner_of_a_file_stays_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    path = tmp_path / "file"
    path.write_text("# theirs\n")
    really = Path.stat

    def another_owner(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        found = really(self, follow_symlinks=follow_symlinks)
        return os.stat_result((*found[:4], 1234, 1235, *found[6:])) if self == path else found

    given: list[tuple[int, int]] = []

    def chown(_: Path, user: int, group: int) -> None:
        given.append((user, group))

    def denied(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "stat", another_owner)
    monkeypatch.setattr("os.chown", denied)
    for use in (ConfigFileStore(path).check, lambda: ConfigFileStore(path).put("acme", Secret(key), {})):
        with pytest.raises(StoreError, match="Operation not permitted"):
            use()
    assert path.read_text() == "# theirs\n"
    monkeypatch.setattr("os.chown", chown)
    ConfigFileStore(path).put("acme", Secret(key), {})
    assert given == [(1234, 1235)]


def test_an_update_that_writes_nothing_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o644)
    with updated(path):
        pass
    assert (path.read_text(), mode(path)) == ("old", 0o644)


def test_a_dry_run_leaves_nothing(tmp_path: Path) -> None:
    with dry_run(tmp_path / "a" / "b" / "file") as draft:
        draft.write_text("content")
    (tmp_path / "dir").mkdir()
    with pytest.raises(OSError, match="not a regular file"), dry_run(tmp_path / "dir"):
        pass
    assert there(tmp_path) == {"dir"}


def test_a_directory_is_synced_where_the_system_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(number: int) -> Callable[..., None]:
        def fail(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        return fail

    sync_directory(tmp_path)
    monkeypatch.setattr("os.fsync", failing(errno.EINVAL))
    sync_directory(tmp_path)
    monkeypatch.setattr("os.fsync", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        sync_directory(tmp_path)
    monkeypatch.setattr("os.open", failing(errno.EACCES))
    sync_directory(tmp_path)
