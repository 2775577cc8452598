"""What the tests of the flows share: one registration, one sign-up, and stores that fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from colours import Colour, Facade, provisioner, transport_to

from favcrm import Registration, Secret, SecretRef, Workspace, errors
from favcrm.sandbox import Sandbox
from favcrm.stores import MemoryStore

EMAIL = "you@example.com"
WHO = {"email": EMAIL, "organisation_name": "Stretch + Breathe"}
REGISTRATION = Registration(email=EMAIL, organisation_name="Stretch + Breathe")
REQUEST, VERIFY = "register_organisation_request", "register_organisation_verify"


def sign_up(sandbox: Sandbox, colour: Colour, **options: Any) -> Facade:
    """Return a provisioner of a sandbox."""
    return provisioner(colour, transport=transport_to(sandbox, colour), **options)


async def confirmed(favcrm: Facade, sandbox: Sandbox) -> Workspace:
    """Sign up in two steps."""
    pending = await favcrm.initiate(**WHO)
    workspace: Workspace = await favcrm.confirm(pending, sandbox.inbox.code_for(EMAIL))
    return workspace


async def provisioned(favcrm: Facade, sandbox: Sandbox, **options: Any) -> Any:
    """Sign up in one call."""
    return await favcrm.provision(REGISTRATION, read_code=lambda _: sandbox.inbox.code_for(EMAIL), **options)


def wrong(code: str, by: int = 1) -> str:
    """Return another code."""
    return f"{(int(code) + by) % 1_000_000:06}"


class Full(MemoryStore):
    """A store that can be checked and cannot be written."""

    def put(
        self, name: str, secret: Secret, metadata: Mapping[str, str], *, if_absent: bool = True
    ) -> SecretRef:
        """Fail."""
        raise errors.StoreError("The disk is full.")
