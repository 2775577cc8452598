"""What is not to be cancelled goes on to its end, on each event loop; then the cancellation is delivered."""

from __future__ import annotations

import asyncio
import math
import signal
import sys
import threading
from contextlib import suppress

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio
import trio.testing

from favcrm._backends import on_trio, run_sync
from favcrm._backends.asynchronous import AsyncBackend
from favcrm._backends.blocking import BlockingBackend
from favcrm.sandbox import Sandbox


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loop."""
    backend: str = request.param
    return backend


@pytest.mark.parametrize("fails", [False, True])
def test_a_cancelled_task_of_asyncio_waits(*, fails: bool) -> None:
    """As Ctrl-C does it: asyncio cancels the main task."""
    done = list[str]()

    async def main() -> None:
        begun, may_end = asyncio.Event(), asyncio.Event()

        async def task() -> None:
            begun.set()
            await may_end.wait()
            done.append("stored")
            if fails:
                raise LookupError("a failure that the cancellation comes before")

        caller = asyncio.create_task(AsyncBackend(Sandbox().async_transport()).uncancelled(task))
        await begun.wait()
        caller.cancel()
        done_before_its_end, _ = await asyncio.wait([caller], timeout=0)
        assert not done_before_its_end
        caller.cancel()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await caller

    asyncio.run(main())
    assert done == ["stored"]


def test_ctrl_c_on_trio_waits() -> None:
    done = list[str]()

    async def task() -> None:
        signal.raise_signal(signal.SIGINT)
        # The caller has noticed, and waits again.
        await trio.testing.wait_all_tasks_blocked()
        done.append("stored")

    async def main() -> None:
        await AsyncBackend(Sandbox().async_transport()).uncancelled(task)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            trio.run(main)
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == ["stored"]


# What cancels a section from outside, and what may cancel inside of it


class Section:
    """A section of an asynchronous port, which ends when it is told to."""

    def __init__(self) -> None:
        self.begun, self.may_end = anyio.Event(), anyio.Event()
        self.done = False

    async def __call__(self) -> str:
        return await AsyncBackend(Sandbox().async_transport()).uncancelled(self._work)

    async def _work(self) -> str:
        self.begun.set()
        await self.may_end.wait()
        self.done = True
        return "the workspace"


@pytest.mark.anyio
async def test_a_cancelled_scope_waits_for_it_and_takes_effect_afterwards() -> None:
    section, passed = Section(), False

    async def sign_up() -> None:
        nonlocal passed
        await section()
        await anyio.lowlevel.checkpoint()
        passed = True

    async with anyio.create_task_group() as group:
        group.start_soon(sign_up)
        await section.begun.wait()
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await anyio.wait_all_tasks_blocked()
            assert not section.done
            section.may_end.set()
    assert section.done
    assert not passed


@pytest.mark.anyio
async def test_a_timeout_around_it_is_raised_after_it() -> None:
    section = Section()

    async def sign_up() -> None:
        with suppress(TimeoutError), anyio.fail_after(math.inf) as limit:
            scopes.append(limit)
            await section()
            await anyio.lowlevel.checkpoint()

    scopes = list[anyio.CancelScope]()
    async with anyio.create_task_group() as group:
        group.start_soon(sign_up)
        await section.begun.wait()
        scopes[0].deadline = anyio.current_time()
        await anyio.wait_all_tasks_blocked()
        assert not section.done
        section.may_end.set()
    assert section.done
    assert scopes[0].cancelled_caught


@pytest.mark.anyio
async def test_a_timeout_inside_of_it_comes_through() -> None:
    async def work() -> str:
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0):
                await anyio.sleep_forever()
        return "in time"

    assert await AsyncBackend(Sandbox().async_transport()).uncancelled(work) == "in time"


def test_a_timeout_of_asyncio_inside_of_it_comes_through() -> None:
    async def work() -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        return "in time"

    assert asyncio.run(AsyncBackend(Sandbox().async_transport()).uncancelled(work)) == "in time"


def test_a_timeout_of_asyncio_around_it_is_raised_after_it() -> None:
    section, limits = Section(), list[asyncio.Timeout]()

    async def sign_up() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as limit:
                limits.append(limit)
                await section()
            pytest.fail("it was not raised")

    async def main() -> None:
        task = asyncio.create_task(sign_up())
        await section.begun.wait()
        loop = asyncio.get_running_loop()
        limits[0].reschedule(loop.time())
        # Behind the timeout, which is to happen in this round too.
        loop.call_soon(section.may_end.set)
        await task
        assert not task.cancelling()

    asyncio.run(main())
    assert section.done


def test_who_cancels_all_tasks_of_asyncio_waits_for_it() -> None:
    async def main() -> None:
        section = Section()
        task = asyncio.create_task(section())
        await section.begun.wait()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for other in others:
            other.cancel()
        section.may_end.set()
        await asyncio.wait(others)
        assert task.cancelled()
        assert section.done

    asyncio.run(main())


@pytest.mark.anyio
async def test_where_no_thread_can_be_started_what_blocks_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python 3.12 refuses it while the process ends; the key in hand is stored all the same."""

    async def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(anyio.to_thread, "run_sync", refuse)
    assert await AsyncBackend(Sandbox().async_transport()).run_blocking(lambda: "stored") == "stored"


@pytest.mark.anyio
async def test_an_error_of_what_blocks_is_no_lack_of_threads() -> None:
    calls = list[str]()

    def fail() -> None:
        calls.append("called")
        raise RuntimeError("of the store")

    with pytest.raises(RuntimeError, match="of the store"):
        await AsyncBackend(Sandbox().async_transport()).run_blocking(fail)
    assert calls == ["called"]


def test_where_trio_is_not_loaded_nobody_is_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "trio")
    assert not on_trio()


def test_where_no_thread_can_be_started_questions_are_asked_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As Python 3.12 refuses it while the process ends."""

    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    backend = BlockingBackend(Sandbox().transport())

    async def task() -> int:
        return await backend.run_blocking(threading.get_ident)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    here = threading.get_ident()
    assert run_sync(backend.side_by_side([task, task])) == [here, here]
    # Nothing is left behind that would send later calls elsewhere.
    assert run_sync(backend.run_blocking(threading.get_ident)) == here
