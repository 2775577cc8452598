"""One object in several processes: a fork copies connections, locks and sessions, and none of them may be shared."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from servers import PATIENCE, Peer, Request, Script, Server, answers, serve
from transports.mcp_servers import SESSION_ID, echoes, echoing, numbers_sessions, requests_of

from favcrm.transport import Request as MCPRequest
from favcrm.transports import HTTPTransport
from favcrm.transports.http.connections import close_after_fork, close_inherited

if TYPE_CHECKING:
    from colours import Colour


SCRIPT = Path(__file__).with_name("forking.py")
LIMIT = 60.0


@pytest.fixture(params=["blocking", "asynchronous"])
def colour(request: pytest.FixtureRequest) -> Colour:
    """The colour under test; the processes run asyncio."""
    chosen: Colour = request.param
    return chosen


class Master:
    """A running situation of `forking.py`, and what its processes wrote so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.told: list[Any] = []

    def wait_for(self, what: str) -> None:
        """Read until somebody says something."""
        assert self._process.stdout is not None
        while [what, what] not in self.told:
            self.told.append(json.loads(self._process.stdout.readline()))

    def tell(self, line: str = "") -> None:
        """Send a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def end(self) -> dict[str, Any]:
        """Wait for the end, and return what each was told; nobody may have complained."""
        written, complaints = self._process.communicate(timeout=LIMIT)
        self.told += map(json.loads, written.splitlines())
        assert (self._process.returncode, complaints) == (0, "")
        names = [who for who, _ in self.told]
        assert len(names) == len(set(names))
        return dict(self.told)


@contextmanager
def running(situation: str, url: str, era: str, colour: Colour) -> Generator[Master, None, None]:
    # Newer versions of Python warn of every fork beside a thread.
    warnings = ["-W", "always::ResourceWarning", "-W", "ignore::DeprecationWarning"]
    command = [sys.executable, *warnings, str(SCRIPT), situation, url, era, colour]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield Master(process)
        finally:
            process.kill()


class Held:
    """A script that answers what is to be held only when the test opens the gate.

    Args:
        script: Answers.
        is_held: Tells which requests are held.
    """

    def __init__(self, script: Script, is_held: Callable[[Request], bool]) -> None:
        self._script = script
        self._is_held = is_held
        self.arrived, self.gate = threading.Event(), threading.Event()

    def __call__(self, peer: Peer, request: Request) -> None:
        if self._is_held(request):
            self.arrived.set()
            peer.wait_for(self.gate)
        self._script(peer, request)


def is_held(request: Request) -> bool:
    return "held" in request.json["params"]["arguments"]


def callers(server: Server) -> dict[str, Request]:
    """Return the call of each caller."""
    return {
        request.json["params"]["arguments"]["who"]: request for request in requests_of(server, "tools/call")
    }


def own(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what everybody is told who is told of nobody else."""
    return {who: who for who in told}


def test_workers_of_a_master_have_connections_and_sessions_of_their_own(colour: Colour) -> None:
    with serve(echoing("legacy")) as server, running("workers", server.url, "legacy", colour) as master:
        told = master.end()
    names = {
        "master",
        "master again",
        *(f"{name}.{number}" for name in ("one", "two") for number in range(3)),
    }
    assert told == own(dict.fromkeys(names))
    by = callers(server)
    connections = {name: request.connection for name, request in by.items()}
    assert len({connections["master"], connections["one.0"], connections["two.0"]}) == 3
    sessions = {name: request.headers.get(SESSION_ID) for name, request in by.items()}
    ended = [request.headers[SESSION_ID] for request in requests_of(server, "DELETE")]
    if colour == "blocking":
        assert connections["master"] == connections["master again"]
        assert connections["one.0"] == connections["one.1"] == connections["one.2"]
        assert sessions["master"] == sessions["master again"]
        assert len({sessions["master"], sessions["one.0"], sessions["two.0"]}) == 3
        assert sorted(ended) == sorted(str(sessions[name]) for name in ("master", "one.0", "two.0"))
        assert ended[-1] == sessions["master"]


def test_a_worker_is_not_given_the_answer_to_one_that_was_killed(colour: Colour) -> None:
    script = Held(echoes, is_held)
    with (
        serve(echoing("bare", tools_call=script)) as server,
        running("killed", server.url, "bare", colour) as master,
    ):
        assert script.arrived.wait(PATIENCE)
        master.tell()
        master.wait_for("killed")
        script.gate.set()
        told = master.end()
    assert told == own(dict.fromkeys(["master", "killed", "two", "master again"]))


def test_a_child_that_is_forked_during_a_call_makes_calls_at_once(colour: Colour) -> None:
    script = Held(echoes, is_held)
    with (
        serve(echoing("bare", tools_call=script)) as server,
        running("busy", server.url, "bare", colour) as master,
    ):
        assert script.arrived.wait(PATIENCE)
        master.tell()
        master.wait_for("forked")
        script.gate.set()
        told = master.end()
    assert told == own(dict.fromkeys(["thread", "child", "forked", "master"]))


def test_a_child_that_is_forked_during_a_negotiation_makes_calls_at_once(colour: Colour) -> None:
    begun: list[Request] = []

    def is_first(request: Request) -> bool:
        begun.append(request)
        return len(begun) == 1

    script = Held(numbers_sessions(), is_first)
    server_script = echoing("legacy", initialize=script)
    with serve(server_script) as server, running("busy", server.url, "auto", colour) as master:
        assert script.arrived.wait(PATIENCE)
        master.tell()
        master.wait_for("child")
        master.wait_for("forked")
        script.gate.set()
        told = master.end()
    assert told == own(dict.fromkeys(["thread", "child", "forked", "master"]))


def test_a_child_of_a_running_event_loop_has_connections_of_its_own() -> None:
    with serve(echoing("bare")) as server, running("inside", server.url, "bare", "asynchronous") as master:
        told = master.end()
    assert told == own(dict.fromkeys(["master", "child", "master again"]))
    connections = {name: request.connection for name, request in callers(server).items()}
    assert connections["master"] == connections["master again"] != connections["child"]


def test_a_handed_over_client_in_another_process_raises_not_sent_error(colour: Colour) -> None:
    situation = "lent" if colour == "blocking" else "lent_inside"
    with serve(echoing("bare")) as server, running(situation, server.url, "bare", colour) as master:
        told = master.end()
    refused = (
        "The HTTP client that was handed over belongs to another process. Nothing was sent. "
        f"Make a new HTTP client in this process, and hand that over. The endpoint was {server.url}."
    )
    assert told == {"master": "master", "child": refused, "another client": refused}
    assert len(server.requests) == 1


def test_a_connection_that_the_master_closes_ends_although_a_child_lives() -> None:
    gone = threading.Event()

    def answer_once(peer: Peer, request: Request) -> None:
        echoes(peer, request)
        try:
            peer.stall()
        finally:
            gone.set()

    with serve(answer_once) as server, running("closed", server.url, "bare", "blocking") as master:
        master.wait_for("closed")
        assert gone.wait(PATIENCE)
        master.tell()
        assert master.end() == own(dict.fromkeys(["master", "closed"]))


def test_a_child_closes_its_copies_of_the_connections() -> None:
    with serve(answers()) as server, closing(HTTPTransport(server.url, era="bare")) as transport:
        for _ in range(2):
            transport.request(MCPRequest("tools/list", {}, timeout=10.0))
            # What a child does at its beginning; here the connection is closed for good, and another is made.
            close_inherited()
    assert [request.connection for request in server.requests] == [1, 2]


def test_a_connection_without_a_socket_is_not_noted() -> None:
    close_after_fork(SimpleNamespace(get_extra_info=lambda _: None))
