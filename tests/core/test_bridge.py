"""The bridge: blocking callers step a flow once."""

from __future__ import annotations

import asyncio
import threading

import pytest

from favcrm import FavCRMProvisioner, stores
from favcrm._bridge import run_sync
from favcrm._ports import BlockingPort
from favcrm.sandbox import Sandbox


def test_it_returns_what_the_flow_returns() -> None:
    async def flow() -> str:
        return "done"

    assert run_sync(flow()) == "done"


def test_it_raises_what_the_flow_raises() -> None:
    async def flow() -> None:
        raise LookupError("of the flow")

    with pytest.raises(LookupError, match="of the flow"):
        run_sync(flow())


def test_a_flow_that_suspends_is_a_bug_and_is_closed() -> None:
    ended: list[bool] = []

    async def flow() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            ended.append(True)

    with pytest.raises(RuntimeError, match="suspended"):
        run_sync(flow())
    assert ended == [True]


def test_ctrl_c_passes_through() -> None:
    async def flow() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sync(flow())


def test_ctrl_c_waits_for_what_cannot_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the main thread: the interrupt arrives while it waits, and is delivered after the task."""
    join, done = threading.Thread.join, list[str]()
    interrupts = [KeyboardInterrupt(), KeyboardInterrupt()]
    released = threading.Event()

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        if interrupts:
            raise interrupts.pop()
        released.set()
        join(thread, timeout)

    async def task() -> str:
        assert released.wait(30)
        done.append("stored")
        return "the workspace"

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    port = BlockingPort(Sandbox().transport())
    with pytest.raises(KeyboardInterrupt):
        run_sync(port.uncancelled(task))
    assert done == ["stored"]


def test_a_store_that_is_not_there_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no_such_store"):
        getattr(stores, "no_such_store")  # noqa: B009  # type checkers know better


@pytest.mark.anyio
async def test_the_blocking_side_works_inside_a_running_loop_as_in_jupyter() -> None:
    sandbox = Sandbox()
    with FavCRMProvisioner(transport=sandbox.transport()) as favcrm:
        pending = favcrm.initiate(email="you@example.com", organisation_name="Stretch + Breathe")
        favcrm.confirm(pending, sandbox.inbox.code_for("you@example.com"))
        assert favcrm.diagnose().ready
