"""Where the code comes from: anything that takes the pending registration and returns the code's text."""

from __future__ import annotations

from favcrm.codes.mailbox import AsyncMailboxCode, MailboxCode
from favcrm.codes.prompt import prompt, prompt_async
from favcrm.errors import CodeUnavailableError
from favcrm.models import AsyncReadCode, ReadCode

__all__ = [
    "AsyncMailboxCode",
    "AsyncReadCode",
    "CodeUnavailableError",
    "MailboxCode",
    "ReadCode",
    "prompt",
    "prompt_async",
]
