"""Sections that run to their end: no signal handler raises into them, and the process does not end before them.

Python runs the handlers of signals in the main thread, so a section there has them wrapped. No signal reaches a
section of another thread, but the end of the process would, if that is a daemon thread; so the end waits for it.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from favcrm._backends import run_sync
from favcrm._backends.signals import HeldSignals
from favcrm.errors import NotSentError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

POLL = 0.05


async def uninterrupted(
    task: Callable[[], Coroutine[Any, Any, T]], *, is_driven: Callable[[], bool] = lambda: True
) -> T:
    """Run a task to its end, whatever signal comes meanwhile.

    Args:
        task: The task.
        is_driven: Tells whether the event loop of the task runs, so that the task can come to its end.

    Returns:
        What the task returns.

    Raises:
        BaseException: What a signal handler raised meanwhile. The task's own result or error is dropped then.
        NotSentError: The process is ending or was interrupted, so the task was not begun.
    """
    section = Section(is_driven)
    _sections.begin(section)
    try:
        result = await task()
    except BaseException:
        held = _sections.end(section)
        if held is None:
            raise
    else:
        held = _sections.end(section)
        if held is None:
            return result
    raise held


class Section:
    """One task that runs to its end.

    Args:
        is_driven: Tells whether its event loop runs.
    """

    def __init__(self, is_driven: Callable[[], bool]) -> None:
        self._is_driven = is_driven
        self._thread = threading.current_thread()
        self._ended = threading.Event()
        self.in_main_thread = _in_main_thread()

    def goes_on(self) -> bool:
        """Tell whether the section can come to its end, which it cannot once its event loop was given up."""
        # Not Thread.is_alive: after an interrupted join it takes a thread that runs for one that has ended (bpo-45274).
        running = sys._current_frames()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # it is documented
        return self._thread.ident in running and self._is_driven()

    def end(self) -> None:
        """Wake the thread that waits for the end."""
        self._ended.set()

    def wait(self) -> None:
        """Wait for its end, in another thread."""
        while not self._ended.wait(POLL) and self.goes_on():
            pass


class Sections:
    """The sections that are open in this process."""

    def __init__(self) -> None:
        self._open = set[Section]()
        self._signals = HeldSignals(self._goes_on_in_main_thread)
        self._process_ends = False

    def begin(self, section: Section) -> None:
        """Begin a section.

        Raises:
            NotSentError: The process is ending or was interrupted.
        """
        self._open.add(section)
        # Asked after the section was added. So either this thread sees that the process is ending, or the thread that
        # ends the process sees the section and waits for it.
        ends = self._signals.holds_something if section.in_main_thread else self._process_ends
        if ends:
            self.end(section)
            raise NotSentError(
                "The process is ending or was interrupted, so nothing was sent.",
                next_step="Try again, in another process where this one ends: a second try is safe.",
            )
        if section.in_main_thread:
            try:
                self._signals.hold()
            except BaseException:
                self.end(section)
                raise

    def end(self, section: Section) -> BaseException | None:
        """End a section, and return what is to be raised in its place, now that nothing is in danger."""
        section.end()
        self._open.discard(section)
        # A coroutine that was given up is closed in whatever thread collects it.
        if _in_main_thread() and not self._goes_on_in_main_thread():
            return self._signals.release()
        return None

    def end_with_process(self) -> None:
        """Wait for the sections of other threads, and then let no thread begin another."""
        self._wait_for_others()
        self._process_ends = True
        self._wait_for_others()

    def _wait_for_others(self) -> None:
        # The wait is a section too, so that no signal cuts it short. Most processes have nothing to wait for, and
        # hold no signals.
        if self._others():
            run_sync(uninterrupted(self._wait))

    async def _wait(self) -> None:
        # Again, because a thread whose section has ended may have begun the next.
        while others := self._others():
            for section in others:
                section.wait()

    def _others(self) -> list[Section]:
        return [section for section in list(self._open) if not section.in_main_thread and section.goes_on()]

    def forget(self) -> None:
        """Begin anew in a process that was forked: none of the sections goes on there."""
        self._open.clear()
        self._signals.forget()

    def _goes_on_in_main_thread(self) -> bool:
        return any(section.in_main_thread and section.goes_on() for section in list(self._open))


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


_sections = Sections()


# Daemon threads go on until the last function of `atexit` has returned.
atexit.register(_sections.end_with_process)

if hasattr(os, "register_at_fork"):  # pragma: no branch  # not on Windows
    os.register_at_fork(after_in_child=_sections.forget)
