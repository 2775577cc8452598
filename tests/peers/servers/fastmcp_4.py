"""FavCRM's tools on fastmcp 4: ``fastmcp_4.py http|stdio``."""

from __future__ import annotations

import sys
from typing import Any

import anyio
from fastmcp import FastMCP
from fastmcp.server.dependencies import get_http_request
from fastmcp.tools import Tool, ToolResult
from forward import forward, listen
from mcp_types import CallToolResult


class ForwardedTool(Tool):
    """One of the sandbox's tools."""

    async def run(self, arguments: dict[str, Any]) -> ToolResult:
        try:
            request = get_http_request()
        except RuntimeError:
            request = None
        answer = await forward("tools/call", {"name": self.name, "arguments": arguments}, request)
        return ToolResult.from_mcp_result(CallToolResult.model_validate(answer["result"]))


async def main(how: str) -> None:
    server = FastMCP("favcrm-peer")
    for entry in (await forward("tools/list", {}))["result"]["tools"]:
        server.add_tool(
            ForwardedTool(
                name=entry["name"],
                description=entry["description"],
                parameters=entry["inputSchema"],
                output_schema=entry["outputSchema"],
                annotations=entry["annotations"],
            )
        )
    if how == "stdio":
        await server.run_stdio_async(show_banner=False, log_level="ERROR")
    else:
        await server.run_http_async(show_banner=False, path="/mcp", sockets=[listen()], log_level="error")


anyio.run(main, sys.argv[1])
