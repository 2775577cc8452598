"""The states of one registration, as events tell of them."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a registration is."""

    STORE_CHECKED = "store checked"
    CODE_REQUESTED = "code requested"
    CODE_READ = "code read"
    VERIFY_SENT = "verify sent"
    KEY_RECEIVED = "key received"
    STORED = "stored"
    ESCROWED = "escrowed"
    DIAGNOSED = "diagnosed"
    ALREADY_REGISTERED = "already registered"
    OUTCOME_UNKNOWN = "outcome unknown"
    NOT_STORED = "not stored"
