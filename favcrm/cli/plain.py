"""Text without colours, frames and movement, for pipes and files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from favcrm.cli.output import ENDPOINT_VARIABLE, HEADINGS, Output, letter, row, took
from favcrm.cli.wording import sentences

if TYPE_CHECKING:
    from favcrm.cli.output import Phase
    from favcrm.errors import FavCRMError
    from favcrm.sandbox import Mail

__all__ = ["PlainOutput"]


class PlainOutput(Output):
    """Shows things as plain lines."""

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
            for name, status, time, found in (HEADINGS, *map(row, self.report.checks)):
                click.echo(f"{name:<14}{status:<8}{time:>7}  {found}")
            click.echo()
        if error:
            self.error(error)
