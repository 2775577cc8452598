"""A store in AWS Secrets Manager."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Lock
from uuid import NAMESPACE_URL, uuid5

from favcrm.errors import MissingKeyError, StoreError
from favcrm.secret import Secret, SecretRef
from favcrm.stores._aws_client import SecretsManagerClient, connect
from favcrm.stores._aws_reasons import EXISTS, MISSING, code_of, why
from favcrm.stores._aws_veil import Veil
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

__all__ = ["AWSSecretsManagerStore", "SecretsManagerClient"]

# No name of a workspace has a plus sign in it once it is written for AWS.
PROBE = "+check"
PROBE_VALUE = Secret("no key, only a test whether one can be saved")


class AWSSecretsManagerStore:
    """Keeps keys in AWS Secrets Manager, one secret for each, as plain text. Needs the extra ``aws``.

    Its calls are made with placeholders in place of the key, since boto3 logs what it sends and receives at DEBUG.
    Logs, and what instruments boto3, see the placeholders.

    Args:
        client: A ``boto3.client("secretsmanager")`` to use, with its own credentials, region and timeouts. By
            default one is made at the first call.
        prefix: What the names of the secrets begin with.
        region: The AWS region. By default from the environment or the profile, as boto3 finds it.
        timeout: Seconds to wait for a connection, and for an answer. A request is tried at most 3 times.

    Example:
        >>> store = AWSSecretsManagerStore(region="eu-central-1", prefix="agents/favcrm/")
        >>> store
        AWSSecretsManagerStore(prefix='agents/favcrm/')
    """

    scheme: str = "aws"

    def __init__(
        self,
        client: SecretsManagerClient | None = None,
        *,
        prefix: str = "favcrm/",
        region: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        self._lock = Lock()
        self._veil = Veil()
        self._prefix = prefix
        self._region = region
        self._timeout = timeout
        self._client = client
        if client is not None:
            self._veil.hang(client)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(prefix={self._prefix!r})"

    def check(self) -> None:
        """Save a text that is no secret under a name of its own, ``<prefix>+check``, read it, and remove it.

        AWS has no other way to find out whether a secret can be made. Where removing is not allowed, that
        secret stays.

        Raises:
            StoreError: A key cannot be saved and read.
        """
        probe = f"{self._prefix}{PROBE}"
        self._create(probe, PROBE_VALUE, failing=NOT_USABLE)
        self._find(probe, failing=NOT_USABLE)
        with suppress(StoreError):
            self._remove(probe)

    def put(
        self, name: str, secret: Secret, metadata: Mapping[str, str], *, if_absent: bool = True
    ) -> SecretRef:
        """Save a secret under a name, and read it back. The metadata goes into the description.

        Args:
            name: The workspace's name.
            secret: What to save.
            metadata: What may be known to all.
            if_absent: Whether to refuse to replace another secret of that name. AWS itself keeps this, also
                where two programs save at the same moment.

        Returns:
            Where it is, for `get`.

        Raises:
            StoreError: It was not saved, or it is not certain that it was.
        """
        ref = SecretRef.of(self.scheme, name)
        place = self._place(name)
        found = self._find(place, failing=NOT_SAVED)
        made = found is None and self._create(place, secret, metadata, failing=NOT_SAVED)
        if found is None and not made:
            # Somebody was faster, or there is a secret without a value.
            found = self._find(place, failing=NOT_SAVED)
        if found == secret:
            return ref
        if found is not None and if_absent:
            raise another(ref)
        # AWS takes one value for one token, so of two programs that fill an empty secret one is refused.
        token = {} if found is not None else {"ClientRequestToken": str(uuid5(NAMESPACE_URL, place))}
        if not made and not self._fill(place, secret, **token):
            raise another(ref)
        # boto3 takes any answer with status 200 for a success, a login page of the network's too.
        if self._find(place, failing=NOT_CERTAIN) != secret:
            raise StoreError(f"{NOT_CERTAIN}: AWS gives back something else.")
        return ref

    def get(self, ref: SecretRef) -> Secret:
        """Return a secret.

        Raises:
            MissingKeyError: There is none.
            StoreError: It cannot be read.
        """
        secret = self._find(self._place(ref.name), failing=NOT_READ)
        if secret is None:
            raise MissingKeyError(f"There is no key at {ref}.")
        return secret

    def delete(self, ref: SecretRef) -> None:
        """Remove a secret at once, without AWS's time to restore it; do nothing where there is none.

        Raises:
            StoreError: It is there and cannot be removed.
        """
        self._remove(self._place(ref.name))

    def _place(self, name: str) -> str:
        return f"{self._prefix}{path_part(name)}"

    def _find(self, place: str, *, failing: str) -> Secret | None:
        def read() -> Secret | None:
            client = self._connected()
            with self._veil.reading() as hidden:
                try:
                    value = client.get_secret_value(SecretId=place).get("SecretString")
                except Exception as error:
                    # One that is scheduled for deletion is there, and no key can take its name.
                    if code_of(error) == MISSING:
                        return None
                    raise
            if isinstance(value, str):
                return hidden.get(value) or Secret(value)
            raise StoreError(f"{failing}: there is a secret of that name which is not text.")

        return ask(read, why, failing=failing)

    def _create(
        self, place: str, secret: Secret, metadata: Mapping[str, str] | None = None, *, failing: str
    ) -> bool:
        """Make a secret, and say whether it was made: there may be one."""
        told = ", ".join(f"{name}: {value}" for name, value in (metadata or {}).items())

        def create(client: SecretsManagerClient, text: str) -> None:
            client.create_secret(Name=place, Description=f"FavCRM key. {told}", SecretString=text)

        return self._write(secret, create, failing=failing)

    def _fill(self, place: str, secret: Secret, **token: str) -> bool:
        """Give a secret a new value, and say whether the token allowed it."""

        def fill(client: SecretsManagerClient, text: str) -> None:
            client.put_secret_value(SecretId=place, SecretString=text, **token)

        return self._write(secret, fill, failing=NOT_SAVED)

    def _write(
        self,
        secret: Secret,
        write: Callable[[SecretsManagerClient, str], None],
        *,
        failing: str,
    ) -> bool:
        """Write, and say whether it was done: not where AWS has something of that name already."""

        def attempt() -> bool:
            client = self._connected()
            with self._veil.sending(secret) as text:
                try:
                    write(client, text)
                except Exception as error:
                    if code_of(error) == EXISTS:
                        return False
                    raise
            return True

        return ask(attempt, why, failing=failing, doubtful=NOT_CERTAIN if failing == NOT_SAVED else None)

    def _remove(self, place: str) -> None:
        def remove() -> None:
            try:
                self._connected().delete_secret(SecretId=place, ForceDeleteWithoutRecovery=True)
            except Exception as error:
                if code_of(error) != MISSING:
                    raise

        ask(remove, why, failing=NOT_REMOVED)

    def _connected(self) -> SecretsManagerClient:
        with self._lock:
            if self._client is None:
                client = connect(self._region, self._timeout)
                self._veil.hang(client)
                self._client = client
            return self._client
