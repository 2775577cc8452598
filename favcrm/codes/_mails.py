"""Finding the code in a mail."""

from __future__ import annotations

import email
import re
from collections.abc import Set as AbstractSet
from email.message import Message
from html.parser import HTMLParser

from favcrm.codes._numbers import numbers_in

__all__ = ["codes_in"]

ADDRESS = re.compile(r"(?:[^<>]*<([^<>\s]+)>|([^<>\s]+))")
BLANKS = re.compile(r"\s+")
INLINE = frozenset(
    ("a", "b", "big", "code", "em", "font", "i", "small", "span", "strong", "sub", "sup", "tt", "u", "wbr")
)
# What a reader sees in the place of a tag. Any other tag begins a line.
BETWEEN = {**dict.fromkeys(INLINE, ""), "td": "\t", "th": "\t"}
UNSEEN = frozenset({"head", "script", "style", "title"})


def codes_in(raw: bytes, senders: AbstractSet[str]) -> frozenset[str] | None:
    """Return the numbers in a mail for which most speaks that they are its code: one, if the mail is clear.

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
    numbers = [found for part in mail.walk() for found in numbers_in(_text_of(part))]
    most = min((standing for standing, _ in numbers), default=None)
    return frozenset(number for standing, number in numbers if standing is most)


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
    return _VisibleText().read(text) if kind == "text/html" else text


class _VisibleText(HTMLParser):
    """The text of an HTML page that a reader sees."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[str] = []
        self._hidden_by = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002  # the parser's contract
        self._pieces.append(BETWEEN.get(tag, "\n"))
        if tag in UNSEEN and not self._hidden_by:
            self._hidden_by = tag

    def handle_endtag(self, tag: str) -> None:
        self._pieces.append(BETWEEN.get(tag, "\n"))
        if tag == self._hidden_by:
            self._hidden_by = ""

    def handle_data(self, data: str) -> None:
        if not self._hidden_by:
            self._pieces.append(BLANKS.sub(" ", data))

    def read(self, page: str) -> str:
        self.feed(page)
        self.close()
        return "".join(self._pieces)
