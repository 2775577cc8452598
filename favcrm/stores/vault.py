"""A store in HashiCorp Vault or OpenBao: the KV secrets engine, version 2."""

from __future__ import annotations

import os
from collections.abc import Mapping
from threading import Lock
from typing import Protocol, cast

from favcrm.errors import MissingKeyError, StoreError
from favcrm.secret import Secret, SecretRef
from favcrm.stores._packages import hvac
from favcrm.stores._services import (
    NOT_CERTAIN,
    NOT_READ,
    NOT_REMOVED,
    NOT_SAVED,
    NOT_USABLE,
    another,
    ask,
    path_part,
)
from favcrm.stores._vault_answers import DENIED, Entry, dig, why

__all__ = ["VaultClient", "VaultStore"]

FIELD = "api_key"
NEEDED = {"create", "read"}
NOT_KV = "the answer is not one of Vault's KV engine of version 2"
MISMATCH = "check-and-set parameter did not match"


class VaultClient(Protocol):
    """What is needed of a client. ``hvac.Client`` has it."""

    def read(self, path: str, /) -> object:
        """Return what is at a path, or None."""
        ...

    def write_data(self, path: str, /, *, data: dict[str, object]) -> object:
        """Write to a path."""
        ...

    def delete(self, path: str, /) -> object:
        """Delete what is at a path."""
        ...


class VaultStore:
    """Keeps keys in Vault's KV engine, version 2, in the field ``api_key``. Needs the extra ``vault``.

    Args:
        client: An ``hvac.Client`` to use, with its own address, token and timeout. By default one is made at the
            first call.
        mount: Where the engine is mounted.
        path: The path in it below which the keys are.
        url: Vault's address. By default ``VAULT_ADDR``.
        namespace: The namespace that the mount is in, with Vault Enterprise or OpenBao. By default
            ``VAULT_NAMESPACE``.
        token: Vault's token. By default ``VAULT_TOKEN``, or what ``vault login`` has left.
        timeout: Seconds to wait for a connection, and for an answer.

    Example:
        >>> store = VaultStore(url="https://vault.example.com", path="agents/favcrm")
        >>> store
        VaultStore(mount='secret', path='agents/favcrm')
    """

    scheme: str = "vault"

    def __init__(
        self,
        client: VaultClient | None = None,
        *,
        mount: str = "secret",
        path: str = "favcrm",
        url: str | None = None,
        namespace: str | None = None,
        token: str | Secret | None = None,
        timeout: float = 10.0,
    ) -> None:
        self._lock = Lock()
        self._client = client
        self._mount = mount.strip("/")
        self._path = path.strip("/")
        self._url = url
        self._namespace = namespace
        self._token = Secret(token) if isinstance(token, str) else token
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"{type(self).__name__}(mount={self._mount!r}, path={self._path!r})"

    def check(self) -> None:
        """Ask Vault what is mounted there, and what the token may do. Nothing is written.

        Raises:
            StoreError: A key cannot be saved and read.
        """
        path = self._place("data", "check")
        mounted = self._read(f"sys/internal/ui/mounts/{self._mount}", NOT_USABLE)
        # A server that does not tell is left to answer when the key comes.
        kind = (dig(mounted, "data", "type"), dig(mounted, "data", "options", "version"))
        if mounted is not None and kind != ("kv", "2"):
            raise StoreError(
                f"{NOT_USABLE}: at the mount {self._mount} there is no KV engine of version 2.",
                next_step="Check the mount, or run: vault kv enable-versioning",
            )
        answer = ask(
            lambda: self._connected().write_data("sys/capabilities-self", data={"paths": [path]}),
            why,
            failing=NOT_USABLE,
        )
        found = dig(answer, "data", path) or dig(answer, path)
        allowed = set(cast("list[object]", found)) if isinstance(found, list) else set[object]()
        if "root" not in allowed and not allowed >= NEEDED:
            raise StoreError(
                f"{NOT_USABLE}: the token may not create and read below {self._mount}/data/{self._path}.",
                next_step=DENIED.next_step,
            )

    def put(
        self, name: str, secret: Secret, metadata: Mapping[str, str], *, if_absent: bool = True
    ) -> SecretRef:
        """Save a secret under a name, and the metadata beside it, in fields of their own.

        Each write says which version it replaces, so Vault lets no two programs overwrite each other.

        Args:
            name: The workspace's name.
            secret: What to save.
            metadata: What may be known to all.
            if_absent: Whether to refuse to replace another secret of that name.

        Returns:
            Where it is, for `get`.

        Raises:
            StoreError: It was not saved, or it is not certain that it was.
        """
        ref = SecretRef.of(self.scheme, name)
        place = self._place("data", name)
        entry = self._entry(place, failing=NOT_SAVED)
        for _ in range(2):
            if entry.secret == secret:
                return ref
            if entry.there and if_absent:
                raise another(ref)
            if self._write(place, secret, metadata, entry.version):
                return ref
            # Somebody was faster, or the newest version is marked as deleted and still counts.
            entry = self._entry(place, failing=NOT_SAVED)
            if not entry.there:
                entry = Entry(version=self._deleted_version(name))
        raise StoreError(f"{NOT_SAVED}: somebody else writes to that name.")

    def get(self, ref: SecretRef) -> Secret:
        """Return a secret.

        Raises:
            MissingKeyError: There is none.
            StoreError: It cannot be read.
        """
        entry = self._entry(self._place("data", ref.name), failing=NOT_READ)
        if not entry.there:
            raise MissingKeyError(f"There is no key at {ref}.")
        if entry.secret is None:
            raise StoreError(f"{NOT_READ}: what is at {ref} has no field {FIELD}.")
        return entry.secret

    def delete(self, ref: SecretRef) -> None:
        """Remove a secret with all its versions; do nothing where there is none.

        Raises:
            StoreError: It is there and cannot be removed.
        """

        def remove() -> None:
            self._connected().delete(self._place("metadata", ref.name))

        ask(remove, why, failing=NOT_REMOVED)

    def _place(self, kind: str, name: str) -> str:
        return "/".join(part for part in (self._mount, kind, self._path, path_part(name)) if part)

    def _read(self, path: str, failing: str) -> object:
        return ask(lambda: self._connected().read(path), why, failing=failing)

    def _entry(self, place: str, *, failing: str) -> Entry:
        """Return what is at a place. The answer, with the key in it, is seen by no frame that raises."""

        def read() -> Entry | None:
            answer = self._connected().read(place)
            if answer is None:
                return Entry()
            version = dig(answer, "data", "metadata", "version")
            value = dig(answer, "data", "data", FIELD)
            if not isinstance(version, int):
                return None
            return Entry(
                there=True, secret=Secret(value) if isinstance(value, str) else None, version=version
            )

        entry = ask(read, why, failing=failing)
        if entry is None:
            raise StoreError(f"{failing}: {NOT_KV}.")
        return entry

    def _deleted_version(self, name: str) -> int:
        answer = self._read(self._place("metadata", name), NOT_SAVED)
        version = dig(answer, "data", "current_version")
        return version if isinstance(version, int) else 0

    def _write(self, place: str, secret: Secret, metadata: Mapping[str, str], version: int) -> bool:
        """Write over a version, and say whether it is still the newest one."""

        def write() -> object:
            fields = {**metadata, FIELD: secret.reveal()}
            data: dict[str, object] = {"data": fields, "options": {"cas": version}}
            try:
                return dig(self._connected().write_data(place, data=data), "data", "version")
            except Exception as error:
                if MISMATCH in str(error):
                    return MISMATCH
                raise

        written = ask(write, why, failing=NOT_SAVED, doubtful=NOT_CERTAIN)
        # hvac takes any answer with status 200 for a success, a login page of the network's too.
        if not isinstance(written, int) and written != MISMATCH:
            raise StoreError(f"{NOT_CERTAIN}: {NOT_KV}.")
        return written != MISMATCH

    def _connected(self) -> VaultClient:
        with self._lock:
            if self._client is None:
                client: VaultClient = hvac().Client(
                    url=self._url,
                    token=None if self._token is None else self._token.reveal(),
                    timeout=self._timeout,
                    # hvac reads VAULT_ADDR and VAULT_TOKEN, and not this one.
                    namespace=self._namespace or os.environ.get("VAULT_NAMESPACE") or None,
                )
                self._client = client
            return self._client
