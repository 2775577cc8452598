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
NOTHING_DONE = "Nothing was done."
NOTHING_CHANGED = "Nothing was changed."
INTERRUPTED = 130
"""What a shell expects of a command that Ctrl-C ended."""


def main() -> None:
    """Run the command."""
    if sys.stdout is None:
        # A key could not be shown, and the server shows it only once.
        sys.exit(NO_OUTPUT)
    # A mail may hold letters that the terminal does not have.
    cast("TextIOWrapper", sys.stdout).reconfigure(errors="backslashreplace")
    try:
        from favcrm.cli.commands import favcrm

        favcrm()
    except KeyboardInterrupt:
        stop(NOTHING_DONE)
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in {"click", "rich"}:
            raise
        sys.exit(MISSING_EXTRA)
    except OSError as error:
        give_up(error)
    finally:
        # A second Ctrl-C is ignored, because the command is at its end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def stop(done: str) -> NoReturn:
    """End after Ctrl-C, with a sentence about what was and was not done."""
    say_stopped(done)
    sys.exit(INTERRUPTED)


def give_up(error: OSError) -> NoReturn:
    """End where the system takes no more of what is written."""
    # Python would try once more to write what is left, and fail with a status of its own.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(f"Error: The command stopped before its end: {error.strerror or error}.")


def say_stopped(done: str) -> None:
    """Say that the user stopped the command, and what was and was not done."""
    # A terminal has written "^C", or a question, at the start of this line.
    start = "\n" if sys.stderr.isatty() else ""
    sys.stderr.write(f"{start}Stopped. {done}\n")
