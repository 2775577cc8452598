"""The process behind the stdio transport: how it is started, what it is given, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest
from transports.stdio.talk import SERVER, SHORT, TIMEOUT, Gate, Talk, lives, make, talking, until_held

from favcrm import InvalidInputError, NotSentError, OutcomeUnknownError, Secret
from favcrm.transports.stdio import AsyncStdioTransport, StdioTransport, child

if TYPE_CHECKING:
    from colours import Colour

pytestmark = pytest.mark.anyio


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give children less time to end by themselves."""
    monkeypatch.setattr(child, "GRACE", 0.2)


def running(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


@contextmanager
def open_process(pid: int) -> Generator[int]:
    """Return a descriptor that can be read once the process has ended."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def command_line_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


async def test_the_environment_is_small(colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "sesame")
    monkeypatch.setenv("USER", "ada")
    monkeypatch.setenv("SHELL", "() { echo; }")
    async with talking(colour, env={"MORE": "more", "TERM": "dumb"}) as talk:
        found = await talk.data("environment")
        # Python sets the last one by itself.
        passed_on = {"HOME", "LOGNAME", "PATH", "TERM", "USER"} & {*os.environ, "TERM"}
        assert set(found) - {"LC_CTYPE"} == {*passed_on, "MORE"}
        assert (found["MORE"], found["TERM"], found["USER"]) == ("more", "dumb", "ada")


async def test_a_child_has_a_group_of_its_own(colour: Colour) -> None:
    async with talking(colour) as talk:
        found = await talk.data("process")
        assert found["group"] == found["pid"] == os.getsid(found["pid"]) != os.getpgid(0)


async def test_the_key_comes_in_the_environment(colour: Colour, key: Secret) -> None:
    other = Secret(f"fav_mcp_{secrets.token_urlsafe(24)}")
    async with talking(colour) as talk:
        without = await talk.data("process")
        assert "FAVCRM_API_KEY" not in await talk.data("environment")

        found = await talk.data("environment", api_key=key)
        assert found["FAVCRM_API_KEY"] == key.reveal()
        started = await talk.data("process", api_key=Secret(key.reveal()))
        assert started != without
        assert not lives(without["pid"])
        assert await talk.data("process") == started
        assert key.reveal() not in command_line_of(started["pid"])

        found = await talk.data("environment", api_key=other)
        assert found["FAVCRM_API_KEY"] == other.reveal()


async def test_the_variable_of_the_key_can_be_named(colour: Colour, key: Secret) -> None:
    async with talking(colour, key_variable="TOKEN", env={"FAVCRM_API_KEY": "its own"}) as talk:
        found = await talk.data("environment", api_key=key)
        assert (found["TOKEN"], found["FAVCRM_API_KEY"]) == (key.reveal(), "its own")


async def test_the_key_can_be_kept_from_the_child(colour: Colour, key: Secret) -> None:
    async with talking(colour, key_variable=None) as talk:
        before = await talk.data("process")
        found = await talk.data("environment", api_key=key)
        assert key.reveal() not in found.values()
        assert await talk.data("process") == before


@pytest.mark.parametrize("character", ["\0", "\n", "\ud800"])
async def test_a_key_that_no_variable_can_carry(colour: Colour, key: Secret, character: str) -> None:
    async with talking(colour) as talk:
        with pytest.raises(InvalidInputError) as caught:
            await talk.call("echo", api_key=Secret(key.reveal() + character))
        assert key.reveal() not in str(caught.value)


async def test_a_call_with_another_key_waits_for_those_under_way(colour: Colour, key: Secret) -> None:
    outcomes: list[str] = []

    async def hold(talk: Talk) -> None:
        with pytest.raises(OutcomeUnknownError):
            await talk.call("hold", timeout=3 * SHORT)
        outcomes.append("held")

    async with talking(colour) as talk:
        await talk.call("echo")
        async with anyio.create_task_group() as group:
            group.start_soon(hold, talk)
            await until_held(talk, 1)
            with pytest.raises(NotSentError, match="busy"):
                await talk.call("echo", api_key=key, timeout=0.1)
            found = await talk.data("environment", api_key=key)
            outcomes.append("changed")
            assert found["FAVCRM_API_KEY"] == key.reveal()
    assert outcomes == ["held", "changed"]


async def test_a_child_that_stays_does_not_hold_up_the_call_after_it(
    colour: Colour, key: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "GRACE", SHORT)
    async with talking(colour, {"stays": True, "ignores_terminate": True}) as talk:
        await talk.call("echo")
        with pytest.raises(NotSentError, match="did not end in time"):
            await talk.call("echo", api_key=key, timeout=SHORT)
        found = await talk.data("environment", api_key=key)
        assert found["FAVCRM_API_KEY"] == key.reveal()


@pytest.mark.parametrize(
    ("command", "args", "env", "reason"),
    [
        ("no-such-command-anywhere", [], {}, "No such file"),
        ("/", [], {}, "Permission denied"),
        (sys.executable, ["a\0b"], {}, "cannot|none can carry"),
        (sys.executable, [], {"A": "a\0b"}, "none can carry"),
    ],
)
async def test_a_command_that_cannot_be_started(
    colour: Colour, key: Secret, command: str, args: list[str], env: dict[str, str], reason: str
) -> None:
    kind = StdioTransport if colour == "blocking" else AsyncStdioTransport
    talk = Talk(kind(command, [*args, "the-argument"], env=env))
    with pytest.raises(NotSentError, match=reason) as caught:
        await talk.call("echo", api_key=key)
    assert caught.value.permanent
    assert command in str(caught.value)
    assert "the-argument" not in str(caught.value)
    assert caught.value.__context__ is None
    frames = [repr(frame.f_locals) for frame, _ in walk_tb(caught.tb)]
    assert key.reveal() not in "".join(frames)
    await talk.close()


@pytest.mark.parametrize(
    ("arguments", "options", "field"),
    [
        (("",), {}, "command"),
        ((None,), {}, "command"),
        ((b"server",), {}, "command"),
        (("server", "--flag"), {}, "args"),
        (("server", None), {}, "args"),
        (("server", ["--port", 1]), {}, "args"),
        (("server",), {"env": {"PORT": 1}}, "env"),
        (("server",), {"env": {1: "PORT"}}, "env"),
        (("server",), {"env": ["PORT"]}, "env"),
        (("server",), {"key_variable": 1}, "key_variable"),
        (("server",), {"era": "sse"}, "era"),
        (("server",), {"era": "later"}, "era"),
    ],
)
def test_what_cannot_be_used_is_said_at_once(arguments: Any, options: Any, field: str) -> None:
    for kind in (StdioTransport, AsyncStdioTransport):
        with pytest.raises(InvalidInputError) as caught:
            kind(*arguments, **options)
        assert [problem.field for problem in caught.value.problems] == [field]


async def test_a_program_and_its_arguments_may_be_paths(colour: Colour) -> None:
    kind = StdioTransport if colour == "blocking" else AsyncStdioTransport
    talk = Talk(kind(Path(sys.executable), [SERVER, json.dumps({"era": "modern"})]))
    assert await talk.data("echo", {"a": 1}) == {"a": 1}
    await talk.close()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"status": 3}, "ended with exit status 3"),
        ({"signal": signal.SIGKILL}, "ended by the signal SIGKILL"),
        ({"signal": signal.SIGRTMIN + 2}, f"ended by the signal {signal.SIGRTMIN + 2}"),
    ],
)
async def test_a_child_that_dies_fails_what_is_in_flight(
    colour: Colour, arguments: dict[str, int], told: str
) -> None:
    failures: list[str] = []

    async def hold(talk: Talk) -> None:
        with pytest.raises(OutcomeUnknownError) as caught:
            await talk.call("hold")
        failures.append(str(caught.value))

    async with talking(colour) as talk:
        before = await talk.data("process")
        async with anyio.create_task_group() as group:
            group.start_soon(hold, talk)
            group.start_soon(hold, talk)
            await until_held(talk, 2)
            with pytest.raises(OutcomeUnknownError, match=told):
                await talk.call("die", arguments)
        assert len(failures) == 2
        assert all(told in failure for failure in failures)
        assert "stderr" not in failures[0]
        assert await talk.data("process") != before


async def test_what_a_child_said_before_it_died_is_heard(colour: Colour) -> None:
    async with talking(colour) as talk:
        assert (await talk.call("answer_and_die")).result == "said"


async def test_the_last_words_of_a_child_are_shown_without_secrets(colour: Colour, key: Secret) -> None:
    token, code = secrets.token_urlsafe(16), "482913"
    words = [
        "forgotten",
        *(f"line {number}" for number in range(7)),
        f"key {key.reveal()} of {token[:8]}",
        f"user ada@example.com said {code} with {token}",
        "KeyError: 'name' \x1b[31m",
    ]
    hidden = secrets.token_urlsafe(16)
    behaviour = {"last_words": "\n".join([*words, f"variable {hidden}"])}
    async with talking(colour, behaviour, env={"OWN": hidden}) as talk:
        await talk.call("echo", {"token": token, "codes": [code]}, api_key=key)
        with pytest.raises(OutcomeUnknownError) as caught:
            await talk.call("die", api_key=key)
    text = str(caught.value)
    assert "line 6" in text
    assert "KeyError: 'name' [31m" in text
    for secret in ("forgotten", key.reveal(), "ada@example.com", code, token, hidden, "\x1b"):
        assert secret not in text
    assert text.count("[hidden]") >= 5


async def test_a_call_that_could_not_be_written_was_not_sent(colour: Colour, hurry: None) -> None:
    async with talking(colour) as talk:
        assert await talk.data("close_input") == "closed"
        with pytest.raises(NotSentError, match="before the call was sent"):
            await talk.call("echo")
        assert await talk.data("echo", {"a": 1}) == {"a": 1}


async def test_a_child_that_ended_between_two_calls_is_started_again(colour: Colour) -> None:
    async with talking(colour) as talk:
        first = await talk.data("process")
        os.kill(first["pid"], signal.SIGKILL)
        talk.child._ended.wait()
        assert await talk.data("process") != first


async def test_a_child_that_falls_silent_for_ever_is_ended(colour: Colour, hurry: None) -> None:
    async with talking(colour) as talk:
        with pytest.raises(OutcomeUnknownError, match=r"SIGTERM.*closing"):
            await talk.call("close_output")


async def test_a_child_that_reads_no_more(colour: Colour, hurry: None) -> None:
    async with talking(colour) as talk:
        assert await talk.data("stop_reading") == "deaf"
        # More than a pipe holds: some of it is written.
        with pytest.raises(OutcomeUnknownError):
            await talk.call("echo", {"text": "x" * 1_000_000}, timeout=SHORT)
        with pytest.raises(NotSentError, match="did not read"):
            await talk.call("echo", timeout=SHORT)


async def test_a_call_that_was_taken_back_is_never_written(colour: Colour, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    async with talking(colour) as talk:
        assert await talk.data("pause", {"gate": gate.path}) == "paused"
        with pytest.raises(OutcomeUnknownError):
            await talk.call("echo", {"text": "x" * 1_000_000}, timeout=SHORT)
        with pytest.raises(NotSentError):
            await talk.call("echo", {"text": "taken back"}, timeout=SHORT)
        await gate.open()
        sent = [message.get("params", {}).get("name") for message in await talk.data("received")]
        assert sent == [None, "pause", "echo", None, "received"]


async def test_a_number_that_may_be_anothers_is_not_signalled(
    colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    signalled: list[object] = []
    monkeypatch.setattr(child, "end_group", lambda process, **how: signalled.append(process))
    async with talking(colour) as talk:
        await talk.call("echo")
    # Once, while its number was surely its own.
    assert signalled == [talk.child._process]
    talk.child._end(force=True)
    assert len(signalled) == 1


async def test_nor_is_one_that_somebody_else_has_waited_for(
    colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    signalled: list[object] = []
    monkeypatch.setattr(child, "end_group", lambda process, **how: signalled.append(process))
    monkeypatch.setattr(child, "LAST_WORDS", TIMEOUT)
    async with talking(colour) as talk:
        found = await talk.data("process")
        somebody = threading.Thread(target=os.waitpid, args=(found["pid"], 0))
        somebody.start()
        # Before its pipes are done with, so has that somebody.
        talk.child._pipes.append(somebody)
        os.kill(found["pid"], signal.SIGKILL)
        talk.child.join()
    assert not signalled


async def test_what_a_child_complains_of_is_drained(colour: Colour) -> None:
    async with talking(colour) as talk:
        assert await talk.data("complain", {"lines": 200_000}) == "done"


async def test_a_child_ends_by_itself_when_its_input_does(colour: Colour, tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    async with talking(colour, {"ended": str(ended)}) as talk:
        await talk.call("echo")
    assert ended.exists()


async def test_where_an_end_cannot_be_seen_without_being_taken(
    colour: Colour, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(child, "await_exit", child.await_plainly)
    await test_a_child_ends_by_itself_when_its_input_does(colour, tmp_path)


@pytest.mark.parametrize(("ignores_terminate", "status"), [(False, -signal.SIGTERM), (True, -signal.SIGKILL)])
async def test_a_child_that_stays_is_ended(
    colour: Colour, hurry: None, ignores_terminate: bool, status: int
) -> None:
    behaviour = {"stays": True, "ignores_terminate": ignores_terminate}
    async with talking(colour, behaviour) as talk:
        await talk.call("echo")
    assert talk.child._process.returncode == status


async def test_a_grandchild_that_holds_the_pipes_holds_nobody_up(colour: Colour, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    async with talking(colour) as talk:
        found = await talk.data("grandchild", {"gate": gate.path})
        with pytest.raises(OutcomeUnknownError, match="exit status 3"):
            await talk.call("die")
        assert lives(found)
        await talk.close()
    await gate.open()
    for pipe in talk.child._pipes:
        pipe.join()


@pytest.mark.parametrize("ended_by", ["itself", "the client"])
async def test_what_a_child_leaves_behind_is_ended(colour: Colour, tmp_path: Path, ended_by: str) -> None:
    gate = Gate(tmp_path)
    async with talking(colour) as talk:
        left = await talk.data("grandchild", {"gate": gate.path, "stays_in_group": True})
        with open_process(left) as descriptor:
            if ended_by == "itself":
                with pytest.raises(OutcomeUnknownError, match="exit status 3"):
                    await talk.call("die")
            await talk.close()
            # It can be read once the process has ended, zombie or not.
            await anyio.wait_readable(descriptor)
    for pipe in talk.child._pipes:
        pipe.join()


async def test_a_closed_transport_takes_no_calls(colour: Colour) -> None:
    talk = Talk(make(colour))
    await talk.close()
    for _ in range(2):
        with pytest.raises(NotSentError, match="closed") as caught:
            await talk.call("echo")
        assert caught.value.permanent
        await talk.close()


async def test_closing_fails_what_is_in_flight_and_what_waits(colour: Colour, key: Secret) -> None:
    failures: list[Exception] = []

    async def fail(call: Any) -> None:
        with pytest.raises((NotSentError, OutcomeUnknownError)) as caught:
            await call()
        failures.append(caught.value)

    async with talking(colour) as talk, anyio.create_task_group() as group:
        group.start_soon(fail, partial(talk.call, "hold"))
        await until_held(talk, 1)
        group.start_soon(fail, partial(talk.call, "echo", api_key=key))
        while not talk.transport._supervisor._queue:
            await anyio.lowlevel.checkpoint()
        await talk.close()
    assert {type(failure) for failure in failures} == {NotSentError, OutcomeUnknownError}


async def test_a_transport_that_is_closed_while_its_child_starts(
    colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Talk(make(colour))
    start = child.Launch.start
    processes: list[subprocess.Popen[bytes]] = []

    def closed_meanwhile(launch: child.Launch, api_key: Secret | None) -> Any:
        processes.append(start(launch, api_key))
        talk.transport._supervisor.leave()
        return processes[0]

    monkeypatch.setattr(child.Launch, "start", closed_meanwhile)
    with pytest.raises(NotSentError, match="closed"):
        await talk.call("echo")
    assert processes[0].returncode == 0


@pytest.mark.parametrize("way", ["asyncio"], indirect=True)
@pytest.mark.parametrize("winner", [0, 1])
async def test_of_two_children_that_start_one_is_kept(
    colour: Colour, monkeypatch: pytest.MonkeyPatch, winner: int
) -> None:
    """Asyncio can cancel the first starter, whose thread goes on."""
    start = child.Launch.start
    started, go_on = [[threading.Event(), threading.Event()] for _ in range(2)]
    processes: list[subprocess.Popen[bytes]] = []

    def slow(launch: child.Launch, api_key: Secret | None) -> Any:
        process, number = start(launch, api_key), len(processes)
        processes.append(process)
        started[number].set()
        go_on[number].wait()
        return process

    monkeypatch.setattr(child.Launch, "start", slow)
    async with talking(colour) as talk:
        first = asyncio.create_task(talk.data("process"))
        await anyio.to_thread.run_sync(started[0].wait)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = asyncio.create_task(talk.data("process"))
        await anyio.to_thread.run_sync(started[1].wait)
        go_on[winner].set()
        while talk.transport._supervisor._dialogue is None:
            await anyio.lowlevel.checkpoint()
        go_on[1 - winner].set()
        found = await second
        assert found["pid"] == processes[winner].pid
        await anyio.to_thread.run_sync(processes[1 - winner].wait)
        assert await talk.data("process") == found


async def test_a_transport_that_is_forgotten_lets_its_child_end(colour: Colour) -> None:
    talk = Talk(make(colour))
    await talk.call("echo")
    child = talk.child
    del talk
    gc.collect()
    child.join()
    assert not lives(child._process.pid)


def test_an_interrupted_call_is_cancelled_at_the_server() -> None:
    transport = make("blocking")
    with pytest.raises(KeyboardInterrupt):
        transport.request("tools/call", {"name": "interrupt"}, api_key=None, timeout=30)
    response = transport.request("tools/call", {"name": "received"}, api_key=None, timeout=30)
    received = response.result["structuredContent"]["data"]
    assert [message["method"] for message in received][-2:] == ["notifications/cancelled", "tools/call"]
    transport.close()


@pytest.mark.parametrize("then", ["called", "closed"])
def test_an_interrupted_start_leaves_no_process(monkeypatch: pytest.MonkeyPatch, then: str) -> None:
    start = child.Launch.start
    processes: list[subprocess.Popen[bytes]] = []

    def interrupted(launch: child.Launch, api_key: Secret | None) -> Any:
        processes.append(start(launch, api_key))
        monkeypatch.undo()
        os.kill(os.getpid(), signal.SIGINT)
        return processes[0]

    monkeypatch.setattr(child.Launch, "start", interrupted)
    transport = make("blocking")
    with pytest.raises(KeyboardInterrupt):
        transport.request("tools/call", {"name": "process"}, api_key=None, timeout=TIMEOUT)
    if then == "called":
        for thread in running("favcrm-run"):
            thread.join()
        response = transport.request("tools/call", {"name": "process"}, api_key=None, timeout=TIMEOUT)
        assert response.result["structuredContent"]["data"]["pid"] == processes[0].pid
    transport.close()
    for thread in running("favcrm-run"):
        thread.join()
    assert processes[0].returncode == 0


def test_one_transport_serves_several_event_loops(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    talk = Talk(make("asynchronous", {"gate": gate.path}))
    with pytest.raises(NotSentError):
        anyio.run(partial(talk.data, "process", timeout=SHORT), backend="asyncio")

    found: list[object] = []

    async def go_on() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(gate.open)
            found.append(await talk.data("process"))

    # The second one goes on with what the first one began.
    anyio.run(go_on, backend="trio")
    assert anyio.run(partial(talk.data, "process"), backend="asyncio") == found[0]
    anyio.run(talk.close)


PROGRAM = """
import json, sys
from favcrm.transports.stdio import StdioTransport
transport = StdioTransport(sys.executable, [sys.argv[1], sys.argv[2]])
answer = transport.request("tools/call", {"name": "process"}, api_key=None, timeout=30)
print(answer.result["structuredContent"]["data"]["pid"])
"""


FORKED = """
import os, sys
from favcrm.transports.stdio import StdioTransport
transport = StdioTransport(sys.executable, [sys.argv[1], '{"era": "modern"}'])

def tell():
    answer = transport.request("tools/call", {"name": "process"}, api_key=None, timeout=30)
    print(answer.result["structuredContent"]["data"]["pid"], flush=True)

tell()
fork = os.fork()
if fork:
    _, status = os.waitpid(fork, 0)
    assert status == 0
tell()
"""


@pytest.mark.parametrize("stays", [False, True])
def test_a_program_that_ends_leaves_no_child(stays: bool) -> None:
    behaviour = json.dumps({"era": "modern", "stays": stays})
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(SERVER), behaviour],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stderr == ""
    assert not lives(int(ran.stdout))


def test_a_fork_leaves_the_child_to_its_parent() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKED, str(SERVER)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stderr == ""
    mine, forks, still_mine = map(int, ran.stdout.split())
    assert mine == still_mine != forks
    assert not lives(mine)
    assert not lives(forks)


def test_where_there_are_no_groups_the_process_is_ended() -> None:
    for force, status in ((False, -signal.SIGTERM), (True, -signal.SIGKILL)):
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        child.signal_process(process, force=force)
        assert process.wait() == status
        assert process.stdin
        process.stdin.close()
