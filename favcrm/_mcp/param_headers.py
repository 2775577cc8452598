"""Arguments that also travel as HTTP headers, which tools ask for with ``x-mcp-header`` (MCP 2026-07-28).

Gateways route by them without reading the body. A tool that asks for it in a way that the specification does not
allow must not be offered.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from attrs import evolve

from favcrm._patterns import lazy_pattern
from favcrm._text import clean
from favcrm.events import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from favcrm.transport import Response
    from favcrm.typing import JSON

ANNOTATION = "x-mcp-header"
PREFIX = "Mcp-Param-"
SAFE_INTEGER = 2**53 - 1
TYPES = {"string", "integer", "boolean"}
TOKEN = lazy_pattern(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
PLAIN = lazy_pattern(r"(?! )[ -~]*(?<! )")
# The shortest match encodes nothing, but some readers take it for encoded text.
ENCODED = lazy_pattern(r"=\?base64\?(.*\?)?=", re.IGNORECASE | re.DOTALL)
# The values of these keywords are instances, not schemas.
INSTANCES = {"default", "const", "enum", "examples"}

Parameters: TypeAlias = Mapping[tuple[str, ...], str]
"""The path of each argument that travels as a header, and the header's name."""


class ToolHeaders:
    """Which arguments travel as headers, for every tool that was listed."""

    def __init__(self) -> None:
        self._parameters: dict[str, Parameters] = {}

    def of(self, params: Mapping[str, JSON]) -> dict[str, str]:
        """Return the headers of a call; none for a tool that was never listed."""
        parameters = self._parameters.get(str(params.get("name")))
        return write_headers(parameters, params.get("arguments")) if parameters else {}

    def learn(self, response: Response) -> Response:
        """Note what a page of tools says, and return it without the tools that must not be offered."""
        result = response.result
        tools = result.get("tools") if isinstance(result, dict) else None
        if not isinstance(tools, list):
            return response
        allowed = [tool for tool in tools if self._note(tool)]
        assert isinstance(result, dict)
        return evolve(response, result={**result, "tools": allowed})

    def _note(self, tool: JSON) -> bool:
        """Note the headers of a tool, and tell whether it may be offered."""
        if not isinstance(tool, dict):
            return True
        parameters = find_parameters(tool.get("inputSchema"))
        if parameters is None:
            logger.warning(
                "the tool %s is left out: its x-mcp-header is not allowed", clean(str(tool.get("name")))
            )
            return False
        self._parameters[str(tool.get("name"))] = parameters
        return True


def find_parameters(schema: JSON) -> Parameters | None:
    """Return which arguments of a tool travel as headers, or None where the tool asks in a forbidden way."""
    try:
        found, count = dict(_annotated(schema, ())), _count(schema)
    except RecursionError:
        return None
    names = [name.lower() for name in found.values()]
    allowed = all(TOKEN.fullmatch(name) for name in names) and len(set(names)) == len(names)
    if not allowed or count != len(found):
        return None
    return {path: PREFIX + name for path, name in found.items()}


def _annotated(schema: JSON, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the annotations in the only allowed place: on properties, reached through properties alone."""
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    for name, child in properties.items() if isinstance(properties, Mapping) else ():
        if not isinstance(child, Mapping):
            continue
        annotation, kind = child.get(ANNOTATION), child.get("type")
        if isinstance(annotation, str) and isinstance(kind, str) and kind in TYPES:
            yield (*path, name), annotation
        yield from _annotated(child, (*path, name))


def _count(schema: JSON, *, names: bool = False) -> int:
    """Count the annotations anywhere. Under ``properties`` and the like, names are names and not keywords."""
    if isinstance(schema, Mapping):
        own = ANNOTATION in schema and not names
        return own + sum(
            _count(
                child, names=not names and key in {"properties", "patternProperties", "$defs", "definitions"}
            )
            for key, child in schema.items()
            if names or key not in INSTANCES
        )
    if isinstance(schema, list):
        return sum(_count(child) for child in schema)
    return 0


def write_headers(parameters: Parameters, arguments: JSON) -> dict[str, str]:
    """Return the headers for the arguments that are given."""
    headers: dict[str, str] = {}
    for path, name in parameters.items():
        value = arguments
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, bool):
            headers[name] = str(value).lower()
        elif isinstance(value, int) or (isinstance(value, float) and _is_integer(value)):
            headers[name] = str(int(value))
        elif isinstance(value, str):
            headers[name] = as_header_value(value)
    return headers


def _is_integer(value: float) -> bool:
    """Tell whether a number such as 3.0 is an integer to JSON Schema. A larger float stands for several integers."""
    return value.is_integer() and abs(value) <= SAFE_INTEGER


def as_header_value(text: str) -> str:
    """Return text as a header may hold it: unchanged where it is plain, in base64 otherwise."""
    if PLAIN.fullmatch(text) and not ENCODED.fullmatch(text):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="
