"""A store in HashiCorp Vault or OpenBao: the KV secrets engine, version 2."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple, Protocol, cast

from favcrm._boundary import boundaries
from favcrm.errors import MissingKeyError, StoreError
from favcrm.secret import Secret, SecretRef
from favcrm.stores._packages import hvac
from favcrm.stores._services import (
    NOT_CERTAIN,
    NOT_READ,
    NOT_REMOVED,
    NOT_SAVED,
    NOT_USABLE,
    Reason,
    by_name,
    path_part,
    reason_by_class,
    taken,
    wrap_service_errors,
)

__all__ = ["VaultClient", "VaultStore"]

FIELD = "api_key"
NEEDED = {"create", "read"}
NOT_KV = "the answer is not one of Vault's KV engine of version 2"
MISMATCH = "check-and-set parameter did not match"
NETWORK = "Check the address of Vault and the network, and try again."
LATER = "Wait until Vault is ready, and try again."
DENIED = Reason(
    "Vault does not allow it, or the token is not valid",
    "Check the token, and the policy: create, update and read on the store's path below data/, "
    "and delete and read on the same path below metadata/.",
)
REASONS = by_name(
    {
        "Forbidden Unauthorized": DENIED,
        "InvalidPath": Reason("Vault has nothing at that path", "Check the mount and the path."),
        "InvalidRequest": Reason("Vault does not accept the request"),
        "RateLimitExceeded": Reason("Vault takes no more requests for now", LATER),
        "VaultDown VaultNotInitialized": Reason("Vault is sealed or not ready", LATER),
        "SSLError": Reason("the certificate of Vault is not trusted", "Check VAULT_ADDR and VAULT_CACERT."),
        "ConnectTimeout": Reason("Vault cannot be reached", NETWORK),
        "ConnectionError": Reason("the connection to Vault failed", NETWORK, certain=False),
        "ReadTimeout": Reason("Vault did not answer in time", NETWORK, certain=False),
    }
)
"""Why a call failed, by the names of the exceptions of hvac and requests."""


class Entry(NamedTuple):
    """What is at a place in Vault."""

    there: bool = False
    secret: Secret | None = None
    version: int = 0


class VaultClient(Protocol):
    """What the store needs of a client. ``hvac.Client`` has it."""

    def read(self, path: str, /) -> object:
        """Return what is at a path, or None."""
        ...

    def write_data(self, path: str, /, *, data: dict[str, object]) -> object:
        """Write to a path."""
        ...

    def delete(self, path: str, /) -> object:
        """Delete what is at a path."""
        ...


@boundaries
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
        if client is not None:
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
        """Ask Vault what is mounted there, and what the token may do. Nothing is written."""
        path = self._place("data", "check")
        mounted = self._read(f"sys/internal/ui/mounts/{self._mount}", NOT_USABLE)
        # Some servers do not tell. They answer when the key is saved.
        kind = (_value_at(mounted, "data", "type"), _value_at(mounted, "data", "options", "version"))
        if mounted is not None and kind != ("kv", "2"):
            raise StoreError(
                f"{NOT_USABLE}: at the mount {self._mount} there is no KV engine of version 2.",
                next_step="Check the mount, or run: vault kv enable-versioning",
            )
        with wrap_service_errors(_find_reason, failing=NOT_USABLE):
            answer = self._client.write_data("sys/capabilities-self", data={"paths": [path]})
        found = _value_at(answer, "data", path) or _value_at(answer, path)
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

        Each write says which version it replaces, so Vault lets no two programs overwrite each other. A `StoreError`
        says where it is not certain whether the secret was saved.
        """
        ref = SecretRef.of(self.scheme, name)
        place = self._place("data", name)
        entry = self._entry(place, failing=NOT_SAVED)
        for _ in range(2):
            if entry.secret == secret:
                return ref
            if entry.there and if_absent:
                raise taken(ref)
            if self._write(place, secret, metadata, entry.version):
                return ref
            # Another program wrote meanwhile, or the newest version is marked as deleted and still counts.
            entry = self._entry(place, failing=NOT_SAVED)
            if not entry.there:
                entry = Entry(version=self._deleted_version(name))
        raise StoreError(f"{NOT_SAVED}: somebody else writes to that name.")

    def get(self, ref: SecretRef) -> Secret:
        """Return a secret."""
        entry = self._entry(self._place("data", ref.name), failing=NOT_READ)
        if not entry.there:
            raise MissingKeyError(f"There is no key at {ref}.")
        if entry.secret is None:
            raise StoreError(f"{NOT_READ}: what is at {ref} has no field {FIELD}.")
        return entry.secret

    def delete(self, ref: SecretRef) -> None:
        """Remove a secret with all its versions."""
        with wrap_service_errors(_find_reason, failing=NOT_REMOVED):
            self._client.delete(self._place("metadata", ref.name))

    def _place(self, kind: str, name: str) -> str:
        return "/".join(part for part in (self._mount, kind, self._path, path_part(name)) if part)

    def _read(self, path: str, failing: str) -> object:
        with wrap_service_errors(_find_reason, failing=failing):
            return self._client.read(path)

    def _entry(self, place: str, *, failing: str) -> Entry:
        answer = self._read(place, failing)
        if answer is None:
            return Entry()
        version = _value_at(answer, "data", "metadata", "version")
        value = _value_at(answer, "data", "data", FIELD)
        if not isinstance(version, int):
            raise StoreError(f"{failing}: {NOT_KV}.")
        return Entry(there=True, secret=Secret(value) if isinstance(value, str) else None, version=version)

    def _deleted_version(self, name: str) -> int:
        answer = self._read(self._place("metadata", name), NOT_SAVED)
        version = _value_at(answer, "data", "current_version")
        return version if isinstance(version, int) else 0

    def _write(self, place: str, secret: Secret, metadata: Mapping[str, str], version: int) -> bool:
        """Write over a version, and tell whether it was still the newest one."""
        fields = {**metadata, FIELD: secret.reveal()}
        with wrap_service_errors(_find_reason, failing=NOT_SAVED, uncertain=NOT_CERTAIN):
            try:
                answer = self._client.write_data(place, data={"data": fields, "options": {"cas": version}})
            except Exception as error:
                if MISMATCH in str(error):
                    return False
                raise
        # hvac takes any answer with status 200 for a success, such as the login page of a network.
        if not isinstance(_value_at(answer, "data", "version"), int):
            raise StoreError(f"{NOT_CERTAIN}: {NOT_KV}.")
        return True

    @cached_property
    def _client(self) -> VaultClient:
        client: VaultClient = hvac().Client(
            url=self._url,
            token=None if self._token is None else self._token.reveal(),
            timeout=self._timeout,
            # hvac reads VAULT_ADDR and VAULT_TOKEN, and not this one.
            namespace=self._namespace or os.environ.get("VAULT_NAMESPACE") or None,
        )
        return client


def _value_at(answer: object, *path: str) -> object:
    """Return the value at the end of a path through an answer, or None."""
    for name in path:
        if not isinstance(answer, Mapping):
            return None
        answer = cast("Mapping[str, object]", answer).get(name)
    return answer


def _find_reason(error: BaseException) -> Reason:
    return reason_by_class(error, REASONS) or Reason(
        f"Vault failed with {type(error).__name__}", certain=False
    )
