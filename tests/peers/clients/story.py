"""What every client does: see the tools, sign up, and work with the key. The test answers when asked for the code."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from attrs import frozen


@frozen
class Connection:
    """An open client.

    Attributes:
        list_tools: Gives the names of the tools.
        call_tool: Calls a tool, and gives its structured content.
    """

    list_tools: Callable[[], Awaitable[list[str]]]
    call_tool: Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]


async def tell(connect: Callable[[dict[str, str]], AbstractAsyncContextManager[Connection]]) -> None:
    """Act it out.

    Args:
        connect: Opens a client that sends these headers.
    """
    email = sys.argv[2]
    async with connect({}) as stranger:
        tools = await stranger.list_tools()
        organisation = {"email": email, "organisationName": "Stretch + Breathe"}
        pending = await stranger.call_tool("register_organisation_request", organisation)
        print("CODE?", flush=True)  # noqa: T201
        answer = {"requestId": pending["data"]["requestId"], "code": sys.stdin.readline().strip()}
        workspace = await stranger.call_tool("register_organisation_verify", answer)
    async with connect({"Authorization": f"Bearer {workspace['data']['apiKey']}"}) as member:
        created = await member.call_tool("create_member", {"name": "Ada Å", "email": email})
    print(json.dumps({"tools": tools, "member": created["data"]["member"]}))  # noqa: T201
