"""The ledger in a file."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from stores.machine import mode, run, seen, there

from favcrm import FavCRMProvisioner, PendingRegistration, Registration, StoreError
from favcrm.ledger_file import FileLedger
from favcrm.sandbox import Sandbox

ACME = Registration(email="you@example.com", organisation_name="Acme Gym")
BETA = Registration(email="you@example.com", organisation_name="Beta Gym")
START = 1_800_000_000.0
LIFE = 600.0


class Clock:
    """The two clocks of a machine; the one on the wall may be set."""

    def __init__(self) -> None:
        self.wall, self.running = START, 50.0

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.running += seconds

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "pending.json"


def ledger(path: Path, clock: Clock) -> FileLedger:
    return FileLedger(path, time=clock.time, monotonic=clock.monotonic)


def pending(clock: Clock, request_id: str = "signup_req_1", life: float = LIFE) -> PendingRegistration:
    """Make a pending registration of a server whose clock is a day ahead of this machine's."""
    return PendingRegistration(
        request_id=request_id,
        expires_at=datetime.fromtimestamp(START, UTC) + timedelta(days=1, seconds=life),
        masked_email="yo*@example.com",
        instructions="Look into your mail.",
        ends_at=clock.monotonic() + life,
        monotonic=clock.monotonic,
    )


def test_another_process_finds_it_with_the_time_that_is_left(path: Path, clock: Clock) -> None:
    first = pending(clock)
    ledger(path, clock).keep(ACME, first)
    clock.advance(100)
    # Started again, the machine counts from another number.
    clock.running = 7.0
    found = ledger(path, clock).find(ACME)
    assert found is not None
    assert (found.request_id, found.expires_at) == (first.request_id, first.expires_at)
    assert (found.masked_email, found.instructions) == ("", "")
    assert found.remaining() == LIFE - 100
    # What was found counts on the clock that nobody sets.
    clock.wall -= 10_000
    clock.running += 499
    assert found.remaining() == 1


def test_a_clock_that_was_set_back_gives_no_more_time_than_there_was(path: Path, clock: Clock) -> None:
    ledger(path, clock).keep(ACME, pending(clock))
    clock.wall -= 86_400
    found = ledger(path, clock).find(ACME)
    assert found is not None
    assert found.remaining() == LIFE


def test_it_is_found_by_email_and_organisation_in_any_case(path: Path, clock: Clock) -> None:
    ledger(path, clock).keep(ACME, pending(clock))
    same = Registration(email="YOU@Example.com", organisation_name="ACME gym", country="HK")
    assert ledger(path, clock).find(same) == ledger(path, clock).find(ACME) is not None
    assert ledger(path, clock).find(BETA) is None


def test_the_dead_are_not_found_and_dropped_with_the_next_write(path: Path, clock: Clock) -> None:
    book = ledger(path, clock)
    book.keep(ACME, pending(clock))
    clock.advance(LIFE)
    assert book.find(ACME) is None
    book.keep(BETA, pending(clock, "signup_req_2"))
    assert "signup_req_1" not in path.read_text()
    assert book.find(BETA) is not None


def test_forget_and_replace(path: Path, clock: Clock) -> None:
    book = ledger(path, clock)
    book.keep(ACME, pending(clock))
    book.keep(BETA, pending(clock, "signup_req_2"))
    book.keep(ACME, pending(clock, "signup_req_3"))
    book.forget("signup_req_2")
    book.forget("signup_req_2")
    assert book.find(BETA) is None
    found = book.find(ACME)
    assert found is not None
    assert found.request_id == "signup_req_3"


def test_nothing_is_made_to_forget_nothing(path: Path, clock: Clock) -> None:
    ledger(path, clock).forget("signup_req_1")
    ledger(path, clock).mark_sent("signup_req_1", sent=True)
    assert not path.parent.exists()


def test_a_mark_outlives_the_process(path: Path, clock: Clock) -> None:
    book = ledger(path, clock)
    book.keep(ACME, pending(clock))
    book.keep(BETA, pending(clock, "signup_req_2"))
    assert not book.was_sent("signup_req_1")
    book.mark_sent("signup_req_1", sent=True)
    book.mark_sent("signup_req_2", sent=True)
    assert ledger(path, clock).was_sent("signup_req_1")
    # Kept again under the same id it is the same request; another id is another one.
    book.keep(ACME, pending(clock))
    assert book.was_sent("signup_req_1")
    book.keep(ACME, pending(clock, "signup_req_3"))
    assert (book.was_sent("signup_req_3"), book.was_sent("signup_req_1")) == (False, False)
    assert book.was_sent("signup_req_2")
    # A code that was refused makes no workspace.
    book.mark_sent("signup_req_2", sent=False)
    assert not book.was_sent("signup_req_2")
    assert book.find(BETA) is not None


def test_rule_8_neither_email_nor_masked_email_nor_code_is_in_it(path: Path, clock: Clock) -> None:
    before = os.umask(0)
    try:
        ledger(path, clock).keep(ACME, pending(clock))
    finally:
        os.umask(before)
    content = path.read_text()
    for hidden in ("you", "example.com", "Acme", "yo*", "mail"):
        assert hidden not in content
    assert mode(path) == 0o600
    assert there(path.parent) == {path.name}
    (entry,) = json.loads(content)["pending"].values()
    assert entry == {
        "request_id": "signup_req_1",
        "expires_at": pending(clock).expires_at.isoformat(),
        "kept_at": START,
        "ends_at": START + LIFE,
        "sent": False,
    }
    assert repr(ledger(path, clock)) == f"FileLedger({str(path)!r})"


GOOD = {
    "request_id": "r",
    "expires_at": "2026-05-11T12:00:00+00:00",
    "kept_at": START,
    "ends_at": START + 1,
    "sent": True,
}


@pytest.mark.parametrize(
    "content",
    [
        "someone's notes",
        "{}",
        "[]",
        '{"favcrm_ledger": 2, "pending": {}}',
        '{"favcrm_ledger": 1, "pending": []}',
        '{"favcrm_ledger": 1, "pending": {"x": []}}',
        '{"favcrm_ledger": 1, "pending": {"x": {}}}',
        *(
            json.dumps({"favcrm_ledger": 1, "pending": {"x": {**GOOD, **wrong}}})
            for wrong in (
                {"sent": 1},
                {"request_id": 5},
                {"ends_at": "soon"},
                {"ends_at": float("nan")},
                {"kept_at": float("inf")},
                {"expires_at": "soon"},
                {"more": 1},
            )
        ),
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_a_file_that_is_no_ledger_is_left_and_told(path: Path, clock: Clock, content: str | bytes) -> None:
    path.parent.mkdir()
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(content)
    book = ledger(path, clock)
    for use in (
        lambda: book.find(ACME),
        lambda: book.keep(ACME, pending(clock)),
        lambda: book.forget("r"),
        lambda: book.mark_sent("r", sent=True),
        lambda: book.was_sent("r"),
    ):
        with pytest.raises(StoreError, match="is not a ledger of this version") as caught:
            use()
        assert ACME.email not in seen(caught.value)
    assert path.read_bytes() == content


def test_an_empty_file_is_a_new_ledger(path: Path, clock: Clock) -> None:
    path.parent.mkdir()
    path.touch()
    book = ledger(path, clock)
    assert book.find(ACME) is None
    book.keep(ACME, pending(clock))
    assert book.find(ACME) is not None


def test_what_cannot_be_read_or_written_is_told(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "file").touch()
    book = ledger(tmp_path / "file" / "pending.json", clock)
    with pytest.raises(StoreError, match="cannot be read: Not a directory"):
        book.find(ACME)
    with pytest.raises(StoreError, match="cannot be written: Not a directory") as caught:
        book.keep(ACME, pending(clock))
    assert ACME.email not in seen(caught.value)


def test_rule_3_another_process_goes_on_with_confirm(path: Path) -> None:
    sandbox = Sandbox()

    def sign_up() -> FavCRMProvisioner:
        book = FileLedger(path, time=sandbox.clock.time, monotonic=sandbox.clock.monotonic)
        return FavCRMProvisioner(transport=sandbox.transport(), ledger=book)

    sign_up().initiate(ACME)
    favcrm = sign_up()
    again = favcrm.initiate(ACME)
    assert len(sandbox.inbox) == 1
    assert favcrm.confirm(again, code=sandbox.inbox.code_for(ACME.email)).organisation_id
    assert json.loads(path.read_text())["pending"] == {}


KEEP = """
import sys
from datetime import datetime, UTC
from favcrm import PendingRegistration, Registration
from favcrm.ledger_file import FileLedger
who = Registration(email="you@example.com", organisation_name="Acme Gym")
pending = PendingRegistration(request_id="signup_req_9", expires_at=datetime.max.replace(tzinfo=UTC))
FileLedger(sys.argv[1]).keep(who, pending)
"""


def test_with_the_real_clock_a_real_process_hands_over(path: Path) -> None:
    assert run(KEEP, path) == (0, "")
    found = FileLedger(path).find(ACME)
    assert found is not None
    assert found.request_id == "signup_req_9"
    left = (found.expires_at - datetime.now(UTC)).total_seconds()
    assert abs(found.remaining() - left) < 60
