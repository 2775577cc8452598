"""The stores that hold one key: the environment, the vendor's config file, a .env file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from stores.machine import new_key, seen

from favcrm import MissingKeyError, Secret, SecretRef, StoreError
from favcrm.stores._one_key import Changes, OneKeyStore
from favcrm.stores.config_file import ConfigFileStore
from favcrm.stores.dotenv import DotenvStore
from favcrm.stores.environment import EnvironmentStore

VARIABLE = "FAVCRM_TEST_KEY"

MAKERS: dict[str, Callable[[Path], OneKeyStore]] = {
    "env": lambda _: EnvironmentStore(VARIABLE),
    "config": lambda directory: ConfigFileStore(directory / "config.toml"),
    "dotenv": lambda directory: DotenvStore(directory / ".env", VARIABLE),
}
BY_HAND: dict[str, Callable[[Path, str], object]] = {
    "env": lambda _, text: os.environ.update({VARIABLE: text}),
    "config": lambda directory, text: (directory / "config.toml").write_text(f"api_key = '{text}'\n"),
    "dotenv": lambda directory, text: (directory / ".env").write_text(f"{VARIABLE}='{text}'\n"),
}


@pytest.fixture(params=MAKERS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for label in (VARIABLE, f"{VARIABLE}_NAME"):
        # Set and removed, so that what the store puts there is taken away after the test.
        monkeypatch.setenv(label, "")
        monkeypatch.delenv(label)
    chosen: str = request.param
    return chosen


@pytest.fixture
def store(kind: str, tmp_path: Path) -> OneKeyStore:
    return MAKERS[kind](tmp_path)


@pytest.fixture
def key() -> str:
    return new_key()


def test_a_key_is_not_replaced_under_another_name_either(store: OneKeyStore, key: str) -> None:
    store.put("acme", Secret(key), {})
    with pytest.raises(StoreError, match=r"Another key is in .* It was not replaced"):
        store.put("beta", Secret(new_key()), {})


def test_the_same_key_may_take_another_name(store: OneKeyStore, key: str) -> None:
    store.put("acme", Secret(key), {})
    assert store.get(store.put("beta", Secret(key), {})) == Secret(key)


def test_the_key_of_another_workspace_is_not_given_away_and_not_called_missing(
    store: OneKeyStore, key: str
) -> None:
    acme = store.put("acme", Secret(key), {})
    beta = SecretRef.of(store.scheme, "beta")
    with pytest.raises(StoreError, match="has the name acme, and beta was asked for") as caught:
        store.get(beta)
    assert "give the name acme" in caught.value.next_step
    assert "elete" not in caught.value.next_step
    assert not isinstance(caught.value, MissingKeyError)
    assert key not in seen(caught.value)
    store.delete(beta)
    assert store.get(acme) == Secret(key)


def test_the_reference_of_another_store_finds_nothing(store: OneKeyStore, key: str) -> None:
    ref = store.put("acme", Secret(key), {})
    other = SecretRef("memory://favcrm/acme")
    with pytest.raises(MissingKeyError):
        store.get(other)
    store.delete(other)
    assert store.get(ref) == Secret(key)


def test_a_key_that_a_person_put_there_is_found(
    store: OneKeyStore, kind: str, tmp_path: Path, key: str
) -> None:
    BY_HAND[kind](tmp_path, f" {key} ")
    assert store.get(SecretRef.of(store.scheme, "acme")) == Secret(key)
    assert store.put("acme", Secret(key), {})


@pytest.mark.parametrize(
    "text", ["  ", "<your key>", "YOUR_API_KEY", "fav_mcp_xxxxxxxx", "{{FAVCRM_API_KEY}}"]
)
def test_an_empty_text_or_a_placeholder_is_no_key_and_is_replaced(
    store: OneKeyStore, kind: str, tmp_path: Path, key: str, text: str
) -> None:
    BY_HAND[kind](tmp_path, text)
    store.check()
    with pytest.raises(MissingKeyError):
        store.get(SecretRef.of(store.scheme, "acme"))
    assert store.get(store.put("acme", Secret(key), {})) == Secret(key)


def test_a_key_that_is_removed_meanwhile_is_no_error(
    store: OneKeyStore, kind: str, tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = store.put("acme", Secret(key), {})
    change = store._change

    def after_another(decide: Callable[[Mapping[str, str]], Changes]) -> None:
        MAKERS[kind](tmp_path).delete(ref)
        change(decide)

    monkeypatch.setattr(store, "_change", after_another)
    store.delete(ref)
    with pytest.raises(MissingKeyError):
        store.get(ref)


def test_a_text_that_cannot_be_written_raises_store_error_without_the_key(
    store: OneKeyStore, key: str
) -> None:
    # A lone surrogate has no UTF-8; a NUL ends a variable of the environment.
    for text in (f"{key}\ud800", f"{key}\0\ud800"):
        with pytest.raises(StoreError, match="could not be saved") as caught:
            store.put("acme", Secret(text), {})
        assert key not in seen(caught.value)
        assert caught.value.__context__ is None
    with pytest.raises(MissingKeyError):
        store.get(SecretRef.of(store.scheme, "acme"))


def test_a_name_that_cannot_be_written_is_found_out_before_a_code_is_used(
    store: OneKeyStore, kind: str, key: str
) -> None:
    # A NUL ends a variable of the environment, and python-dotenv fills in what looks like a variable.
    name = {"env": "a\0b", "config": "a\0b", "dotenv": "a${HOME}b"}[kind]
    ref = SecretRef.of(store.scheme, name)
    if kind == "config":
        assert store.get(store.put(name, Secret(key), {})) == Secret(key)
        return
    with pytest.raises(StoreError) as caught:
        store.get(ref)
    assert not isinstance(caught.value, MissingKeyError)
    with pytest.raises(StoreError):
        store.put(name, Secret(key), {})


def test_a_repr_shows_the_place_and_no_key(store: OneKeyStore, kind: str, tmp_path: Path, key: str) -> None:
    store.put("acme", Secret(key), {})
    places = {"env": VARIABLE, "config": str(tmp_path / "config.toml"), "dotenv": str(tmp_path / ".env")}
    assert repr(store) == f"{type(store).__name__}({places[kind]!r})"
