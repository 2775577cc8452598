"""Where the code comes from: anything that takes the pending registration and returns the code's text."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from favcrm.codes.mailbox import AsyncMailboxCode, MailboxCode
from favcrm.codes.prompt import prompt, prompt_async
from favcrm.errors import CodeUnavailableError
from favcrm.models import PendingRegistration

__all__ = [
    "AsyncMailboxCode",
    "AsyncReadCode",
    "CodeUnavailableError",
    "MailboxCode",
    "ReadCode",
    "prompt",
    "prompt_async",
]

ReadCode: TypeAlias = Callable[[PendingRegistration], str]
"""What the blocking side asks for a code."""

AsyncReadCode: TypeAlias = Callable[[PendingRegistration], Awaitable[str]]
"""What the asynchronous side asks for a code."""
