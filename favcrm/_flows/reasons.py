"""With which words and codes a payload, a body or a header says why something was refused.

The forms differ from framework to framework: a word as ``error``, an object, a list of either, errors by field,
problem details (RFC 9457). All of them are brought into one shape, a `Reason`, and with what stands around that into
a `Failure`.
"""

from __future__ import annotations

from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING

from attrs import field, frozen

from favcrm._flows.waits import told_wait
from favcrm._patterns import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from favcrm.transport import Response
    from favcrm.typing import JSON

SUCCESS = range(HTTPStatus.OK, HTTPStatus.MULTIPLE_CHOICES)

# One word, so it is a code, while a sentence has blanks.
CODE = lazy_pattern(r"[A-Za-z0-9_.:/-]{1,100}")
CODE_FIELDS = ("code", "errorCode", "error_code")
TEXT_FIELDS = ("message", "detail", "reason", "error_description", "title")
HINT_FIELDS = ("status", "statusCode", "type")
LONGEST_CHAIN = 10_000
DEEPEST = 8
MOST_PARTS = 32
# Much longer than what is shown, because a secret that is cut here in two is not found and hidden later.
LONGEST_TEXT = 64 * 1024

KEPT_OF_CHALLENGE = frozenset({"error", "error_description", "resource_metadata", "scope"})
INSUFFICIENT_SCOPE = "insufficient_scope"

# A name alone is a scheme, and begins a challenge. A value without quotes may be more than a token here: addresses
# are sent so too. Text in quotes that belongs to no name is passed over, with whatever stands in it. A quote that is
# never closed goes to the end: it is not read again from each quote in it.
PART_OF_CHALLENGE = lazy_pattern(
    r"""(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*+)"?|(?P<plain>[^\s,"]+)))?"""
    r"""|"(?:[^"\\]|\\.)*+"?"""
)
QUOTED_PAIR = lazy_pattern(r"\\(.)")


@frozen(kw_only=True, eq=False, repr=False)
class Reason:
    """What a payload or a body says about a refusal.

    Attributes:
        codes: The server's own codes, the most specific first.
        texts: Its words, the most specific first.
        hints: What may be a code and often is something else: a status, the type of a problem.
        details: All its fields; an inner one takes the place of an outer one.
    """

    codes: tuple[int | str, ...] = ()
    texts: tuple[str, ...] = ()
    hints: tuple[int | str, ...] = ()
    details: Mapping[str, JSON] = field(factory=dict[str, "JSON"])


def read_reason(told: JSON) -> Reason:
    """Return the reason in a payload or a body; an empty one where there is none."""
    parts = list(islice(_parts(told), MOST_PARTS))
    objects = [part for part in parts if isinstance(part, dict)]
    codes = [code for part in parts for code in _codes(part)]
    texts = [text for part in parts for text in _texts(part)]
    return Reason(
        codes=tuple(codes),
        # A code is shown where there are no other words.
        texts=tuple(sorted(texts, key=is_code)),
        hints=tuple(hint for part in objects for hint in _hints(part)),
        details={name: value for part in reversed(objects) for name, value in part.items()},
    )


@frozen(kw_only=True, eq=False, repr=False)
class Failure:
    """One failure, whatever form it came in.

    Attributes:
        codes: The server's own codes, the most specific first.
        texts: Its words, the first of which are shown.
        hints: What says less than codes and words: a status in the payload, and last the HTTP status.
        details: The fields of the payload.
        retry_after: Seconds to wait, or None.
        status: An HTTP status that tells of a failure by itself, or None.
    """

    codes: tuple[int | str, ...]
    texts: tuple[str, ...]
    hints: tuple[int | str, ...]
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
    reason = read_reason(details)
    alone = details if isinstance(details, str) else ""
    # A code among the words is shown where there is nothing else.
    words = [before, *reason.texts, after, alone]
    texts = tuple(text[:LONGEST_TEXT] for text in sorted(words, key=is_code) if text)
    status = None if response.status in SUCCESS else response.status
    return Failure(
        codes=reason.codes if code is None else (*reason.codes, code),
        texts=texts,
        hints=reason.hints if status is None else (*reason.hints, status),
        details=reason.details,
        retry_after=told_wait(response, now, reason.details, texts),
        status=status,
    )


def read_challenge(header: str) -> dict[str, str]:
    """Return the first challenge of a ``WWW-Authenticate`` header that names an error, or else the first with a value.

    Such a header says why a server refused a key (RFC 9110, section 11.6.1).
    """
    challenges: list[dict[str, str]] = [{}]
    for part in PART_OF_CHALLENGE.finditer(header):
        name, quoted, plain = part["name"], part["quoted"], part["plain"]
        if name is None:
            continue
        if quoted is None and plain is None:
            challenges.append({})
        elif name.lower() in KEPT_OF_CHALLENGE:
            value = plain if quoted is None else QUOTED_PAIR.sub(r"\1", quoted)
            challenges[-1].setdefault(name.lower(), value)
    return max(challenges, key=lambda told: ("error" in told, bool(told)))


def is_code(text: str) -> bool:
    """Tell whether a text is one word, as a code is."""
    return CODE.fullmatch(text) is not None


def _parts(told: JSON, depth: int = 0) -> Iterator[JSON]:
    """Yield the objects and the texts that a reason is made of, the innermost first."""
    chain: list[Mapping[str, JSON]] = []
    while isinstance(told, dict) and len(chain) < LONGEST_CHAIN:
        chain.append(told)
        told = told.get("error")
    for part in reversed(chain):
        for member in _members(part):
            if isinstance(member, str):
                yield member
            elif depth < DEEPEST:
                yield from _parts(member, depth + 1)
        yield part


def _members(part: Mapping[str, JSON]) -> list[JSON]:
    """Return what an object holds in lists of errors, by field or not, and in a payload inside it."""
    members: list[JSON] = []
    for name in ("error", "errors"):
        inner = part.get(name)
        if isinstance(inner, list):
            members += inner[:MOST_PARTS]
    if isinstance(by_field := part.get("errors"), dict):
        members += [by_field, *(each for told in by_field.values() for each in _listed(told)[:MOST_PARTS])]
    data = part.get("data")
    return [*members, data] if isinstance(data, dict) else members


def _listed(value: JSON) -> list[JSON]:
    return value if isinstance(value, list) else [value]


def _codes(part: JSON) -> Iterator[int | str]:
    if isinstance(part, dict):
        values = [part.get(name) for name in CODE_FIELDS]
        yield from (value for value in values if isinstance(value, int | str) and value not in ("", False))
        part = part.get("error")
    if isinstance(part, str) and is_code(part):
        yield part


def _texts(part: JSON) -> Iterator[str]:
    fields = [part.get(name) for name in (*TEXT_FIELDS, "error")] if isinstance(part, dict) else [part]
    for value in fields:
        for text in _listed(value):
            if isinstance(text, str) and text:
                yield text[:LONGEST_TEXT]


def _hints(part: Mapping[str, JSON]) -> Iterator[int | str]:
    for name in HINT_FIELDS:
        value = part.get(name)
        if isinstance(value, str):
            # The type of a problem is an address.
            yield value.rstrip("/").rpartition("/")[2]
        elif isinstance(value, int):
            yield value
