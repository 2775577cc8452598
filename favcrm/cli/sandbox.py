"""``favcrm sandbox``: the embedded FavCRM on loopback, until Ctrl-C."""

from __future__ import annotations

import queue
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Never

import click

from favcrm.cli import say_stopped
from favcrm.sandbox import Sandbox, SandboxClock

if TYPE_CHECKING:
    from favcrm.cli.output import Output
    from favcrm.sandbox import Mail
    from favcrm.sandbox.server import Server

__all__ = ["serve"]

GLANCE = 0.2


def serve(output: Output, *, port: int, doctor: bool) -> None:
    """Serve a sandbox until Ctrl-C or SIGTERM.

    Args:
        output: How its mails are shown.
        port: The port; 0 for a free one.
        doctor: Whether it has the tool ``favcrm_doctor``.

    Raises:
        click.ClickException: The port cannot be used, or the extra ``sandbox`` is not installed.
    """
    # The mails are shown from this thread: a terminal that is slow or gone is no concern of the server's.
    mails: queue.SimpleQueue[Mail] = queue.SimpleQueue()
    sandbox = Sandbox(clock=SandboxClock(running=True), doctor=doctor, on_mail=mails.put)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with start(sandbox, port) as server:
            output.serving(server.url)
            show(mails, output)
    except KeyboardInterrupt:
        say_stopped("What was written in the sandbox is gone.")


def start(sandbox: Sandbox, port: int) -> Server:
    """Start the server, or say in one line why it does not start."""
    try:
        return sandbox.serve(port=port)
    except ModuleNotFoundError as missing:
        raise click.ClickException(str(missing)) from None
    except OSError as error:
        # Python adds the address in brackets.
        reason = str(error.strerror).partition(" (")[0]
        raise click.ClickException(f"Port {port} cannot be used: {reason}.") from None


def show(mails: queue.SimpleQueue[Mail], output: Output) -> Never:
    """Show the mails as they come."""
    while True:
        # In steps, because a wait without an end cannot be interrupted on every system.
        with suppress(queue.Empty):
            output.mail(mails.get(timeout=GLANCE))
