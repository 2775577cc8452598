"""What is not to be cancelled goes on to its end, on each event loop; then the cancellation is delivered."""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest
import trio
import trio.testing

from favcrm._bridge import on_trio
from favcrm._ports import AsyncPort
from favcrm.sandbox import Sandbox


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

        caller = asyncio.create_task(AsyncPort(Sandbox().async_transport()).uncancelled(task))
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
        await AsyncPort(Sandbox().async_transport()).uncancelled(task)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            trio.run(main)
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == ["stored"]


def test_where_trio_is_not_loaded_nobody_is_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "trio")
    assert not on_trio()
