"""A store in this process."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock

from favcrm.errors import MissingKeyError, StoreError
from favcrm.secret import Secret, SecretRef

__all__ = ["MemoryStore"]


class MemoryStore:
    """Keeps keys in this process, as `Secret`. They are gone when it ends.

    Example:
        >>> from favcrm import Secret
        >>> store = MemoryStore()
        >>> ref = store.put("acme", Secret("not-a-real-key-6789"), {})
        >>> ref
        'memory://favcrm/acme'
        >>> store.get(ref)
        Secret('...6789')
    """

    scheme: str = "memory"
    blocks: bool = False

    def __init__(self) -> None:
        self._secrets: dict[str, Secret] = {}
        self._lock = Lock()

    def check(self) -> None:
        """Do nothing: memory can always be written."""

    def put(
        self,
        name: str,
        secret: Secret,
        metadata: Mapping[str, str],  # noqa: ARG002  # a store's contract; memory has no place for it
        *,
        if_absent: bool = True,
    ) -> SecretRef:
        """Keep a secret under a name; the metadata is not kept."""
        ref = SecretRef.of(self.scheme, name)
        with self._lock:
            if if_absent and self._secrets.get(ref, secret) != secret:
                raise StoreError(f"Another key is stored as {ref}. It was not replaced.")
            self._secrets[ref] = secret
        return ref

    def get(self, ref: SecretRef) -> Secret:
        """Return a secret."""
        if (secret := self._secrets.get(ref)) is not None:
            return secret
        raise MissingKeyError(f"There is no key at {ref}.")

    def delete(self, ref: SecretRef) -> None:
        """Remove a secret; do nothing where there is none."""
        self._secrets.pop(ref, None)
