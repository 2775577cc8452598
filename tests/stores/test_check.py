"""A check does what saving does, so what would fail behind the code fails before it.

`ConfigFileStore` stands for every file that is replaced, `EscrowStore` for files that are made.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stores.machine import as_an_ordinary_user, mode, new_key, read_only_directory, run, seen, there

from favcrm import Secret, Store, StoreError
from favcrm._atomic import acquire, release
from favcrm.stores.config_file import ConfigFileStore
from favcrm.stores.escrow import EscrowStore


@pytest.fixture(params=["config", "escrow"])
def make(request: pytest.FixtureRequest) -> Callable[[Path], Store]:
    return EscrowStore if request.param == "escrow" else lambda directory: ConfigFileStore(directory / "file")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.fixture
def store(path: Path) -> Store:
    return ConfigFileStore(path)


def both_refuse(store: Store, match: str) -> None:
    """Expect that nothing can be saved, and that the check has said so."""
    key = new_key()
    for use in (store.check, lambda: store.put("acme", Secret(key), {}, if_absent=False)):
        with pytest.raises(StoreError, match=match) as caught:
            use()
        assert key not in seen(caught.value)


def failing(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_system_without_locks(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    both_refuse(store, "No locks available")
    both_refuse(ConfigFileStore(tmp_path / "missing" / "too"), "No locks available")


def test_a_lock_that_is_never_given_back(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / ".file.favcrm-lock"
    held = acquire(lock)
    assert held is not None
    monkeypatch.setattr("time.monotonic", itertools.count(step=20).__next__)
    both_refuse(store, "Another process holds its lock")
    release(lock, held)


def test_a_file_that_cannot_be_renamed(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.touch()
    monkeypatch.setattr(Path, "replace", failing(errno.EXDEV))
    both_refuse(store, "Invalid cross-device link")
    assert there(path.parent) == {"file"}


@pytest.mark.parametrize(("owner", "step"), [(Path, "write_bytes"), (os, "fsync")])
def test_a_full_disk(
    path: Path, make: Callable[[Path], Store], monkeypatch: pytest.MonkeyPatch, owner: object, step: str
) -> None:
    path.write_text("# mine\n")
    monkeypatch.setattr(owner, step, failing(errno.ENOSPC))
    both_refuse(make(path.parent), "No space left on device")
    assert there(path.parent) == {"file"}
    assert path.read_text() == "# mine\n"


def test_a_file_that_may_only_be_read_is_replaced_as_the_check_says(store: Store, path: Path) -> None:
    path.touch()
    path.chmod(0o444)
    key = Secret(new_key())
    store.check()
    assert mode(path) == 0o444
    assert store.get(store.put("acme", key, {})) == key


def show_mounts(monkeypatch: pytest.MonkeyPatch, table: Path) -> None:
    """Let the system's list of what is mounted be read from a file."""
    really = Path.read_text

    def read_text(self: Path, *arguments: Any, **options: Any) -> str:
        return really(table if self == Path("/proc/self/mountinfo") else self, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", read_text)


def test_a_file_that_is_mounted_alone(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a b" / "file"
    path.parent.mkdir()
    path.touch()
    mounts = tmp_path / "mountinfo"
    place = str(path).replace(" ", r"\040")
    mounts.write_text(f"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:1 /x {place} rw - ext4 /dev/a rw\n")
    show_mounts(monkeypatch, mounts)
    with pytest.raises(StoreError, match="mounted as a single file, so it cannot be replaced; mount its dir"):
        ConfigFileStore(path).check()
    # Its neighbour is not.
    store.check()
    # Where there is no such list, nothing can be known.
    show_mounts(monkeypatch, tmp_path / "missing")
    ConfigFileStore(path).check()


CHECK = """
import sys
from favcrm import StoreError
from favcrm.stores import ConfigFileStore, EscrowStore
store = EscrowStore(sys.argv[1]) if sys.argv[2] == "escrow" else ConfigFileStore(sys.argv[1])
try:
    store.check()
except StoreError as error:
    print(error)
"""


def works(*command: str | Path) -> bool:
    """Run a program of the system; tell whether it is there and this user may do that."""
    found = shutil.which(command[0])
    return found is not None and not subprocess.run(command, capture_output=True, check=False).returncode


@pytest.mark.skipif(not works("unshare", "--mount", "true"), reason="only root mounts")
def test_a_file_that_is_really_mounted_alone(path: Path) -> None:
    for found in (path, path.with_name("outside")):
        found.touch()
    mount = f'mount --bind {path.with_name("outside")} {path} && exec python -c "$0" {path} config'
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["unshare", "--mount", "sh", "-c", mount, CHECK]
    said = subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout
    assert f"No key can be saved in {path}: It is mounted as a single file" in said


def test_an_immutable_file(store: Store, path: Path) -> None:
    path.touch()
    if not works("chattr", "+i", path):
        pytest.skip("only root does that, and only where the file system knows it")
    try:
        both_refuse(store, "Operation not permitted")
    finally:
        assert works("chattr", "-i", path)


def test_a_sticky_directory_with_the_file_of_somebody_else() -> None:
    with read_only_directory() as directory:
        directory.chmod(0o777 | stat.S_ISVTX)
        (directory / "file").touch(0o644)
        with as_an_ordinary_user():
            if os.geteuid() == (directory / "file").stat().st_uid:
                pytest.skip("only root makes the file of somebody else")
            both_refuse(ConfigFileStore(directory / "file"), "Operation not permitted")


def test_a_missing_directory_whose_parent_cannot_be_written(make: Callable[[Path], Store]) -> None:
    with read_only_directory() as directory:
        directory.chmod(0o555)
        with as_an_ordinary_user():
            both_refuse(make(directory / "missing" / "too"), "Permission denied")


def test_a_name_that_is_too_long_for_the_file_system(tmp_path: Path, make: Callable[[Path], Store]) -> None:
    both_refuse(make(tmp_path / ("x" * 300)), "File name too long")
    assert there(tmp_path) == set()


NO_FILE_OVER_2000_BYTES = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
"""


@pytest.mark.parametrize("kind", ["config", "escrow"])
def test_a_disk_with_room_for_nothing_but_a_short_text(path: Path, kind: str) -> None:
    status, said = run(NO_FILE_OVER_2000_BYTES + CHECK, path, kind)
    assert status == 0
    assert said.startswith(f"No key can be saved in {path}: File too large.")
    assert there(path.parent) == set()


def test_a_file_that_cannot_be_read_by_whoever_saves() -> None:
    with read_only_directory() as directory:
        directory.chmod(0o777)
        (directory / "file").touch()
        (directory / "file").chmod(0)
        with as_an_ordinary_user():
            both_refuse(ConfigFileStore(directory / "file"), "Permission denied")


def test_a_link_is_checked_in_the_directory_that_it_leads_to(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = path.with_name("elsewhere")
    elsewhere.mkdir()
    path.symlink_to(elsewhere / "target")
    places: list[Path] = []
    really = Path.replace

    def replace(self: Path, target: Path) -> Path:
        places.append(target.parent)
        return really(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    store.check()
    store.put("acme", Secret(new_key()), {})
    assert places == [elsewhere, elsewhere]


def test_a_check_makes_the_same_system_calls_as_saving(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text("a = '1'\n")
    path.chmod(0o640)
    before = (path.read_bytes(), mode(path), path.stat().st_mtime_ns, path.stat().st_ino)
    seen: list[str] = []

    def watch(owner: object, name: str) -> None:
        really = getattr(owner, name)

        def called(*arguments: object, **options: object) -> object:
            seen.append(name)
            return really(*arguments, **options)

        monkeypatch.setattr(owner, name, called)

    for owner, name in ((fcntl, "flock"), (Path, "replace"), (os, "fsync"), (Path, "write_bytes")):
        watch(owner, name)
    store.check()
    rehearsed, seen[:] = list(seen), []
    assert (path.read_bytes(), mode(path), path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert there(path.parent) == {"file"}
    store.put("acme", Secret(new_key()), {})
    assert rehearsed == seen == ["flock", "write_bytes", "fsync", "replace", "fsync"]


KILLED_AT_THE_RENAME = """
import os, signal
from pathlib import Path
really = Path.replace
def replace(self, target):
    really(self, target)
    os.kill(os.getpid(), signal.SIGKILL)
Path.replace = replace
"""


def test_what_a_killed_check_leaves_is_removed_by_the_next_one(store: Store, path: Path) -> None:
    path.write_text("other = 'secret'\n")
    assert run(KILLED_AT_THE_RENAME + CHECK, path, "config")[0] != 0
    assert there(path.parent) != {"file"}
    # The draft, with what else is in the file, is in nobody's sight, and the file at the new name is empty.
    assert [found.stat().st_size for found in path.parent.glob(".file*-rename")] == [0]
    store.check()
    assert there(path.parent) == {"file"}
    assert path.read_text() == "other = 'secret'\n"
