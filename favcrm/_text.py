"""The server's words: data, bounded, without control characters and without secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeGuard, TypeVar, cast
from urllib.parse import quote

from favcrm._patterns import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from favcrm.typing import JSON

E = TypeVar("E", bound=BaseException)

LONGEST = 500
MASK = "[hidden]"

# Line feeds and tabs are folded into blanks with the other white space. Besides the C0 and C1 controls this
# takes out what turns the direction of text around or cannot be seen.
UNSEEN = lazy_pattern(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
SURROGATES = lazy_pattern("[\ud800-\udfff]")
WHITE_SPACE = lazy_pattern(r"\s+")
# What may stand before an "@" is matched as a whole, with an "@" behind it or without: a server's megabyte is read
# once, and not once from each letter in it. Group 1 is there where it is an email.
MASKED_EMAIL = lazy_pattern(
    r"""(?=[^\s@"'<>(),;*•]*+[*•])[^\s@"'<>(),;]++(@[\w.*-]+)|[^\s@"'<>(),;]++""",
)
EMAIL = lazy_pattern(r"[A-Za-z0-9_'+.%-]++(@(?:[A-Za-z0-9-]+\.)+[A-Za-z0-9-]{2,})?")
# In an address an "@" is written as %40.
QUOTED_EMAIL = lazy_pattern(r"(?:[\w'+.*-]|%(?!40)[0-9A-Fa-f]{2})++(%40[\w.*-]+)?", re.ASCII)
KEYS = lazy_pattern(r"fav_[a-z0-9]+_[A-Za-z0-9_-]{4,}|(?<=[Bb]earer )\S+")


def is_text(value: object) -> TypeGuard[str]:
    """Tell whether a value is text that can be sent; half a character, as a broken escape in JSON leaves, cannot."""
    return isinstance(value, str) and (value.isascii() or SURROGATES.search(value) is None)


def without_unseen(text: str) -> str:
    """Return the text without the characters that nobody sees."""
    return text if text.isprintable() else UNSEEN.sub("", text)


def without_emails(text: str) -> str:
    """Return a sign-up's text with a mask in place of every email, also of one that the server masked in part."""
    if "@" not in text and "%40" not in text:
        return text
    text = without_unseen(text)
    for pattern in (MASKED_EMAIL, EMAIL, QUOTED_EMAIL):
        text = pattern.sub(lambda found: MASK if found[1] else found[0], text)
    return text


def clean(text: str, *, hide: Iterable[str] = (), longest: int = LONGEST) -> str:
    """Return text of the server's that can be shown: keys and the values in ``hide`` are masked."""
    # Masked before it is cut, so that no half of a secret stays at the end.
    text = mask(text, hide=hide)
    # Most texts are one line of plain letters, and that is seen at once.
    if not text.isprintable() or "  " in text:
        text = UNSEEN.sub("", WHITE_SPACE.sub(" ", text))
    text = text.strip()
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def mask(text: str, *, hide: Iterable[str] = ()) -> str:
    """Return the text with keys and the values in ``hide`` masked, also as they stand in an address.

    A secret with characters in it that nobody sees is masked too, because a reader or `clean` would join its parts.
    """
    hide = tuple(hide)
    seen = without_unseen(text)
    shown = _mask(seen, hide)
    return text if shown == seen else shown


def _mask(text: str, hide: tuple[str, ...]) -> str:
    for value in hide:
        for form in (value, quote(value, safe="")) if "%" in text else (value,):
            # Looked for before: to compile a pattern for each email takes as long as a call.
            if form and form.casefold() in text.casefold():
                text = re.sub(re.escape(form), MASK, text, flags=re.IGNORECASE)
    # Most texts have no key, and that is seen in a tenth of the time.
    return KEYS.sub(MASK, text) if "fav_" in text or "earer " in text else text


def without_query(address: str) -> str:
    """Return an address up to its query, since that is where a server puts an email or a one-time token."""
    return re.split(r"[?#]", address, maxsplit=1)[0]


def mask_error(error: E, *, hide: Iterable[str] = ()) -> E:
    """Mask the texts of an error that a store or a transport of the user's raised, its notes too, and return it."""
    hide = tuple(hide)
    error.args = tuple(_without_hidden(value, hide) for value in error.args)
    vars(error).update({name: _without_hidden(value, hide) for name, value in vars(error).items()})
    return error


def _without_hidden(value: object, hide: tuple[str, ...]) -> object:
    if isinstance(value, list):  # the notes
        return [_without_hidden(note, hide) for note in cast("list[object]", value)]
    return mask(value, hide=hide) if isinstance(value, str) else value


def masked(value: JSON, mask: Callable[[str], str]) -> JSON:
    """Return a value with every text in it masked, the names of its fields too; None where it is too deep for that."""
    try:
        return _masked(value, mask)
    except RecursionError:
        return None


def _masked(value: JSON, mask: Callable[[str], str]) -> JSON:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {mask(name): _masked(inner, mask) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(inner, mask) for inner in value]
    return value
