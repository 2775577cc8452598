"""What a command shows: as plain lines, for pipes and files, or as JSON, for machines.

JSON may be logged, so nothing that is for eyes only is in it.
"""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import attrs
import click

from favcrm._error_codes import ERROR_CODES, PORTAL
from favcrm._text import clean
from favcrm.errors import FavCRMError, InvalidInputError
from favcrm.models import CheckStatus
from favcrm.results import plain
from favcrm.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Generator

    from favcrm.models import DiagnosticReport, Invitation, PendingRegistration, ToolResult
    from favcrm.sandbox import Mail
    from favcrm.typing import JSON

__all__ = ["Found", "JSONOutput", "Output", "Phase", "answered"]

ENDPOINT_VARIABLE = "FAVCRM_MCP_URL"
HEADINGS = ("Check", "Status", "Time", "Found")
MILLISECONDS = 1000
MINUTE = 60
CHECK_FIELDS = ("name", "status", "detail", "advice", "duration")
PHASE_FIELDS = ("name", "status", "duration")
DIGITS = 6


FRESH_CODE = (
    'Ask for a fresh code with "favcrm signup request" or "favcrm team invite accept-request", '
    "and give the code in the new email."
)
NEW_KEY = f'Sign in at {PORTAL}, create a key under Settings, MCP Keys, and save the key with "favcrm login".'
NEXT_STEPS = {
    "rate_limited": "Wait before you run the command again.",
    "refused": "Read what the server says, and correct the command.",
    "invalid_code": "Read the newest email from FavCRM again, and give the code that stands there.",
    "code_expired": FRESH_CODE,
    "too_many_attempts": f"{FRESH_CODE} Check each digit.",
    "already_registered": NEW_KEY,
    "authentication_failed": NEW_KEY,
    "plan_limit": f'See the plans with "favcrm tool call list_plan_options", and choose another one at {PORTAL}.',
    "input_required": "This command cannot answer the server. Call the tool from an MCP host that can ask you.",
}
OPTIONS = {"endpoint": "--url"}
"""The options whose names are not those of the arguments."""


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


class Output:
    """Shows things as plain lines, without colours, frames and movement. Other ways to show them inherit from it.

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

    def say(self, words: str) -> None:
        """Write a paragraph."""
        click.echo(f"{words}\n")

    def show(self, phase: Phase) -> None:
        """Write a line for a phase that is over."""
        click.echo(f"{phase.title:<22}{took(phase.duration):>7}  {phase.result or phase.status}")

    def serving(self, url: str) -> None:
        """Write where the sandbox is and how to use it."""
        self.say(f"The sandbox answers at {url}. To use it from another terminal:")
        self.say(f"    export {ENDPOINT_VARIABLE}={url}")
        self.say("Every mail that the sandbox sends is shown here. Ctrl-C stops the sandbox.")

    def mail(self, mail: Mail, *, aside: bool = False) -> None:
        """Write the lines of a mail of the sandbox.

        Args:
            mail: The mail.
            aside: Whether the mail is for a person at the keyboard, whoever reads the rest.
        """
        lines = [f"{name}: {words}" if name else words for name, words in letter(mail)]
        click.echo("\n".join(["", *lines, ""]), err=aside)

    def error(self, error: FavCRMError) -> None:
        """Write on stderr what went wrong and what to do."""
        for name, words in sentences(error).items():
            click.echo(f"{name}: {words}", err=True)

    def finish(self, error: FavCRMError | None = None) -> None:
        """Write the report as a table, and what went wrong."""
        if self.report:
            click.echo()
            for name, status, duration, found in (HEADINGS, *rows(self.report)):
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


def time_left(pending: PendingRegistration) -> str:
    """Return how long a code is good, for people."""
    seconds = pending.remaining()
    return f"{seconds / MINUTE:.0f} minutes" if seconds >= 2 * MINUTE else f"{seconds:.0f} seconds"


def rows(report: DiagnosticReport) -> Generator[tuple[str, str, str, str]]:
    """Yield what stands under `HEADINGS` for each check. A long text is written once, where it comes first."""
    first: dict[tuple[str, str], str] = {}
    for check in report.checks:
        found = f"{check.detail.rstrip('.')}. {check.advice}" if check.advice else check.detail
        name = first.setdefault((check.detail, check.advice), check.name)
        if check.advice and name != check.name:
            found = f"the same as {name}"
        yield check.name, check.status.value, took(check.duration), found


def letter(mail: Mail) -> list[tuple[str, str]]:
    """Return a mail's parts, without what a terminal would obey."""
    body = "\n".join(map(clean, mail.body.splitlines()))
    return [("To", clean(mail.to)), ("Subject", clean(mail.subject)), ("", body)]


def sentences(error: FavCRMError) -> dict[str, str]:
    """Return the parts of an error that people read, by their headings."""
    usual = error.next_step == ERROR_CODES[error.code].next_step
    told = {
        "Error": _message(error),
        "Next step": NEXT_STEPS.get(error.code, error.next_step) if usual else error.next_step,
        "Key from": key_place(getattr(error, "key_source", None) or ""),
        "Wait": "" if error.retry_after is None else f"{error.retry_after:.0f} seconds",
        "Support id": error.request_id,
    }
    return {heading: words for heading, words in told.items() if words}


def key_place(source: str) -> str:
    """Return where a key was found, as a user of the command knows the place."""
    return "--api-key" if source == "the argument api_key" else source


def _message(error: FavCRMError) -> str:
    if not isinstance(error, InvalidInputError):
        return error.message
    listed = "; ".join(f"{_option(field)}: {problem}" for field, problem in error.problems)
    return f"{error.subject} is not valid, so nothing was sent: {listed}."


def _option(field: str) -> str:
    """Return the option for an argument; a variable, a file or what stands without an option is named as it is."""
    is_argument = field.isidentifier() and field.islower()
    return OPTIONS.get(field, f"--{field.replace('_', '-')}") if is_argument else field
