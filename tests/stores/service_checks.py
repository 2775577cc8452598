"""What the tests of the stores in services share."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keyring.backend
import pytest
from stores import machine

from favcrm import Secret, SecretRef, Store, StoreError
from favcrm.sandbox import Sandbox

TESTS = Path(__file__).parents[1]
PATIENCE = 60.0
"""Seconds after which a test that waits for something has failed."""


def new_key() -> Secret:
    return Secret(machine.new_key())


@contextmanager
def refused(
    *hidden: Secret, match: str, kind: type[StoreError] = StoreError
) -> Generator[pytest.ExceptionInfo[StoreError], None, None]:
    """Expect an error that says this, has nothing behind it, and shows none of the secrets."""
    with pytest.raises(kind, match=match) as caught:
        yield caught
    assert type(caught.value) is kind
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert caught.value.next_step
    assert hides(machine.seen(caught.value), *hidden)


def hides(text: str, *hidden: Secret) -> bool:
    return not any(secret.reveal() in text for secret in hidden)


def actions_of(store: Store, key: Secret) -> Mapping[str, Callable[[], object]]:
    """Return what can be done with a store, each under what its error begins with."""
    ref = SecretRef.of(store.scheme, "acme")
    return {
        "The store cannot be used": store.check,
        "The key was not saved": lambda: store.put("acme", key, {}),
        "The key could not be read": lambda: store.get(ref),
        "The key could not be removed": lambda: store.delete(ref),
    }


EXAMPLES = TESTS.parent / "docs" / "how-to" / "examples"


def run_example(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run an example of the documentation as it stands, and return its names. Its FavCRM is a sandbox on loopback."""
    sandbox = Sandbox()

    def typed(_: object = "") -> str | None:
        return sandbox.inbox[-1].code

    with sandbox.serve() as server:
        monkeypatch.setenv("FAVCRM_MCP_URL", server.url)
        monkeypatch.setattr("getpass.getpass", typed)
        return SimpleNamespace(**runpy.run_path(str(EXAMPLES / name)))


class InMemory(keyring.backend.KeyringBackend):
    """A keyring of the user's own."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def _begin(self, *seen: object) -> None:
        """Do nothing before a method of the keyring; a test's keyring may."""

    def get_password(self, service: str, username: str) -> str | None:
        self._begin(service, username)
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._begin(service, username, password)
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self._begin(service, username)
        del self.kept[service, username]
