"""What a command shows, whichever way it is shown."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import attrs

from favcrm._text import clean
from favcrm.errors import FavCRMError
from favcrm.models import CheckStatus

if TYPE_CHECKING:
    from collections.abc import Generator

    from favcrm.models import Check, DiagnosticReport
    from favcrm.sandbox import Mail
    from favcrm.secret import Secret
    from favcrm.typing import JSON

__all__ = ["Found", "Output", "Phase"]

ENDPOINT_VARIABLE = "FAVCRM_MCP_URL"
HEADINGS = ("Check", "Status", "Time", "Found")
MILLISECONDS = 1000


@attrs.define
class Phase:
    """One step of a command.

    Attributes:
        name: What machines call it.
        title: What people read.
        result: What came out, for people.
        status: How it came out.
        duration: Seconds that it took.
    """

    name: str
    title: str
    result: str = ""
    status: CheckStatus = CheckStatus.OK
    duration: float = 0.0


@attrs.frozen
class Found:
    """What a command brings.

    Attributes:
        payload: For machines.
        lines: For people.
        report: The diagnosis, where it is one.
        unsaved: A key that is shown and saved nowhere.
    """

    payload: JSON
    lines: tuple[str, ...] = ()
    report: DiagnosticReport | None = None
    unsaved: Secret | None = None


class Output(ABC):
    """A way to show things.

    Attributes:
        report: The diagnosis to show at the end, or None.
    """

    def __init__(self) -> None:
        self.report: DiagnosticReport | None = None

    @contextmanager
    def phase(self, name: str, title: str, *, busy: bool = True) -> Generator[Phase]:
        """Time a phase, and show it when it is over.

        Args:
            name: What machines call it.
            title: What people read.
            busy: Whether to show that something is going on.

        Yields:
            The phase, to note its result.
        """
        phase = Phase(name, title)
        started = time.perf_counter()
        try:
            with self.busy(title) if busy else nullcontext():
                yield phase
        except FavCRMError:
            self._end(phase, started, CheckStatus.FAILED)
            raise
        self._end(phase, started, CheckStatus.OK)

    def _end(self, phase: Phase, started: float, status: CheckStatus) -> None:
        phase.duration = time.perf_counter() - started
        phase.status = status
        self.show(phase)

    def busy(self, title: str) -> AbstractContextManager[object]:  # noqa: ARG002 - for ways that show it
        """Show that something is going on."""
        return nullcontext()

    @abstractmethod
    def say(self, words: str) -> None:
        """Tell people something."""

    @abstractmethod
    def show(self, phase: Phase) -> None:
        """Show a phase that is over."""

    @abstractmethod
    def serving(self, url: str) -> None:
        """Show where the sandbox is and how to use it."""

    @abstractmethod
    def mail(self, mail: Mail, *, aside: bool = False) -> None:
        """Show a mail of the sandbox.

        Args:
            mail: The mail.
            aside: Whether it is for a person at the keyboard, whoever reads the rest.
        """

    @abstractmethod
    def error(self, error: FavCRMError) -> None:
        """Show on stderr what went wrong and what to do."""

    @abstractmethod
    def finish(self, error: FavCRMError | None = None) -> None:
        """Show the report, and what went wrong."""


def took(seconds: float) -> str:
    """Return a duration for people."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * MILLISECONDS:.0f} ms"


def row(check: Check) -> tuple[str, str, str, str]:
    """Return what stands under `HEADINGS` for a check."""
    found = f"{check.detail.rstrip('.')}. {check.advice}" if check.advice else check.detail
    return check.name, check.status.value, took(check.duration), found


def letter(mail: Mail) -> list[tuple[str, str]]:
    """Return a mail's parts, without what a terminal would obey."""
    body = "\n".join(map(clean, mail.body.splitlines()))
    return [("To", clean(mail.to)), ("Subject", clean(mail.subject)), ("", body)]
