"""Where a key goes: the protocol of stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from favcrm.secret import Secret, SecretRef


class Store(Protocol):
    """Where a key goes. Each store keeps what is promised here; its own class documents only what differs or is added.

    The methods are plain, not coroutines, and may block, so the async side calls them in a worker thread. A store that
    asks neither a disk nor a network says so with an attribute ``blocks`` that is false, and is called directly.
    """

    @property
    def scheme(self) -> str:
        """The first part of its references, such as ``memory``.

        With it and a name, anybody can build the reference of a key and look whether it is there.
        """
        ...

    def check(self) -> None:
        """Find out, without a secret and without asking anybody, whether `put` can work.

        Raises:
            StoreError: No key can be saved.
        """
        ...

    def put(
        self, name: str, secret: Secret, metadata: Mapping[str, str], *, if_absent: bool = True
    ) -> SecretRef:
        """Save a secret under a name.

        Args:
            name: The workspace's name.
            secret: What to save.
            metadata: What may be known to all, such as the organisation's id.
            if_absent: Whether to refuse to replace another secret of that name. The same secret may be saved again.

        Returns:
            The reference of the secret, for `get`.

        Raises:
            StoreError: The secret was not saved, or another one is there and ``if_absent`` is true.
        """
        ...

    def get(self, ref: SecretRef) -> Secret:
        """Return a saved secret.

        Raises:
            MissingKeyError: There is no key at the reference.
            StoreError: The key cannot be read.
        """
        ...

    def delete(self, ref: SecretRef) -> None:
        """Remove a saved secret; do nothing where there is none.

        Raises:
            StoreError: The key is there and cannot be removed.
        """
        ...
