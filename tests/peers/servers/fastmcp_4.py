"""FavCRM's tools on fastmcp 4."""

from __future__ import annotations

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
        params = {"name": self.name, "arguments": arguments}
        answer = await forward("tools/call", params, get_http_request())
        return ToolResult.from_mcp_result(CallToolResult.model_validate(answer["result"]))


async def main() -> None:
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
    await server.run_http_async(show_banner=False, path="/mcp", sockets=[listen()], log_level="error")


anyio.run(main)
