"""Arguments that travel as headers: which tools may ask for it, and what the headers then say."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from favcrm._mcp.param_headers import ToolHeaders, as_header_value, find_parameters, write_headers
from favcrm.transport import Response

if TYPE_CHECKING:
    from favcrm.typing import JSON


def decode(value: str) -> str:
    """Read a header's value as the specification says it."""
    if value.startswith("=?base64?") and value.endswith("?="):
        return base64.b64decode(value[len("=?base64?") : -len("?=")], validate=True).decode()
    return value


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SENTINELS = st.from_regex(r"\A=\?base64\?.*=\Z", fullmatch=True)


@given(TEXT | SENTINELS | st.text(" ab\t\r\n=?", max_size=6))
@example("=?base64?aGk=?=")
@example("=?BASE64?aGk=?=")
@example("=?base64?=")
@example("=?base64?\n?=")
@example(" ")
@example("inner\ttab")
@settings(max_examples=300)
def test_every_text_comes_back_from_a_header(text: str) -> None:
    value = as_header_value(text)
    assert decode(value) == text
    assert re.fullmatch(r"(?! )[ -~]*(?<! )", value)
    # The strictest of parsers takes it, and gives back the same.
    request = h11.Request(method="POST", target="/", headers=[("host", "a"), ("mcp-name", value)])
    assert dict(request.headers)[b"mcp-name"] == value.encode()


@pytest.mark.parametrize("text", ["", "two words", "=?base64?", "=?base65?aGk=?=", "a=?base64??="])
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert as_header_value(text) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("名", "=?base64?5ZCN?="),
        (" a", "=?base64?IGE=?="),
        ("a ", "=?base64?YSA=?="),
        ("a\tb", "=?base64?YQli?="),
        ("a\r\nX-Other: 1", "=?base64?YQ0KWC1PdGhlcjogMQ==?="),
        ("=?base64?aGk=?=", "=?base64?PT9iYXNlNjQ/YUdrPT89?="),
    ],
)
def test_what_a_header_cannot_carry_is_encoded(text: str, value: str) -> None:
    assert as_header_value(text) == value


# Which arguments


def tool(**properties: Any) -> dict[str, JSON]:
    return {"type": "object", "properties": properties}


def told(name: JSON = "Region", kind: JSON = "string", **more: Any) -> dict[str, JSON]:
    return {"type": kind, "x-mcp-header": name, **more}


@pytest.mark.parametrize("kind", ["string", "integer", "boolean"])
def test_a_property_may_travel_as_a_header(kind: str) -> None:
    assert find_parameters(tool(region=told(kind=kind))) == {("region",): "Mcp-Param-Region"}


def test_nested_properties_may_travel_as_headers() -> None:
    schema = tool(
        where={"type": "object", "properties": {"country": told("Country"), "city": {"type": "string"}}},
        who=told("Who"),
        flag=True,
    )
    assert find_parameters(schema) == {("where", "country"): "Mcp-Param-Country", ("who",): "Mcp-Param-Who"}


@pytest.mark.parametrize(
    "schema",
    [
        None,
        True,
        [],
        {},
        {"properties": None},
        tool(**{"x-mcp-header": {"type": "string"}}),
        {"$defs": {"x-mcp-header": {"type": "string"}}},
        {"patternProperties": {"x-mcp-header": True}},
        tool(a={"default": told(), "const": told(), "enum": [told()], "examples": [told()]}),
    ],
)
def test_a_schema_without_annotations_has_no_parameters(schema: JSON) -> None:
    assert find_parameters(schema) == {}


def test_a_property_may_be_called_like_the_annotation() -> None:
    schema = tool(**{"x-mcp-header": told("Odd"), "properties": told("Even")})
    assert find_parameters(schema) == {
        ("x-mcp-header",): "Mcp-Param-Odd",
        ("properties",): "Mcp-Param-Even",
    }


@pytest.mark.parametrize(
    "schema",
    [
        tool(a=told("")),
        tool(a=told("two words")),
        tool(a=told("名")),
        tool(a=told("line\n")),
        tool(a=told(None)),
        tool(a=told(kind="number")),
        tool(a=told(kind=["string", "null"])),
        tool(a={"x-mcp-header": "Untyped"}),
        tool(a=told("Same"), b=told("same")),
        tool(a=told("Same"), b=tool(c=told("SAME"))),
        {"x-mcp-header": "Root", "type": "string"},
        tool(a={"type": "array", "items": told()}),
        tool(a={"anyOf": [told(), {"type": "null"}]}),
        {"allOf": [tool(a=told())]},
        {"$defs": {"region": told()}, **tool(a={"$ref": "#/$defs/region"})},
        {"patternProperties": {"^a": told()}},
        {"if": tool(a=told())},
        {"properties": [told()]},
    ],
)
def test_an_annotation_that_the_specification_forbids_gives_none(schema: JSON) -> None:
    assert find_parameters(schema) is None


def test_one_forbidden_annotation_gives_none() -> None:
    assert find_parameters(tool(a=told("Good"), b=told("Bad", "number"))) is None


def test_a_schema_that_nests_too_deep_gives_none() -> None:
    schema: JSON = tool()
    for _ in range(2000):
        schema = tool(a=schema)
    assert find_parameters(schema) is None


# The headers of a call

PARAMETERS = {
    ("region",): "Mcp-Param-Region",
    ("where", "city"): "Mcp-Param-City",
}


@pytest.mark.parametrize(
    ("arguments", "headers"),
    [
        ({"region": "eu"}, {"Mcp-Param-Region": "eu"}),
        ({"region": "名"}, {"Mcp-Param-Region": "=?base64?5ZCN?="}),
        ({"region": True}, {"Mcp-Param-Region": "true"}),
        ({"region": -12}, {"Mcp-Param-Region": "-12"}),
        ({"region": 1.5}, {}),
        ({"region": 3.0}, {"Mcp-Param-Region": "3"}),
        ({"region": -0.0}, {"Mcp-Param-Region": "0"}),
        ({"region": 2.0**53}, {}),
        ({"region": None}, {}),
        ({"region": ["eu"]}, {}),
        ({"where": {"city": "Köln"}}, {"Mcp-Param-City": "=?base64?S8O2bG4=?="}),
        ({"where": {"city": "Bonn"}, "region": 1}, {"Mcp-Param-Region": "1", "Mcp-Param-City": "Bonn"}),
        ({"where": "Bonn"}, {}),
        ({}, {}),
        (None, {}),
    ],
)
def test_given_arguments_become_headers(arguments: JSON, headers: dict[str, str]) -> None:
    assert write_headers(PARAMETERS, arguments) == headers


# What is learnt from a list of tools


def listed(*tools: JSON) -> Response:
    return Response(result={"tools": list(tools), "nextCursor": "2"}, status=200)


GOOD: dict[str, JSON] = {"name": "good", "inputSchema": tool(a=told("A"))}
PLAIN: dict[str, JSON] = {"name": "plain", "inputSchema": tool(a={"type": "string"})}
BAD: dict[str, JSON] = {"name": "bad\n", "inputSchema": tool(a=told("two words"))}


def test_tools_that_must_not_be_offered_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    learnt = ToolHeaders().learn(listed(GOOD, BAD, PLAIN, "no tool", {}))
    assert learnt.result == {"tools": [GOOD, PLAIN, "no tool", {}], "nextCursor": "2"}
    assert learnt.status == 200
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "the tool bad is left out: its x-mcp-header is not allowed")
    ]


@pytest.mark.parametrize("result", [None, {"tools": {}}, "tools"])
def test_a_result_without_a_list_of_tools_is_unchanged(result: JSON) -> None:
    response = Response(result=result)
    assert ToolHeaders().learn(response) is response


def test_a_call_has_the_headers_of_its_tool() -> None:
    headers = ToolHeaders()
    assert headers.of({"name": "good", "arguments": {"a": "1"}}) == {}
    headers.learn(listed(GOOD, PLAIN))
    assert headers.of({"name": "good", "arguments": {"a": "1"}}) == {"Mcp-Param-A": "1"}
    assert headers.of({"name": "good"}) == {}
    assert headers.of({"name": "plain", "arguments": {"a": "1"}}) == {}
    assert headers.of({"cursor": "2"}) == {}


def test_a_tool_that_is_listed_again_has_its_new_headers() -> None:
    headers = ToolHeaders()
    headers.learn(listed(GOOD))
    headers.learn(listed({**GOOD, "inputSchema": tool(a=told("B"))}))
    assert headers.of({"name": "good", "arguments": {"a": "1"}}) == {"Mcp-Param-B": "1"}
    headers.learn(listed({**GOOD, "inputSchema": {}}))
    assert headers.of({"name": "good", "arguments": {"a": "1"}}) == {}
