"""What every store does with a key. The tests of each store say only what is its own."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
from stores.machine import seen
from stores.moto_server import aws_on_loopback
from stores.service_checks import InMemory, hides, new_key
from stores.vault_server import vault_on_loopback

from favcrm import MissingKeyError, Secret, SecretRef, Store, StoreError
from favcrm.stores import (
    AWSSecretsManagerStore,
    ConfigFileStore,
    DotenvStore,
    EnvironmentStore,
    KeyringStore,
    MemoryStore,
    VaultStore,
)

VARIABLE = "FAVCRM_TEST_KEY"


def on_aws() -> Iterator[Store]:
    with aws_on_loopback() as server:
        yield AWSSecretsManagerStore(
            import_module("boto3").client(
                "secretsmanager",
                endpoint_url=server.url,
                region_name="eu-central-1",
                aws_access_key_id="test",
                aws_secret_access_key="test",
            )
        )


def on_vault() -> Iterator[Store]:
    with vault_on_loopback() as vault:
        yield VaultStore(url=vault.url, token="root-token")


LOCAL: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _: MemoryStore(),
    "env": lambda _: EnvironmentStore(VARIABLE),
    "config": lambda directory: ConfigFileStore(directory / "config.toml"),
    "dotenv": lambda directory: DotenvStore(directory / ".env"),
    "keyring": lambda _: KeyringStore(InMemory()),
}
SERVICES: dict[str, Callable[[], Iterator[Store]]] = {"aws": on_aws, "vault": on_vault}


@pytest.fixture(scope="module", params=[*LOCAL, *SERVICES])
def made(request: pytest.FixtureRequest) -> Iterator[Store | str]:
    kind: str = request.param
    yield from SERVICES[kind]() if kind in SERVICES else iter([kind])


@pytest.fixture
def store(made: Store | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    for label in (VARIABLE, f"{VARIABLE}_NAME"):
        # Set and removed, so that what the store puts there is taken away after the test.
        monkeypatch.setenv(label, "")
        monkeypatch.delenv(label)
    store = LOCAL[made](tmp_path) if isinstance(made, str) else made
    yield store
    store.delete(SecretRef.of(store.scheme, "acme"))


@pytest.fixture
def key() -> Secret:
    return new_key()


def test_a_saved_key_is_returned_for_its_reference(store: Store, key: Secret) -> None:
    name = "org 1/é + ~"
    ref = store.put(name, key, {"organisation_id": "org_1"})
    assert ref == SecretRef.of(store.scheme, name)
    assert store.get(SecretRef(str(ref))) == key
    store.delete(ref)


def test_a_key_that_is_not_there_raises_missing_key_error(store: Store) -> None:
    ref = SecretRef.of(store.scheme, "acme")
    with pytest.raises(MissingKeyError, match=f"There is no key at {ref}"):
        store.get(ref)
    store.delete(ref)


def test_a_check_changes_nothing(store: Store, key: Secret) -> None:
    store.check()
    with pytest.raises(MissingKeyError):
        store.get(SecretRef.of(store.scheme, "acme"))
    ref = store.put("acme", key, {})
    store.check()
    assert store.get(ref) == key


def test_the_same_key_may_be_saved_again(store: Store, key: Secret) -> None:
    assert store.put("acme", key, {}) == store.put("acme", key, {})


def test_another_key_is_refused_and_neither_key_is_shown(store: Store, key: Secret) -> None:
    ref, other = store.put("acme", key, {}), new_key()
    with pytest.raises(StoreError, match=r"Another key is .* It was not replaced\.") as caught:
        store.put("acme", other, {})
    assert type(caught.value) is StoreError
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert hides(seen(caught.value) + repr(store), key, other)
    assert store.get(ref) == key


def test_another_key_is_replaced_with_if_absent_false(store: Store, key: Secret) -> None:
    store.put("acme", new_key(), {})
    assert store.get(store.put("acme", key, {}, if_absent=False)) == key


def test_no_log_shows_a_key(store: Store, key: Secret, caplog: pytest.LogCaptureFixture) -> None:
    other = new_key()
    with caplog.at_level(logging.DEBUG):
        store.put("acme", other, {})
        store.get(store.put("acme", key, {}, if_absent=False))
    assert hides(caplog.text, key, other)


def test_a_deleted_key_is_missing_and_may_be_saved_again(store: Store, key: Secret) -> None:
    ref = store.put("acme", key, {})
    store.delete(ref)
    store.delete(ref)
    with pytest.raises(MissingKeyError):
        store.get(ref)
    assert store.get(store.put("acme", key, {})) == key


@pytest.mark.parametrize(
    ("store", "module", "package", "extra"),
    [
        (AWSSecretsManagerStore(), "boto3", "boto3", "aws"),
        (DotenvStore(), "dotenv", "python-dotenv", "dotenv"),
        (KeyringStore(), "keyring", "keyring", "keyring"),
        (VaultStore(), "hvac", "hvac", "vault"),
    ],
)
def test_a_missing_extra_raises_store_error_with_the_command_that_installs_it(
    store: Store, module: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    command = re.escape(f'pip install "favcrm[{extra}]"')
    with pytest.raises(StoreError, match=f"the package {package}, which is not installed. Run: {command}"):
        store.check()
