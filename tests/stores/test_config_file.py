"""The store in the vendor's config file."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores.machine import mode, new_key, seen, there

from favcrm import InvalidInputError, MissingKeyError, Secret, SecretRef, StoreError
from favcrm._text_files import toml_in
from favcrm.settings import Settings
from favcrm.stores.config_file import ConfigFileStore, edited

REF = SecretRef("config://favcrm/acme")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_the_default_file_is_the_one_that_the_settings_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for label in ("FAVCRM_API_KEY", "FAVCRM_MCP_TOKEN", "FAVCRM_MCP_URL"):
        monkeypatch.delenv(label, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    store = ConfigFileStore()
    key = Secret(new_key())
    store.check()
    assert there(tmp_path) == set()
    store.put("acme", key, {})
    assert Settings.load().api_key == key
    file = tmp_path / "home/.config/favcrm/config.toml"
    assert mode(file) == 0o600
    assert [mode(parent) for parent in file.parents[:3]] == [0o700] * 3


def test_without_a_home_directory_a_missing_path_raises_invalid_input_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for label in ("HOME", "XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.delenv(label, raising=False)
    with pytest.raises(InvalidInputError, match="path: must be given"):
        ConfigFileStore()


def test_a_change_of_the_key_leaves_every_other_byte(path: Path) -> None:
    own = "\"api_key\" =  'old' # from the portal\r\n"
    before = f'# mine\r\n{own}url = "https://a.example/mcp"\r\n[t]\r\napi_key = "t"\r\n'
    path.write_bytes(before.encode())
    key = new_key()
    store = ConfigFileStore(path)
    store.put("acme", Secret(key), {}, if_absent=False)
    after = before.replace("'old'", f'"{key}"')
    assert path.read_bytes().decode() == f'api_key_name = "acme"\r\n{after}'
    store.delete(REF)
    assert path.read_bytes().decode() == before.replace("\"api_key\" =  'old' # from the portal\r\n", "")


def test_a_written_file_is_readable_by_its_owner_alone(path: Path) -> None:
    path.write_text('url = "https://a.example/mcp"\n')
    path.chmod(0o666)
    before = os.umask(0)
    try:
        ConfigFileStore(path).put("acme", Secret(new_key()), {})
        ConfigFileStore(path.with_name("new.toml")).put("acme", Secret(new_key()), {})
    finally:
        os.umask(before)
    assert (mode(path), mode(path.with_name("new.toml"))) == (0o600, 0o600)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'url = "x"\n\nother = \n', "Line 3 is not TOML. Correct the file by hand"),
        (b'url = "x"\nother = """\nmore\n', "Line 3 is not TOML"),
        (b'url = "x"\nother = "\xff"\n', "Line 2 is not UTF-8"),
        ('url = "x"\n'.encode("utf-16"), "It is UTF-16 and must be UTF-8"),
        (b"x = " + b"9" * 5_000, "It is not TOML"),
        (b"x = " + b"[" * 5_000, "It is not TOML"),
    ],
)
def test_a_mistake_in_the_file_raises_store_error_with_its_line(
    path: Path, content: bytes, problem: str
) -> None:
    path.write_bytes(content)
    store, key = ConfigFileStore(path), new_key()
    for use in (store.check, lambda: store.get(REF), lambda: store.put("acme", Secret(key), {})):
        with pytest.raises(StoreError, match=f"config.toml.*: {problem}") as caught:
            use()
        assert not isinstance(caught.value, MissingKeyError)
        assert key not in seen(caught.value)
    assert path.read_bytes() == content
    assert there(path.parent) == {path.name}


@pytest.mark.parametrize("content", ["api_key = 1\n", 'api_key = """\n"""\n'])
def test_a_key_that_is_no_text_on_one_line_is_left(path: Path, content: str) -> None:
    path.write_text(content)
    store = ConfigFileStore(path)
    for use in (store.check, lambda: store.put("acme", Secret(new_key()), {})):
        with pytest.raises(StoreError, match="is not a plain text on one line"):
            use()
    assert path.read_text() == content


def test_a_byte_order_mark_stays_before_the_text(path: Path) -> None:
    before = b'\xef\xbb\xbfurl = "https://a.example/mcp"\r\n'
    path.write_bytes(before)
    store, key = ConfigFileStore(path), Secret(new_key())
    store.check()
    assert store.get(store.put("acme", key, {})) == key
    assert path.read_bytes().startswith(before)
    store.delete(REF)
    assert path.read_bytes() == before


def test_a_path_below_a_file_has_no_key_and_takes_none(path: Path) -> None:
    path.touch()
    store = ConfigFileStore(path / "config.toml")
    with pytest.raises(MissingKeyError):
        store.get(REF)
    store.delete(REF)
    for use in (store.check, lambda: store.put("acme", Secret(new_key()), {})):
        with pytest.raises(StoreError, match="Not a directory"):
            use()


def test_a_relative_path_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = ConfigFileStore("config.toml")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.put("acme", Secret(new_key()), {})
    assert there(tmp_path) == {"config.toml", "elsewhere"}


def test_replacing_without_another_key_keeps_no_copy(path: Path) -> None:
    key = Secret(new_key())
    store = ConfigFileStore(path)
    assert store.replace("acme", key) is None
    assert store.get(REF) == key
    before = path.read_bytes()
    assert store.replace("another name", key) is None
    assert path.read_bytes() == before
    assert there(path.parent) == {path.name}


def test_of_keys_that_replace_each_other_at_once_none_is_lost(path: Path) -> None:
    keys = {new_key() for _ in range(8)}
    store = ConfigFileStore(path)
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda key: store.replace("acme", Secret(key)), keys))
    files = list(path.parent.iterdir())
    assert {tomllib.loads(file.read_text())["api_key"] for file in files} == keys
    assert {mode(file) for file in files} == {0o600}


def test_a_backup_takes_the_next_free_name(path: Path) -> None:
    store = ConfigFileStore(path)
    store.put("acme", Secret(new_key()), {})
    # A link to nothing is no file that exists, and a copy must not be written to where it leads.
    path.with_name("config.toml.backup-1").symlink_to(path.with_name("nothing"))
    copy = store.replace("acme", Secret(new_key()))
    assert copy == path.with_name("config.toml.backup-2")
    assert "nothing" not in there(path.parent)


def test_a_key_is_not_replaced_where_git_would_commit_the_copy(path: Path) -> None:
    make_tree = ["git", "init", "--quiet", str(path.parent)]
    subprocess.run(make_tree, check=True)
    (path.parent / ".gitignore").write_text("config.toml\n")
    old, new = new_key(), new_key()
    store = ConfigFileStore(path)
    store.put("acme", Secret(old), {})
    before = there(path.parent)
    with pytest.raises(StoreError, match="git would commit") as caught:
        store.replace("acme", Secret(new))
    assert "Add config.toml.backup-1 to the .gitignore" in caught.value.next_step
    assert old not in seen(caught.value)
    assert new not in seen(caught.value)
    assert store.get(REF) == Secret(old)
    assert there(path.parent) == before


words = st.text(st.characters(blacklist_categories=["Cs"]), max_size=30)
blocks = st.sampled_from(
    [
        "# api_key = 'no'\n",
        "\n",
        'a{n} = """\napi_key = "fake"\n"""\n',
        "b{n} = '''\napi_key = 'fake'\n'''\n",
        "c{n} = [\n  'api_key = \"x\"', # ]\n]\n",
        "d{n} = nan\n",
        'e{n} = {{ api_key = "inner" }}\n',
        "f{n} = 2026-05-11T12:00:00.000Z # when\r\n",
        '"é{n}" = "\\u00e9"\n',
        "  g{n}.api_key = 'dotted'\n",
    ]
)
tables = st.sampled_from(
    ['[t{n}]\napi_key = "in a table"\n', "[[u{n}]]\n  \"api_key\" = 'x'\n", "[v{n}.api_key]\n"]
)
own_lines = st.sampled_from(
    [
        "",
        'api_key = "old"\n',
        "  'api_key'='old' # mine\r\n",
        '"api_key"\t= "o\\"l\\\\d"\n',
        "api_key = '' #\n",
    ]
)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Draw a TOML document with things in it that look like the line and are not."""
    top = [*draw(st.lists(blocks, max_size=5)), draw(own_lines), *draw(st.lists(blocks, max_size=3))]
    filled = [
        block.format(n=number) for number, block in enumerate([*top, *draw(st.lists(tables, max_size=3))])
    ]
    text = "".join(filled)
    return text.rstrip("\r\n") if draw(st.booleans()) else text


def lines(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+", text)


@given(documents(), words)
def test_only_the_one_text_is_changed(text: str, value: str) -> None:
    after = edited(text, "api_key", value)
    assert tomllib.loads(after)["api_key"] == value
    assert {**toml_in(text), "api_key": value} == toml_in(after)
    old, new = lines(text), lines(after)
    if "api_key" in toml_in(text):
        assert len(old) == len(new)
        assert sum(before != now for before, now in zip(old, new, strict=True)) <= 1
    else:
        # A last line without an end gets one.
        same = {text, f"{text}\n", f"{text}\r\n"}
        assert any("".join(new[:number] + new[number + 1 :]) in same for number in range(len(new)))
        assert edited(after, "api_key", None) in same


@given(documents())
def test_only_the_one_text_is_removed(text: str) -> None:
    after = edited(text, "api_key", None)
    assert toml_in(after) == {name: value for name, value in toml_in(text).items() if name != "api_key"}
    assert edited(after, "api_key", None) == after
