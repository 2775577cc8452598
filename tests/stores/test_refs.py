"""From a reference back to its store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stores.machine import new_key, seen

from favcrm import InvalidInputError, Secret, Store, StoreError, stores
from favcrm.stores import ConfigFileStore, DotenvStore, EnvironmentStore, EscrowStore, store_from_ref


def test_a_key_is_found_again_by_its_text_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "")
    monkeypatch.setenv("A_KEY_NAME", "")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    key = Secret(new_key())
    found: list[tuple[Store, dict[str, Any]]] = [
        (ConfigFileStore(), {}),
        (DotenvStore(tmp_path / ".env"), {"path": tmp_path / ".env"}),
        (EnvironmentStore("A_KEY"), {"variable": "A_KEY"}),
        (EscrowStore(tmp_path), {"directory": tmp_path}),
    ]
    for store, options in found:
        ref = str(store.put("acme", key, {}))
        again = store_from_ref(ref, **options)
        assert type(again) is type(store)
        assert again.get(store.put("acme", key, {})) == key


@pytest.mark.parametrize("scheme", stores.SCHEMES)
def test_each_scheme_is_that_of_its_class(scheme: str) -> None:
    assert getattr(stores, stores.SCHEMES[scheme]).scheme == scheme


@pytest.mark.parametrize("ref", ["", "acme", "config", "config:/favcrm/acme", "s3://favcrm/acme"])
def test_a_bad_reference_raises_invalid_input_error_with_the_known_schemes(ref: str) -> None:
    with pytest.raises(
        InvalidInputError, match=r"ref: must begin .* one of aws, config, dotenv, env, escrow"
    ):
        store_from_ref(ref)


def test_the_reference_of_a_memory_store_raises_store_error() -> None:
    with pytest.raises(StoreError, match="Keep the store object"):
        store_from_ref("memory://favcrm/acme")


def test_a_secret_among_options_that_do_not_fit_is_not_shown() -> None:
    token = new_key()
    with pytest.raises(InvalidInputError, match="do not fit VaultStore") as caught:
        store_from_ref("vault://favcrm/acme", token=token, path_="x")
    assert token not in seen(caught.value)


def test_options_that_do_not_fit_raise_invalid_input_error() -> None:
    with pytest.raises(
        InvalidInputError, match="do not fit EscrowStore: missing a required argument: 'directory'"
    ):
        store_from_ref("escrow://favcrm/acme")
    with pytest.raises(InvalidInputError, match=r"do not fit EnvironmentStore: got an unexpected .*'path'"):
        store_from_ref("env://favcrm/acme", path="x")
