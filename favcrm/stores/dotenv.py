"""A store in a ``.env`` file."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from favcrm._text_files import mark_of, text_in
from favcrm.errors import StoreError
from favcrm.stores._git import refuse_if_git_would_commit
from favcrm.stores._one_key import Changes, OneKeyFileStore, checked_variable
from favcrm.stores._packages import dotenv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dotenv.parser import Binding

__all__ = ["DotenvStore"]

PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=-]+")
"""A value that every reader of such files takes as it is. Some take quotes for a part of it."""

QUOTED = re.compile(r"([\\'])")
LINE_END = re.compile(r"\r\n|\n|\r")
LINE = re.compile(
    r"""
    \A (?P<before> (?: [^\S\r\n]* (?: \r\n | \n | \r ) )* )
    (?P<name> [^\S\r\n]* (?: export [^\S\r\n]+ )? (?: '[^']+' | [^=\#\s]+ ) [^\S\r\n]*? )
    (?: =
        (?: [^\S\r\n]* (?: '(?: \\. | [^'\\] )*' | "(?: \\. | [^"\\] )*" )
        |   [^\r\n]*? (?= [^\S\r\n]+ \# | [^\S\r\n]* (?: \r | \n | \Z ) )
        )
    )?
    (?P<after> (?: [^\S\r\n]* \# [^\r\n]* )? [^\S\r\n]* (?: \r\n | \n | \r )? ) \Z
    """,
    re.VERBOSE | re.DOTALL,
)
"""A line that sets a variable: empty lines before it, the name, the value, and what comes behind that."""


class DotenvStore(OneKeyFileStore):
    """Keeps one key in a ``.env`` file, for programs that read one. Needs the extra ``dotenv``.

    The clients of this package do not read ``.env`` files by themselves: give them the reference and this store, or
    load the file with python-dotenv.

    The name of the key's workspace is kept in a second variable, ``FAVCRM_API_KEY_NAME``. A key that was there
    without it is taken for the key of every workspace. Everything else in the file stays as it is. The file is
    replaced as a whole or not at all, one process at a time, and only its owner can read it afterwards. A file that
    git would commit is refused.

    Args:
        path: The file. Missing directories are made by `put`.
        variable: The variable for the key. ``_NAME`` is appended for the workspace's name.

    Raises:
        InvalidInputError: The text is no name of a variable.

    Example:
        >>> from favcrm import Secret
        >>> store = DotenvStore("acme.env")
        >>> ref = store.put("acme", Secret("not-a-real-key-6789"), {})
        >>> ref
        'dotenv://favcrm/acme'
        >>> store.get(ref)
        Secret('...6789')
    """

    scheme: str = "dotenv"

    def __init__(self, path: str | os.PathLike[str] = ".env", variable: str = "FAVCRM_API_KEY") -> None:
        super().__init__(Path(path), label=checked_variable(variable), name_label=f"{variable}_NAME")

    def _texts(self, content: bytes) -> Mapping[str, str]:
        return {label: text for label, text in _values(text_in(content)).items() if text is not None}

    def _write(self, draft: Path, changes: Changes) -> None:
        if None not in changes.values():
            refuse_if_git_would_commit(self._path)
        super()._write(draft, changes)

    def _edited(self, content: bytes, changes: Changes) -> bytes:
        old = text_in(content)
        new = old
        wanted = dict(_values(old, interpolate=False))
        for label, value in changes.items():
            if value is not None:
                new = _with(new, label, value)
                wanted[label] = value
            else:
                new = _without(new, label)
                wanted.pop(label, None)
        read_back = _values(new)
        if _values(new, interpolate=False) != wanted or any(
            read_back.get(label) != value for label, value in changes.items()
        ):
            raise StoreError(
                f"{self._place} would not be read back as it is written, so it was left as it is.",
                next_step="Correct the file by hand, or use another store.",
            )
        return mark_of(content) + new.encode()


def _with(text: str, label: str, value: str) -> str:
    """Return the text with one variable set: in the last line that sets it, which is the one that counts."""
    written = value if PLAIN.fullmatch(value) else "'" + QUOTED.sub(r"\\\1", value) + "'"
    names, lines = zip(*_bindings(text), strict=True) if text else ((), ())
    if label not in names:
        end = (LINE_END.findall(text) or ["\n"])[-1]
        gap = "" if not text or text.endswith(("\n", "\r")) else end
        return f"{text}{gap}{label}={written}{end}"
    last = len(names) - 1 - names[::-1].index(label)
    line = LINE.sub(partial(_set, written), lines[last])
    return "".join([*lines[:last], line, *lines[last + 1 :]])


def _set(written: str, line: re.Match[str]) -> str:
    # Behind a value without quotes, a comment needs a blank before it.
    after = f" {line['after']}" if line["after"].startswith("#") else line["after"]
    return f"{line['before']}{line['name']}={written}{after}"


def _without(text: str, label: str) -> str:
    """Return the text without the lines that set a variable; empty lines before them stay."""
    return "".join(
        LINE.sub(lambda found: found["before"], line) if name == label else line
        for name, line in _bindings(text)
    )


def _bindings(text: str) -> list[tuple[str | None, str]]:
    """Return the text in pieces, each with the name of the variable that it sets, if any."""
    parse = cast("Callable[[io.StringIO], Iterable[Binding]]", dotenv().parser.parse_stream)
    return [(binding.key, binding.original.string) for binding in parse(io.StringIO(text, newline=""))]


def _values(text: str, *, interpolate: bool = True) -> dict[str, str | None]:
    # Line ends are read as python-dotenv reads those of a file.
    stream = io.StringIO(text, newline=None)
    read = cast("Callable[..., dict[str, str | None]]", dotenv().dotenv_values)
    return read(stream=stream, interpolate=interpolate)
