"""The command ``favcrm``. It needs the extra ``cli``, and says so where that is missing."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, NoReturn, cast

if TYPE_CHECKING:
    from io import TextIOWrapper

__all__ = ["main"]

MISSING_EXTRA = 'This command needs the extra "cli". Install it with: pip install "favcrm[cli]"'
INTERRUPTED = 130
"""What a shell expects of a command that Ctrl-C ended."""


def main() -> None:
    """Run the command."""
    # A mail may hold letters that the terminal does not have.
    cast("TextIOWrapper", sys.stdout).reconfigure(errors="backslashreplace")
    try:
        from favcrm.cli.commands import favcrm

        favcrm()
    except KeyboardInterrupt:
        stop()
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] == "favcrm":
            raise
        sys.exit(MISSING_EXTRA)
    finally:
        # What is left is to end, and an impatient second Ctrl-C has nothing to add.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def stop() -> NoReturn:
    """End after Ctrl-C."""
    say_stopped()
    sys.exit(INTERRUPTED)


def say_stopped() -> None:
    """Say that the user stopped the command."""
    # A terminal has written "^C", or a question, at the start of this line.
    start = "\n" if sys.stderr.isatty() else ""
    sys.stderr.write(f"{start}Stopped.\n")
