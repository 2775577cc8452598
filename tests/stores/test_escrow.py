"""The last resort."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from stores.machine import KILLED, mode, new_key, run, seen, there

from favcrm import MissingKeyError, Secret, SecretRef, StoreError
from favcrm.stores import escrow
from favcrm.stores.escrow import EscrowStore

REF = SecretRef("escrow://favcrm/acme")


@pytest.fixture
def store(tmp_path: Path) -> EscrowStore:
    return EscrowStore(tmp_path / "escrow")


@pytest.fixture
def key() -> str:
    return new_key()


def test_a_key_comes_back(store: EscrowStore, tmp_path: Path, key: str) -> None:
    store.check()
    assert there(tmp_path) == set()
    before = os.umask(0)
    try:
        ref = store.put("acme", Secret(key), {"organisation_id": "org_1"})
    finally:
        os.umask(before)
    assert ref == REF
    assert store.get(ref) == Secret(key)
    path = store.path(ref)
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert json.loads(path.read_text()) == {
        "favcrm_escrow": 1,
        "name": "acme",
        "metadata": {"organisation_id": "org_1"},
        "api_key": key,
    }


def test_another_key_of_the_same_name_gets_a_number(store: EscrowStore, key: str) -> None:
    others = [new_key(), new_key()]
    refs = [store.put("acme", Secret(other), {}, if_absent=False) for other in (key, *others, key)]
    assert [ref.name for ref in refs] == ["acme", "acme (2)", "acme (3)", "acme"]
    assert [store.get(ref) for ref in refs] == [Secret(other) for other in (key, *others, key)]


def test_a_file_that_is_not_whole_is_passed_over_and_kept(store: EscrowStore, key: str) -> None:
    torn = store.path(REF)
    torn.parent.mkdir()
    for content in (
        "",
        '{"favcrm_escrow": 1, "na',
        "[]",
        '{"api_key": 5}',
        '{"favcrm_escrow": 1, "api_key": ""}',
        "[" * 100_000,
    ):
        torn.write_text(content)
        with pytest.raises(StoreError, match="not an escrow file, or not a whole one") as caught:
            store.get(REF)
        assert not isinstance(caught.value, MissingKeyError)
        with pytest.raises(StoreError, match="not an escrow file"):
            store.delete(REF)
        assert store.put("acme", Secret(key), {}).name == "acme (2)"
        assert torn.read_text() == content
    torn.unlink()
    torn.mkdir()
    assert store.put("acme", Secret(key), {}).name == "acme (2)"


KILLED_BEFORE_NAMING = """
import os, signal
os.link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
"""
KILLED_AFTER_NAMING = """
import os, shutil, signal
shutil.rmtree = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
"""
KILLED_WHILE_WRITING = """
import os, signal
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
"""
PUT = """
import sys
from favcrm import Secret
from favcrm.stores.escrow import EscrowStore
EscrowStore(sys.argv[1]).put("acme", Secret(sys.argv[2]), {})
"""


@pytest.mark.parametrize("moment", [KILLED_WHILE_WRITING, KILLED_BEFORE_NAMING])
def test_a_file_whose_writer_was_killed_is_absent_and_what_is_left_is_named(
    store: EscrowStore, tmp_path: Path, key: str, moment: str
) -> None:
    assert run(moment + PUT, tmp_path / "escrow", key) == (KILLED, "")
    assert not store.path(REF).exists()
    with pytest.raises(MissingKeyError, match="was killed while it wrote one") as caught:
        store.get(REF)
    (left,) = (tmp_path / "escrow").glob(".*/draft")
    assert str(left) in caught.value.message
    assert f"rename it to {store.path(REF)}" in caught.value.next_step
    assert mode(left.parent) == 0o700
    # It is in nobody's way, and only a person removes it: the key may be nowhere else.
    other = Secret(new_key())
    assert store.put("acme", other, {}) == REF
    assert store.get(REF) == other
    store.delete(REF)
    assert key in left.read_text()
    # Its owner does what the error says.
    left.rename(store.path(REF))
    assert store.get(REF) == Secret(key)


def test_a_key_that_is_deleted_is_in_no_leftover_either(store: EscrowStore, tmp_path: Path, key: str) -> None:
    assert run(KILLED_AFTER_NAMING + PUT, tmp_path / "escrow", key) == (KILLED, "")
    assert store.get(REF) == Secret(key)
    store.delete(REF)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and key in path.read_text()]


def test_a_file_system_without_hard_links(
    store: EscrowStore, tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("os.link", without)
    store.check()
    assert there(tmp_path) == set()
    other = new_key()
    refs = [store.put("acme", Secret(each), {}) for each in (key, other, key)]
    assert [ref.name for ref in refs] == ["acme", "acme (2)", "acme"]
    assert [store.get(ref) for ref in refs] == [Secret(key), Secret(other), Secret(key)]
    assert len(there(tmp_path / "escrow")) == 2
    monkeypatch.setattr(Path, "replace", without)
    with pytest.raises(StoreError, match="could not be saved"):
        store.put("beta", Secret(key), {})
    with pytest.raises(StoreError, match="No key can be saved"):
        store.check()
    assert len(there(tmp_path / "escrow")) == 2


def test_a_link_is_not_followed(store: EscrowStore, tmp_path: Path, key: str) -> None:
    store.path(REF).parent.mkdir()
    store.path(REF).symlink_to(tmp_path / "elsewhere")
    assert store.put("acme", Secret(key), {}).name == "acme (2)"
    assert not (tmp_path / "elsewhere").exists()


def test_after_a_hundred_keys_of_one_name_the_next_is_refused(
    store: EscrowStore, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(escrow, "MOST", 1)
    store.put("acme", Secret(new_key()), {})
    with pytest.raises(StoreError, match="1 other keys of that name") as caught:
        store.put("acme", Secret(key), {})
    assert key not in seen(caught.value)


def test_delete_removes_the_file(store: EscrowStore, key: str) -> None:
    store.delete(REF)
    ref = store.put("acme", Secret(key), {})
    assert repr(store) == f"EscrowStore({str(store.path(ref).parent)!r})"
    store.delete(SecretRef("memory://favcrm/acme"))
    assert store.get(ref) == Secret(key)
    store.delete(ref)
    assert there(store.path(ref).parent) == set()
    for gone in (ref, SecretRef("memory://favcrm/acme")):
        with pytest.raises(MissingKeyError):
            store.get(gone)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "a/b", "é" * 200, "x" * 5000, "\udce9", "."])
def test_any_name_makes_a_file_in_the_directory(store: EscrowStore, name: str, key: str) -> None:
    path = store.path(store.put(name, Secret(key), {})) if name.isprintable() else store._directory / "x"
    assert path.parent == store._directory
