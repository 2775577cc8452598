"""The bridge: blocking callers step a flow once."""

from __future__ import annotations

import asyncio

import pytest

from favcrm import FavCRMProvisioner, stores
from favcrm._backends import run_sync
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


def test_a_store_is_loaded_when_it_is_named() -> None:
    assert stores.EnvironmentStore.scheme == "env"


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
