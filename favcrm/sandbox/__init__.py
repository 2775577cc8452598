"""An embedded FavCRM, for tests and for trying things offline."""

from __future__ import annotations

from favcrm.sandbox.clock import SandboxClock
from favcrm.sandbox.faults import Fault
from favcrm.sandbox.forms import AnswerForm, PayloadForm, Reason, RefusalForm
from favcrm.sandbox.inbox import Inbox, Mail
from favcrm.sandbox.rules import Moment, Rules
from favcrm.sandbox.sandbox import Sandbox
from favcrm.sandbox.transport import AsyncSandboxTransport, SandboxTransport
from favcrm.sandbox.visit import Call

__all__ = [
    "AnswerForm",
    "AsyncSandboxTransport",
    "Call",
    "Fault",
    "Inbox",
    "Mail",
    "Moment",
    "PayloadForm",
    "Reason",
    "RefusalForm",
    "Rules",
    "Sandbox",
    "SandboxClock",
    "SandboxTransport",
]
