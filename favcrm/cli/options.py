"""What a command is given by its user, and how the command is run with that."""

from __future__ import annotations

import json
import os
import sys
import warnings
from functools import wraps
from getpass import getpass
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import click
from attrs import evolve, frozen

import favcrm
from favcrm._flows.refusals import NEEDS_NO_KEY
from favcrm.cli import NOTHING_CHANGED, stop
from favcrm.cli.keys import keep_aside, name_missing_key, show_workspace
from favcrm.cli.output import JSONOutput, Output
from favcrm.errors import AuthenticationError, FavCRMError, InvalidInputError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from favcrm import Event, FavCRMClient, FavCRMProvisioner, Ledger, Secret, Store
    from favcrm.cli.output import Found

__all__ = ["Given", "action", "json_option", "key_options", "read_hidden", "with_given"]

P = ParamSpec("P")
R = TypeVar("R")
CommandT = TypeVar("CommandT", bound="Callable[..., object]")

FAILED, WRONG_USE = 1, 2


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
        # Here, because rich takes longer to load than most commands take to run.
        from favcrm.cli.terminal import TerminalOutput

        if self.as_json:
            return JSONOutput()
        return TerminalOutput() if sys.stdout.isatty() and os.environ.get("TERM") != "dumb" else Output()

    def warn(self, words: str) -> None:
        """Write a warning to stderr."""
        click.echo(json.dumps({"warning": words}) if self.as_json else f"Warning: {words}", err=True)

    # Each call is made once, because the user decides what comes next.

    def client(self, key: Secret | None = None) -> FavCRMClient:
        """Return a client of the workspace, with the key that the command was given unless another one is named."""
        return favcrm.FavCRMClient(self.url, api_key=key or self.api_key, retry=favcrm.RetryPolicy.never())

    def provisioner(
        self,
        *,
        store: Store | None = None,
        ledger: Ledger | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> FavCRMProvisioner:
        """Return a provisioner."""
        return favcrm.FavCRMProvisioner(
            self.url,
            api_key=self.api_key,
            store=store,
            ledger=ledger,
            retry=favcrm.RetryPolicy.never(),
            on_event=on_event,
        )


def json_option(command: Callable[P, R]) -> Callable[P, R]:
    """Add the option ``--json`` to a command."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON, for machines.")(command)


def key_options(command: CommandT) -> CommandT:
    """Add the options that say what becomes of a key that a command receives."""
    no_save = click.option("--no-save", is_flag=True, help="Do not save the key.")
    show_key = click.option("--show-key", is_flag=True, help="Show the whole key.")
    return no_save(show_key(command))


def with_given(command: Callable[Concatenate[Given, P], R]) -> Callable[..., R]:
    """Tell a command what was said to all of them, and let it be asked for JSON itself."""

    @json_option
    @click.pass_obj
    @wraps(command)
    def run(given: Given, /, *args: P.args, **options: P.kwargs) -> R:
        as_json = bool(options.pop("as_json")) or given.as_json
        return command(evolve(given, as_json=as_json), *args, **options)

    return run


def action(
    stopped: str = NOTHING_CHANGED,
) -> Callable[[Callable[Concatenate[Given, P], Found]], Callable[..., None]]:
    """Show the result of a command; where the command fails, say why and exit with the status of a failure.

    Args:
        stopped: What was and was not done where Ctrl-C ends the command.
    """

    def make(command: Callable[Concatenate[Given, P], Found]) -> Callable[..., None]:
        @with_given
        @wraps(command)
        def run(given: Given, /, *args: P.args, **options: P.kwargs) -> None:
            try:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    found = command(given, *args, **options)
                for words in dict.fromkeys(str(warning.message) for warning in caught):
                    given.warn(words)
                show(given, found)
                if found.report is not None:
                    found.report.raise_if_not_ready()
            except KeyboardInterrupt:
                stop(stopped)
            except FavCRMError as error:
                fail(given, error)

        return run

    return make


def fail(given: Given, error: FavCRMError) -> None:
    """Show an error, and exit with its status."""
    if isinstance(error, StoreError) and error.workspace is not None:
        # A key that could not be saved is shown, because the server shows it only once.
        show(given, show_workspace(error.workspace, None, show_key=True, given=given))
    if (
        isinstance(error, AuthenticationError)
        and error.key_source is None
        and error.next_step != NEEDS_NO_KEY
    ):
        name_missing_key(given, error)
    given.output.error(error)
    sys.exit(WRONG_USE if isinstance(error, InvalidInputError) else FAILED)


def show(given: Given, found: Found) -> None:
    """Write a result. A key in it that is saved nowhere is kept aside where the result cannot be written."""
    try:
        if given.as_json:
            click.echo(json.dumps(found.payload, indent=2))
        elif found.report is None:
            click.echo("\n".join(found.lines))
        else:
            output = given.output
            output.report = found.report
            output.finish()
    except (OSError, KeyboardInterrupt):
        if found.unsaved is not None:
            given.warn(keep_aside(found.unsaved))
        raise


def read_hidden(question: str) -> str:
    """Ask for a secret and return what was typed, or one line of a pipe; empty where nothing comes.

    Args:
        question: What is asked. It is written to stderr, because the standard output is for results.
    """
    typed = sys.stdin.isatty()
    try:
        if typed:
            return getpass(question)
        click.echo(question, err=True)
        return input()
    except EOFError:
        if typed:
            # The line of the question has no end yet.
            click.echo(err=True)
        return ""
