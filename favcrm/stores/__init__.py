"""Where a key goes. A store of your own has the four methods of `Store` and a scheme."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from favcrm.store import Store
from favcrm.stores.memory import MemoryStore

if TYPE_CHECKING:
    from favcrm.stores.aws import AWSSecretsManagerStore
    from favcrm.stores.config_file import ConfigFileStore
    from favcrm.stores.dotenv import DotenvStore
    from favcrm.stores.environment import EnvironmentStore
    from favcrm.stores.escrow import EscrowStore
    from favcrm.stores.keyring import KeyringStore
    from favcrm.stores.refs import store_from_ref
    from favcrm.stores.vault import VaultStore

__all__ = [
    "AWSSecretsManagerStore",
    "ConfigFileStore",
    "DotenvStore",
    "EnvironmentStore",
    "EscrowStore",
    "KeyringStore",
    "MemoryStore",
    "Store",
    "VaultStore",
    "store_from_ref",
]

_MODULES = {
    "AWSSecretsManagerStore": "aws",
    "ConfigFileStore": "config_file",
    "DotenvStore": "dotenv",
    "EnvironmentStore": "environment",
    "EscrowStore": "escrow",
    "KeyringStore": "keyring",
    "VaultStore": "vault",
    "store_from_ref": "refs",
}


def __getattr__(name: str) -> object:
    # Freezers, which cannot see what is imported here, see the imports for type checkers above.
    if name in _MODULES:
        return getattr(import_module(f"favcrm.stores.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
