"""A run that is killed, or interrupted, at any step: the next one finishes it, or says what exists."""

from __future__ import annotations

import signal

import pytest
from attrs import evolve
from crash import flow
from crash.arena import REQUEST, VERIFY, Arena, Striking

from favcrm import EventKind
from favcrm.events import State
from favcrm.sandbox import Fault

KILL, INTERRUPT = signal.SIGKILL, signal.SIGINT

# At each step: how the second run ends, and how many emails both runs took together.
STEPS = {
    "before the store is checked": ("key", 1),
    f"state {State.STORE_CHECKED}": ("key", 1),
    # The server's answer is nowhere but in the process that dies.
    "before the ledger keeps": ("key", 2),
    "after the ledger kept": ("key", 1),
    f"event {EventKind.CODE_REQUESTED}": ("key", 1),
    f"state {State.CODE_REQUESTED}": ("key", 1),
    "asked for the code": ("key", 1),
    f"state {State.CODE_READ}": ("key", 1),
    f"state {State.VERIFY_SENT}": ("key", 1),
    "before the ledger marks": ("key", 1),
    "after the ledger marks": ("key", 1),
    f"event {EventKind.VERIFY_SENT}": ("key", 1),
    # From here on there is a workspace, and its key is nowhere but in the process that dies.
    "the answer has arrived": ("told", 1),
    "before the store puts": ("told", 1),
    # And from here on the key is safe.
    "after the store put": ("key", 1),
    f"event {EventKind.KEY_RECEIVED}": ("key", 1),
    f"event {EventKind.KEY_STORED}": ("key", 1),
    "before the ledger settles": ("key", 1),
    "after the ledger settles": ("key", 1),
    f"state {State.KEY_RECEIVED}": ("key", 1),
    f"state {State.STORED}": ("key", 1),
    f"event {EventKind.DIAGNOSED}": ("key", 1),
    f"state {State.DIAGNOSED}": ("key", 1),
}
# Where the store fails after all, and there is an escrow.
STEPS_TO_ESCROW = {
    f"event {EventKind.STORE_FAILED}": ("key", 1),
    f"event {EventKind.ESCROWED}": ("key", 1),
    f"state {State.ESCROWED}": ("key", 1),
}
# Where it fails, and there is none.
STEPS_TO_NOWHERE = {
    f"event {EventKind.STORE_FAILED}": ("told", 1),
    f"state {State.NOT_STORED}": ("told", 1),
}
ELSEWHERE = {
    f"event {EventKind.CODE_REUSED}",
    f"event {EventKind.OUTCOME_UNKNOWN}",
    f"state {State.OUTCOME_UNKNOWN}",
    f"state {State.CODE_REFUSED}",
    f"state {State.ALREADY_REGISTERED}",
}


@pytest.fixture(params=["blocking", "asyncio"])
def colour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_event_and_every_state_is_a_step() -> None:
    steps = {*STEPS, *STEPS_TO_ESCROW, *STEPS_TO_NOWHERE, *ELSEWHERE}
    events = {f"event {kind}" for kind in EventKind} - {f"event {EventKind.STATE_CHANGED}"}
    states = {f"state {state}" for state in State}
    assert events | states <= steps


@pytest.mark.parametrize("step", STEPS)
def test_killed(arena: Arena, colour: str, step: str) -> None:
    settings = arena.settings(colour, hit_at=step, signal=KILL)
    arena.hit(settings)
    assert (arena.again(settings), len(arena.sandbox.inbox)) == STEPS[step]


@pytest.mark.parametrize("step", STEPS)
def test_interrupted(arena: Arena, colour: str, step: str) -> None:
    """Ctrl-C never loses the key: once a code is sent, the key is stored before the process ends."""
    settings = arena.settings(colour, hit_at=step, signal=INTERRUPT)
    arena.hit(settings)
    # asyncio cancels at the next wait, which is later than the step.
    steps = list(STEPS)
    if steps.index(step) >= steps.index("before the ledger marks"):
        assert arena.made() == 1
        assert (arena.directory / "config.toml").exists()
    assert arena.again(settings) == "key"
    assert len(arena.sandbox.inbox) <= STEPS[step][1]
    assert arena.sandbox.count(VERIFY) == 1


@pytest.mark.parametrize("step", STEPS_TO_ESCROW)
@pytest.mark.parametrize("number", [KILL, INTERRUPT])
def test_while_the_key_goes_to_the_escrow(arena: Arena, colour: str, step: str, number: int) -> None:
    settings = arena.settings(colour, hit_at=step, signal=number, full=True, escrow=True)
    arena.hit(settings)
    assert (arena.again(settings), len(arena.sandbox.inbox)) == STEPS_TO_ESCROW[step]


@pytest.mark.parametrize("step", STEPS_TO_NOWHERE)
def test_while_there_is_nowhere_to_put_the_key(arena: Arena, colour: str, step: str) -> None:
    settings = arena.settings(colour, hit_at=step, signal=KILL, full=True)
    arena.hit(settings)
    assert (arena.again(settings), len(arena.sandbox.inbox)) == STEPS_TO_NOWHERE[step]


def test_killed_when_a_code_is_used_again(arena: Arena, colour: str) -> None:
    arena.hit(arena.settings(colour, hit_at="asked for the code", signal=KILL))
    settings = arena.settings(colour, hit_at=f"event {EventKind.CODE_REUSED}", signal=KILL)
    arena.hit(settings)
    assert (arena.again(settings), len(arena.sandbox.inbox)) == ("key", 1)


@pytest.mark.parametrize("step", [f"event {EventKind.OUTCOME_UNKNOWN}", f"state {State.OUTCOME_UNKNOWN}"])
def test_killed_when_the_outcome_is_unknown(arena: Arena, colour: str, step: str) -> None:
    arena.sandbox.fail_next(VERIFY, Fault.RESET_AFTER)
    settings = arena.settings(colour, hit_at=step, signal=KILL)
    arena.hit(settings)
    assert (arena.again(settings), len(arena.sandbox.inbox)) == ("told", 1)


def test_killed_when_there_is_an_account(arena: Arena, colour: str) -> None:
    arena.sandbox.add_account(flow.EMAIL)
    settings = arena.settings(colour, hit_at=f"state {State.ALREADY_REGISTERED}", signal=KILL)
    arena.hit(settings)
    assert (arena.again(settings), len(arena.sandbox.inbox)) == ("told", 0)
    assert arena.sandbox.count(VERIFY) == 0


# Between the server's acting and the client's reading


@pytest.mark.parametrize("colour", ["blocking", "asyncio", "trio"])
@pytest.mark.parametrize(
    ("tool", "number", "ends", "mails"),
    [
        (REQUEST, KILL, "key", 2),
        (REQUEST, INTERRUPT, "key", 2),
        (VERIFY, KILL, "told", 1),
        (VERIFY, INTERRUPT, "key", 1),
    ],
)
def test_while_the_answer_is_on_its_way(
    arena: Arena, colour: str, tool: str, number: int, ends: str, mails: int
) -> None:
    settings = arena.settings(colour)
    Striking(arena, tool, number).start(settings)
    arena.end(number)
    arena.sandbox.after = None
    assert (arena.again(settings), len(arena.sandbox.inbox)) == (ends, mails)


@pytest.mark.parametrize(
    ("ordered", "calls", "ends"),
    [
        (Fault.RESET_AFTER, 2, "told"),
        (Fault.STALL_AFTER, 2, "told"),
        (Fault.TRUNCATED_SSE, 2, "told"),
        (Fault.TRUNCATED_SSE_AFTER_KEY, 1, "key"),
        (Fault.SERVER_ERROR, 2, "key"),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_interrupted_while_the_outcome_is_unknown(
    arena: Arena, colour: str, ordered: Fault, calls: int, ends: str
) -> None:
    """Ctrl-C waits for the second attempt too, and what the flow found out is not lost."""
    arena.sandbox.fail_next(VERIFY, ordered)
    timeout = 0.3 if ordered is Fault.STALL_AFTER else flow.PATIENT
    step = f"event {EventKind.VERIFY_SENT}"
    settings = arena.settings(colour, hit_at=step, signal=INTERRUPT, timeout=timeout)
    arena.hit(settings)
    assert arena.sandbox.count(VERIFY) == calls
    assert (arena.directory / "config.toml").exists() == (ends == "key")
    assert (arena.again(evolve(settings, timeout=flow.PATIENT)), len(arena.sandbox.inbox)) == (ends, 1)
