"""Several stores, tried in order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from stores.machine import new_key, seen

from favcrm import InvalidInputError, MissingKeyError, Secret, SecretRef, Store, StoreError
from favcrm.stores import MemoryStore
from favcrm.stores.config_file import ConfigFileStore
from favcrm.stores.fallback import FallbackStore


class Broken:
    """A store of somebody's that does nothing right, and talks."""

    scheme: str = "broken"

    def __init__(self, error: type[Exception] = RuntimeError) -> None:
        self.error = error

    def check(self) -> None:
        raise self.error("no")

    def put(
        self, name: str, secret: Secret, metadata: Mapping[str, str], *, if_absent: bool = True
    ) -> SecretRef:
        raise self.error(f"cannot save {secret.reveal()}")

    def get(self, ref: SecretRef) -> Secret:
        raise self.error("no")

    def delete(self, ref: SecretRef) -> None:
        raise self.error("no")


class Forgetful(MemoryStore):
    """A store of somebody's that returns nothing."""

    def put(
        self, name: str, secret: Secret, metadata: Mapping[str, str], *, if_absent: bool = True
    ) -> SecretRef:
        return None  # type: ignore[return-value]  # what untyped code does


@pytest.fixture
def key() -> str:
    return new_key()


def test_the_first_that_takes_it_has_it(tmp_path: Path, key: str) -> None:
    config, memory = ConfigFileStore(tmp_path / "config.toml"), MemoryStore()
    store = FallbackStore([Broken(), config, memory])
    store.check()
    ref = store.put("acme", Secret(key), {})
    assert ref == "config://favcrm/acme"
    assert store.get(ref) == config.get(ref) == Secret(key)
    with pytest.raises(MissingKeyError):
        memory.get(SecretRef("memory://favcrm/acme"))
    store.delete(ref)
    with pytest.raises(MissingKeyError):
        store.get(ref)


def test_a_store_with_another_key_is_passed_over(tmp_path: Path, key: str) -> None:
    config = ConfigFileStore(tmp_path / "config.toml")
    config.put("beta", Secret(new_key()), {})
    store = FallbackStore([config, MemoryStore()])
    store.check()
    assert store.put("acme", Secret(key), {}) == "memory://favcrm/acme"
    assert store.put("acme", Secret(key), {}, if_absent=False) == "config://favcrm/acme"


def test_the_key_of_another_workspace_leaves_room_in_another_store(tmp_path: Path, key: str) -> None:
    config = ConfigFileStore(tmp_path / "config.toml")
    config.put("beta", Secret(key), {})
    ref = SecretRef("fallback://favcrm/acme")
    with pytest.raises(MissingKeyError):
        FallbackStore([config, MemoryStore()]).get(ref)
    with pytest.raises(StoreError, match="another workspace's") as caught:
        FallbackStore([config]).get(ref)
    assert not isinstance(caught.value, MissingKeyError)


def test_where_none_takes_it_each_is_heard_and_the_key_is_not(tmp_path: Path, key: str) -> None:
    (tmp_path / "file").touch()
    store = FallbackStore(
        [Broken(), Broken(StoreError), Forgetful(), ConfigFileStore(tmp_path / "file" / "x")]
    )
    with pytest.raises(StoreError) as caught:
        store.put("acme", Secret(key), {})
    message = caught.value.message
    assert "broken: It failed with RuntimeError." in message
    assert "broken: cannot save [hidden]" in message
    assert "memory: It returned nothing." in message
    assert "config: The key could not be saved in" in message
    assert "Not a directory" in message
    assert key not in seen(caught.value)
    # One that does not look like a key is hidden too.
    with pytest.raises(StoreError, match=r"broken: cannot save \[hidden\]"):
        FallbackStore([Broken(StoreError)]).put("acme", Secret("a-plain-word"), {})


def test_check_passes_when_any_can_be_written(tmp_path: Path) -> None:
    FallbackStore([Broken(), MemoryStore()]).check()
    (tmp_path / "file").touch()
    store = FallbackStore([Broken(), ConfigFileStore(tmp_path / "file" / "x")])
    with pytest.raises(StoreError, match=r"No store can be written\. broken: .* config: No key can be saved"):
        store.check()


def test_its_own_scheme_looks_everywhere(tmp_path: Path, key: str) -> None:
    config, memory = ConfigFileStore(tmp_path / "config.toml"), MemoryStore()
    store = FallbackStore([config, memory])
    ref = SecretRef.of(store.scheme, "acme")
    with pytest.raises(MissingKeyError, match="fallback://favcrm/acme"):
        store.get(ref)
    memory.put("acme", Secret(key), {})
    assert store.get(ref) == Secret(key)
    store.delete(ref)
    with pytest.raises(MissingKeyError):
        store.get(ref)


def test_two_of_a_kind_are_both_asked(tmp_path: Path, key: str) -> None:
    first, second = ConfigFileStore(tmp_path / "1.toml"), ConfigFileStore(tmp_path / "2.toml")
    ref = second.put("acme", Secret(key), {})
    assert FallbackStore([first, second]).get(ref) == Secret(key)


def test_not_to_be_read_is_not_missing(key: str) -> None:
    store = FallbackStore([MemoryStore(), Broken()])
    with pytest.raises(StoreError, match=r"cannot be read\. broken: It failed") as caught:
        store.get(SecretRef("fallback://favcrm/acme"))
    assert not isinstance(caught.value, MissingKeyError)
    with pytest.raises(StoreError, match=r"could not be removed\. broken: It failed"):
        store.delete(SecretRef("broken://favcrm/acme"))


def test_the_reference_of_no_store_of_it_is_missing() -> None:
    store = FallbackStore([MemoryStore()])
    with pytest.raises(MissingKeyError):
        store.get(SecretRef("vault://favcrm/acme"))
    store.delete(SecretRef("vault://favcrm/acme"))


def test_one_among_its_stores_counts_as_its_stores(tmp_path: Path, key: str) -> None:
    inner: list[Store] = [ConfigFileStore(tmp_path / "config.toml"), MemoryStore()]
    store = FallbackStore([FallbackStore(inner), Broken()])
    assert store.stores[:2] == tuple(inner)
    assert store.get(store.put("acme", Secret(key), {})) == Secret(key)
    assert repr(FallbackStore(inner[:1])) == f"FallbackStore([{inner[0]!r}])"


def test_none_at_all_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="stores: must name one"):
        FallbackStore([])
