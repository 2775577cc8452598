"""Asking the person at the terminal or notebook."""

from __future__ import annotations

import getpass
import os
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial

from favcrm._flows.checks import SIX_DIGITS
from favcrm._threads import result_of
from favcrm.errors import CodeExpiredError, CodeUnavailableError
from favcrm.models import PendingRegistration

__all__ = ["prompt", "prompt_async"]

QUESTIONS = 3


def prompt(pending: PendingRegistration) -> str:
    """Ask the person at the keyboard for the code, in a terminal or a notebook. What is typed is never shown.

    The question says where the code went and how long it lives. When `provision` asks again, the question also says
    what was wrong with the last code and how many tries are left. Ctrl-C passes through.

    Args:
        pending: The registration that waits for the code.

    Returns:
        The six digits.

    Raises:
        CodeUnavailableError: Nobody can be asked here, or what was typed is no code three times.
        CodeExpiredError: The code was dead before it could be asked for.

    Example:
        >>> prompt(favcrm.initiate(registration))  # doctest: +SKIP
        The 6-digit code that FavCRM sent to yo*@example.com (9:58 left):
        '123456'
    """
    with _hiding() as hidden:
        return _ask(pending, hidden=hidden)


async def prompt_async(pending: PendingRegistration) -> str:
    """Ask like `prompt`, while other tasks run, on asyncio or trio.

    Cancelling, and interrupting the cell of a notebook, ends the question. In a terminal it gives the echo back at
    once; the next line that is typed there is lost, since nothing can take a question back from a terminal.
    """
    with _hiding() as hidden:
        # A question that is left behind in a notebook would take the answer to the next question.
        return await result_of(partial(_ask, pending, hidden=hidden), interrupt=_is_notebook())


def _ask(pending: PendingRegistration, *, hidden: bool) -> str:
    question = f"The 6-digit code that FavCRM sent to {pending.masked_email or 'your email'}"
    if pending.last_refusal:
        question = f"{pending.last_refusal} {_tries_left(pending)}{question}"
    for _ in range(QUESTIONS):
        minutes, seconds = divmod(int(pending.remaining()), 60)
        if pending.expired:
            raise CodeExpiredError("The code expired before it was typed. Nothing was created.")
        digits = _type(f"{question} ({minutes}:{seconds:02} left): ") if hidden else None
        if digits is None:
            raise CodeUnavailableError(
                "Nobody can be asked for the code: there is no terminal or notebook to type it in.",
                next_step="Start the program in a terminal or a notebook, or let it take the code from elsewhere: "
                "confirm and provision take a code however it was read.",
            )
        if digits:
            return digits
        question = "That is not six digits. The code"
    raise CodeUnavailableError(f"What was typed is not six digits, {QUESTIONS} times. Nothing was sent.")


def _tries_left(pending: PendingRegistration) -> str:
    if pending.tries_left is None:
        return ""
    return "This is the last try. " if pending.tries_left == 1 else f"{pending.tries_left} tries are left. "


def _type(question: str) -> str | None:
    """Return the six digits that a person types, nothing where it is something else, or None where nobody can."""
    # Nobody can be asked where the input has ended, where a notebook has no front end (its error is a subclass of
    # NotImplementedError), or where there is no terminal.
    with suppress(EOFError, NotImplementedError, OSError):  # None says so, and the caller raises
        # Looked up at each call, because a notebook puts its own function there while a cell runs.
        digits = re.sub(r"[\s-]", "", getpass.getpass(question))
        return digits if SIX_DIGITS.fullmatch(digits) else ""
    return None


def _is_notebook() -> bool:
    """Tell whether a notebook put a getpass of its own in, which hides what is typed."""
    return getpass.getpass.__module__ != "getpass"


@contextmanager
def _hiding() -> Generator[bool]:
    """Yield whether what is typed stays hidden, and leave the terminal as it was.

    Where getpass cannot switch the echo off, it warns and shows what is typed. So it is found out before.
    """
    if _is_notebook():
        yield True
        return
    try:
        import termios
    except ImportError:  # Windows, where getpass reads the console unless somebody replaced it
        console = sys.__stdin__
        yield console is not None and console is sys.stdin and console.isatty()
        return
    terminal = _open_terminal()
    try:
        before = termios.tcgetattr(terminal)
    except (termios.error, ValueError):
        before = None
    try:
        yield before is not None
    finally:
        # getpass restores the terminal too, unless its thread was left behind.
        if before is not None:
            termios.tcsetattr(terminal, termios.TCSANOW, before)
        if terminal >= 0:
            os.close(terminal)


def _open_terminal() -> int:
    """Return a descriptor of what getpass reads: the process's terminal, else standard input; -1 without both."""
    with suppress(OSError):
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    with suppress(OSError, ValueError, AttributeError):
        return os.dup(sys.stdin.fileno())
    return -1
