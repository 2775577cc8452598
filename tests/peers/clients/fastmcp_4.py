"""fastmcp 4 as a client: ``fastmcp_4.py URL EMAIL``."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from story import Connection, tell


@asynccontextmanager
async def connect(headers: dict[str, str]) -> AsyncIterator[Connection]:
    async with Client(StreamableHttpTransport(sys.argv[1], headers=headers)) as client:

        async def list_tools() -> list[str]:
            return [tool.name for tool in await client.list_tools()]

        async def call_tool(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
            return (await client.call_tool(name, arguments)).structured_content

        yield Connection(list_tools, call_tool)


anyio.run(tell, connect)
