"""Many calls in a process that stays: `python worker.py CONTENDER TASK URL`.

It reads a number from each line of its standard input, makes so many calls, and prints the seconds that they took.
TASK is ``blocking`` (one after the other), ``asynchronous`` (the same, awaited) or ``at_once``.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    Call = Callable[[], object]
    AsyncCall = Callable[[], Awaitable[object]]

TOOL = "list_services"
KEY = f"fav_mcp_{secrets.token_urlsafe(24)}"
HEADERS = {"Accept": "application/json, text/event-stream", "Authorization": f"Bearer {KEY}"}


def _message(number: int) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": TOOL, "arguments": {}}}


@contextmanager
def bare(url: str) -> Generator[Call]:
    """Do with httpx what somebody without an SDK would write."""
    import httpx

    numbers = count(1)
    with httpx.Client(headers=HEADERS) as client:
        yield lambda: client.post(url, json=_message(next(numbers))).raise_for_status().json()["result"]


@asynccontextmanager
async def bare_async(url: str) -> AsyncGenerator[AsyncCall]:
    import httpx

    numbers = count(1)
    # All wait for a connection as long as it takes: httpx gives up after 5 seconds otherwise.
    async with httpx.AsyncClient(headers=HEADERS, timeout=60) as client:

        async def call() -> object:
            answer = await client.post(url, json=_message(next(numbers)))
            return answer.raise_for_status().json()["result"]

        yield call


@contextmanager
def favcrm(url: str) -> Generator[Call]:
    from favcrm import FavCRMClient

    with FavCRMClient(url, api_key=KEY, era="bare") as client:
        yield lambda: client.call_tool(TOOL)


@asynccontextmanager
async def favcrm_async(url: str) -> AsyncGenerator[AsyncCall]:
    from favcrm import AsyncFavCRMClient

    async with AsyncFavCRMClient(url, api_key=KEY, era="bare") as client:
        yield lambda: client.call_tool(TOOL)


@asynccontextmanager
async def mcp_async(url: str) -> AsyncGenerator[AsyncCall]:
    from mcp import Client

    async with Client(url) as client:
        yield lambda: client.call_tool(TOOL, {})


def blocking(contender: str, url: str) -> None:
    with {"bare": bare, "favcrm": favcrm}[contender](url) as call:
        for line in sys.stdin:
            started = perf_counter()
            for _ in range(int(line)):
                call()
            print(perf_counter() - started, flush=True)


async def asynchronous(contender: str, url: str, *, at_once: bool = False) -> None:
    name, _, bound = contender.partition(":")
    if bound:
        from favcrm.transports.http import clients

        clients.MAX_CONNECTIONS = int(bound)
    opened = {"bare": bare_async, "favcrm": favcrm_async, "mcp": mcp_async}[name]
    async with opened(url) as call:
        for line in sys.stdin:
            started = perf_counter()
            if at_once:
                await asyncio.gather(*(call() for _ in range(int(line))))
            else:
                for _ in range(int(line)):
                    await call()
            print(perf_counter() - started, flush=True)


if __name__ == "__main__":
    CONTENDER, TASK, URL = sys.argv[1:]
    if TASK == "blocking":
        blocking(CONTENDER, URL)
    else:
        asyncio.run(asynchronous(CONTENDER, URL, at_once=TASK == "at_once"))
