"""One top-level text of a TOML document is set or removed, and everything else stays, to the byte.

Whatever way of changing it is tried, it is taken only if the new document, read again, says what the old one
said but for that one text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from favcrm._text_files import UnreadableError, toml_in
from favcrm.errors import StoreError

TEXT = r"""(?:"(?:[^"\\\n]|\\[^\n])*"|'[^'\n]*')"""


def edited(text: str, name: str, value: str | None) -> str:
    """Return the document with one top-level text set, or removed where the value is None.

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
