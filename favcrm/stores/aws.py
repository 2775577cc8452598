"""A store in AWS Secrets Manager."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from threading import local
from typing import Protocol, TypeVar
from uuid import NAMESPACE_URL, uuid5

from favcrm._boundary import boundaries
from favcrm.errors import MissingKeyError, StoreError
from favcrm.secret import Secret, SecretRef
from favcrm.stores._aws_reasons import EXISTS, MISSING, code_of, find_reason
from favcrm.stores._packages import boto3
from favcrm.stores._services import (
    NOT_CERTAIN,
    NOT_READ,
    NOT_REMOVED,
    NOT_SAVED,
    NOT_USABLE,
    check_read_back,
    path_part,
    taken,
    wrap_service_errors,
)

__all__ = ["AWSSecretsManagerStore", "SecretsManagerClient"]

T = TypeVar("T")

# A name of a workspace is written without a plus sign, so no key is ever saved under this one.
CHECK_NAME = "+check"
CHECK_VALUE = Secret("no key, only a test whether one can be saved")


class SecretsManagerClient(Protocol):
    """What the store needs of a client. ``boto3.client("secretsmanager")`` has it."""

    def create_secret(self, *, Name: str, Description: str, SecretString: str) -> object:  # noqa: N803  # AWS's names
        """Make a secret."""
        ...

    def put_secret_value(self, *, SecretId: str, SecretString: str, ClientRequestToken: str = ...) -> object:  # noqa: N803
        """Make a new version of a secret."""
        ...

    def get_secret_value(self, *, SecretId: str) -> Mapping[str, object]:  # noqa: N803
        """Return the newest version of a secret."""
        ...

    def delete_secret(self, *, SecretId: str, ForceDeleteWithoutRecovery: bool) -> object:  # noqa: N803
        """Remove a secret."""
        ...


@boundaries
class AWSSecretsManagerStore:
    """Keeps keys in AWS Secrets Manager, one secret for each, as plain text. Needs the extra ``aws``.

    At DEBUG, boto3 logs what it sends and receives. While the store makes a call, the loggers of botocore drop what
    the thread of that call logs, so no log shows the key.

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
        if client is not None:
            self._client = client
        self._prefix = prefix
        self._region = region
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"{type(self).__name__}(prefix={self._prefix!r})"

    def check(self) -> None:
        """Save a text that is no secret under a name of its own, ``<prefix>+check``, read it, and remove it.

        AWS has no other way to find out whether a secret can be made. Where removing is not allowed, that
        secret stays.
        """
        place = f"{self._prefix}{CHECK_NAME}"
        self._create(place, CHECK_VALUE, {}, failing=NOT_USABLE)
        self._find(place, failing=NOT_USABLE)
        with suppress(StoreError):
            self._remove(place)

    def put(
        self, name: str, secret: Secret, metadata: Mapping[str, str], *, if_absent: bool = True
    ) -> SecretRef:
        """Save a secret under a name, and read it back. The metadata goes into the description.

        AWS itself keeps ``if_absent``, also where two programs save at the same moment. A `StoreError` says where it
        is not certain whether the secret was saved.
        """
        ref = SecretRef.of(self.scheme, name)
        place = self._place(name)
        found = self._find(place, failing=NOT_SAVED)
        made = found is None and self._create(
            place, secret, metadata, failing=NOT_SAVED, uncertain=NOT_CERTAIN
        )
        if found is None and not made:
            # Another program made the secret meanwhile, or there is a secret without a value.
            found = self._find(place, failing=NOT_SAVED)
        if found == secret:
            return ref
        if found is not None and if_absent:
            raise taken(ref)
        # AWS takes one value for one token, so of two programs that fill an empty secret one is refused.
        token = {} if found is not None else {"ClientRequestToken": str(uuid5(NAMESPACE_URL, place))}
        if not made and not self._fill(place, secret, **token):
            raise taken(ref)
        # boto3 takes any answer with status 200 for a success, such as the login page of a network.
        check_read_back(self._find(place, failing=NOT_CERTAIN), secret, "AWS")
        return ref

    def get(self, ref: SecretRef) -> Secret:
        """Return a secret."""
        secret = self._find(self._place(ref.name), failing=NOT_READ)
        if secret is None:
            raise MissingKeyError(f"There is no key at {ref}.")
        return secret

    def delete(self, ref: SecretRef) -> None:
        """Remove a secret at once, without AWS's time to restore it."""
        self._remove(self._place(ref.name))

    def _place(self, name: str) -> str:
        return f"{self._prefix}{path_part(name)}"

    def _find(self, place: str, *, failing: str) -> Secret | None:
        # A secret that is scheduled for deletion is not missing: AWS refuses to read it, and its name is taken.
        answer = self._call(
            lambda client: client.get_secret_value(SecretId=place), unless=MISSING, failing=failing
        )
        if answer is None:
            return None
        value = answer.get("SecretString")
        if not isinstance(value, str):
            raise StoreError(f"{failing}: there is a secret of that name which is not text.")
        return Secret(value)

    def _create(
        self,
        place: str,
        secret: Secret,
        metadata: Mapping[str, str],
        *,
        failing: str,
        uncertain: str | None = None,
    ) -> bool:
        """Make a secret, and tell whether it was made; it is not where there is one already."""
        description = ", ".join(f"{name}: {value}" for name, value in metadata.items())

        def create(client: SecretsManagerClient) -> bool:
            client.create_secret(
                Name=place, Description=f"FavCRM key. {description}", SecretString=secret.reveal()
            )
            return True

        return self._call(create, unless=EXISTS, failing=failing, uncertain=uncertain) is not None

    def _fill(self, place: str, secret: Secret, **token: str) -> bool:
        """Give a secret a new value, and tell whether the token allowed it."""

        def fill(client: SecretsManagerClient) -> bool:
            client.put_secret_value(SecretId=place, SecretString=secret.reveal(), **token)
            return True

        return self._call(fill, unless=EXISTS, failing=NOT_SAVED, uncertain=NOT_CERTAIN) is not None

    def _remove(self, place: str) -> None:
        self._call(
            lambda client: client.delete_secret(SecretId=place, ForceDeleteWithoutRecovery=True),
            unless=MISSING,
            failing=NOT_REMOVED,
        )

    def _call(
        self,
        call: Callable[[SecretsManagerClient], T],
        *,
        unless: str,
        failing: str,
        uncertain: str | None = None,
    ) -> T | None:
        """Return what a call returns, or None where AWS answers with the code ``unless``."""
        with wrap_service_errors(find_reason, failing=failing, uncertain=uncertain):
            # The client is made first, because the loggers that are dropped come with it.
            client = self._client
            try:
                with _unlogged():
                    return call(client)
            except Exception as error:
                if code_of(error) == unless:
                    return None
                raise

    @cached_property
    def _client(self) -> SecretsManagerClient:
        session, config = boto3()
        # The session that boto3 shares is not made for several threads.
        client: SecretsManagerClient = session.Session(region_name=self._region).client(
            "secretsmanager",
            config=config.Config(
                connect_timeout=self._timeout,
                read_timeout=self._timeout,
                retries={"mode": "standard", "total_max_attempts": 3},
            ),
        )
        return client


class _Calling(local):
    """Whether the current thread makes a call that has a key in it."""

    now = False


_calling = _Calling()


@contextmanager
def _unlogged() -> Generator[None]:
    """Drop what botocore logs in this thread, since at DEBUG it logs the bodies of requests and answers."""
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("botocore")]:
        logging.getLogger(name).addFilter(_may_be_logged)
    _calling.now = True
    try:
        yield
    finally:
        _calling.now = False


def _may_be_logged(_: logging.LogRecord) -> bool:
    return not _calling.now
