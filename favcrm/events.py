"""What is told while a flow runs: typed events for a callback, lines for the log ``favcrm``.

Neither carries a key, a code, an email or a masked email.
"""

from __future__ import annotations

import logging
from enum import StrEnum

from attrs import frozen

__all__ = ["Event", "EventKind"]

logger: logging.Logger = logging.getLogger("favcrm")
logger.addHandler(logging.NullHandler())


class EventKind(StrEnum):
    """What happened."""

    CODE_REQUESTED = "code_requested"
    CODE_REUSED = "code_reused"
    VERIFY_SENT = "verify_sent"
    OUTCOME_UNKNOWN = "outcome_unknown"
    KEY_RECEIVED = "key_received"
    KEY_STORED = "key_stored"
    STORE_FAILED = "store_failed"
    ESCROWED = "escrowed"
    DIAGNOSED = "diagnosed"
    STATE_CHANGED = "state_changed"


@frozen(kw_only=True)
class Event:
    """One thing that happened in a flow.

    Attributes:
        kind: What happened.
        time: When, in seconds since 1970.
        registration_id: The registration's ``request_id``, or None.
        organisation_id: The organisation, or None where it is not known yet.
        fingerprint: The end of the key, or None.
        ref: Where the key was stored, or None.
        error: The name of the error's class, or None.
        state: The state that a registration reached, or None.
        x_request_id: The server's id of the answer, or None.
    """

    kind: EventKind
    time: float
    registration_id: str | None = None
    organisation_id: str | None = None
    fingerprint: str | None = None
    ref: str | None = None
    error: str | None = None
    state: str | None = None
    x_request_id: str | None = None


def log_attempt(
    *, phase: str, tool: str, attempt: int, outcome: str, duration: float, request_id: str | None
) -> None:
    """Log one attempt at DEBUG, with every part as an attribute of the record too."""
    if logger.isEnabledFor(logging.DEBUG):
        told = {
            "phase": phase,
            "tool": tool,
            "attempt": attempt,
            "outcome": outcome,
            "duration": duration,
            "request_id": request_id,
        }
        logger.debug(
            "%(phase)s %(tool)s attempt %(attempt)d: %(outcome)s after %(duration).3f s, request id %(request_id)s",
            told,
            extra=told,
        )
