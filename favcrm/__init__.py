"""The Python SDK with which an agent signs itself up for FavCRM and starts working.

Names are loaded when they are first used: importing this package loads nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from favcrm.async_provisioner import AsyncFavCRMProvisioner
    from favcrm.client import AsyncFavCRMClient, FavCRMClient
    from favcrm.errors import (
        AlreadyRegisteredError,
        AuthenticationError,
        CodeExpiredError,
        FavCRMError,
        InvalidCodeError,
        InvalidInputError,
        MissingKeyError,
        NotReadyError,
        NotSentError,
        OutcomeUnknownError,
        PlanLimitError,
        Problem,
        RateLimitError,
        RefusedError,
        ServerBusyError,
        StateError,
        StoreError,
        TooManyAttemptsError,
        TransportError,
        UnexpectedAnswerError,
    )
    from favcrm.events import Event, EventKind, JsonlAuditLog
    from favcrm.inputs import Industry, Registration
    from favcrm.ledger import Ledger, MemoryLedger
    from favcrm.models import (
        Allowance,
        Check,
        CheckStatus,
        DiagnosticReport,
        Invitation,
        PendingRegistration,
        Provisioned,
        Tool,
        ToolResult,
        Workspace,
    )
    from favcrm.provisioner import FavCRMProvisioner
    from favcrm.retry import RetryPolicy
    from favcrm.secret import Secret, SecretRef
    from favcrm.stores import MemoryStore, Store
    from favcrm.transports.http import BearerAuth
    from favcrm.typing import JSON

__version__ = "0.1.0"

_MODULES = {
    "JSON": "typing",
    "Allowance": "models",
    "AlreadyRegisteredError": "errors",
    "AsyncFavCRMClient": "client",
    "AsyncFavCRMProvisioner": "async_provisioner",
    "AuthenticationError": "errors",
    "BearerAuth": "transports.http",
    "Check": "models",
    "CheckStatus": "models",
    "CodeExpiredError": "errors",
    "DiagnosticReport": "models",
    "Event": "events",
    "EventKind": "events",
    "FavCRMClient": "client",
    "FavCRMError": "errors",
    "FavCRMProvisioner": "provisioner",
    "Industry": "inputs",
    "InvalidCodeError": "errors",
    "InvalidInputError": "errors",
    "Invitation": "models",
    "JsonlAuditLog": "events",
    "Ledger": "ledger",
    "MemoryLedger": "ledger",
    "MemoryStore": "stores",
    "MissingKeyError": "errors",
    "NotReadyError": "errors",
    "NotSentError": "errors",
    "OutcomeUnknownError": "errors",
    "PendingRegistration": "models",
    "PlanLimitError": "errors",
    "Problem": "errors",
    "Provisioned": "models",
    "RateLimitError": "errors",
    "RefusedError": "errors",
    "Registration": "inputs",
    "RetryPolicy": "retry",
    "Secret": "secret",
    "SecretRef": "secret",
    "ServerBusyError": "errors",
    "StateError": "errors",
    "Store": "stores",
    "StoreError": "errors",
    "Tool": "models",
    "ToolResult": "models",
    "TooManyAttemptsError": "errors",
    "TransportError": "errors",
    "UnexpectedAnswerError": "errors",
    "Workspace": "models",
}

__all__ = [
    "JSON",
    "Allowance",
    "AlreadyRegisteredError",
    "AsyncFavCRMClient",
    "AsyncFavCRMProvisioner",
    "AuthenticationError",
    "BearerAuth",
    "Check",
    "CheckStatus",
    "CodeExpiredError",
    "DiagnosticReport",
    "Event",
    "EventKind",
    "FavCRMClient",
    "FavCRMError",
    "FavCRMProvisioner",
    "Industry",
    "InvalidCodeError",
    "InvalidInputError",
    "Invitation",
    "JsonlAuditLog",
    "Ledger",
    "MemoryLedger",
    "MemoryStore",
    "MissingKeyError",
    "NotReadyError",
    "NotSentError",
    "OutcomeUnknownError",
    "PendingRegistration",
    "PlanLimitError",
    "Problem",
    "Provisioned",
    "RateLimitError",
    "RefusedError",
    "Registration",
    "RetryPolicy",
    "Secret",
    "SecretRef",
    "ServerBusyError",
    "StateError",
    "Store",
    "StoreError",
    "TooManyAttemptsError",
    "Tool",
    "ToolResult",
    "TransportError",
    "UnexpectedAnswerError",
    "Workspace",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        value = getattr(import_module(f"favcrm.{_MODULES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
