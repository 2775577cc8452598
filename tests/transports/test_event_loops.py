"""One asynchronous object in several event loops: one after the other, in turn and at once."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import warnings
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import pytest
import trio
from servers import PATIENCE, Server, message, serve
from transports.harness import stand_in
from transports.mcp_servers import SESSION_ID, echoing, requests_of

from favcrm import AsyncFavCRMClient, NotSentError

if TYPE_CHECKING:
    from types import ModuleType

    from favcrm.typing import Era

T = TypeVar("T")
Task = Callable[[], Awaitable[T]]


def on_asyncio(task: Task[T]) -> T:
    async def main() -> T:
        return await task()

    return asyncio.run(main())


RUN: dict[str, Callable[[Task[Any]], Any]] = {"asyncio": on_asyncio, "trio": trio.run}


def client_to(server: Server, era: Era = "bare", **options: Any) -> AsyncFavCRMClient:
    return AsyncFavCRMClient(server.url, era=era, api_key="not-a-real-key-6789", **options)


async def who(crm: AsyncFavCRMClient, name: str) -> object:
    return (await crm.call_tool("get_member", {"who": name})).data


def sessions_of(server: Server, what: str) -> list[str | None]:
    return [request.headers.get(SESSION_ID) for request in requests_of(server, what)]


@pytest.mark.parametrize("era", ["bare", "legacy"])
@pytest.mark.parametrize("first", RUN)
@pytest.mark.parametrize("second", RUN)
def test_each_event_loop_has_connections_of_its_own(era: Era, first: str, second: str) -> None:
    with serve(echoing(era)) as server:
        crm = client_to(server, era)

        async def twice() -> list[object]:
            return [await who(crm, "first"), await who(crm, "second")]

        for loop in (first, second, first):
            assert RUN[loop](twice) == [{"who": "first"}, {"who": "second"}]
        RUN[second](crm.aclose)
    connections = [request.connection for request in requests_of(server, "tools/call")]
    assert connections[::2] == connections[1::2]
    assert len(set(connections)) == 3


@pytest.mark.parametrize("loop", RUN)
def test_each_event_loop_begins_a_session_of_its_own(loop: str) -> None:
    """The session of an event loop that ended without closing is left to the server."""
    with serve(echoing("legacy")) as server:
        crm = client_to(server, "legacy")
        for _ in range(2):
            RUN[loop](lambda: who(crm, "me"))

        async def call_and_close() -> None:
            await who(crm, "me")
            await crm.aclose()

        RUN[loop](call_and_close)
    assert sessions_of(server, "tools/call") == ["session-1", "session-2", "session-3"]
    assert sessions_of(server, "DELETE") == ["session-3"]


@pytest.mark.parametrize("loop", RUN)
def test_an_event_loop_that_ends_leaves_nothing_open(loop: str) -> None:
    with serve(echoing("bare")) as server:
        crm = client_to(server)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            RUN[loop](lambda: who(crm, "me"))
            gc.collect()
        assert [str(warning.message) for warning in told] == []


@pytest.mark.parametrize("loop", RUN)
def test_closing_in_another_event_loop_closes_the_client(loop: str) -> None:
    with serve(echoing("bare")) as server:
        crm = client_to(server)
        RUN[loop](lambda: who(crm, "me"))
        for _ in range(2):
            RUN[loop](crm.aclose)
        with pytest.raises(NotSentError, match=r"is closed\. Nothing was sent") as raised:
            RUN[loop](lambda: who(crm, "me"))
    assert raised.value.permanent
    assert len(server.requests) == 1


def call_and_close_loop(crm: AsyncFavCRMClient, name: str) -> None:
    """Make a call in an event loop that is closed without a clean-up, as some hosts do."""
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(who(crm, name)) == {"who": name}
    loop.close()


def test_the_state_of_an_event_loop_without_a_clean_up_is_forgotten() -> None:
    """Nothing closes the connections then but Python, which warns of them as of all such connections."""
    with serve(echoing("legacy")) as server, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        crm = client_to(server, "legacy")
        for number in range(3):
            call_and_close_loop(crm, f"{number}")
        asyncio.run(crm.aclose())
        gc.collect()
    assert sessions_of(server, "tools/call") == ["session-1", "session-2", "session-3"]
    assert sessions_of(server, "DELETE") == []


def test_event_loops_of_several_threads_are_used_at_once() -> None:
    together = threading.Barrier(4)
    with serve(echoing("legacy")) as server:
        crm = client_to(server, "legacy")

        def work(number: int) -> set[str]:
            async def main() -> set[str]:
                found: set[str] = set()

                async def one(name: str) -> None:
                    found.add(str(await who(crm, name)))

                await who(crm, "first")
                together.wait(PATIENCE)
                async with anyio.create_task_group() as group:
                    for call in range(5):
                        group.start_soon(one, f"{number}.{call}")
                return found

            return set(RUN[["asyncio", "trio"][number % 2]](main))

        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(work, range(4)))
    assert found == [{str({"who": f"{number}.{call}"}) for call in range(5)} for number in range(4)]


# A client that was handed over


@pytest.mark.parametrize(("first", "second"), [("asyncio", "asyncio"), ("trio", "asyncio"), ("trio", "trio")])
def test_a_handed_over_client_is_used_in_one_event_loop(library: ModuleType, first: str, second: str) -> None:
    answered: list[int] = []

    def answer(request: Any) -> Any:
        answered.append(json.loads(request.content)["id"])
        return library.Response(200, content=message(answered[-1], {"content": []}))

    client = library.AsyncClient(**stand_in(library, "asynchronous", answer))
    crm, another = [
        AsyncFavCRMClient("https://favcrm.example/mcp", http_client=client, era="bare", api_key="made-up")
        for _ in range(2)
    ]

    async def twice() -> None:
        await crm.call_tool("any")
        await crm.call_tool("any")

    RUN[first](twice)
    for each in (crm, another):
        with pytest.raises(NotSentError, match="belongs to another event loop") as raised:
            RUN[second](lambda: each.call_tool("any"))  # noqa: B023  # called at once
        assert raised.value.permanent
        assert raised.value.next_step == "Make a new HTTP client in this event loop, and hand that over."
        assert (raised.value.__cause__, raised.value.__context__) == (None, None)
    assert answered == [1, 2]
