"""Text for people at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from favcrm.cli.output import ENDPOINT_VARIABLE, HEADINGS, Output, letter, rows, sentences, took
from favcrm.models import CheckStatus

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from favcrm.cli.output import Phase
    from favcrm.errors import FavCRMError
    from favcrm.sandbox import Mail

__all__ = ["TerminalOutput"]

WIDEST = 100
STYLES = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "dim"}
MARKS = {CheckStatus.OK: "✓", CheckStatus.FAILED: "✗"}
ASCII_MARKS = {CheckStatus.OK: "+", CheckStatus.FAILED: "x"}


class TerminalOutput(Output):
    """Shows things in colours."""

    def __init__(self) -> None:
        super().__init__()
        self._console, self._errors = (
            Console(highlight=False, markup=False, emoji=False, stderr=stderr) for stderr in (False, True)
        )
        self._width = min(self._console.width, WIDEST)
        plain = self._console.options.ascii_only
        self._marks, self._spinner = (ASCII_MARKS, "line") if plain else (MARKS, "dots")

    def say(self, words: str) -> None:
        """Write a paragraph."""
        self._console.print(words, width=self._width)
        self._console.print()

    def busy(self, title: str) -> AbstractContextManager[object]:
        """Turn a spinner."""
        return self._console.status(title, spinner=self._spinner)

    def show(self, phase: Phase) -> None:
        """Write a line with a mark."""
        line = Table.grid(padding=(0, 1))
        line.add_column(style=STYLES[phase.status])
        line.add_column(width=20)
        line.add_column(width=7, justify="right", style="dim")
        line.add_column(overflow="fold")
        line.add_row(
            self._marks[phase.status], phase.title, took(phase.duration), phase.result or phase.status
        )
        self._console.print(line, width=self._width)

    def serving(self, url: str) -> None:
        """Write what to copy."""
        self.say(f"The sandbox answers at {url}. To use it from another terminal:")
        # Not broken at the edge of the terminal, so that it can be copied.
        self._console.print(f"    export {ENDPOINT_VARIABLE}={url}\n", style="bold", soft_wrap=True)
        self.say("Every mail that the sandbox sends is shown here. Ctrl-C stops the sandbox.")

    def mail(self, mail: Mail, *, aside: bool = False) -> None:  # noqa: ARG002 - people read all of it
        """Draw it as a letter."""
        parts = Table.grid(padding=(0, 1))
        parts.add_column(style="dim")
        parts.add_column(overflow="fold")
        for name, words in letter(mail):
            parts.add_row(name, words)
        self._console.print(Panel(parts, title="Mail", title_align="left", width=self._width))

    def error(self, error: FavCRMError) -> None:
        """Write its parts, the first in red."""
        style = STYLES[CheckStatus.FAILED]
        for name, words in sentences(error).items():
            self._errors.print(f"{name}: {words}", style=style)
            style = ""

    def finish(self, error: FavCRMError | None = None) -> None:
        """Draw the report as a table."""
        if self.report:
            table = Table(*(Column(heading, overflow="fold") for heading in HEADINGS), box=box.ROUNDED)
            for name, status, time, found in rows(self.report):
                table.add_row(name, Text(status, STYLES[status]), Text(time, "dim", justify="right"), found)
            self._console.print()
            self._console.print(table, width=self._width)
            self._console.print()
        if error:
            self.error(error)
