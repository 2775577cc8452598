"""Several stores, tried in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from favcrm._text import mask
from favcrm.errors import InvalidInputError, MissingKeyError, Problem, StoreError
from favcrm.secret import Secret, SecretRef
from favcrm.store import Store
from favcrm.stores._one_key import TakenError

__all__ = ["FallbackStore"]

T = TypeVar("T")


class FallbackStore:
    """Saves a key in the first of several stores that takes it.

    The reference is that store's own, so the key is read and removed there. A reference of the scheme ``fallback``
    looks for the name in all of them, in order.

    Args:
        stores: Where to save, the best first. A `FallbackStore` among them counts as its stores.

    Raises:
        InvalidInputError: There is no store.

    Example:
        >>> from favcrm import Secret
        >>> from favcrm.stores import MemoryStore
        >>> from favcrm.stores.config_file import ConfigFileStore
        >>> store = FallbackStore([ConfigFileStore("/dev/null/favcrm.toml"), MemoryStore()])
        >>> ref = store.put("acme", Secret("not-a-real-key-6789"), {})
        >>> ref
        'memory://favcrm/acme'
        >>> store.get(ref)
        Secret('...6789')
    """

    scheme: str = "fallback"

    def __init__(self, stores: Sequence[Store]) -> None:
        flat: list[Store] = []
        for store in stores:
            flat.extend(store.stores if isinstance(store, FallbackStore) else [store])
        if not flat:
            raise InvalidInputError([Problem("stores", "must name one store or more")])
        self.stores: tuple[Store, ...] = tuple(flat)

    def __repr__(self) -> str:
        return f"FallbackStore({list(self.stores)!r})"

    def check(self) -> None:
        """Do nothing where one of the stores can be written.

        Raises:
            StoreError: None can; the error names what each said.
        """
        said: list[str] = []
        for store in self.stores:
            _, failure = _asked(store.check)
            if failure is None:
                return
            said.append(_told(store, failure))
        raise StoreError(f"No store can be written. {' '.join(said)}")

    def put(
        self, name: str, secret: Secret, metadata: Mapping[str, str], *, if_absent: bool = True
    ) -> SecretRef:
        """Save a secret in the first store that takes it.

        Args:
            name: The workspace's name.
            secret: What to save.
            metadata: What may be known to all.
            if_absent: Whether a store that has another secret of that name is passed over.

        Returns:
            The reference of the store that took it.

        Raises:
            StoreError: None took it; the error names what each said.
        """
        said: list[str] = []
        for store in self.stores:
            ref, failure = _asked(partial(store.put, name, secret, metadata, if_absent=if_absent))
            if ref is not None and failure is None:
                return ref
            said.append(_told(store, failure, secret))
        raise StoreError(f"No store took the key. {' '.join(said)}")

    def get(self, ref: SecretRef) -> Secret:
        """Return a secret from the store that the reference is of.

        Raises:
            MissingKeyError: Each store that it can be in says that it is not there.
            StoreError: It was not found, and a store that it may be in cannot be read, or no store has room for it.
        """
        said: list[str] = []
        taken: list[str] = []
        room = False
        for store, own in self._places(ref):
            secret, failure = _asked(partial(store.get, own))
            if secret is not None:
                return secret
            room = room or isinstance(failure, MissingKeyError)
            if isinstance(failure, TakenError):
                taken.append(_told(store, failure))
            elif not isinstance(failure, MissingKeyError):
                said.append(_told(store, failure))
        if said or (taken and not room):
            raise StoreError(f"{ref} cannot be read. {' '.join(said + taken)}")
        raise MissingKeyError(f"There is no key at {ref}.")

    def delete(self, ref: SecretRef) -> None:
        """Remove a secret from the store that the reference is of; do nothing where there is none.

        Raises:
            StoreError: It is there and cannot be removed.
        """
        said: list[str] = []
        for store, own in self._places(ref):
            _, failure = _asked(partial(store.delete, own))
            if failure is not None:
                said.append(_told(store, failure))
        if said:
            raise StoreError(f"{ref} could not be removed. {' '.join(said)}")

    def _places(self, ref: SecretRef) -> list[tuple[Store, SecretRef]]:
        """Return the stores that the secret may be in, each with its own reference of it."""
        if ref.scheme == self.scheme:
            return [(store, SecretRef.of(store.scheme, ref.name)) for store in self.stores]
        return [(store, ref) for store in self.stores if store.scheme == ref.scheme]


def _asked(action: Callable[[], T]) -> tuple[T | None, StoreError | None]:
    """Return what a store answers, or how it failed, without the frames that saw a secret."""
    try:
        return action(), None
    except StoreError as error:
        failure = error.with_traceback(None)
        failure.__cause__ = failure.__context__ = None
        return None, failure
    except Exception as error:  # noqa: BLE001  # a store of the user's may raise anything
        return None, StoreError(f"It failed with {type(error).__name__}.")


def _told(store: Store, failure: StoreError | None, secret: Secret | None = None) -> str:
    """Return what a store said, fit to be shown."""
    message = "It returned nothing." if failure is None else failure.message
    return f"{store.scheme}: {mask(message, hide=(secret.reveal(),) if secret else ())}"
