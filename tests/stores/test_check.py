"""A check does what saving does, so what would fail behind the code fails before it."""

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
from stores.machine import PATIENCE, as_an_ordinary_user, mode, new_key, read_only_directory, run, seen, there

from favcrm import FavCRMProvisioner, Registration, Secret, Store, StoreError
from favcrm._atomic import acquire, release
from favcrm.sandbox import Sandbox
from favcrm.stores.config_file import ConfigFileStore
from favcrm.stores.dotenv import DotenvStore
from favcrm.stores.escrow import EscrowStore

KINDS: dict[str, Callable[[Path], Store]] = {
    "config": lambda directory: ConfigFileStore(directory / "file"),
    "dotenv": lambda directory: DotenvStore(directory / "file"),
    "escrow": EscrowStore,
}


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Callable[[Path], Store]:
    return KINDS[request.param]


@pytest.fixture(params=["config", "dotenv"])
def make_file(request: pytest.FixtureRequest) -> Callable[[Path], Store]:
    return KINDS[request.param]


def both_refuse(store: Store, match: str) -> None:
    """Expect that nothing can be saved, and that the check has said so."""
    with pytest.raises(StoreError, match=match):
        store.check()
    key = new_key()
    with pytest.raises(StoreError, match=match) as caught:
        store.put("acme", Secret(key), {}, if_absent=False)
    assert key not in seen(caught.value)


def failing(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks(
    tmp_path: Path, make_file: Callable[[Path], Store], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(number))
    both_refuse(make_file(tmp_path), os.strerror(number))
    both_refuse(make_file(tmp_path / "missing" / "too"), os.strerror(number))


def test_no_code_is_asked_for_where_there_are_no_locks(
    tmp_path: Path, make_file: Callable[[Path], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    sandbox = Sandbox()
    with (
        FavCRMProvisioner(transport=sandbox.transport()) as favcrm,
        pytest.raises(StoreError, match="No locks available"),
    ):
        favcrm.provision(
            Registration(email="you@example.com", organisation_name="Acme"),
            read_code=lambda _: sandbox.inbox.code_for("you@example.com"),
            store=make_file(tmp_path),
        )
    assert len(sandbox.inbox) == 0


def test_a_lock_that_is_never_given_back(
    tmp_path: Path, make_file: Callable[[Path], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / ".file.favcrm-lock"
    held = acquire(lock)
    assert held is not None
    monkeypatch.setattr("time.monotonic", itertools.count(step=20).__next__)
    both_refuse(make_file(tmp_path), "Another process holds its lock")
    release(lock, held)


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EXDEV, errno.EPERM])
def test_a_file_that_cannot_be_renamed(
    tmp_path: Path, make_file: Callable[[Path], Store], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / "file").write_text("A=1\n" if make_file is KINDS["dotenv"] else "a = 1\n")
    monkeypatch.setattr(Path, "replace", failing(number))
    both_refuse(make_file(tmp_path), os.strerror(number))
    assert there(tmp_path) == {"file"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize(("owner", "step"), [(Path, "write_bytes"), (os, "fsync")])
def test_a_disk_or_quota_that_is_full(
    tmp_path: Path,
    make: Callable[[Path], Store],
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    step: str,
    number: int,
) -> None:
    (tmp_path / "file").write_text("# mine\n")
    monkeypatch.setattr(owner, step, failing(number))
    both_refuse(make(tmp_path), os.strerror(number))
    assert there(tmp_path) == {"file"}
    assert (tmp_path / "file").read_text() == "# mine\n"


def test_a_file_that_may_only_be_read_is_replaced_as_the_check_says(
    tmp_path: Path, make_file: Callable[[Path], Store]
) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o444)
    store, key = make_file(tmp_path), Secret(new_key())
    store.check()
    assert mode(path) == 0o444
    assert store.get(store.put("acme", key, {})) == key


def show_mounts(monkeypatch: pytest.MonkeyPatch, table: Path) -> None:
    """Let the system's list of what is mounted be read from a file."""
    really = Path.read_text

    def read_text(self: Path, *arguments: Any, **options: Any) -> str:
        return really(table if self == Path("/proc/self/mountinfo") else self, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", read_text)


def test_a_file_that_is_mounted_alone(
    tmp_path: Path, make_file: Callable[[Path], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a b" / "file"
    path.parent.mkdir()
    path.touch()
    mounts = tmp_path / "mountinfo"
    place = str(path).replace(" ", r"\040")
    mounts.write_text(f"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:1 /x {place} rw - ext4 /dev/a rw\n")
    show_mounts(monkeypatch, mounts)
    with pytest.raises(StoreError, match="mounted as a single file, so it cannot be replaced; mount its dir"):
        make_file(path.parent).check()
    # Its neighbour is not.
    make_file(tmp_path).check()
    # Where there is no such list, nothing can be known.
    show_mounts(monkeypatch, tmp_path / "missing")
    make_file(path.parent).check()


MOUNTED = """
import sys
from pathlib import Path
from favcrm import Secret, StoreError
from favcrm.stores.dotenv import DotenvStore
store = DotenvStore(sys.argv[1])
for use in (store.check, lambda: store.put("acme", Secret(sys.argv[2]), {})):
    try:
        use()
    except StoreError as error:
        print(error)
"""


def may_mount() -> bool:
    unshare = shutil.which("unshare")
    return (
        unshare is not None
        and not subprocess.run([unshare, "--mount", "true"], capture_output=True, check=False).returncode
    )


def test_a_file_that_is_really_mounted_alone_where_this_machine_can_do_that(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\n")
    (tmp_path / "outside").write_text("A=1\n")
    mount = f"mount --bind {tmp_path / 'outside'} {tmp_path / '.env'}" if may_mount() else "true"
    script = f'{mount} && exec "$0" -c "$1" "$2" "$3"'
    command = ["unshare", "--mount", "sh", "-c", script] if may_mount() else ["sh", "-c", script]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    said = subprocess.run(
        [*command, sys.executable, MOUNTED, str(tmp_path / ".env"), new_key()],
        env=environment,
        capture_output=True,
        check=True,
        encoding="utf-8",
        timeout=PATIENCE,
    ).stdout
    if may_mount():
        checked, put = said.splitlines()
        assert "No key can be saved" in checked
        assert "mounted as a single file" in checked
        assert "Device or resource busy" in put
        assert (tmp_path / "outside").read_text() == "A=1\n"
    else:
        assert said == ""


def changed(path: Path, attribute: str) -> bool:
    chattr = shutil.which("chattr")
    return (
        chattr is not None
        and not subprocess.run([chattr, attribute, str(path)], capture_output=True, check=False).returncode
    )


def test_an_immutable_file(tmp_path: Path, make_file: Callable[[Path], Store]) -> None:
    path = tmp_path / "file"
    path.touch()
    before = path.stat()
    store = make_file(tmp_path)
    # Only root can do that, and only where the file system knows it.
    if not changed(path, "+i"):
        store.check()
        return
    try:
        both_refuse(store, "Operation not permitted")
    finally:
        changed(path, "-i")
    assert (path.stat().st_ino, path.stat().st_mtime) == (before.st_ino, before.st_mtime)


def test_a_sticky_directory_with_the_file_of_somebody_else(make_file: Callable[[Path], Store]) -> None:
    with read_only_directory() as directory:
        directory.chmod(0o777 | stat.S_ISVTX)
        (directory / "file").touch()
        (directory / "file").chmod(0o644)
        with as_an_ordinary_user():
            if os.geteuid() != (directory / "file").stat().st_uid:
                both_refuse(make_file(directory), "Operation not permitted")
            else:
                make_file(directory).check()


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
CHECK = """
import sys
from favcrm import StoreError
from favcrm.stores.refs import store_from_ref
from favcrm.stores import ConfigFileStore, DotenvStore, EscrowStore
kind = {"config": ConfigFileStore, "dotenv": DotenvStore, "escrow": EscrowStore}[sys.argv[1]]
try:
    kind(sys.argv[2]).check()
except StoreError as error:
    print(error)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_with_room_for_nothing_but_a_short_text(tmp_path: Path, kind: str) -> None:
    status, said = run(NO_FILE_OVER_2000_BYTES + CHECK, kind, tmp_path / "place")
    assert status == 0
    assert said.startswith(f"No key can be saved in {tmp_path / 'place'}: File too large.")
    assert there(tmp_path) == set()


def test_a_file_that_cannot_be_read_by_whoever_saves(make_file: Callable[[Path], Store]) -> None:
    with read_only_directory() as directory:
        directory.chmod(0o777)
        (directory / "file").touch()
        (directory / "file").chmod(0)
        with as_an_ordinary_user():
            if not os.access(directory / "file", os.R_OK, effective_ids=True):
                both_refuse(make_file(directory), "Permission denied")


def test_a_link_is_checked_in_the_directory_that_it_leads_to(
    tmp_path: Path, make_file: Callable[[Path], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "file").symlink_to(elsewhere / "target")
    places: list[Path] = []
    really = Path.replace

    def replace(self: Path, target: Path) -> Path:
        places.append(target.parent)
        return really(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    store = make_file(tmp_path)
    store.check()
    store.put("acme", Secret(new_key()), {})
    assert places == [elsewhere, elsewhere]


def test_a_check_makes_the_same_system_calls_as_saving(
    tmp_path: Path, make_file: Callable[[Path], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("A='1'\n" if make_file is KINDS["dotenv"] else "a = '1'\n")
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
    store = make_file(tmp_path)
    store.check()
    rehearsed, seen[:] = list(seen), []
    assert (path.read_bytes(), mode(path), path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert there(tmp_path) == {"file"}
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


def test_what_a_killed_check_leaves_is_removed_by_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("OTHER=secret\n")
    assert run(KILLED_AT_THE_RENAME + CHECK, "dotenv", path)[0] != 0
    left = there(tmp_path) - {"file"}
    assert left
    # The draft, with what else is in the file, is in nobody's sight, and the file at the new name is empty.
    assert [found.stat().st_size for found in tmp_path.glob(".file*-rename")] == [0]
    DotenvStore(path).check()
    assert there(tmp_path) == {"file"}
    assert path.read_text() == "OTHER=secret\n"
