"""With which words and codes a payload or a body says why something was refused.

The forms differ from framework to framework: a word as ``error``, an object, a list of either, errors by field,
problem details (RFC 9457). All of them are brought into one shape, a `Reason`.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from attrs import field, frozen

from favcrm._patterns import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from favcrm.typing import JSON

# One word, so it is a code, while a sentence has blanks.
CODE = lazy_pattern(r"[A-Za-z0-9_.:/-]{1,100}")
CODE_FIELDS = ("code", "errorCode", "error_code")
TEXT_FIELDS = ("message", "detail", "reason", "error_description", "title")
HINT_FIELDS = ("status", "statusCode", "type")
LONGEST_CHAIN = 10_000
DEEPEST = 8
MOST_PARTS = 32
# Much longer than what is shown of it: where the rest is left, half a secret may stand.
LONGEST_TEXT = 64 * 1024


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
    details: Mapping[str, JSON] = field(factory=dict[str, "JSON"], repr=False)


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
