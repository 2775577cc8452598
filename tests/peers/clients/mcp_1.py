"""The official SDK 1.x as a client: ``mcp_1.py URL EMAIL``."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from story import Connection, tell


@asynccontextmanager
async def connect(headers: dict[str, str]) -> AsyncIterator[Connection]:
    async with (
        httpx.AsyncClient(headers=headers) as http_client,
        streamable_http_client(sys.argv[1], http_client=http_client) as (reading, writing, _),
        ClientSession(reading, writing) as session,
    ):
        await session.initialize()

        async def list_tools() -> list[str]:
            return [tool.name for tool in (await session.list_tools()).tools]

        async def call_tool(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
            return (await session.call_tool(name, arguments)).structuredContent

        yield Connection(list_tools, call_tool)


anyio.run(tell, connect)
