"""The command ``favcrm``. It needs the extra ``cli``, and says so where that is missing."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn, cast

if TYPE_CHECKING:
    from io import TextIOWrapper

__all__ = ["main"]

MISSING_EXTRA = 'This command needs the extra "cli". Install it with: pip install "favcrm[cli]"'
NO_OUTPUT = "Error: The standard output is closed. Nothing was done."
INTERRUPTED = 130
"""What a shell expects of a command that Ctrl-C ended."""


def main() -> None:
    """Run the command."""
    if sys.stdout is None:
        # A key that comes only once could not be shown.
        sys.exit(NO_OUTPUT)
    # A mail may hold letters that the terminal does not have.
    cast("TextIOWrapper", sys.stdout).reconfigure(errors="backslashreplace")
    try:
        from favcrm.cli.commands import favcrm

        favcrm()
    except KeyboardInterrupt:
        stop()
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in {"click", "rich"}:
            raise
        sys.exit(MISSING_EXTRA)
    except OSError as error:
        give_up(error)
    finally:
        # What is left is to end, and an impatient second Ctrl-C has nothing to add.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def stop() -> NoReturn:
    """End after Ctrl-C."""
    say_stopped()
    sys.exit(INTERRUPTED)


def give_up(error: OSError) -> NoReturn:
    """End where the system takes no more of what is written."""
    # Python would try once more to write what is left, and fail with a status of its own.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(f"Error: The command stopped before its end: {error.strerror or error}.")


def say_stopped() -> None:
    """Say that the user stopped the command."""
    # A terminal has written "^C", or a question, at the start of this line.
    start = "\n" if sys.stderr.isatty() else ""
    sys.stderr.write(f"{start}Stopped.\n")
