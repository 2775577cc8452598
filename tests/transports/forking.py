"""Processes that fork with a client in use: ``python forking.py SITUATION ENDPOINT ERA COLOUR``.

Each process writes one line of JSON for each call: who called, and what it was answered.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import httpx

from favcrm import AsyncFavCRMClient, FavCRMClient, FavCRMError

KEY = "not-a-real-key-6789"
SITUATION, ENDPOINT, ERA, COLOUR = sys.argv[1:5]
OPTIONS: dict[str, Any] = {"era": ERA, "api_key": KEY}
PATIENCE = 60


def say(who: str, told: object) -> None:
    """Write a line in one piece, so that those of several processes do not mix."""
    os.write(1, f"{json.dumps([who, told])}\n".encode())


class Caller:
    """A client of either colour; an asynchronous one has an event loop for each call."""

    def __init__(self, **options: Any) -> None:
        kind: Any = FavCRMClient if COLOUR == "blocking" else AsyncFavCRMClient
        self.crm = kind(ENDPOINT, **OPTIONS, **options)

    def call(self, who: str, **arguments: object) -> None:
        try:
            said = self.run(lambda: self.crm.call_tool("get_member", {"who": who, **arguments})).data["who"]
        except FavCRMError as error:
            said = str(error)
        say(who, said)

    def close(self) -> None:
        self.run(self.crm.close if COLOUR == "blocking" else self.crm.aclose)

    def call_and_close(self, who: str) -> None:
        self.call(who)
        self.close()

    def run(self, function: Callable[[], Any]) -> Any:
        if COLOUR == "blocking":
            return function()

        async def main() -> Any:
            return await function()

        return asyncio.run(main())


def forked(work: Callable[[], object]) -> int:
    """Do something in a child, which ends as a worker of a pre-fork server does."""
    child = os.fork()
    if not child:
        work()
        sys.exit(0)
    return child


def wait_for(*children: int) -> None:
    for child in children:
        os.waitpid(child, 0)


def workers() -> None:
    """Two workers call at once, close what they have, and end; the master goes on."""
    caller = Caller()
    caller.call("master")

    def work(name: str) -> Callable[[], None]:
        def calls() -> None:
            for number in range(3):
                caller.call(f"{name}.{number}")
            caller.close()

        return calls

    wait_for(forked(work("one")), forked(work("two")))
    caller.call("master again")
    caller.close()


def killed() -> None:
    """One worker is killed while it waits for its answer; another one calls after it."""
    caller = Caller()
    caller.call("master")
    first = forked(lambda: caller.call("one", held=True))
    sys.stdin.readline()
    os.kill(first, signal.SIGKILL)
    wait_for(first)
    say("killed", "killed")
    wait_for(forked(lambda: caller.call_and_close("two")))
    caller.call("master again")
    caller.close()


def busy() -> None:
    """The master forks while another thread of it waits for an answer, with whatever locks it holds."""
    caller = Caller()
    thread = threading.Thread(target=caller.call, args=("thread",), kwargs={"held": True})
    thread.start()
    sys.stdin.readline()
    wait_for(forked(lambda: caller.call_and_close("child")))
    say("forked", "forked")
    thread.join(PATIENCE)
    caller.call("master")
    caller.close()


def closed() -> None:
    """The master closes its connections while a child lives."""
    caller = Caller()
    caller.call("master")
    child = forked(sys.stdin.readline)
    caller.close()
    say("closed", "closed")
    wait_for(child)


def inside() -> None:
    """Multiprocessing starts a worker inside of a running event loop."""

    async def main() -> None:
        caller = Caller()

        async def call(who: str) -> None:
            say(who, (await caller.crm.call_tool("get_member", {"who": who})).data["who"])

        await call("master")
        process = multiprocessing.get_context("fork").Process(target=caller.call, args=("child",))
        process.start()
        process.join(PATIENCE)
        await call("master again")
        await caller.crm.aclose()

    asyncio.run(main())


def lent() -> None:
    """A client that was handed over is used before and after a fork."""
    with httpx.Client() as client:
        caller = Caller(http_client=client)
        caller.call("master")
        in_children(caller, Caller(http_client=client))


def lent_inside() -> None:
    """As above, inside of a running event loop."""

    async def main() -> None:
        async with httpx.AsyncClient() as client:
            caller = Caller(http_client=client)
            say("master", (await caller.crm.call_tool("get_member", {"who": "master"})).data["who"])
            in_children(caller, Caller(http_client=client))

    asyncio.run(main())


def in_children(caller: Caller, another: Caller) -> None:
    """Call in two processes of multiprocessing."""
    for each, name in ((caller, "child"), (another, "another client")):
        process = multiprocessing.get_context("fork").Process(target=each.call, args=(name,))
        process.start()
        process.join(PATIENCE)


if __name__ == "__main__":
    globals()[SITUATION]()
