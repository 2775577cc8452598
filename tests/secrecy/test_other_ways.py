"""The same search on other ways to reach the tools: what goes well, and what goes wrong on the way."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from colours import Facade
from secrecy.stage import REGISTRATION, Stage, searched
from transports.session.official_clients import KINDS

from favcrm import Secret
from favcrm.sandbox import Fault, Sandbox
from favcrm.stores import MemoryStore
from favcrm.transports import AsyncHTTPTransport, HTTPTransport
from favcrm.transports.session import SessionTransport

if TYPE_CHECKING:
    from colours import Colour

pytestmark = pytest.mark.anyio

FAULTS = (Fault.RESET_BEFORE, Fault.HTML, Fault.server_error(502), Fault.TRUNCATED_SSE)
TRANSPORTS = {"blocking": HTTPTransport, "asynchronous": AsyncHTTPTransport}


@pytest.fixture(params=["bare", "legacy", "modern"])
async def elsewhere(
    request: pytest.FixtureRequest, colour: Colour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Stage, None]:
    """A sandbox on loopback, reached in one era, and everybody listening."""
    monkeypatch.setenv("HOME", str(tmp_path))
    sandbox = Sandbox()
    with sandbox.serve() as server:
        transport = TRANSPORTS[colour](server.url, era=request.param)
        yield Stage(sandbox, colour, tmp_path, transport=transport)
        await Facade(transport).end()


async def good_and_bad(stage: Stage, faults: Sequence[Fault] = FAULTS) -> None:
    favcrm = stage.provisioner()
    done = await stage.play(
        favcrm.provision(REGISTRATION, read_code=stage.read_code(wrong=1), store=MemoryStore())
    )
    key = done.workspace.api_key
    assert isinstance(key, Secret)
    crm = stage.client(api_key=key)
    await stage.play(crm.call_tool("no_such_tool"))
    for fault in faults:
        stage.sandbox.fail_next("create_member", fault)
        await stage.play(crm.call_tool("create_member", {"name": "Ada"}))
    other = f"{key.reveal()}x"
    stage.search.hide("key", other)
    await stage.play(stage.client(api_key=other).call_tool("list_services"))


async def test_nothing_is_told_over_http_in_any_era(elsewhere: Stage) -> None:
    await searched(elsewhere, good_and_bad)


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_told_through_a_session(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    # For debugging, the library itself logs every request that it sends.
    caplog.set_level(logging.INFO, "mcp")
    sandbox = Sandbox()
    with sandbox.serve() as server:
        async with KINDS[kind](server.url) as session:
            stage = Stage(sandbox, "asynchronous", tmp_path, transport=SessionTransport(session))
            # A connection that is reset is the end of the library's session.
            await searched(stage, partial(good_and_bad, faults=FAULTS[1:]))
    assert [seen.name for seen in sandbox.calls][-2:] == ["create_member", "list_services"]
