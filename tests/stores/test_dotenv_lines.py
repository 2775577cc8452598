"""Of a .env file, the key's own line changes, byte for byte; and what is written is read alike by every reader."""

from __future__ import annotations

import io
from pathlib import Path

import dotenv
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores.machine import new_key

from favcrm import Secret, SecretRef, StoreError
from favcrm.stores.dotenv import DotenvStore, _without

REF = SecretRef("dotenv://favcrm/acme")
KEY = "FAVCRM_API_KEY"
NAME = "FAVCRM_API_KEY_NAME=acme"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".env"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # What is there stays, and the lines are added with the line end of the last one.
        (b"", "{key}\n{name}\n"),
        (b"A=1\r\nB=2\nC='x\ny'\n", "A=1\r\nB=2\nC='x\ny'\n{key}\n{name}\n"),
        (b"A=1\nC='x\r\ny'\r\n", "A=1\nC='x\r\ny'\r\n{key}\r\n{name}\r\n"),
        (b"A=1\rB=2\r", "A=1\rB=2\r{key}\r{name}\r"),
        (b"\xef\xbb\xbfA=1\n", "\ufeffA=1\n{key}\n{name}\n"),
        (b"A=1", "A=1\n{key}\n{name}\n"),
        (b"A=1\r\n# last", "A=1\r\n# last\r\n{key}\r\n{name}\r\n"),
        (b"C='never closed\nA=1\n", "C='never closed\nA=1\n{key}\n{name}\n"),
        # The line of the key keeps everything but the value.
        (b"export FAVCRM_API_KEY='old' # mine\nA=1\n", "export {key} # mine\nA=1\n{name}\n"),
        (b"\xef\xbb\xbfFAVCRM_API_KEY=old\r\nA=1\n", "\ufeff{key}\r\nA=1\n{name}\n"),
        (b"A=1\n\n\n  FAVCRM_API_KEY=old\t# mine\r\n\nB=2\n", "A=1\n\n\n  {key}\t# mine\r\n\nB=2\n{name}\n"),
        (b'FAVCRM_API_KEY="o\\"l\nd"#mine\nA=1\n', "{key} #mine\nA=1\n{name}\n"),
        (b"FAVCRM_API_KEY=old#not-a-comment # mine\n", "{key} # mine\n{name}\n"),
        (b"FAVCRM_API_KEY= # paste it here\n", "{key} # paste it here\n{name}\n"),
        (b"FAVCRM_API_KEY\nA=1\n", "{key}\nA=1\n{name}\n"),
        (b"FAVCRM_API_KEY # mine", "{key} # mine\n{name}\n"),
        # Of several lines the last one counts, so it is the one that changes.
        (b"FAVCRM_API_KEY=a\nFAVCRM_API_KEY=b\nA=1\n", "FAVCRM_API_KEY=a\n{key}\nA=1\n{name}\n"),
        # What looks like the line and is inside of another value stays.
        (b"A='\nFAVCRM_API_KEY=x\n'\n", "A='\nFAVCRM_API_KEY=x\n'\n{key}\n{name}\n"),
    ],
)
def test_only_the_line_of_the_key_changes(path: Path, before: bytes, after: str) -> None:
    path.write_bytes(before)
    key = new_key()
    store = DotenvStore(path)
    store.check()
    assert path.read_bytes() == before
    store.put("acme", Secret(key), {}, if_absent=False)
    assert path.read_bytes().decode() == after.format(key=f"{KEY}={key}", name=NAME)
    assert store.get(REF) == Secret(key)
    # A second time nothing else changes either.
    other = new_key()
    store.put("acme", Secret(other), {}, if_absent=False)
    assert path.read_bytes().decode() == after.format(key=f"{KEY}={other}", name=NAME)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"A=1\r\n\r\nexport FAVCRM_API_KEY=x # mine\r\nB='\n'", b"A=1\r\n\r\nB='\n'"),
        (b"\xef\xbb\xbfFAVCRM_API_KEY=x\nA=1", b"\xef\xbb\xbfA=1"),
        (b"FAVCRM_API_KEY=a\nA=1\nFAVCRM_API_KEY=b\nFAVCRM_API_KEY_NAME=acme", b"A=1\n"),
    ],
)
def test_all_lines_of_the_key_are_removed_and_no_other(path: Path, before: bytes, after: bytes) -> None:
    path.write_bytes(before)
    DotenvStore(path).delete(REF)
    assert path.read_bytes() == after


def test_the_key_is_written_without_quotes(path: Path) -> None:
    key = new_key()
    DotenvStore(path).put("Stretch + 'Breathe' \\", Secret(key), {})
    lines = path.read_text().splitlines()
    # Docker's --env-file takes everything behind the = for the value.
    assert lines[0] == f"{KEY}={key}"
    assert dotenv.dotenv_values(path) == {KEY: key, f"{KEY}_NAME": "Stretch + 'Breathe' \\"}


def test_a_file_in_another_encoding_raises_store_error(path: Path) -> None:
    path.write_bytes(b"A=1\nB=\xff\n")
    with pytest.raises(StoreError, match="Line 2 is not UTF-8"):
        DotenvStore(path).check()


parts = st.sampled_from(
    [
        "A{n}=1\n",
        "B{n}='x\nFAVCRM_API_KEY=no\n'\r\n",
        'C{n}="x\r\ny" # c\r',
        "\n",
        "  \r\n",
        "# FAVCRM_API_KEY=no\n",
        "export D{n} = 2 # c\n",
        "E{n}\n",
        "'F{n}'=3\n",
        "not a line at all\n",
        "G{n}='never closed\n",
        "FAVCRM_API_KEY=old\n",
        "export FAVCRM_API_KEY='o\\'ld' # c\r\n",
        ' FAVCRM_API_KEY = "o\nld"#c\n',
        "FAVCRM_API_KEY\n",
        "FAVCRM_API_KEY=old#er\n",
    ]
)


@given(st.lists(parts, max_size=8), st.text("abc_-./'\\ #=\"", max_size=12), st.booleans())
def test_of_any_file_only_the_key_changes_or_nothing_does(pieces: list[str], value: str, cut: bool) -> None:
    text = "".join(piece.format(n=number) for number, piece in enumerate(pieces))
    text = text.rstrip("\r\n") if cut else text
    store = DotenvStore("/nowhere/.env")
    try:
        after = store._edited(text.encode(), {KEY: value}).decode()
    except StoreError:
        # Only a quote that is never closed makes two readings of what is behind it.
        assert "never closed" in text
        return
    assert values(after) == {**values(text), KEY: value}
    removed = store._edited(after.encode(), {KEY: None}).decode()
    assert KEY not in values(removed)
    # A last line without an end gets one where a line is added behind it.
    assert removed.rstrip("\r\n") == _without(text, KEY).rstrip("\r\n")


def values(text: str) -> dict[str, str | None]:
    return dotenv.dotenv_values(stream=io.StringIO(text, newline=None), interpolate=False)
