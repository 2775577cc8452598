"""Finding the code in a mail."""

from __future__ import annotations

import email
import html
import re
from collections.abc import Set as AbstractSet
from email.message import Message

__all__ = ["codes_in"]

ADDRESS = re.compile(r"(?:[^<>]*<([^<>\s]+)>|([^<>\s]+))")
# Six digits that stand alone. They are no part of a longer number, a link, a colour, an amount or a phone number.
# A letter that is not ASCII may stand beside them: some languages put no blanks between words.
STANDS_ALONE = re.compile(r"(?<![A-Za-z0-9_/=#&?.+%@$-])[0-9]{6}(?![A-Za-z0-9_/%@-]|[.,][0-9])")
TAG = re.compile(r"/?[a-z0-9]*")
# Unlike any other tag, these do not part the digits on their two sides.
INLINE = frozenset(
    ("a", "b", "big", "code", "em", "font", "i", "small", "span", "strong", "sub", "sup", "tt", "u", "wbr")
)
UNSEEN = frozenset({"head", "script", "style", "title"})


def codes_in(raw: bytes, senders: AbstractSet[str]) -> frozenset[str] | None:
    """Return the different six-digit codes in the text of a mail.

    None where it is from nobody of the senders, or cannot be read.

    Args:
        raw: The mail, or its beginning.
        senders: Addresses in lower case.
    """
    try:
        return _codes_in(raw, senders)
    except Exception:  # noqa: BLE001  # what a stranger wrote makes the standard library fail in many ways
        return None


def _codes_in(raw: bytes, senders: AbstractSet[str]) -> frozenset[str] | None:
    mail = email.message_from_bytes(raw)
    named = [ADDRESS.fullmatch(str(header).strip()) for header in mail.get_all("From", [])]
    if len(named) != 1 or named[0] is None or (named[0][1] or named[0][2]).lower() not in senders:
        return None
    return frozenset(code for part in mail.walk() for code in STANDS_ALONE.findall(_text_of(part)))


def _text_of(part: Message) -> str:
    """Return what a reader sees of a part."""
    kind = part.get_content_type()
    payload = part.get_payload(decode=True)
    if (
        kind not in {"text/plain", "text/html"}
        or part.get_content_disposition() == "attachment"
        or not isinstance(payload, bytes)
    ):
        return ""
    try:
        text = payload.decode(part.get_content_charset("utf-8"), "replace")
    except (LookupError, ValueError):
        # Nearly every charset has the digits where ASCII has them.
        text = payload.decode("ascii", "replace")
    return _text_of_html(text) if kind == "text/html" else text


def _text_of_html(source: str) -> str:
    """Return the visible text. It takes one pass, whatever a stranger wrote."""
    first, *tokens = source.split("<")
    pieces = [first]
    hidden_until = ""
    for token in tokens:
        tag, _, text = token.partition(">")
        named = TAG.match(tag.lower())
        name = named[0] if named else ""
        if tag.startswith("!--"):
            hidden_until = "-->"
        if hidden_until == "-->":
            if "-->" not in token:
                continue
            text = token.partition("-->")[2]
        elif hidden_until:
            if name != hidden_until:
                continue
        elif name in UNSEEN:
            hidden_until = f"/{name}"
            continue
        hidden_until = ""
        pieces.append(text if name.lstrip("/") in INLINE else f"\n{text}")
    return html.unescape("".join(pieces))
