"""What comes through a store's frames while they hold the key, such as Ctrl-C, comes out without them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stores.machine import new_key, seen, there

from favcrm import Secret, Store, StoreError
from favcrm.stores import environment
from favcrm.stores.aws import AWSSecretsManagerStore
from favcrm.stores.config_file import ConfigFileStore
from favcrm.stores.dotenv import DotenvStore
from favcrm.stores.environment import EnvironmentStore
from favcrm.stores.escrow import EscrowStore
from favcrm.stores.vault import VaultStore


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


FILES: dict[str, Callable[[Path], Store]] = {
    "config": lambda directory: ConfigFileStore(directory / "file"),
    "dotenv": lambda directory: DotenvStore(directory / "file"),
    "escrow": EscrowStore,
}


STEPS: list[tuple[str, object, str]] = [
    ("config", Path, "write_bytes"),
    ("dotenv", Path, "replace"),
    ("escrow", os, "fsync"),
    ("escrow", os, "link"),
]


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize(("kind", "owner", "step"), STEPS)
def test_an_interrupt_leaves_no_key_in_a_frame_and_no_draft(
    tmp_path: Path,
    kind: str,
    owner: object,
    step: str,
    end: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = new_key()
    store = FILES[kind](tmp_path)
    monkeypatch.setattr(owner, step, raising(end()))
    with pytest.raises(StoreError if issubclass(end, Exception) else end) as caught:
        store.put("acme", Secret(key), {})
    assert key not in seen(caught.value)
    assert there(tmp_path) == set()


def test_an_interrupt_leaves_no_key_in_a_frame_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    key = new_key()

    class Environment(dict[str, str]):
        __setitem__ = raising(KeyboardInterrupt())

    monkeypatch.setattr(environment, "os", SimpleNamespace(environ=Environment()))
    with pytest.raises(KeyboardInterrupt) as caught:
        EnvironmentStore("FAVCRM_TEST_KEY").put("acme", Secret(key), {})
    assert key not in seen(caught.value)


class Interrupted:
    """A client of AWS and of Vault that finds nothing, and is interrupted while it holds the key."""

    def get_secret_value(self, **_: object) -> None:
        error: Any = RuntimeError()
        error.response = {"Error": {"Code": "ResourceNotFoundException"}}
        raise error

    def read(self, _: str) -> None:
        return None

    def create_secret(self, **_: object) -> None:
        raise KeyboardInterrupt

    def write_data(self, *_: object, **__: object) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize("kind", [AWSSecretsManagerStore, VaultStore])
def test_an_interrupt_leaves_no_key_in_a_frame_of_a_service(kind: Callable[[Any], Store]) -> None:
    key = new_key()
    with pytest.raises(KeyboardInterrupt) as caught:
        kind(Interrupted()).put("acme", Secret(key), {})
    assert key not in seen(caught.value)
