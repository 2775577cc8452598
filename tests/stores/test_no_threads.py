"""Where no thread can be started, as Python 3.12 refuses it while the process ends, a store works without one."""

from __future__ import annotations

import threading

import pytest

from favcrm.stores import _deadline
from favcrm.stores._services import Reason


def test_the_work_is_done_in_the_callers_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    def why(_: BaseException) -> Reason:
        raise AssertionError

    monkeypatch.setattr(threading.Thread, "start", refuse)
    late = Reason("too late", "", certain=False)
    done = _deadline.within(
        1, lambda turn: turn.begin_to_write(), why, late=late, failing="failing", doubtful=None
    )
    assert done is True
