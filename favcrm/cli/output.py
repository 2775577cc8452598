"""What a command shows: as plain lines, for pipes and files, or as JSON, for machines.

JSON may be logged, so nothing that is for eyes only is in it.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import attrs
import click

from favcrm._text import clean
from favcrm.cli.wording import sentences
from favcrm.errors import FavCRMError
from favcrm.models import CheckStatus
from favcrm.results import plain
from favcrm.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Generator

    from favcrm.models import Check, DiagnosticReport, Invitation, ToolResult
    from favcrm.sandbox import Mail
    from favcrm.typing import JSON

__all__ = ["Found", "JSONOutput", "Output", "Phase", "PlainOutput", "answered"]

ENDPOINT_VARIABLE = "FAVCRM_MCP_URL"
HEADINGS = ("Check", "Status", "Time", "Found")
MILLISECONDS = 1000
CHECK_FIELDS = ("name", "status", "detail", "advice", "duration")
PHASE_FIELDS = ("name", "status", "duration")
DIGITS = 6


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


def answered(result: ToolResult | Invitation, *, show_key: bool) -> Found:
    """Return the answer of a tool, its keys and one-time tokens masked unless the user asked for them."""
    data = plain(result.data, Secret.reveal) if show_key else plain(result.data)
    return Found(data, (*([result.summary] if result.summary else []), json.dumps(data, indent=2)))


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


class PlainOutput(Output):
    """Shows things as plain lines, without colours, frames and movement."""

    def say(self, words: str) -> None:
        """Write a paragraph."""
        click.echo(f"{words}\n")

    def show(self, phase: Phase) -> None:
        """Write a line."""
        click.echo(f"{phase.title:<22}{took(phase.duration):>7}  {phase.result or phase.status}")

    def serving(self, url: str) -> None:
        """Write what to copy."""
        self.say(f"The sandbox answers at {url}. To use it from another terminal:")
        self.say(f"    export {ENDPOINT_VARIABLE}={url}")
        self.say("Every mail that it sends is shown here. Ctrl-C stops it.")

    def mail(self, mail: Mail, *, aside: bool = False) -> None:
        """Write its lines."""
        lines = [f"{name}: {words}" if name else words for name, words in letter(mail)]
        click.echo("\n".join(["", *lines, ""]), err=aside)

    def error(self, error: FavCRMError) -> None:
        """Write a line for each part."""
        for name, words in sentences(error).items():
            click.echo(f"{name}: {words}", err=True)

    def finish(self, error: FavCRMError | None = None) -> None:
        """Write the report as a table."""
        if self.report:
            click.echo()
            for name, status, duration, found in (HEADINGS, *map(row, self.report.checks)):
                click.echo(f"{name:<14}{status:<8}{duration:>7}  {found}")
            click.echo()
        if error:
            self.error(error)


class JSONOutput(Output):
    """Shows things as JSON: one document at the end, or one line for each thing that happens in a sandbox."""

    def __init__(self) -> None:
        super().__init__()
        self._phases: list[dict[str, object]] = []

    def say(self, words: str) -> None:
        """Write nothing."""

    def show(self, phase: Phase) -> None:
        """Keep it for the end."""
        self._phases.append(pick(phase, PHASE_FIELDS))

    def serving(self, url: str) -> None:
        """Write a line."""
        write_line({"url": url, "environment": {ENDPOINT_VARIABLE: url}})

    def mail(self, mail: Mail, *, aside: bool = False) -> None:
        """Write a line."""
        write_line({"mail": attrs.asdict(mail)}, err=aside)

    def error(self, error: FavCRMError) -> None:
        """Write a line."""
        write_line({"error": error.to_dict()}, err=True)

    def finish(self, error: FavCRMError | None = None) -> None:
        """Write the document."""
        report = self.report and {
            **attrs.asdict(self.report, recurse=False),
            "checks": [pick(check, CHECK_FIELDS) for check in self.report.checks],
        }
        document = {
            "ready": error is None,
            "phases": self._phases,
            "report": report,
            "error": error and error.to_dict(),
        }
        click.echo(json.dumps(document, indent=2))
        if error:
            self.error(error)


def pick(thing: object, names: tuple[str, ...]) -> dict[str, object]:
    """Return some attributes, durations to the microsecond."""
    values = {name: getattr(thing, name) for name in names}
    return {
        name: round(value, DIGITS) if isinstance(value, float) else value for name, value in values.items()
    }


def write_line(value: dict[str, Any], *, err: bool = False) -> None:
    """Write a line of JSON."""
    click.echo(json.dumps(value), err=err)


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
