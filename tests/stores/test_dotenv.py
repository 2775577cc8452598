"""The store in a .env file."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import dotenv
import pytest
from stores.machine import KILLED, KILLED_BEFORE_REPLACING, mode, new_key, run, seen, there

from favcrm import MissingKeyError, Secret, SecretRef, StoreError
from favcrm.stores.dotenv import DotenvStore

REF = SecretRef("dotenv://favcrm/acme")

PUT = """
import sys
from favcrm import Secret
from favcrm.stores.dotenv import DotenvStore
DotenvStore(sys.argv[1]).put("acme", Secret(sys.argv[2]), {})
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".env"


@pytest.fixture
def key() -> str:
    return new_key()


def git(tree: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=you", "-c", "user.email=you@example.com", *arguments]
    return subprocess.run(command, cwd=tree, capture_output=True, check=True, encoding="utf-8").stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    return tmp_path


def test_a_change_of_the_key_leaves_every_other_byte(path: Path, key: str) -> None:
    before = "# mine\r\nexport A='1'\r\n\r\nB=\"x${A}\"\r\nEMPTY\r\n"
    path.write_bytes(before.encode())
    path.chmod(0o644)
    store = DotenvStore(path)
    store.put("acme", Secret(key), {})
    after = path.read_bytes().decode()
    assert after == f"{before}FAVCRM_API_KEY={key}\r\nFAVCRM_API_KEY_NAME=acme\r\n"
    assert mode(path) == 0o600
    store.delete(REF)
    assert path.read_bytes().decode() == before


def test_a_value_that_names_another_is_followed(path: Path, key: str) -> None:
    path.write_text(f"MY_KEY={key}\nFAVCRM_API_KEY=${{MY_KEY}}\n")
    store = DotenvStore(path)
    assert store.get(REF) == Secret(key)
    # Removing needs the name of no workspace to be there.
    store.delete(REF)
    assert dotenv.dotenv_values(path) == {"MY_KEY": key}


def test_a_key_that_would_be_read_back_otherwise_is_refused(path: Path, key: str) -> None:
    path.write_text("A=1\n")
    with pytest.raises(StoreError, match="would not be read back") as caught:
        DotenvStore(path).put("acme", Secret(f"{key}${{A}}"), {})
    assert key not in seen(caught.value)
    assert path.read_text() == "A=1\n"


def test_a_link_stays_a_link(tmp_path: Path, path: Path, key: str) -> None:
    target = tmp_path / "secrets" / "env"
    path.symlink_to(target)
    store = DotenvStore(path)
    store.check()
    assert there(tmp_path) == {".env"}
    store.put("acme", Secret(key), {})
    assert path.is_symlink()
    assert mode(target) == 0o600
    assert store.get(REF) == Secret(key)
    assert there(target.parent) == {"env"}


def test_a_pipe_is_neither_waited_for_nor_replaced_by_a_file(path: Path, key: str) -> None:
    os.mkfifo(path)
    store = DotenvStore(path)
    uses: list[Callable[[], object]] = [
        store.check,
        lambda: store.get(REF),
        lambda: store.put("acme", Secret(key), {}),
        lambda: store.delete(REF),
    ]
    for use in uses:
        with pytest.raises(StoreError, match="not a regular file"):
            use()
    assert path.is_fifo()


def test_a_file_that_git_would_commit_is_refused(tree: Path, path: Path, key: str) -> None:
    store = DotenvStore(path)
    for attempt in (store.check, lambda: store.put("acme", Secret(key), {})):
        with pytest.raises(StoreError, match="git would commit") as caught:
            attempt()
        assert f"Add .env to the .gitignore of {tree}" in caught.value.next_step
        assert key not in seen(caught.value)
    assert there(tree) == {".git"}


@pytest.mark.parametrize("place", [".env", "app/.env", "made/by/put/.env"])
def test_a_file_that_git_ignores_is_written(tree: Path, place: str, key: str) -> None:
    (tree / "app").mkdir()
    (tree / ".gitignore").write_text(".env\n")
    store = DotenvStore(tree / place)
    store.check()
    store.put("acme", Secret(key), {})
    assert git(tree, "status", "--porcelain", "--untracked-files=all") == "?? .gitignore\n"


def test_a_tracked_file_is_refused_though_it_is_ignored(tree: Path, path: Path, key: str) -> None:
    path.write_text("A=1\n")
    git(tree, "add", ".env")
    (tree / ".gitignore").write_text(".env\n")
    with pytest.raises(StoreError, match=r"git rm --cached \.env"):
        DotenvStore(path).put("acme", Secret(key), {})
    assert path.read_text() == "A=1\n"


def test_a_key_that_git_would_commit_can_be_removed(tree: Path, path: Path, key: str) -> None:
    path.write_text(f"FAVCRM_API_KEY={key}\n")
    DotenvStore(path).delete(REF)
    assert path.read_text() == ""
    assert there(tree) == {".git", ".env"}


def test_git_judges_the_file_that_a_link_leads_to(
    tree: Path, key: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "link").symlink_to(tree / "committed")
    with pytest.raises(StoreError, match="git would commit"):
        DotenvStore(outside / "link").put("acme", Secret(key), {})
    (tree / "link").symlink_to(outside / "env")
    DotenvStore(tree / "link").put("acme", Secret(key), {})
    assert git(tree, "add", "--all", "--verbose") == "add 'link'\n"


def test_the_variables_of_a_hook_name_no_other_repository(
    tree: Path,
    path: Path,
    key: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = tmp_path_factory.mktemp("other")
    git(other, "init", "--quiet")
    (other / ".gitignore").write_text("*\n")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    with pytest.raises(StoreError, match="git would commit"):
        DotenvStore(path).put("acme", Secret(key), {})
    assert there(tree) == {".git"}


def slow(*_: object, **__: object) -> None:
    raise subprocess.TimeoutExpired("git", 10)


def test_a_file_that_git_cannot_judge_raises_store_error(
    tree: Path, path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / ".gitignore").write_text(".env\n")
    store = DotenvStore(path)
    with monkeypatch.context() as missing:
        missing.setattr(shutil, "which", lambda _: None)
        with pytest.raises(StoreError, match="git could not tell"):
            store.check()
    with monkeypatch.context() as hanging:
        hanging.setattr(subprocess, "run", slow)
        with pytest.raises(StoreError, match="git could not tell"):
            store.check()
    shutil.rmtree(tree / ".git")
    (tree / ".git").write_text("gitdir: nowhere\n")
    with pytest.raises(StoreError, match="git could not tell") as caught:
        store.put("acme", Secret(key), {})
    assert "git check-ignore -v .env" in caught.value.next_step
    assert not path.exists()


def test_git_commits_nothing_that_a_killed_process_left(tree: Path, path: Path, key: str) -> None:
    (tree / ".gitignore").write_text("/.env\n")
    assert run(KILLED_BEFORE_REPLACING + PUT, path, key) == (KILLED, "")
    (left,) = tree.glob("..env.favcrm-new-*")
    assert key in (left / "draft").read_text()
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "--message", "all")
    assert key not in git(tree, "show", "--format=", "HEAD")
    with pytest.raises(MissingKeyError):
        DotenvStore(path).get(REF)
