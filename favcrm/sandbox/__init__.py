"""An embedded FavCRM, for tests and for trying things offline."""

from __future__ import annotations

from favcrm.sandbox.clock import SandboxClock
from favcrm.sandbox.faults import Fault
from favcrm.sandbox.forms import AnswerForm, PayloadForm, RefusalForm, RefusalReason
from favcrm.sandbox.handler import CallRecord
from favcrm.sandbox.sandbox import AsyncSandboxTransport, Sandbox, SandboxTransport
from favcrm.sandbox.state import AccountCheck, Inbox, Mail, Rules

__all__ = [
    "AccountCheck",
    "AnswerForm",
    "AsyncSandboxTransport",
    "CallRecord",
    "Fault",
    "Inbox",
    "Mail",
    "PayloadForm",
    "RefusalForm",
    "RefusalReason",
    "Rules",
    "Sandbox",
    "SandboxClock",
    "SandboxTransport",
]
