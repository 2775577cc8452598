"""Many calls in a process that stays: `python worker.py CONTENDER TASK URL JOB`.

It reads a number from each line of its standard input, makes so many calls, and prints the seconds that they took.
TASK is ``blocking`` (one after the other), ``asynchronous`` (the same, awaited) or ``at_once``. JOB is what is called:
``call`` (a tool, with a key), ``initiate``, ``confirm`` or ``diagnose``.
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
ORGANISATION = "Stretch + Breathe"
KEY = f"fav_mcp_{secrets.token_urlsafe(24)}"
HEADERS = {"Accept": "application/json, text/event-stream", "Authorization": f"Bearer {KEY}"}
NUMBERS = count(1)


def _message(job: str) -> dict[str, object]:
    """Return what somebody without an SDK would send."""
    number = next(NUMBERS)
    name, arguments = {
        "call": (TOOL, {}),
        "initiate": ("register_organisation_request", _registration(number)),
        "confirm": (
            "register_organisation_verify",
            {"requestId": f"signup_req_{number}", "code": "123456"},
        ),
    }[job]
    return {
        "jsonrpc": "2.0",
        "id": number,
        "method": "tools/call",
        "params": {"name": name, "arguments": arguments},
    }


def _registration(number: int) -> dict[str, str]:
    return {"email": _email(number), "organisationName": ORGANISATION}


def _email(number: int) -> str:
    return f"user-{number}@example.com"


@contextmanager
def bare(url: str, job: str) -> Generator[Call]:
    """Do with httpx what somebody without an SDK would write."""
    import httpx

    with httpx.Client(headers=HEADERS) as client:

        def post(job: str) -> object:
            return client.post(url, json=_message(job)).raise_for_status().json()["result"]

        # A diagnosis takes two round trips: what is asked side by side, then the server's own doctor.
        yield (lambda: [post("call") for _ in range(2)]) if job == "diagnose" else lambda: post(job)


@asynccontextmanager
async def bare_async(url: str, job: str) -> AsyncGenerator[AsyncCall]:
    import httpx

    # All wait for a connection as long as it takes: httpx gives up after 5 seconds otherwise.
    async with httpx.AsyncClient(headers=HEADERS, timeout=60) as client:

        async def post(job: str) -> object:
            answer = await client.post(url, json=_message(job))
            return answer.raise_for_status().json()["result"]

        async def two_round_trips() -> object:
            return [await post("call") for _ in range(2)]

        yield two_round_trips if job == "diagnose" else lambda: post(job)


@contextmanager
def favcrm(url: str, job: str) -> Generator[Call]:
    from favcrm import FavCRMClient, FavCRMProvisioner
    from favcrm.stores import MemoryStore

    with (
        FavCRMClient(url, api_key=KEY, era="bare") as client,
        FavCRMProvisioner(url, api_key=KEY, store=MemoryStore(), era="bare") as provisioner,
    ):
        yield {
            "call": lambda: client.call_tool(TOOL),
            "initiate": lambda: provisioner.initiate(
                email=_email(next(NUMBERS)), organisation_name=ORGANISATION
            ),
            "confirm": lambda: provisioner.confirm(f"signup_req_{next(NUMBERS)}", "123456"),
            "diagnose": provisioner.diagnose,
        }[job]


@asynccontextmanager
async def favcrm_async(url: str, job: str) -> AsyncGenerator[AsyncCall]:
    from favcrm import AsyncFavCRMClient, AsyncFavCRMProvisioner
    from favcrm.stores import MemoryStore

    async with (
        AsyncFavCRMClient(url, api_key=KEY, era="bare") as client,
        AsyncFavCRMProvisioner(url, api_key=KEY, store=MemoryStore(), era="bare") as provisioner,
    ):
        yield {
            "call": lambda: client.call_tool(TOOL),
            "initiate": lambda: provisioner.initiate(
                email=_email(next(NUMBERS)), organisation_name=ORGANISATION
            ),
            "confirm": lambda: provisioner.confirm(f"signup_req_{next(NUMBERS)}", "123456"),
            "diagnose": provisioner.diagnose,
        }[job]


@asynccontextmanager
async def mcp_async(url: str, job: str) -> AsyncGenerator[AsyncCall]:
    from mcp import Client

    async with Client(url) as client:
        if job == "initiate":
            yield lambda: client.call_tool("register_organisation_request", _registration(next(NUMBERS)))
        else:
            yield lambda: client.call_tool(TOOL, {})


def blocking(contender: str, url: str, job: str) -> None:
    with {"bare": bare, "favcrm": favcrm}[contender](url, job) as call:
        for line in sys.stdin:
            started = perf_counter()
            for _ in range(int(line)):
                call()
            print(perf_counter() - started, flush=True)


async def asynchronous(contender: str, url: str, job: str, *, at_once: bool = False) -> None:
    name, _, bound = contender.partition(":")
    if bound:
        from favcrm.transports.http import AsyncHTTPTransport
        from favcrm.transports.http.limits import Limits

        AsyncHTTPTransport._limits = Limits(connections=int(bound))
    opened = {"bare": bare_async, "favcrm": favcrm_async, "mcp": mcp_async}[name]
    async with opened(url, job) as call:
        for line in sys.stdin:
            started = perf_counter()
            if at_once:
                await asyncio.gather(*(call() for _ in range(int(line))))
            else:
                for _ in range(int(line)):
                    await call()
            print(perf_counter() - started, flush=True)


if __name__ == "__main__":
    CONTENDER, TASK, URL, JOB = sys.argv[1:]
    if TASK == "blocking":
        blocking(CONTENDER, URL, JOB)
    else:
        asyncio.run(asynchronous(CONTENDER, URL, JOB, at_once=TASK == "at_once"))
