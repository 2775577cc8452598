"""FavCRM's tools on the official SDK 2.x: ``mcp_2.py stateful|stateless|json``."""

from __future__ import annotations

import sys
from typing import Any

from forward import forward, serve_app
from mcp import MCPError
from mcp.server.lowlevel import Server
from mcp_types import CallToolRequestParams, PaginatedRequestParams

# A result must have these from 2026-07-28 on. The SDK leaves them out for older clients.
MODERN = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
OPTIONS = {
    "stateful": {},
    "stateless": {"stateless_http": True},
    "json": {"json_response": True},
}


def handler(method: str) -> Any:
    async def handle(context: Any, params: Any) -> dict[str, Any]:
        sent = {} if params is None else params.model_dump(by_alias=True, exclude_none=True)
        sent.pop("_meta", None)
        answer = await forward(method, sent, context.request)
        if "error" in answer:
            raise MCPError(**answer["error"])
        return {**MODERN, **answer["result"]}

    return handle


def main(how: str) -> None:
    server = Server[Any]("favcrm-peer")
    server.add_request_handler("tools/list", PaginatedRequestParams, handler("tools/list"))
    server.add_request_handler("tools/call", CallToolRequestParams, handler("tools/call"))
    serve_app(server.streamable_http_app(**OPTIONS[how]))


main(sys.argv[1])
