"""What Vault answers, and why a call to it failed, from the exceptions of hvac and requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

from favcrm.secret import Secret
from favcrm.stores._services import Reason, reason_of

NETWORK = "Check the address of Vault and the network, and try again."
LATER = "Wait until Vault is ready, and try again."
SEALED = Reason("Vault is sealed or not ready", LATER)
DENIED = Reason(
    "Vault does not allow it, or the token is not valid",
    "Check the token, and the policy: create, update and read on the store's path below data/, "
    "and delete and read on the same path below metadata/.",
)
REASONS = {
    "Forbidden": DENIED,
    "Unauthorized": DENIED,
    "InvalidPath": Reason("Vault has nothing at that path", "Check the mount and the path."),
    "InvalidRequest": Reason("Vault does not accept the request"),
    "RateLimitExceeded": Reason("Vault takes no more requests for now", LATER),
    "VaultDown": SEALED,
    "VaultNotInitialized": SEALED,
    "SSLError": Reason("the certificate of Vault is not trusted", "Check VAULT_ADDR and VAULT_CACERT."),
    "ConnectTimeout": Reason("Vault cannot be reached", NETWORK),
    "ConnectionError": Reason("the connection to Vault failed", NETWORK, certain=False),
    "ReadTimeout": Reason("Vault did not answer in time", NETWORK, certain=False),
}


def why(error: BaseException) -> Reason:
    """Return why a call failed."""
    return reason_of(error, REASONS) or Reason(f"Vault failed with {type(error).__name__}", certain=False)


class Entry(NamedTuple):
    """What is at a place in Vault."""

    there: bool = False
    secret: Secret | None = None
    version: int = 0


def dig(answer: object, *path: str) -> object:
    """Return what is at the end of the path, or None."""
    for name in path:
        if not isinstance(answer, Mapping):
            return None
        answer = cast("Mapping[str, object]", answer).get(name)
    return answer
