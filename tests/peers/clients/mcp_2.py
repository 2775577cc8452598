"""The official SDK 2.x as a client: ``mcp_2.py URL EMAIL``."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from story import Connection, tell


@asynccontextmanager
async def connect(headers: dict[str, str]) -> AsyncIterator[Connection]:
    async with (
        httpx2.AsyncClient(headers=headers) as http_client,
        Client(streamable_http_client(sys.argv[1], http_client=http_client)) as client,
    ):

        async def list_tools() -> list[str]:
            return [tool.name for tool in (await client.list_tools()).tools]

        async def call_tool(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
            return (await client.call_tool(name, arguments)).structured_content

        yield Connection(list_tools, call_tool)


anyio.run(tell, connect)
