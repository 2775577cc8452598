"""What comes through a store's frames while they hold the key, such as Ctrl-C, comes out without them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from stores.machine import new_key, seen, there

from favcrm import Secret, StoreError
from favcrm.stores import (
    AWSSecretsManagerStore,
    ConfigFileStore,
    DotenvStore,
    EnvironmentStore,
    EscrowStore,
    KeyringStore,
    VaultStore,
)


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize(
    ("kind", "owner", "step"),
    [
        ("config", Path, "write_bytes"),
        ("config", Path, "replace"),
        ("escrow", os, "fsync"),
        ("escrow", os, "link"),
    ],
)
def test_an_interrupt_leaves_no_key_in_a_frame_and_no_draft(
    tmp_path: Path,
    kind: str,
    owner: object,
    step: str,
    end: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object) -> None:
        raise end

    key = new_key()
    store = EscrowStore(tmp_path) if kind == "escrow" else ConfigFileStore(tmp_path / "file")
    monkeypatch.setattr(owner, step, interrupt)
    with pytest.raises(StoreError if issubclass(end, Exception) else end) as caught:
        store.put("acme", Secret(key), {})
    assert key not in seen(caught.value)
    assert there(tmp_path) == set()


STORES = [
    AWSSecretsManagerStore,
    ConfigFileStore,
    DotenvStore,
    EnvironmentStore,
    EscrowStore,
    KeyringStore,
    VaultStore,
]


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("name", ["check", "put", "get", "delete"])
def test_every_method_of_a_store_is_inside_the_boundary(kind: type, name: str) -> None:
    assert hasattr(getattr(kind, name), "__wrapped__")
