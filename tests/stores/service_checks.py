"""What the tests of the stores in services share."""

from __future__ import annotations

import runpy
import secrets
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keyring.backend
import pytest

from favcrm import Secret, StoreError
from favcrm.sandbox import Sandbox

TESTS = Path(__file__).parents[1]
PATIENCE = 60.0
"""Seconds after which a test that waits for something has failed."""


def new_key() -> Secret:
    return Secret(f"fav_mcp_{secrets.token_urlsafe(24)}")


def shown_of(error: BaseException) -> str:
    """What anybody could render of an error: its chain and notes, and the locals of every frame but the tests' own."""
    chain = traceback.TracebackException.from_exception(error)
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    seen = [
        repr(frame.f_locals) for frame in frames if not Path(frame.f_code.co_filename).is_relative_to(TESTS)
    ]
    assert seen
    return "".join([*chain.format(), *seen, repr(error), repr(vars(error))])


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
    shown = shown_of(caught.value)
    assert not [secret for secret in hidden if secret.reveal() in shown]


def hides(text: str, *hidden: Secret) -> bool:
    return not any(secret.reveal() in text for secret in hidden)


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
        self.writes = 0

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.keep(service, username, password)

    def keep(self, service: str, username: str, password: str) -> None:
        self.writes += 1
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]
