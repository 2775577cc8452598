"""Where in a ``tools/call`` result the payload is.

Every FavCRM tool promises ``structuredContent = {data, summary, renderType}`` and repeats the payload as JSON in
the first text, but bare payloads were seen too, so the places are looked at in a fixed order.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, cast

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from favcrm.transport import Response
    from favcrm.typing import JSON


# Without slots, because cached values need a place.
@frozen(eq=False, slots=False)
class Answer:
    """A response whose payload is looked for once, by whoever reads it first.

    Attributes:
        response: The response.
        promised: The field that the payload of a good answer has, or None where the first payload is taken.
    """

    response: Response
    promised: str | None = None

    @cached_property
    def payload(self) -> JSON:
        """The payload, or None where no payload has the promised field."""
        return payload(self.response.result, self.promised)

    @cached_property
    def summary(self) -> str:
        """The server's one sentence about the result; empty where there is none."""
        return summary(self.response.result)


def candidates(result: JSON) -> Iterator[JSON]:
    """Yield what may be the payload, best first."""
    if isinstance(result, dict):
        structured = result.get("structuredContent")
        if isinstance(structured, dict) and "data" in structured:
            yield structured["data"]
        if "structuredContent" in result:  # by its key: null is a value too
            yield structured
        text = first_text(result)
        if text is not None:
            parsed = as_json(text)
            if isinstance(parsed, dict) and parsed.keys() >= {"data", "summary"}:
                yield parsed["data"]
            yield text if parsed is None else parsed
    yield result


def payload(result: JSON, promised: str | None = None) -> JSON:
    """Return the payload: the first candidate with the promised field, or the first one where none is promised."""
    for candidate in candidates(result):
        if promised is None or (isinstance(candidate, dict) and promised in candidate):
            return candidate
    return None


def summary(result: JSON) -> str:
    """Return the server's one sentence about the result; empty where there is none."""
    structured = result.get("structuredContent") if isinstance(result, dict) else None
    if isinstance(structured, dict) and isinstance(told := structured.get("summary"), str):
        return told
    text = first_text(result)
    return text if text is not None and as_json(text) is None else ""


def first_text(result: JSON) -> str | None:
    """Return the first text block, if there is one."""
    content = result.get("content") if isinstance(result, dict) else None
    for block in content if isinstance(content, list) else []:
        if isinstance(block, dict) and isinstance(text := block.get("text"), str):
            return text
    return None


def as_json(text: str) -> JSON:
    """Return the JSON value in a text, or None."""
    try:
        return cast("JSON", json.loads(text))
    except (ValueError, RecursionError):
        return None


def as_text(value: JSON) -> str:
    """Return a value as JSON to search in, or nothing where it is too deep for that, or not JSON after all."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return ""
