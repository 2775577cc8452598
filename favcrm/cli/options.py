"""What can be said to every command, and how a command shows things then."""

from __future__ import annotations

import os
import sys
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import click
from attrs import evolve, frozen

from favcrm.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from favcrm.cli.output import Output

__all__ = ["Given", "action", "choose_output", "json_option"]

P = ParamSpec("P")
R = TypeVar("R")


@frozen
class Given:
    """What was said to every command.

    Attributes:
        url: The address of the tools, or None.
        api_key: The key, or None.
        as_json: Whether to write JSON.
    """

    url: str | None
    api_key: Secret | None
    as_json: bool

    @property
    def output(self) -> Output:
        """How to show things where this runs."""
        return choose_output(as_json=self.as_json)


def json_option(command: Callable[P, R]) -> Callable[P, R]:
    """Add the option ``--json`` to a command."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON, for machines.")(command)


def action(command: Callable[Concatenate[Given, P], R]) -> Callable[..., R]:
    """Tell a command what was said to all of them, and let it be asked for JSON itself."""

    @json_option
    @click.pass_obj
    @wraps(command)
    def run(given: Given, /, *args: P.args, **options: P.kwargs) -> R:
        as_json = bool(options.pop("as_json")) or given.as_json
        return command(evolve(given, as_json=as_json), *args, **options)

    return run


def choose_output(*, as_json: bool) -> Output:
    """Return how to show things where this runs."""
    from favcrm.cli.machine import JSONOutput
    from favcrm.cli.plain import PlainOutput
    from favcrm.cli.terminal import TerminalOutput

    if as_json:
        return JSONOutput()
    return TerminalOutput() if sys.stdout.isatty() and os.environ.get("TERM") != "dumb" else PlainOutput()
