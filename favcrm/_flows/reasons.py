"""The reason of a refusal, read out of a payload, a body or a header into one shape, a `Failure`."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from attrs import frozen

from favcrm._flows.waits import told_wait
from favcrm._mcp.negotiation import SUCCESS
from favcrm._patterns import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from favcrm.transport import Response
    from favcrm.typing import JSON

# A server's code is one word, while a sentence has blanks.
ERROR_WORD = lazy_pattern(r"[A-Za-z0-9_.:/-]{1,100}")
TEXT_FIELDS = ("message", "detail", "error_description", "error")
DEEPEST = 8
MOST_PARTS = 32
# Much longer than what is shown, because a secret that is cut here in two is not found and hidden later.
LONGEST_TEXT = 64 * 1024

CHALLENGE_FIELDS = frozenset({"error", "error_description", "resource_metadata", "scope"})
# The text in quotes and the name before it are taken whole, so that a header is read in one pass.
CHALLENGE_PARAMETER = lazy_pattern(r'(?<!\w)(\w++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"?|([^\s,"]++))')
QUOTED_PAIR = lazy_pattern(r"\\(.)")


@frozen(kw_only=True, eq=False, repr=False)
class Failure:
    """One failure, whatever form it came in.

    Attributes:
        codes: The server's own codes, the most specific first.
        texts: Its words, the first of which are shown.
        details: The fields of the payload; an inner one takes the place of an outer one.
        retry_after: Seconds to wait, or None.
        status: An HTTP status that tells of a failure by itself, or None.
    """

    codes: tuple[int | str, ...]
    texts: tuple[str, ...]
    details: Mapping[str, JSON]
    retry_after: float | None
    status: int | None


def read_failure(
    response: Response,
    now: float,
    details: JSON,
    *,
    before: str = "",
    after: str = "",
    code: int | None = None,
) -> Failure:
    """Return the failure that a response tells of.

    Args:
        response: The response.
        now: This machine's time, in seconds since 1970, for where the server does not tell its own.
        details: What gives the reason: a payload, or a body.
        before: Words that stand beside the reason and count more.
        after: Words that stand beside the reason and count less.
        code: A code that stands beside the reason.
    """
    codes, texts = find_reason(details)
    alone = details if isinstance(details, str) else ""
    # A code among the words is shown where there is nothing else.
    words = [text[:LONGEST_TEXT] for text in sorted([before, *texts, after, alone], key=is_code) if text]
    fields = {
        name: value
        for part in reversed(_parts_of(details))
        if isinstance(part, dict)
        for name, value in part.items()
    }
    return Failure(
        codes=tuple(codes if code is None else [*codes, code]),
        texts=tuple(words),
        details=fields,
        retry_after=told_wait(response, now, fields, words),
        status=None if response.status in SUCCESS else response.status,
    )


def find_reason(details: JSON) -> tuple[list[int | str], list[str]]:
    """Return the codes and the words with which a payload gives a reason, the most specific first."""
    parts = _parts_of(details)
    codes = [code for part in parts for code in _codes(part)]
    return codes, [text for part in parts for text in _texts(part)]


def read_challenge(header: str) -> dict[str, str]:
    """Return what a ``WWW-Authenticate`` header says about a refused key (RFC 9110, section 11.6.1)."""
    told: dict[str, str] = {}
    for name, quoted, plain in CHALLENGE_PARAMETER.findall(header):
        if name.lower() in CHALLENGE_FIELDS:
            told.setdefault(name.lower(), QUOTED_PAIR.sub(r"\1", quoted) or plain)
    return told


def is_code(text: str) -> bool:
    """Tell whether a text is one word, as a code is."""
    return ERROR_WORD.fullmatch(text) is not None


def _parts_of(details: JSON) -> list[JSON]:
    return list(islice(_parts(details), MOST_PARTS)) if isinstance(details, dict) else []


def _parts(told: JSON, depth: int = 0) -> Iterator[JSON]:
    """Yield the objects and the texts that a reason is made of, the innermost first."""
    if depth > DEEPEST:
        return
    if isinstance(told, dict):
        for name in ("error", "errors", "data"):
            if isinstance(inner := told.get(name), dict | list):
                yield from _parts(inner, depth + 1)
        yield told
    elif isinstance(told, list):
        for member in told:
            yield from _parts(member, depth + 1)
    elif isinstance(told, str):
        yield told


def _codes(part: JSON) -> Iterator[int | str]:
    for value in [part.get("code"), part.get("error")] if isinstance(part, dict) else [part]:
        if (type(value) is int and value) or (isinstance(value, str) and is_code(value)):
            yield value


def _texts(part: JSON) -> Iterator[str]:
    for value in [part.get(name) for name in TEXT_FIELDS] if isinstance(part, dict) else [part]:
        if isinstance(value, str):
            yield value
