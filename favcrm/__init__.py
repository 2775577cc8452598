"""The Python SDK with which an agent signs itself up for FavCRM and starts working.

Names are loaded when they are first used: importing this package loads nothing else.
"""

from __future__ import annotations

__version__ = "0.1.0"

# Type checkers take the name for true. To import it from typing would take ten times as long as all the rest.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from favcrm import codes as codes
    from favcrm import errors as errors
    from favcrm import sandbox as sandbox
    from favcrm import stores as stores
    from favcrm import transports as transports
    from favcrm.async_client import AsyncFavCRMClient as AsyncFavCRMClient
    from favcrm.async_provisioner import AsyncFavCRMProvisioner as AsyncFavCRMProvisioner
    from favcrm.client import FavCRMClient as FavCRMClient
    from favcrm.errors import AlreadyRegisteredError as AlreadyRegisteredError
    from favcrm.errors import AuthenticationError as AuthenticationError
    from favcrm.errors import CodeExpiredError as CodeExpiredError
    from favcrm.errors import CodeUnavailableError as CodeUnavailableError
    from favcrm.errors import FavCRMError as FavCRMError
    from favcrm.errors import InputRequiredError as InputRequiredError
    from favcrm.errors import InvalidCodeError as InvalidCodeError
    from favcrm.errors import InvalidInputError as InvalidInputError
    from favcrm.errors import KeyNotStoredWarning as KeyNotStoredWarning
    from favcrm.errors import MissingKeyError as MissingKeyError
    from favcrm.errors import NotReadyError as NotReadyError
    from favcrm.errors import NotSentError as NotSentError
    from favcrm.errors import OutcomeUnknownError as OutcomeUnknownError
    from favcrm.errors import PlanLimitError as PlanLimitError
    from favcrm.errors import RateLimitError as RateLimitError
    from favcrm.errors import RefusedError as RefusedError
    from favcrm.errors import ServerBusyError as ServerBusyError
    from favcrm.errors import StoreError as StoreError
    from favcrm.errors import TooManyAttemptsError as TooManyAttemptsError
    from favcrm.errors import TransportError as TransportError
    from favcrm.errors import UnexpectedAnswerError as UnexpectedAnswerError
    from favcrm.events import Event as Event
    from favcrm.events import EventKind as EventKind
    from favcrm.events import JsonlAuditLog as JsonlAuditLog
    from favcrm.ledger import Ledger as Ledger
    from favcrm.ledger import MemoryLedger as MemoryLedger
    from favcrm.ledger_file import FileLedger as FileLedger
    from favcrm.models import Check as Check
    from favcrm.models import CheckStatus as CheckStatus
    from favcrm.models import DiagnosticReport as DiagnosticReport
    from favcrm.models import Invitation as Invitation
    from favcrm.models import PendingRegistration as PendingRegistration
    from favcrm.models import PlanCheck as PlanCheck
    from favcrm.models import Provisioned as Provisioned
    from favcrm.models import Tool as Tool
    from favcrm.models import ToolResult as ToolResult
    from favcrm.models import Workspace as Workspace
    from favcrm.provisioner import FavCRMProvisioner as FavCRMProvisioner
    from favcrm.registration import Industry as Industry
    from favcrm.registration import Registration as Registration
    from favcrm.retry import RetryPolicy as RetryPolicy
    from favcrm.secret import Secret as Secret
    from favcrm.secret import SecretRef as SecretRef
    from favcrm.store import Store as Store
    from favcrm.transport import AsyncTransport as AsyncTransport
    from favcrm.transport import Transport as Transport
    from favcrm.transports.http import BearerAuth as BearerAuth
else:
    # Names by module; a test holds this list and the imports above together.
    _NAMES = {
        "async_client": "AsyncFavCRMClient",
        "async_provisioner": "AsyncFavCRMProvisioner",
        "client": "FavCRMClient",
        "errors": """
            AlreadyRegisteredError AuthenticationError CodeExpiredError CodeUnavailableError FavCRMError
            InputRequiredError InvalidCodeError InvalidInputError KeyNotStoredWarning MissingKeyError NotReadyError
            NotSentError OutcomeUnknownError PlanLimitError RateLimitError RefusedError ServerBusyError StoreError
            TooManyAttemptsError TransportError UnexpectedAnswerError
        """,
        "events": "Event EventKind JsonlAuditLog",
        "ledger": "Ledger MemoryLedger",
        "ledger_file": "FileLedger",
        "models": """
            Check CheckStatus DiagnosticReport Invitation PendingRegistration PlanCheck Provisioned Tool ToolResult
            Workspace
        """,
        "provisioner": "FavCRMProvisioner",
        "registration": "Industry Registration",
        "retry": "RetryPolicy",
        "secret": "Secret SecretRef",
        "store": "Store",
        "transport": "AsyncTransport Transport",
        "transports.http": "BearerAuth",
    }
    _MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}
    __all__ = list(_MODULES)
    _ROOMS = ("codes", "errors", "sandbox", "stores", "transports")

    def __getattr__(name: str) -> object:
        # Freezers, which cannot see what is imported here, see the imports for type checkers above.
        if name not in _MODULES and name not in _ROOMS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        if name in _ROOMS:
            return import_module(f"favcrm.{name}")
        globals()[name] = getattr(import_module(f"favcrm.{_MODULES[name]}"), name)
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted([*__all__, *_ROOMS, "__version__"])
