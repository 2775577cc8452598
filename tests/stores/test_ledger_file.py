"""The ledger in a file."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from stores.machine import mode, run, seen, there

from favcrm import PendingRegistration, SecretRef, StoreError
from favcrm.ledger import CodeState
from favcrm.ledger_file import FileLedger

ACME, BETA = "registration-acme", "registration-beta"
DAY = 86_400.0
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


def test_another_process_finds_a_registration_with_the_time_that_is_left(path: Path, clock: Clock) -> None:
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


def request_of(book: FileLedger, name: str) -> str | None:
    found = book.find(name)
    return None if found is None else found.request_id


def test_an_expired_registration_is_not_found_and_is_dropped_with_the_next_write(
    path: Path, clock: Clock
) -> None:
    book = ledger(path, clock)
    book.keep(ACME, pending(clock))
    clock.advance(LIFE)
    assert book.find(ACME) is None
    book.keep(BETA, pending(clock, "signup_req_2"))
    assert "signup_req_1" not in path.read_text()
    assert request_of(book, BETA) == "signup_req_2"


def test_a_registration_can_be_forgotten_and_replaced(path: Path, clock: Clock) -> None:
    book = ledger(path, clock)
    book.keep(ACME, pending(clock))
    book.keep(BETA, pending(clock, "signup_req_2"))
    book.keep(ACME, pending(clock, "signup_req_3"))
    book.forget("signup_req_2")
    book.forget("signup_req_2")
    assert (request_of(book, ACME), request_of(book, BETA)) == ("signup_req_3", None)


def test_forgetting_what_is_not_known_makes_no_file(path: Path, clock: Clock) -> None:
    book = ledger(path, clock)
    book.forget("signup_req_1")
    book.release("signup_req_1")
    assert book.state("signup_req_1") == CodeState()
    assert not path.parent.exists()


def test_what_is_known_of_a_code_outlives_the_process_and_the_code(path: Path, clock: Clock) -> None:
    ref = SecretRef("keyring://favcrm/acme")
    ledger(path, clock).mark_sent("signup_req_1", sent=True)
    ledger(path, clock).mark_sent("signup_req_2", sent=False, refused="ab12")
    ledger(path, clock).mark_sent("signup_req_2", sent=False, refused="cd34")
    ledger(path, clock).mark_sent("signup_req_3", sent=False, ref=ref)
    clock.advance(LIFE + 1)
    book = ledger(path, clock)
    assert book.state("signup_req_1") == CodeState(sent=True)
    assert book.state("signup_req_2") == CodeState(refused=frozenset({"ab12", "cd34"}))
    assert book.state("signup_req_3") == CodeState(ref=ref)
    clock.advance(DAY)
    book.mark_sent("signup_req_4", sent=True)
    assert "signup_req_1" not in path.read_text()


def test_a_reservation_keeps_others_out_until_it_is_given_back(path: Path, clock: Clock) -> None:
    first, second = ledger(path, clock), ledger(path, clock)
    assert first.reserve(ACME)
    assert not second.reserve(ACME)
    assert not first.reserve(ACME)
    assert second.reserve(BETA)
    second.release(ACME)
    assert not second.reserve(ACME)
    first.release(ACME)
    assert second.reserve(ACME)
    second.release(ACME)
    second.release(BETA)
    assert there(path.parent) == set()


RESERVE = """
import os, signal, sys
from favcrm.ledger_file import FileLedger
assert FileLedger(sys.argv[1]).reserve("registration-acme")
os.kill(os.getpid(), signal.SIGKILL)
"""


FORK = """
import os, signal, sys, time
from favcrm.ledger_file import FileLedger
ledger = FileLedger(sys.argv[1])
assert ledger.reserve("registration-acme")
begun, begin = os.pipe()
if os.fork() == 0:
    # It outlives its parent, which is killed below, until its standard input ends.
    os.close(1), os.close(2)
    os.write(begin, b".")
    sys.stdin.read()
    os._exit(0)
# A child gives the lock back as its first act, which a busy machine may delay.
os.read(begun, 1)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_reservation_ends_with_its_process_although_a_forked_child_lives(path: Path, clock: Clock) -> None:
    with subprocess.Popen([sys.executable, "-c", FORK, str(path)], stdin=subprocess.PIPE) as process:
        assert process.wait(60) == -signal.SIGKILL
        assert ledger(path, clock).reserve(ACME)
        assert process.stdin is not None
        process.stdin.close()


def test_through_a_symbolic_link_the_same_name_is_reserved(path: Path, clock: Clock) -> None:
    ledger(path, clock).keep(ACME, pending(clock))
    link = path.with_name("link.json")
    link.symlink_to(path)
    assert ledger(path, clock).reserve(ACME)
    assert not ledger(link, clock).reserve(ACME)


def test_a_lock_that_cannot_be_removed_is_let_go(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    book = ledger(path, clock)
    assert book.reserve(ACME)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with pytest.raises(StoreError, match="cannot be unlocked: Read-only file system"):
            book.release(ACME)
    assert ledger(path, clock).reserve(ACME)


def test_what_a_killed_process_left_is_removed_also_where_the_path_looks_like_a_pattern(
    tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / "[a]*" / "[b]?.json"
    assert run(RESERVE, path)[0] == -signal.SIGKILL
    book = ledger(path, clock)
    assert book.reserve(BETA)
    book.keep(BETA, pending(clock))
    assert not ledger(path, clock).reserve(BETA)
    book.release(BETA)
    assert there(path.parent) == {path.name}


def test_a_change_by_another_process_is_seen(path: Path, clock: Clock) -> None:
    book = ledger(path, clock)
    book.keep(ACME, pending(clock))
    for number in range(3):
        ledger(path, clock).keep(ACME, pending(clock, f"signup_req_{number}"))
        assert request_of(book, ACME) == f"signup_req_{number}"


def test_an_old_file_is_read_once_for_each_change(path: Path, clock: Clock) -> None:
    book = ledger(path, clock)
    book.keep(ACME, pending(clock))
    long_ago = 1_000_000_000
    os.utime(path, (long_ago, long_ago))
    assert book.find(ACME) is not None
    # A change that cannot be seen from outside tells whether the file is read again.
    with_other_content = path.read_text().replace("signup_req_1", "signup_req_2")
    with path.open("r+") as file:
        file.write(with_other_content)
    os.utime(path, (long_ago, long_ago))
    assert request_of(book, ACME) == "signup_req_1"


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
    assert json.loads(content) == {
        "favcrm_ledger": 2,
        "pending": {
            ACME: {
                "request_id": "signup_req_1",
                "expires_at": pending(clock).expires_at.isoformat(),
                "kept_at": START,
                "ends_at": START + LIFE,
            }
        },
        "codes": {},
    }
    assert repr(ledger(path, clock)) == f"FileLedger({str(path)!r})"


WAITING = {
    "request_id": "r",
    "expires_at": "2026-05-11T12:00:00+00:00",
    "kept_at": START,
    "ends_at": START + 1,
}
CODE = {"kept_at": START, "sent": True, "refused": ["ab12"], "ref": None}


def written(pending: object, codes: object) -> str:
    return json.dumps({"favcrm_ledger": 2, "pending": pending, "codes": codes})


def test_a_whole_file_is_a_ledger(path: Path, clock: Clock) -> None:
    path.parent.mkdir()
    path.write_text(written({"x": WAITING}, {"r": CODE}))
    assert ledger(path, clock).find("x") is not None
    assert ledger(path, clock).state("r") == CodeState(sent=True, refused=frozenset({"ab12"}))


@pytest.mark.parametrize(
    "content",
    [
        "someone's notes",
        "{}",
        "[]",
        '{"favcrm_ledger": 1, "pending": {}}',
        '{"favcrm_ledger": 2, "pending": {}}',
        written([], {}),
        written({"x": []}, {}),
        written({}, {"x": {}}),
        written({"x": {**WAITING, "request_id": 5}}, {}),
        written({"x": {**WAITING, "ends_at": "soon"}}, {}),
        written({"x": {**WAITING, "ends_at": float("nan")}}, {}),
        written({"x": {**WAITING, "kept_at": float("inf")}}, {}),
        written({"x": {**WAITING, "expires_at": "soon"}}, {}),
        written({"x": {**WAITING, "more": 1}}, {}),
        written({}, {"x": {**CODE, "sent": 1}}),
        written({}, {"x": {**CODE, "refused": [5]}}),
        written({}, {"x": {**CODE, "refused": None}}),
        written({}, {"x": {**CODE, "ref": 5}}),
        written({}, {"x": {**CODE, "kept_at": float("nan")}}),
        written({}, {"x": {**CODE, "more": 1}}),
        "\udcff",
        "[" * 100_000,
    ],
)
def test_a_file_that_is_no_ledger_raises_store_error_and_stays(
    path: Path, clock: Clock, content: str
) -> None:
    path.parent.mkdir()
    path.write_text(content, errors="surrogateescape")
    before, book = path.read_bytes(), ledger(path, clock)
    uses: list[Callable[[], object]] = [lambda: book.find(ACME), lambda: book.mark_sent("r", sent=True)]
    for use in uses:
        with pytest.raises(StoreError, match="is not a ledger of this version") as caught:
            use()
        assert caught.value.__context__ is None
    assert path.read_bytes() == before


def test_an_empty_file_is_a_new_ledger(path: Path, clock: Clock) -> None:
    path.parent.mkdir()
    path.touch()
    book = ledger(path, clock)
    assert book.find(ACME) is None
    book.keep(ACME, pending(clock))
    assert book.find(ACME) is not None


def test_a_path_that_cannot_be_read_or_written_raises_store_error(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "file").touch()
    book = ledger(tmp_path / "file" / "pending.json", clock)
    with pytest.raises(StoreError, match="cannot be read: Not a directory"):
        book.find(ACME)
    with pytest.raises(StoreError, match="cannot be written: Not a directory") as caught:
        book.keep(ACME, pending(clock))
    assert "yo*" not in seen(caught.value)
    with pytest.raises(StoreError, match="cannot be locked: File exists"):
        ledger(tmp_path / "file" / "pending.json", clock).reserve(ACME)


KEEP = """
import sys
from datetime import datetime, UTC
from favcrm import PendingRegistration
from favcrm.ledger_file import FileLedger
pending = PendingRegistration(request_id="signup_req_9", expires_at=datetime.max.replace(tzinfo=UTC))
FileLedger(sys.argv[1]).keep("registration-acme", pending)
"""


def test_with_the_real_clock_a_real_process_hands_over(path: Path) -> None:
    assert run(KEEP, path) == (0, "")
    found = FileLedger(path).find(ACME)
    assert found is not None
    assert found.request_id == "signup_req_9"
    left = (found.expires_at - datetime.now(UTC)).total_seconds()
    assert abs(found.remaining() - left) < 60
