"""Writing the tools' input schemas, and checking arguments against them.

Only the keywords of JSON Schema that the tools use are known here.
"""

from __future__ import annotations

import re
import zoneinfo
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from favcrm.typing import JSON

Schema: TypeAlias = "dict[str, JSON]"

EMAIL = re.compile(
    r"(?!\.)(?!.*\.\.)[A-Za-z0-9._%+'-]+(?<!\.)@([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}"
)


def text(shortest: int = 0, longest: int | None = None, **more: JSON) -> Schema:
    """Describe a string of so many characters."""
    limits: Schema = {"minLength": shortest} if shortest else {}
    return {"type": "string", **limits, **({} if longest is None else {"maxLength": longest}), **more}


def whole(least: int, most: int) -> Schema:
    """Describe a whole number."""
    return {"type": "integer", "minimum": least, "maximum": most}


def fields(required: str = "", /, **properties: Schema) -> Schema:
    """Describe an object: the names of the required fields, separated by blanks, and each field."""
    return {"type": "object", "properties": properties, "required": required.split()}


def problems(schema: Schema, arguments: Mapping[str, JSON]) -> list[str]:
    """Return what is wrong with the arguments; an empty list where nothing is."""
    required = cast("list[str]", schema["required"])
    properties = cast("dict[str, Schema]", schema["properties"])
    missing = [f"{name}: required" for name in required if arguments.get(name) is None]
    wrong = [
        f"{name}: {problem}"
        for name, rules in properties.items()
        if arguments.get(name) is not None
        for problem in _broken(rules, arguments[name])
    ]
    return missing + wrong


def _broken(rules: Schema, value: JSON) -> Iterator[str]:
    if not isinstance(value, TYPES[cast("str", rules["type"])]) or (
        isinstance(value, bool) != (rules["type"] == "boolean")
    ):
        yield f"expected {rules['type']}"
        return
    for keyword, (holds, complaint) in KEYWORDS.items():
        if keyword in rules and not holds(value, rules[keyword]):
            yield complaint.format(rules[keyword])


TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def _is_date_time(value: str) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


FORMATS: dict[str, Callable[[str], bool]] = {
    "email": lambda value: EMAIL.fullmatch(value) is not None,
    "date-time": _is_date_time,
    "iana-time-zone": lambda value: value in _zones(),
}

# The values are of the type that the schema names, checked before.
KEYWORDS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "minLength": (lambda value, limit: len(value) >= limit, "shorter than {} characters"),
    "maxLength": (lambda value, limit: len(value) <= limit, "longer than {} characters"),
    "minimum": (lambda value, limit: value >= limit, "less than {}"),
    "maximum": (lambda value, limit: value <= limit, "more than {}"),
    "pattern": (lambda value, pattern: re.fullmatch(pattern, value) is not None, "does not match {}"),
    "enum": (lambda value, allowed: value in allowed, "not one of {}"),
    "format": (lambda value, name: FORMATS[name](value), "not a valid {}"),
}
