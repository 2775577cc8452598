"""The Python SDK with which an agent signs itself up for FavCRM and starts working.

Names are loaded when they are first used: importing this package loads nothing else.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # loading typing for it would cost ten times as much as all the rest
if TYPE_CHECKING:
    from favcrm.async_client import AsyncFavCRMClient
    from favcrm.async_provisioner import AsyncFavCRMProvisioner
    from favcrm.client import FavCRMClient
    from favcrm.codes import AsyncMailboxCode, MailboxCode, prompt, prompt_async
    from favcrm.errors import (
        AlreadyRegisteredError,
        AuthenticationError,
        CodeExpiredError,
        CodeUnavailableError,
        FavCRMError,
        InputRequiredError,
        InvalidCodeError,
        InvalidInputError,
        KeyNotStoredWarning,
        MissingKeyError,
        NotReadyError,
        NotSentError,
        OutcomeUnknownError,
        PlanLimitError,
        Problem,
        RateLimitError,
        RefusedError,
        ServerBusyError,
        StoreError,
        TooManyAttemptsError,
        TransportError,
        UnexpectedAnswerError,
    )
    from favcrm.events import Event, EventKind, JsonlAuditLog
    from favcrm.inputs import Industry, Registration
    from favcrm.ledger import CodeState, Ledger, MemoryLedger
    from favcrm.ledger_file import FileLedger
    from favcrm.models import (
        Allowance,
        Check,
        CheckStatus,
        DiagnosticReport,
        Invitation,
        PendingRegistration,
        Progress,
        Provisioned,
        Tool,
        ToolResult,
        Workspace,
    )
    from favcrm.provisioner import FavCRMProvisioner
    from favcrm.retry import RetryPolicy
    from favcrm.secret import Secret, SecretRef
    from favcrm.stores import MemoryStore, Store
    from favcrm.stores.aws import AWSSecretsManagerStore
    from favcrm.stores.config_file import ConfigFileStore
    from favcrm.stores.dotenv import DotenvStore
    from favcrm.stores.environment import EnvironmentStore
    from favcrm.stores.escrow import EscrowStore
    from favcrm.stores.keyring import KeyringStore
    from favcrm.stores.refs import store_from_ref
    from favcrm.stores.vault import VaultStore
    from favcrm.transports.http import BearerAuth
    from favcrm.typing import JSON

__version__ = "0.1.0"

_MODULES = {
    "JSON": "typing",
    "AWSSecretsManagerStore": "stores.aws",
    "Allowance": "models",
    "AlreadyRegisteredError": "errors",
    "AsyncFavCRMClient": "async_client",
    "AsyncFavCRMProvisioner": "async_provisioner",
    "AsyncMailboxCode": "codes",
    "AuthenticationError": "errors",
    "BearerAuth": "transports.http",
    "Check": "models",
    "CheckStatus": "models",
    "CodeExpiredError": "errors",
    "CodeState": "ledger",
    "ConfigFileStore": "stores.config_file",
    "DiagnosticReport": "models",
    "DotenvStore": "stores.dotenv",
    "EnvironmentStore": "stores.environment",
    "EscrowStore": "stores.escrow",
    "Event": "events",
    "EventKind": "events",
    "FavCRMClient": "client",
    "FavCRMError": "errors",
    "FavCRMProvisioner": "provisioner",
    "FileLedger": "ledger_file",
    "Industry": "inputs",
    "InputRequiredError": "errors",
    "InvalidCodeError": "errors",
    "InvalidInputError": "errors",
    "KeyNotStoredWarning": "errors",
    "Invitation": "models",
    "JsonlAuditLog": "events",
    "KeyringStore": "stores.keyring",
    "Ledger": "ledger",
    "MailboxCode": "codes",
    "MemoryLedger": "ledger",
    "MemoryStore": "stores",
    "MissingKeyError": "errors",
    "CodeUnavailableError": "errors",
    "NotReadyError": "errors",
    "NotSentError": "errors",
    "OutcomeUnknownError": "errors",
    "PendingRegistration": "models",
    "PlanLimitError": "errors",
    "Problem": "errors",
    "Progress": "models",
    "Provisioned": "models",
    "RateLimitError": "errors",
    "RefusedError": "errors",
    "Registration": "inputs",
    "RetryPolicy": "retry",
    "Secret": "secret",
    "SecretRef": "secret",
    "ServerBusyError": "errors",
    "Store": "stores",
    "StoreError": "errors",
    "TooManyAttemptsError": "errors",
    "Tool": "models",
    "ToolResult": "results",
    "TransportError": "errors",
    "UnexpectedAnswerError": "errors",
    "VaultStore": "stores.vault",
    "Workspace": "models",
    "prompt": "codes",
    "prompt_async": "codes",
    "store_from_ref": "stores.refs",
}

__all__ = [
    "JSON",
    "AWSSecretsManagerStore",
    "Allowance",
    "AlreadyRegisteredError",
    "AsyncFavCRMClient",
    "AsyncFavCRMProvisioner",
    "AsyncMailboxCode",
    "AuthenticationError",
    "BearerAuth",
    "Check",
    "CheckStatus",
    "CodeExpiredError",
    "CodeState",
    "CodeUnavailableError",
    "ConfigFileStore",
    "DiagnosticReport",
    "DotenvStore",
    "EnvironmentStore",
    "EscrowStore",
    "Event",
    "EventKind",
    "FavCRMClient",
    "FavCRMError",
    "FavCRMProvisioner",
    "FileLedger",
    "Industry",
    "InputRequiredError",
    "InvalidCodeError",
    "InvalidInputError",
    "Invitation",
    "JsonlAuditLog",
    "KeyNotStoredWarning",
    "KeyringStore",
    "Ledger",
    "MailboxCode",
    "MemoryLedger",
    "MemoryStore",
    "MissingKeyError",
    "NotReadyError",
    "NotSentError",
    "OutcomeUnknownError",
    "PendingRegistration",
    "PlanLimitError",
    "Problem",
    "Progress",
    "Provisioned",
    "RateLimitError",
    "RefusedError",
    "Registration",
    "RetryPolicy",
    "Secret",
    "SecretRef",
    "ServerBusyError",
    "Store",
    "StoreError",
    "TooManyAttemptsError",
    "Tool",
    "ToolResult",
    "TransportError",
    "UnexpectedAnswerError",
    "VaultStore",
    "Workspace",
    "__version__",
    "prompt",
    "prompt_async",
    "store_from_ref",
]


def __getattr__(name: str) -> object:
    # Freezers, which cannot see what is imported here, see the imports for type checkers above.
    if name in _MODULES:
        value = getattr(import_module(f"favcrm.{_MODULES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
