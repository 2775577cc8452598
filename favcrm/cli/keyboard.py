"""What a person types, or a program pipes, without showing what is typed."""

from __future__ import annotations

import sys
from getpass import getpass

import click

__all__ = ["read_hidden"]


def read_hidden(question: str) -> str:
    """Ask for a secret and return what was typed, or one line of a pipe; empty where nothing comes.

    Args:
        question: What is asked. It is written beside the standard output, which is for results.
    """
    try:
        if sys.stdin.isatty():
            return getpass(question)
        click.echo(question, err=True)
        return input()
    except EOFError:
        # The line of the question has no end yet.
        click.echo(err=True)
        return ""
