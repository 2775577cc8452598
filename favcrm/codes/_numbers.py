"""Which number of a text is the one-time code.

A person takes the number that the text calls a code, or else the one that stands alone on its line. Numbers that
the text calls something else, such as an order or a telephone, are none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from enum import IntEnum

from favcrm._flows.checks import SIX_DIGITS

__all__ = ["Standing", "numbers_in"]


class Standing(IntEnum):
    """How much speaks for a number, the most first."""

    NAMED = 0
    """``Your code is 482913``."""
    ANNOUNCED = 1
    """Alone on its line, below ``Enter this code:`` or above ``This code is valid for 10 minutes.``"""
    MENTIONED = 2
    """In a sentence that speaks of a code."""
    ALONE = 3
    """Alone on its line."""
    PRESENT = 4
    """Somewhere in the text."""


BLANK = r"[^\S\n]"
COLON = r"[:\uff1a]"
HYPHEN = r"[\u2010-\u2015-]"
CURRENCY = r"HKD|USD|EUR|GBP|SGD|AUD|CNY|RMB|TWD|NTD|JPY"
# They are not seen, and keep telephones from taking a code for a number to call.
INVISIBLE = re.compile(r"[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")

# Six digits that are no part of a longer number, a link, a colour, an amount or a telephone number.
# A letter that is not ASCII may stand beside them: some languages put no blanks between words.
SIX = (
    r"(?<![A-Za-z0-9_/=#&?.+%@$€£¥-])[0-9]{6}"
    rf"(?![A-Za-z0-9_/%@-]|[.,][0-9]|{BLANK}?(?:[€£¥]|(?:{CURRENCY})\b))"
)
SIX_IN_TEXT = re.compile(SIX)

# The ways to write six digits apart: each in a box of its own, or in groups that belong to no longer number.
ONE_BY_ONE = re.compile(r"(?<!\d)\d(?:[\s|\u00b7\u2022\u2010-\u2015-]{1,20}\d)+(?!\d)")
IN_GROUPS = re.compile(
    rf"(?<!\d)(?<!\d[ \u00a0-])(?:(\d{{3}})(?:{BLANK}{{1,3}}|{BLANK}?{HYPHEN}{BLANK}?)(\d{{3}})"
    rf"|(\d\d){BLANK}(\d\d){BLANK}(\d\d))(?!{BLANK}?-?\d)"
)

# What other numbers look like, and what they are called.
DATE_OR_TIME = re.compile(r"\b\d{1,4}([./-])\d{1,2}\1\d{2,4}\b|\b\d{1,2}:\d\d(?::\d\d)?\b")
NUMBER = rf"\d+(?:[ \u00a0./-]\d+|{BLANK}?\(\d+\)\d*)*"
INTERNATIONAL = re.compile(rf"\+\(?{NUMBER}")
TRUNK = re.compile(rf"(?<![\w:.,/-])\(?0\d{{1,4}}\)?[ \u00a0/-]{NUMBER}")
POSTAL = r"\b(?:post(?:al)?|zip|area|country|sort|promo(?:tion)?|discount|coupon|voucher|qr|bar|source)[ -]?codes?\b"
ALWAYS_ELSE = (
    rf"{POSTAL}|邮编|郵編|邮政编码|郵政編碼|郵遞區號|订单|訂單|电话|電話"
    rf"|\b(?:zip|plz|p\.?o\.?{BLANK}?box|suite|invoice|ticket|ref|vat|hrb|tel|fax|hotline|{CURRENCY})\b"
)
# A code may be "for your account:". So these words count where they begin the line, or have no colon behind them.
ELSE = (
    r"\b(?:order|case|reference|account|customer|company|reg|registration|registered|br|cr|phone|telephone|telefon"
    r"|mobile|mob|whatsapp|call)\b"
)
OF_NUMBER = rf"(?:{BLANK}*(?:(?:no|nr|number|num|id)\b|#|号码?|號碼?|编号|編號))"
BETWEEN = rf"(?:{BLANK}|[.#]|{COLON}|is\b){{0,20}}"
CALLED_ELSE = re.compile(
    rf"(?:(?:{ALWAYS_ELSE}){OF_NUMBER}?{BETWEEN}"
    rf"|{ELSE}(?:{OF_NUMBER}{BETWEEN}|(?:{BLANK}(?:us|at|on))*{BLANK})"
    rf"|^[^\w\n]*{ELSE}{BETWEEN}){NUMBER}",
    re.IGNORECASE | re.MULTILINE,
)
OTHER_CODES = re.compile(POSTAL, re.IGNORECASE)

CODE_WORD = (
    r"(?:\b\w*(?:code|kode|kod|kód|código|codigo|codice|код|otp|password|passwort)s?\b|\bmã\b|รหัส"
    r"|[驗验認认確确動动]\w{0,4}[碼码]|代[碼码]|密[碼码]|コード|認証番号|確認番号|코드|인증번호)"
)
SPEAKS_OF_A_CODE = re.compile(CODE_WORD, re.IGNORECASE)
IS = r"(?:\b(?:is|ist|lautet|est|es|é|è|jest|to|adalah|ialah|là)\b|[是为為係は])?"
MARKS = rf"""(?:[\s=*"'`>(\[]|{COLON}|{HYPHEN}){{0,20}}"""
NAMED = re.compile(
    rf"{CODE_WORD}{MARKS}{IS}{MARKS}{SIX}(?:(?:\s|,|/|\bor\b|\band\b|或){{1,9}}{SIX})*", re.IGNORECASE
)
SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|(?<=[\u3002\uff01\uff1f\uff1b])")


def numbers_in(text: str) -> Iterator[tuple[Standing, str]]:
    """Yield each number that may be a code, with what speaks for it."""
    lines = [line for line in _plain(text).split("\n") if line.strip()]
    for before, line, after in zip(["", *lines], lines, [*lines[1:], ""], strict=False):
        alone = len(re.findall(r"\w+", line)) == 1
        announced = alone and (_announces(before, below=True) or _announces(after, below=False))
        named = {six for match in NAMED.finditer(line) for six in SIX_IN_TEXT.findall(match[0])}
        for sentence in SENTENCE_END.split(line):
            standings = {
                Standing.ANNOUNCED: announced,
                Standing.MENTIONED: SPEAKS_OF_A_CODE.search(sentence),
                Standing.ALONE: alone,
                Standing.PRESENT: True,
            }
            standing = next(standing for standing, speaks in standings.items() if speaks)
            for six in SIX_IN_TEXT.findall(sentence):
                yield Standing.NAMED if six in named else standing, six


def _plain(text: str) -> str:
    """Return the text with six ASCII digits for each number that may be a code, and without other numbers."""
    text = re.sub(r"\d", lambda digit: str(unicodedata.decimal(digit[0])), INVISIBLE.sub("", text))
    for other in (DATE_OR_TIME, INTERNATIONAL):
        text = other.sub(" ", text)
    # A code may begin with 0 as well, and be written in groups.
    text = TRUNK.sub(lambda number: number[0] if _has_six_digits(number[0]) else " ", text)
    text = OTHER_CODES.sub(" ", CALLED_ELSE.sub(" ", text))
    for apart in (ONE_BY_ONE, IN_GROUPS):
        text = apart.sub(lambda number: _digits(number[0]) if _has_six_digits(number[0]) else number[0], text)
    return text


def _digits(text: str) -> str:
    return "".join(re.findall(r"\d", text))


def _has_six_digits(text: str) -> bool:
    return SIX_DIGITS.fullmatch(_digits(text)) is not None


def _announces(line: str, *, below: bool) -> bool:
    """Tell whether a line speaks of a code that stands below it, or above it."""
    if not SPEAKS_OF_A_CODE.search(line):
        return False
    if line.rstrip("*_ \t\r").endswith((":", "\uff1a")):
        return below
    return not SIX_IN_TEXT.search(line)
