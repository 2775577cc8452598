"""What can be typed after ``favcrm``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import click

from favcrm import __version__
from favcrm.cli import stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from favcrm.cli.output import Output

CommandT = TypeVar("CommandT", bound="Callable[..., object]")

SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"]}


def json_option(command: CommandT) -> CommandT:
    """Add the option ``--json`` to a command."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON, for machines.")(command)


class Commands(click.Group):
    """A group of commands that Ctrl-C ends in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # click would call it an error.
            stop()


@click.group(cls=Commands, context_settings=SETTINGS)
@click.version_option(__version__, prog_name="favcrm", message="%(prog)s %(version)s")
def favcrm() -> None:
    """Sign an agent up for FavCRM and start working.

    Begin with "favcrm demo": it needs no account and no network.
    """


@favcrm.command()
@click.option("--ask", is_flag=True, help="Type the code yourself, as a user would.")
@json_option
def demo(*, ask: bool, as_json: bool) -> None:
    """Watch a whole sign-up, on this machine.

    It registers a workspace with an embedded FavCRM, confirms the code, diagnoses the workspace and creates a
    member. Nothing leaves this machine, your settings and keys are not used, and nothing is kept.

    The exit status is 0 when the workspace is ready for work, and 1 otherwise.
    """
    # Here, so that --help and --version answer at once.
    from favcrm.cli.demo import run

    sys.exit(run(choose_output(as_json=as_json), ask=ask))


@favcrm.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Where to listen; 0 for a free port.")
@click.option("--doctor", is_flag=True, help="Offer the tool favcrm_doctor too.")
@json_option
def sandbox(*, port: int, doctor: bool, as_json: bool) -> None:
    """Serve an embedded FavCRM on this machine until Ctrl-C.

    It has FavCRM's tools, limits and failures. Every mail that it sends is shown here, with its code. What is
    written in it is gone when it stops.
    """
    from favcrm.cli.sandbox import serve

    serve(choose_output(as_json=as_json), port=port, doctor=doctor)


def choose_output(*, as_json: bool) -> Output:
    """Return how to show things where this runs."""
    from favcrm.cli.machine import JSONOutput
    from favcrm.cli.plain import PlainOutput
    from favcrm.cli.terminal import TerminalOutput

    if as_json:
        return JSONOutput()
    return TerminalOutput() if sys.stdout.isatty() and os.environ.get("TERM") != "dumb" else PlainOutput()
