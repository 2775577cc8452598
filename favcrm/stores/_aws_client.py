"""The part of boto3's client that the store uses, and how one is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from favcrm.stores._packages import boto3


class SecretsManagerClient(Protocol):
    """What is needed of a client. ``boto3.client("secretsmanager")`` has it."""

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


def connect(region: str | None, timeout: float) -> SecretsManagerClient:
    """Make a client whose calls end soon."""
    session, config = boto3()
    # A session of its own: the one that boto3 shares is not made for several threads.
    own = session.Session(region_name=region)
    settings = config.Config(
        connect_timeout=timeout,
        read_timeout=timeout,
        retries={"mode": "standard", "total_max_attempts": 3},
    )
    client: SecretsManagerClient = own.client("secretsmanager", config=settings)
    return client
