"""A store in the config file that the vendor's command reads too."""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from favcrm import settings
from favcrm._atomic import create, read, wrap_errors
from favcrm._boundary import boundaries
from favcrm._text_files import UnreadableError, mark_of, text_in, toml_in
from favcrm.errors import InvalidInputError, Problem, StoreError
from favcrm.secret import Secret
from favcrm.stores._git import refuse_if_git_would_commit
from favcrm.stores._one_key import Changes, OneKeyFileStore

__all__ = ["ConfigFileStore"]

TEXT = r"""(?:"(?:[^"\\\n]|\\[^\n])*"|'[^'\n]*')"""


@boundaries
class ConfigFileStore(OneKeyFileStore):
    """Keeps one key in a TOML file, as ``api_key``, where the clients and the vendor's command find it.

    The name of the key's workspace is kept beside it as ``api_key_name``. A key that was there without it is taken
    for the key of every workspace. Everything else in the file, comments too, stays as it is. The file is replaced
    as a whole or not at all, one process at a time, and only its owner can read it afterwards.

    A key from this file goes to the endpoint that the file names as ``url``, or to the usual one where it names
    none. The store never writes ``url``.

    Args:
        path: The file; that of the vendor's command where it is None. Missing directories are made by `put`.

    Raises:
        InvalidInputError: There is no path, and this machine does not say where the vendor's file is.

    Example:
        >>> from favcrm import Secret
        >>> store = ConfigFileStore("acme.toml")
        >>> ref = store.put("acme", Secret("not-a-real-key-6789"), {})
        >>> ref
        'config://favcrm/acme'
        >>> store.get(ref)
        Secret('...6789')
    """

    scheme: str = "config"

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        # The settings read the same file, so both look for it in the same way.
        found = settings.config_path(os.environ, sys.platform) if path is None else Path(path)
        if found is None:
            raise InvalidInputError([Problem("path", "must be given: this machine names no home directory")])
        super().__init__(found, label="api_key", name_label="api_key_name")

    def replace(self, name: str, secret: Secret) -> Path | None:
        """Save a key in place of any other one, and keep the file as it was beside it.

        The copy has the name of the file and ``.backup-1``, or the next number that is free. Only its owner can read
        it. Where the key is in the file already, nothing is changed.

        Args:
            name: The workspace's name.
            secret: The key.

        Returns:
            The copy, or None where there was no other key.

        Raises:
            StoreError: The key was not saved, and the file is as it was; also where git would commit the copy.

        Example:
            >>> from favcrm import Secret
            >>> store = ConfigFileStore("replaced.toml")
            >>> store.replace("acme", Secret("not-a-real-key-6789"))
            >>> store.replace("acme", Secret("not-a-real-key-9876")).name
            'replaced.toml.backup-1'
        """
        copies: list[Path] = []

        def decide(found: Mapping[str, str]) -> Changes:
            there = self._key_in(found)
            if there == secret:
                return {}
            if there is not None:
                copies.append(self._back_up())
            return {self._label: secret.reveal(), self._name_label: name}

        with wrap_errors(f"The key could not be saved in {self._place}"):
            self._change(decide)
        return copies[0] if copies else None

    def _back_up(self) -> Path:
        """Copy the file to a new one beside it, and return the copy."""
        names = (self._path.with_name(f"{self._path.name}.backup-{number}") for number in itertools.count(1))
        copy = next(name for name in names if not os.path.lexists(name))
        refuse_if_git_would_commit(copy)
        create(copy, read(self._path) or b"")
        return copy

    def _texts(self, content: bytes) -> Mapping[str, str]:
        values = toml_in(text_in(content))
        return {label: text for label, text in values.items() if isinstance(text, str)}

    def _edited(self, content: bytes, changes: Changes) -> bytes:
        text = text_in(content)
        for label, value in changes.items():
            text = edited(text, label, value)
        return mark_of(content) + text.encode()


def edited(text: str, name: str, value: str | None) -> str:
    """Return a TOML document with one top-level text set, or removed where the value is None.

    Everything else stays, to the byte: a way of changing the document is taken only if the new document, read again,
    says what the old one said but for that one text.

    Raises:
        UnreadableError: The text is not TOML.
        StoreError: There is no way to do that which is certain to change nothing else.
    """
    old = toml_in(text)
    wanted = {key: kept for key, kept in old.items() if key != name} | (
        {} if value is None else {name: value}
    )
    if old == wanted:
        return text
    candidates = _changed(text, name, value) if name in old else _added(text, name, value or "")
    for candidate in candidates:
        if _says(candidate, wanted):
            return candidate
    raise StoreError(
        f"{name} in the file is not a plain text on one line, so the file was left as it is.",
        next_step=f"Write {name} on one line in quotes, or remove it, by hand.",
    )


def _says(text: str, wanted: Mapping[str, object]) -> bool:
    try:
        return toml_in(text) == wanted
    except UnreadableError:
        return False


def _changed(text: str, name: str, value: str | None) -> Iterator[str]:
    """Change each line that looks like the one; some may be inside of a longer text or in a table."""
    line = re.compile(
        rf"""^([ \t]*(?:{name}|"{name}"|'{name}')[ \t]*=[ \t]*){TEXT}([ \t]*(?:\#[^\n]*)?\r?)$\n?""",
        re.MULTILINE,
    )
    for match in line.finditer(text):
        before, after = text[: match.start()], text[match.end() :]
        if value is None:
            yield before + after
        else:
            ending = "\n" if match[0].endswith("\n") else ""
            yield f"{before}{match[1]}{_quoted(value)}{match[2]}{ending}{after}"


def _added(text: str, name: str, value: str) -> Iterator[str]:
    """Add a line at the end, or at the beginning where the end belongs to a table."""
    newline = "\r\n" if "\r\n" in text else "\n"
    line = f"{name} = {_quoted(value)}{newline}"
    yield text + (newline if text and not text.endswith("\n") else "") + line
    yield line + text


def _quoted(value: str) -> str:
    # A JSON text is a TOML text, but for the one control character that JSON leaves alone.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
