"""A store in a ``.env`` file."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

from favcrm.errors import StoreError
from favcrm.stores._git import refuse_if_git_would_commit
from favcrm.stores._one_key import Changes, OneKeyFileStore, checked_variable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DotenvStore"]


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
        InvalidInputError: It is no name of a variable.

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
        return {label: text for label, text in _values(content).items() if text is not None}

    def _edited(self, content: bytes, changes: Changes, draft: Path) -> bytes:
        if None not in changes.values():
            refuse_if_git_would_commit(self._path)
        dotenv = _dotenv()
        # Its own way of writing is neither locked nor on the disk when it returns, so it works on the draft.
        draft.write_bytes(content)
        wanted = dict(_values(content, interpolate=False))
        for label, value in changes.items():
            if value is not None:
                dotenv.set_key(draft, label, value)
                wanted[label] = value
            elif label in wanted:
                dotenv.unset_key(draft, label)
                del wanted[label]
        new = _with_line_ends_of(content, draft.read_bytes())
        read_back = self._texts(new)
        if _values(new, interpolate=False) != wanted or any(
            read_back.get(label) != value for label, value in changes.items()
        ):
            raise StoreError(
                f"{self._place} would not be read back as it is written, so it was left as it is.",
                next_step="Correct the file by hand, or use another store.",
            )
        return new


def _values(content: bytes, *, interpolate: bool = True) -> dict[str, str | None]:
    # Line ends are read as python-dotenv reads those of a file.
    stream = io.StringIO(content.decode(), newline=None)
    read = cast("Callable[..., dict[str, str | None]]", _dotenv().dotenv_values)
    return read(stream=stream, interpolate=interpolate)


def _with_line_ends_of(old: bytes, new: bytes) -> bytes:
    """Python-dotenv writes the line ends of the machine, whatever the file had."""
    unix = new.replace(b"\r\n", b"\n")
    return unix.replace(b"\n", b"\r\n") if b"\r\n" in old else unix


def _dotenv() -> ModuleType:
    try:
        import dotenv
    except ImportError:
        pass
    else:
        return dotenv
    raise StoreError(
        "python-dotenv is not installed, so the file was left as it is.",
        next_step="Install it with: pip install 'favcrm[dotenv]'",
    )
