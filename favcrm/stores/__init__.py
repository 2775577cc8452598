"""Where a key goes. A store of your own has the four methods of `Store` and a scheme."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from favcrm._boundary import boundary
from favcrm.errors import InvalidInputError, Problem, StoreError
from favcrm.store import Store
from favcrm.stores.memory import MemoryStore

if TYPE_CHECKING:
    from favcrm.stores.aws import AWSSecretsManagerStore
    from favcrm.stores.config_file import ConfigFileStore
    from favcrm.stores.dotenv import DotenvStore
    from favcrm.stores.environment import EnvironmentStore
    from favcrm.stores.escrow import EscrowStore
    from favcrm.stores.keyring import KeyringStore
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
}
SCHEMES = {
    "aws": "AWSSecretsManagerStore",
    "config": "ConfigFileStore",
    "dotenv": "DotenvStore",
    "env": "EnvironmentStore",
    "escrow": "EscrowStore",
    "keyring": "KeyringStore",
    "vault": "VaultStore",
}
"""The name of the class of each scheme. The class is loaded when it is asked for."""


def __getattr__(name: str) -> object:
    # Freezers, which cannot see what is imported here, see the imports for type checkers above.
    if name in _MODULES:
        return getattr(import_module(f"favcrm.stores.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@boundary
def store_from_ref(ref: str, **options: Any) -> Store:
    """Return the store that a reference is of, so that ``store_from_ref(ref).get(ref)`` is the key.

    Args:
        ref: A reference, such as ``keyring://favcrm/acme``, kept as text anywhere.
        options: What the store's class takes, where it is not the usual: a file store's ``path``, an escrow's
            ``directory``. A reference does not hold them.

    Raises:
        InvalidInputError: The text is no reference of a store of this package, or the class does not take the options.
        StoreError: The reference is of a store that cannot be found again.

    Example:
        >>> from favcrm import Secret
        >>> from favcrm.stores.config_file import ConfigFileStore
        >>> ref = ConfigFileStore("here.toml").put("acme", Secret("not-a-real-key-6789"), {})
        >>> store_from_ref(str(ref), path="here.toml").get(ref)
        Secret('...6789')
    """
    scheme, separator, _ = str(ref).partition("://")
    if scheme == MemoryStore.scheme:
        raise StoreError(
            "A MemoryStore ends with its process, and no reference leads back to it.",
            next_step="Keep the store object, or use a store that lasts.",
        )
    if scheme not in SCHEMES or not separator:
        known = ", ".join(sorted(SCHEMES))
        raise InvalidInputError([Problem("ref", f"must begin with a scheme and ://, one of {known}")])
    name = SCHEMES[scheme]
    store = cast("Callable[..., Store]", __getattr__(name))
    try:
        inspect.signature(store).bind(**options)
    except TypeError as error:
        raise InvalidInputError([Problem("options", f"do not fit {name}: {error}")]) from None
    return store(**options)
