"""A server on the official ``mcp`` package that serves the tools of a sandbox, reached over HTTP, over its pipes."""

from __future__ import annotations

import os
import sys
from typing import Any

import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams, Tool

from favcrm import Secret
from favcrm.transports import AsyncHTTPTransport


async def main(url: str) -> None:
    sandbox = AsyncHTTPTransport(url, era="bare")
    key = os.environ.get("FAVCRM_API_KEY")

    async def forward(method: str, params: Any) -> Any:
        answer = await sandbox.request(method, params, api_key=Secret(key) if key else None, timeout=30)
        return answer.result

    async def list_tools(context: object, params: PaginatedRequestParams | None) -> ListToolsResult:
        found = await forward("tools/list", {})
        return ListToolsResult(tools=[Tool.model_validate(tool) for tool in found["tools"]])

    async def call_tool(context: object, params: CallToolRequestParams) -> CallToolResult:
        found = await forward("tools/call", {"name": params.name, "arguments": params.arguments or {}})
        return CallToolResult.model_validate(found)

    server = Server("favcrm", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())
    await sandbox.aclose()


anyio.run(main, sys.argv[1])
