"""Text files that people write: how they are encoded, and where a mistake in them is."""

from __future__ import annotations

import codecs
from collections.abc import Mapping

from favcrm._patterns import lazy_pattern

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
PLACE_IN_TOML = lazy_pattern(r"\(at (?:line (\d+), column \d+|end of document)\)$")


class UnreadableError(ValueError):
    """A file is not what it should be. The text says why, and holds nothing of the file."""


def text_in(content: bytes) -> str:
    """Return the text in a file, without the byte order mark that some editors put before it.

    Raises:
        UnreadableError: The content is not UTF-8.
    """
    if content.startswith(UTF_16):
        raise UnreadableError("It is UTF-16 and must be UTF-8")
    try:
        return content.removeprefix(mark_of(content)).decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    raise UnreadableError(f"Line {line} is not UTF-8")


def mark_of(content: bytes) -> bytes:
    """Return the byte order mark that stands before a UTF-8 text, or nothing."""
    return codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""


def toml_in(text: str) -> Mapping[str, object]:
    """Return what a TOML document says. Floats are their own spelling, since nan does not even equal itself.

    Raises:
        UnreadableError: The text is not TOML.
    """
    import tomllib

    try:
        return tomllib.loads(text, parse_float=_spelling)
    except (ValueError, RecursionError) as error:
        place = PLACE_IN_TOML.search(str(error))
    # A number that is too long, or tables that nest too deep, have no place.
    if place is None:
        raise UnreadableError("It is not TOML")
    line = place[1] or text.count("\n") + (not text.endswith("\n"))
    raise UnreadableError(f"Line {line} is not TOML")


def _spelling(number: str) -> tuple[str, str]:
    return "float", number
