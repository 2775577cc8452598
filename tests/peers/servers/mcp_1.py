"""FavCRM's tools on the official SDK 1.x: ``mcp_1.py stateful|stateless``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

from forward import forward, serve_app
from mcp import McpError
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.types import (
    CallToolRequest,
    CallToolResult,
    ErrorData,
    ListToolsRequest,
    ListToolsResult,
    ServerResult,
)
from starlette.applications import Starlette
from starlette.routing import Route


def handler(server: Server, result: type[ListToolsResult | CallToolResult]) -> Any:
    async def handle(request: Any) -> ServerResult:
        sent = request.model_dump(by_alias=True, exclude_none=True).get("params", {})
        sent.pop("_meta", None)
        answer = await forward(request.method, sent, server.request_context.request)
        if "error" in answer:
            raise McpError(ErrorData(**answer["error"]))
        return ServerResult(result.model_validate(answer["result"]))

    return handle


def streamable_app(server: Server, *, stateless: bool) -> Starlette:
    sessions = StreamableHTTPSessionManager(server, stateless=stateless)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with sessions.run():
            yield

    class Endpoint:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await sessions.handle_request(scope, receive, send)

    return Starlette(routes=[Route("/mcp", Endpoint())], lifespan=lifespan)


def main(how: str) -> None:
    server = Server("favcrm-peer")
    server.request_handlers[ListToolsRequest] = handler(server, ListToolsResult)
    server.request_handlers[CallToolRequest] = handler(server, CallToolResult)
    serve_app(streamable_app(server, stateless=how == "stateless"))


main(sys.argv[1])
