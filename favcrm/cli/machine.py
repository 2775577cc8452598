"""JSON, for machines. It may be logged, so nothing that is for eyes only is in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
import click

from favcrm.cli.output import ENDPOINT_VARIABLE, Output

if TYPE_CHECKING:
    from favcrm.cli.output import Phase
    from favcrm.errors import FavCRMError
    from favcrm.sandbox import Mail

__all__ = ["JSONOutput"]

TOLD_OF_A_CHECK = ("name", "status", "detail", "advice", "duration")
TOLD_OF_A_PHASE = ("name", "status", "duration")
DIGITS = 6


class JSONOutput(Output):
    """Shows things as JSON: one document at the end, or one line for each thing that happens in a sandbox."""

    def __init__(self) -> None:
        super().__init__()
        self._phases: list[dict[str, object]] = []

    def say(self, words: str) -> None:
        """Write nothing."""

    def show(self, phase: Phase) -> None:
        """Keep it for the end."""
        self._phases.append(pick(phase, TOLD_OF_A_PHASE))

    def serving(self, url: str) -> None:
        """Write a line."""
        write({"url": url, "environment": {ENDPOINT_VARIABLE: url}})

    def mail(self, mail: Mail, *, aside: bool = False) -> None:
        """Write a line."""
        write({"mail": attrs.asdict(mail)}, err=aside)

    def error(self, error: FavCRMError) -> None:
        """Write a line."""
        write({"error": error.to_dict()}, err=True)

    def finish(self, error: FavCRMError | None = None) -> None:
        """Write the document."""
        report = self.report and {
            **attrs.asdict(self.report, recurse=False),
            "checks": [pick(check, TOLD_OF_A_CHECK) for check in self.report.checks],
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


def write(value: dict[str, Any], *, err: bool = False) -> None:
    """Write a line of JSON."""
    click.echo(json.dumps(value), err=err)
