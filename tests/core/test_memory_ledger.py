"""The ledger in memory: what it remembers, for how long, and in which process."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from favcrm import MemoryLedger, PendingRegistration, SecretRef
from favcrm.ledger import CodeState

LIFE, DAY = 600.0, 86_400.0


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(clock: Clock) -> MemoryLedger:
    return MemoryLedger(monotonic=clock)


def pending(clock: Clock, request_id: str, life: float = LIFE) -> PendingRegistration:
    expires_at = datetime(2026, 5, 11, tzinfo=UTC) + timedelta(seconds=life)
    return PendingRegistration(
        request_id=request_id, expires_at=expires_at, ends_at=clock() + life, monotonic=clock
    )


def size_of(ledger: MemoryLedger) -> int:
    return sum(len(entries) for entries in vars(ledger).values() if isinstance(entries, dict | list | set))


def test_a_pending_registration_is_found_until_it_is_replaced_forgotten_or_dead(
    ledger: MemoryLedger, clock: Clock
) -> None:
    ledger.keep("acme", pending(clock, "r1"))
    ledger.keep("acme", pending(clock, "r2"))
    ledger.forget("r1")
    found = ledger.find("acme")
    assert found is not None
    assert found.request_id == "r2"
    ledger.forget("r2")
    ledger.forget("r2")
    assert ledger.find("acme") is None
    ledger.keep("acme", pending(clock, "r3"))
    clock.now += LIFE
    assert ledger.find("acme") is None


def test_what_is_known_of_a_code_outlives_the_code(ledger: MemoryLedger, clock: Clock) -> None:
    ledger.mark_sent("r1", sent=True)
    ledger.mark_sent("r1", sent=False, refused="ab12")
    ledger.mark_sent("r1", sent=False, ref=SecretRef("memory://favcrm/acme"))
    clock.now += DAY - 1
    ledger.mark_sent("r2", sent=True)
    assert ledger.state("r1") == CodeState(refused=frozenset({"ab12"}), ref=SecretRef("memory://favcrm/acme"))
    clock.now += 1
    ledger.mark_sent("r3", sent=True)
    assert ledger.state("r1") == CodeState()
    assert ledger.state("r2") == CodeState(sent=True)


def test_what_is_over_is_dropped(ledger: MemoryLedger, clock: Clock) -> None:
    for number in range(100):
        ledger.keep(f"name {number}", pending(clock, f"r{number}"))
        ledger.mark_sent(f"r{number}", sent=True)
    clock.now += DAY
    ledger.keep("last", pending(clock, "last", life=0))
    assert size_of(ledger) == 0


def test_one_that_was_asked_for_again_lives_as_long_as_the_new_one(
    ledger: MemoryLedger, clock: Clock
) -> None:
    ledger.keep("acme", pending(clock, "r1"))
    clock.now += LIFE - 1
    ledger.keep("acme", pending(clock, "r2"))
    clock.now += 1
    ledger.keep("other", pending(clock, "r3"))
    assert ledger.find("acme") is not None


def test_what_was_replaced_leaves_nothing_behind(ledger: MemoryLedger, clock: Clock) -> None:
    ledger.keep("acme", pending(clock, "r0"))
    before = size_of(ledger)
    for number in range(100):
        ledger.forget("never known")
        ledger.keep("acme", pending(clock, f"r{number}"))
    # What is over is dropped by its ending; nothing else grows.
    assert size_of(ledger) - before == 100


def test_a_reservation_keeps_others_out_until_it_is_given_back(ledger: MemoryLedger) -> None:
    assert ledger.reserve("acme")
    assert not ledger.reserve("acme")
    assert ledger.reserve("other")
    ledger.release("acme")
    ledger.release("acme")
    assert ledger.reserve("acme")


def test_a_forked_child_waits_for_nobody_of_its_parent(ledger: MemoryLedger) -> None:
    ledger.reserve("acme")
    ledger._lock.acquire()
    pid = os.fork()
    if pid == 0:
        # In the child the lock is nobody's, and so is the reservation.
        os._exit(0 if ledger.reserve("acme") and not ledger.reserve("acme") else 1)
    ledger._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not ledger.reserve("acme")


def test_it_holds_no_email(ledger: MemoryLedger) -> None:
    from favcrm import FavCRMProvisioner
    from favcrm.sandbox import Sandbox

    with FavCRMProvisioner(transport=Sandbox().transport(), ledger=ledger) as favcrm:
        favcrm.initiate(email="you@example.com", organisation_name="Acme Gym")
    assert "you@" not in repr(vars(ledger))
    assert "Acme" not in repr(vars(ledger))
