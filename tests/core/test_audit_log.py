"""Each line of the audit log is whole and on a line of its own, whatever happened to the one before it."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest
from stores.machine import KILLED, run

from favcrm import Event, EventKind, JsonlAuditLog

EVENT = Event(kind=EventKind.KEY_STORED, time=1.5, ref="memory://favcrm/acme")
LINE = '{"kind": "key_stored", "time": 1.5, "ref": "memory://favcrm/acme"}\n'

KILLED_INSIDE_A_LINE = """
import os, signal, sys
from favcrm import Event, EventKind, JsonlAuditLog
really = os.write
def write(file, line):
    really(file, line[:10])
    os.kill(os.getpid(), signal.SIGKILL)
with JsonlAuditLog(sys.argv[1]) as log:
    os.write = write
    log(Event(kind=EventKind.KEY_STORED, time=1.5))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def test_each_event_is_a_line(path: Path) -> None:
    for _ in range(2):
        with JsonlAuditLog(path) as log:
            log(EVENT)
            log(EVENT)
    assert path.read_text() == LINE * 4
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_behind_the_line_of_a_killed_process_a_new_one_begins(path: Path) -> None:
    with JsonlAuditLog(path) as log:
        log(EVENT)
        assert run(KILLED_INSIDE_A_LINE, path) == (KILLED, "")
        # Also where the file was open before the other process was killed.
        log(EVENT)
        log(EVENT)
    first, torn, second, third = path.read_text().splitlines()
    assert torn == '{"kind": "'
    assert [json.loads(line) for line in (first, second, third)] == [json.loads(LINE)] * 3


def test_a_line_that_is_written_in_pieces_is_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = os.write
    monkeypatch.setattr(os, "write", lambda file, line: really(file, line[:7]))
    with JsonlAuditLog(path) as log:
        log(EVENT)
        log(EVENT)
    assert path.read_text() == LINE * 2


def test_a_disk_that_is_full_inside_of_a_line_spoils_that_one_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.write

    def full(file: int, line: bytes) -> int:
        if len(line) < len(LINE):
            raise OSError(errno.ENOSPC, "No space left on device")
        return really(file, line[:20])

    with JsonlAuditLog(path) as log:
        with monkeypatch.context() as disk:
            disk.setattr(os, "write", full)
            with pytest.raises(OSError, match="No space left"):
                log(EVENT)
        log(EVENT)
    assert path.read_text() == f"{LINE[:20]}\n{LINE}"


def test_a_pipe_is_written_to_and_never_read(path: Path) -> None:
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with JsonlAuditLog(path) as log:
        log(EVENT)
        log(EVENT)
        assert os.read(reader, 1000).decode() == LINE * 2
        os.close(reader)
        # Nobody reads any more, so it is told rather than kept.
        with pytest.raises(BrokenPipeError):
            log(EVENT)
