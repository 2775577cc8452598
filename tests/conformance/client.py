"""What the official conformance harness starts: `client.py URL`, with the scenario in the environment.

Every scenario is the same to a user of the package: list the tools, then call some of them. It is not told which
protocol the server speaks; that is for the transport to find out. It has no key: the harness ends at one it did not
issue.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, TypeAlias

import anyio

from favcrm import AsyncFavCRMClient, FavCRMClient, RetryPolicy
from favcrm.transports import JSON, AsyncHTTPTransport, HTTPTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from favcrm.models import Tool

    Call: TypeAlias = tuple[str, Mapping[str, JSON]]
    Plan: TypeAlias = Callable[[tuple[Tool, ...]], Iterable[Call]]

# The harness gives each scenario 30 seconds.
TIMEOUT = 10.0


def just(*calls: Call) -> Plan:
    return lambda tools: calls


def each_listed(**arguments: JSON) -> Plan:
    return lambda tools: [(tool.name, arguments) for tool in tools]


def return_schema(tools: tuple[Tool, ...]) -> Iterable[Call]:
    (schema,) = (tool.input_schema for tool in tools if tool.name == "json_schema_2020_12_tool")
    yield "json_schema_echo", {"schema": schema}


def as_told(tools: tuple[Tool, ...]) -> Iterable[Call]:
    told = json.loads(os.environ["MCP_CONFORMANCE_CONTEXT"])
    return [(call["name"], call["arguments"]) for call in told["toolCalls"]]


# What is called once the tools are listed.
PLANS: Mapping[str, Plan] = {
    "initialize": just(),
    "tools_call": just(("add_numbers", {"a": 2, "b": 3})),
    "sse-retry": just(("test_reconnection", {})),
    "json-schema-2020-12-preservation": return_schema,
    "json-schema-ref-no-deref": just(),
    "request-metadata": just(("any_tool", {})),
    "http-standard-headers": just(("test_headers", {}), ("my-hyphenated-tool", {})),
    "http-custom-headers": as_told,
    # One of them is valid and takes a region; a call of any other fails the scenario.
    "http-invalid-tool-headers": each_listed(region="eu-west1"),
    "sep-2322-client-request-state": just(
        ("test_mrtr_echo_state", {}),
        ("test_mrtr_unrelated", {}),
        ("test_mrtr_no_state", {}),
        ("test_mrtr_unrelated", {}),
        ("test_mrtr_no_result_type", {}),
    ),
}
# The scenarios of the baseline: an attempt in earnest.
OTHERS = each_listed()


def accept(requests: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """Answer whatever a server asks of the user."""
    return {name: {"action": "accept", "content": {"confirmed": True}} for name in requests}


def run_blocking(url: str, plan: Plan) -> None:
    with closing(HTTPTransport(url, on_input=accept)) as transport:
        crm = FavCRMClient(transport=transport, timeout=TIMEOUT, retry=RetryPolicy.never())
        for name, arguments in plan(crm.list_tools()):
            crm.call_tool(name, arguments)


async def run_async(url: str, plan: Plan) -> None:
    async with aclosing(AsyncHTTPTransport(url, on_input=accept)) as transport:
        crm = AsyncFavCRMClient(transport=transport, timeout=TIMEOUT, retry=RetryPolicy.never())
        for name, arguments in plan(await crm.list_tools()):
            await crm.call_tool(name, arguments)


def main(url: str) -> None:
    plan = PLANS.get(os.environ["MCP_CONFORMANCE_SCENARIO"], OTHERS)
    colour = os.environ["FAVCRM_CONFORMANCE_COLOUR"]
    if colour == "blocking":
        run_blocking(url, plan)
    else:
        anyio.run(run_async, url, plan, backend=colour)


if __name__ == "__main__":
    main(sys.argv[1])
