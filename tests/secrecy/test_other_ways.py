"""The same search on every other way to reach the tools: what goes well, and what goes wrong on the way."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from colours import Facade
from secrecy.stage import REGISTRATION, Stage, searched
from servers import Peer, Request, event, head, message, serve, whole
from transports.session.openers import KINDS
from transports.speakers import TAKEN, greeting, page
from transports.stdio.test_official import SERVER

from favcrm import Secret
from favcrm.sandbox import Fault, Sandbox
from favcrm.sandbox.faults import Ending
from favcrm.stores import MemoryStore
from favcrm.transports import (
    AsyncHTTPTransport,
    AsyncStdioTransport,
    HTTPTransport,
    StdioTransport,
)
from favcrm.transports.session import SessionTransport

if TYPE_CHECKING:
    from colours import Colour

    from favcrm.typing import Era

pytestmark = pytest.mark.anyio

FAULTS = (Fault.RESET_BEFORE, Fault.HTML, Fault.server_error(502), Fault.TRUNCATED_SSE)
Way = Callable[["Colour", str, Path], Any]


def over_http(era: Era) -> Way:
    kinds = {"blocking": HTTPTransport, "asynchronous": AsyncHTTPTransport}
    return lambda colour, url, _: kinds[colour](url, era=era)


def over_stdio(colour: Colour, url: str, _: Path) -> Any:
    kind = StdioTransport if colour == "blocking" else AsyncStdioTransport
    env = {"PYTHONPATH": os.pathsep.join(sys.path)}
    return kind(sys.executable, [str(SERVER), url], env=env)


class OnStreams:
    """Serves a sandbox over HTTP+SSE. Where an answer breaks off, the stream that it is on does."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._streams: list[tuple[Peer, threading.Event]] = []

    def __call__(self, peer: Peer, request: Request) -> None:
        """Serve one request."""
        _, _, number = request.path.partition("?stream=")
        if request.method == "GET":
            broken = threading.Event()
            self._streams.append((peer, broken))
            address = f"/mcp?stream={len(self._streams) - 1}"
            peer.send(head(headers={"content-type": "text/event-stream"}), greeting(address))
            peer.wait_for(broken)
            peer.hang_up()
        elif number:
            self._take(peer, request, *self._streams[int(number)])
        else:
            page(405)(peer, request)

    def _take(self, peer: Peer, request: Request, stream: Peer, broken: threading.Event) -> None:
        if request.json["method"] == "initialize":
            TAKEN(peer, request)
            stream.send(event(message(request, {"protocolVersion": "2024-11-05", "capabilities": {}})))
        elif "id" not in request.json:
            TAKEN(peer, request)
        else:
            key = request.headers.get("authorization", "").removeprefix("Bearer ")
            reply = self._sandbox.handle(request.body, key=key or None, ip="127.0.0.1")
            if reply.ending is Ending.RESET:
                peer.reset()
            if reply.status != 200:
                peer.send(whole(reply.body, reply.status, reply.headers))
                return
            TAKEN(peer, request)
            stream.send(reply.body if reply.ending is Ending.CUT else event(reply.body))
            if reply.ending is Ending.CUT:
                broken.set()


WAYS: dict[str, Way] = {
    "bare": over_http("bare"),
    "session": over_http("session"),
    "modern": over_http("modern"),
    "sse": over_http("sse"),
    "stdio": over_stdio,
}


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
async def elsewhere(
    request: pytest.FixtureRequest,
    colour: Colour,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncGenerator[Stage, None]:
    """A sandbox on loopback, reached in another way, and everybody listening."""
    monkeypatch.setenv("HOME", str(tmp_path))
    sandbox = Sandbox()
    with serve(OnStreams(sandbox)) if request.param is WAYS["sse"] else sandbox.serve() as server:
        transport = request.param(colour, server.url, tmp_path_factory.mktemp("bin"))
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


async def test_nothing_is_told_on_the_way(elsewhere: Stage) -> None:
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
