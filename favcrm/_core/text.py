"""The server's words: data, bounded, without control characters and without secrets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST = 500
MASK = "[hidden]"

# Line feeds and tabs are folded into blanks with the other white space. Besides the C0 and C1 controls this
# takes out what turns the direction of text around or cannot be seen.
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
WHITE_SPACE = re.compile(r"\s+")
# What may stand before an "@" is matched as a whole, with an "@" behind it or without: a server's megabyte is read
# once, and not once from each letter in it. Group 1 is there where it is an email.
MASKED_EMAIL = re.compile(
    r"""(?=[^\s@"'<>(),;*•]*+[*•])[^\s@"'<>(),;]++(@[\w.*-]+)|[^\s@"'<>(),;]++""",
)
EMAIL = re.compile(r"[A-Za-z0-9_'+.%-]++(@(?:[A-Za-z0-9-]+\.)+[A-Za-z0-9-]{2,})?")
KEYS = re.compile(r"fav_[a-z0-9]+_[A-Za-z0-9_-]{4,}|(?<=[Bb]earer )\S+")


def without_emails(text: str) -> str:
    """Return a sign-up's text with every email masked, and so every masked one."""
    for pattern in (MASKED_EMAIL, EMAIL):
        text = pattern.sub(lambda found: MASK if found[1] else found[0], text)
    return text


def clean(text: str, *, hide: Iterable[str] = (), longest: int = LONGEST) -> str:
    """Return text of the server's that can be shown: keys and the values in ``hide`` are masked."""
    # Masked before it is cut, so that no half of a secret stays at the end.
    text = UNSEEN.sub("", WHITE_SPACE.sub(" ", mask(text, hide=hide))).strip()
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def mask(text: str, *, hide: Iterable[str] = ()) -> str:
    """Return the text with keys and the values in ``hide`` masked."""
    for value in hide:
        # Looked for before: to compile a pattern for each email takes as long as a call.
        if value and value.casefold() in text.casefold():
            text = re.sub(re.escape(value), MASK, text, flags=re.IGNORECASE)
    return KEYS.sub(MASK, text)
