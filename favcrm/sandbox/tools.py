"""A tool of the sandbox: its input schema, the check of its arguments, and the function that does the work.

Only the keywords of JSON Schema that the tools use are known here.
"""

from __future__ import annotations

import inspect
import re
import zoneinfo
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from attrs import frozen

from favcrm.sandbox.forms import Refusal, RefusalReason
from favcrm.sandbox.state import unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from favcrm.sandbox.forms import ToolAnswer
    from favcrm.sandbox.state import KeyAccess, State
    from favcrm.typing import JSON

Schema: TypeAlias = "dict[str, JSON]"

CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")
EMAIL = re.compile(
    r"(?!\.)(?!.*\.\.)[A-Za-z0-9._%+'-]+(?<!\.)@([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}"
)
OUTPUT_SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "data": {"description": "The payload."},
        "summary": {"type": "string", "description": "One sentence about it."},
        "renderType": {"type": "string", "description": "How to show it."},
    },
    "required": ["data", "summary", "renderType"],
}


@frozen
class CallContext:
    """The circumstances of a call.

    Attributes:
        state: The state that the tool reads and writes.
        ip: The IP address of the caller.
        shows_key: Whether a key was shown.
        key_access: What that key opens; None where there is no key or the key opens nothing.
        tool_count: How many tools this sandbox lists.
    """

    state: State
    ip: str
    shows_key: bool
    key_access: KeyAccess | None
    tool_count: int

    @property
    def access(self) -> KeyAccess:
        """What the key opens. Raises a `Refusal` where there is no key, or the key opens nothing."""
        if self.key_access is None:
            raise unauthorized()
        return self.key_access


@frozen
class SandboxTool:
    """One tool.

    Attributes:
        name: Its name.
        description: What the tool does.
        schema: The JSON Schema of its arguments.
        function: Does the work. Gets the context and the arguments, their names in snake_case.
        needs_key: Whether the tool refuses a call without a key.
        read_only: Whether the tool changes nothing.
    """

    name: str
    description: str
    schema: Schema
    function: Callable[..., ToolAnswer]
    needs_key: bool
    read_only: bool

    @property
    def entry(self) -> dict[str, JSON]:
        """The tool as ``tools/list`` names it."""
        return {
            "name": self.name,
            "description": self.description,
            "inputSchema": self.schema,
            "outputSchema": OUTPUT_SCHEMA,
            "annotations": {
                "title": self.name.replace("_", " ").capitalize(),
                "readOnlyHint": self.read_only,
                "destructiveHint": False,
                "idempotentHint": self.read_only,
                "openWorldHint": False,
            },
        }

    def call(self, context: CallContext, arguments: Mapping[str, JSON]) -> ToolAnswer:
        """Check the key and the arguments, and do the work. Raises a `Refusal` where one of them is not right."""
        if self.needs_key:
            context.state.count_call(context.access)
        if wrong := problems(self.schema, arguments):
            raise Refusal(RefusalReason.INVALID_INPUT, f"Invalid arguments: {'; '.join(wrong)}.")
        # Unknown arguments are dropped, because FavCRM's schemas do not forbid them.
        known = cast("dict[str, Schema]", self.schema["properties"])
        given = {name: arguments[name] for name in known if arguments.get(name) is not None}
        return self.function(
            context, **{CAPITAL.sub("_", name).lower(): value for name, value in given.items()}
        )


def tool(
    schema: Schema, *, needs_key: bool = True, read_only: bool = False
) -> Callable[[Callable[..., ToolAnswer]], SandboxTool]:
    """Make a tool of a function: the function's name and docstring are the tool's."""

    def make(function: Callable[..., ToolAnswer]) -> SandboxTool:
        description = inspect.getdoc(function) or ""
        return SandboxTool(function.__name__, description, schema, function, needs_key, read_only)

    return make


# Writing schemas


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


# Checking arguments against them


def problems(schema: Schema, arguments: Mapping[str, JSON]) -> list[str]:
    """Return what is wrong with the arguments; an empty list where nothing is."""
    required = cast("list[str]", schema["required"])
    properties = cast("dict[str, Schema]", schema["properties"])
    missing = [f"{name}: required" for name in required if arguments.get(name) is None]
    wrong = [
        f"{name}: {problem}"
        for name, rules in properties.items()
        if arguments.get(name) is not None
        for problem in _broken_rules(rules, arguments[name])
    ]
    return missing + wrong


def _broken_rules(rules: Schema, value: JSON) -> Iterator[str]:
    # bool is a kind of int in Python, and no tool takes a boolean.
    if isinstance(value, bool) or not isinstance(value, TYPES[cast("str", rules["type"])]):
        yield f"expected {rules['type']}"
        return
    for keyword, (holds, complaint) in KEYWORDS.items():
        if keyword in rules and not holds(value, rules[keyword]):
            yield complaint.format(rules[keyword])


TYPES: dict[str, type[str | int]] = {"string": str, "integer": int}


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


FORMATS: dict[str, Callable[[str], bool]] = {
    "email": lambda value: EMAIL.fullmatch(value) is not None,
    "iana-time-zone": lambda value: value in _zones(),
}

# The values have the type that the schema names, because the type is checked before.
KEYWORDS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "minLength": (lambda value, limit: len(value) >= limit, "shorter than {} characters"),
    "maxLength": (lambda value, limit: len(value) <= limit, "longer than {} characters"),
    "minimum": (lambda value, limit: value >= limit, "less than {}"),
    "maximum": (lambda value, limit: value <= limit, "more than {}"),
    "pattern": (lambda value, pattern: re.fullmatch(pattern, value) is not None, "does not match {}"),
    "enum": (lambda value, allowed: value in allowed, "not one of {}"),
    "format": (lambda value, name: FORMATS[name](value), "not a valid {}"),
}
