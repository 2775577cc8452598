"""The store in Vault: the real hvac against a server on loopback that speaks Vault's HTTP."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from servers import serve, unused_address
from stores.service_checks import actions_of, hides, new_key, refused, run_example
from stores.vault_server import Vault, vault_on_loopback

from favcrm import MissingKeyError, Secret, SecretRef
from favcrm.stores.vault import VaultStore

REF = SecretRef.of("vault", "acme")
TOKEN = "root-token"
DATA = "secret/data/favcrm/acme"
METADATA = "secret/metadata/favcrm/acme"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of whoever runs the tests is found."""
    for variable in [name for name in os.environ if name.startswith("VAULT_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def vault() -> Iterator[Vault]:
    with vault_on_loopback() as running:
        yield running


@pytest.fixture
def store(vault: Vault) -> VaultStore:
    return VaultStore(url=vault.url, token=TOKEN)


@pytest.fixture
def key() -> Secret:
    return new_key()


def test_the_key_and_the_metadata_are_fields_of_one_secret(
    vault: Vault, store: VaultStore, key: Secret
) -> None:
    store.put("Stretch + Breathe", key, {"organisation_id": "org", "api_key": "something else"})
    assert vault.versions == {
        "favcrm/Stretch=20=2B=20Breathe": [{"organisation_id": "org", "api_key": key.reveal()}]
    }


@pytest.mark.parametrize("name", [".", "..", "../../other", "a/b", "~", "=2E"])
def test_no_name_leads_out_of_the_path(name: str, vault: Vault, store: VaultStore, key: Secret) -> None:
    assert store.get(store.put(name, key, {})) == key
    (place,) = vault.versions
    assert place.startswith("favcrm/")
    assert place.count("/") == 1
    assert not {".", ".."} & set(place.split("/"))


def test_mount_and_path_can_be_chosen(vault: Vault, key: Secret) -> None:
    vault.mounts["team"] = vault.mounts["secret"]
    store = VaultStore(url=vault.url, token=Secret(TOKEN), mount="/team/", path="")
    store.check()
    assert store.get(store.put("acme", key, {})) == key
    assert list(vault.versions) == ["acme"]


def test_address_and_token_come_from_the_environment(
    vault: Vault, key: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_ADDR", vault.url)
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    store = VaultStore()
    assert store.get(store.put("acme", key, {})) == key


@pytest.mark.parametrize("given", [True, False])
def test_the_namespace_is_sent(
    given: bool, vault: Vault, monkeypatch: pytest.MonkeyPatch, key: Secret
) -> None:
    monkeypatch.setenv("VAULT_NAMESPACE", "another" if given else "team/a")
    store = VaultStore(url=vault.url, token=TOKEN, namespace="team/a" if given else None)
    store.check()
    assert store.get(store.put("acme", key, {})) == key
    assert vault.namespaces == {"team/a"}


def test_without_a_namespace_none_is_sent(vault: Vault, store: VaultStore) -> None:
    store.check()
    assert vault.namespaces == {None}


def test_a_given_client_is_used(vault: Vault) -> None:
    VaultStore(import_module("hvac").Client(url=vault.url, token=TOKEN)).check()


def test_the_check_writes_nothing(vault: Vault, store: VaultStore) -> None:
    store.check()
    assert vault.versions == {}
    assert vault.requests == [("GET", "sys/internal/ui/mounts/secret"), ("POST", "sys/capabilities-self")]


def test_a_key_is_removed_with_its_versions(vault: Vault, store: VaultStore, key: Secret) -> None:
    store.put("acme", key, {})
    store.delete(REF)
    assert vault.versions == {}


def test_a_version_that_is_marked_as_deleted_is_followed_by_a_new_one(
    vault: Vault, store: VaultStore, key: Secret
) -> None:
    vault.versions["favcrm/acme"] = [{"api_key": "old"}, None]
    with refused(match="There is no key at", kind=MissingKeyError):
        store.get(REF)
    assert store.get(store.put("acme", key, {})) == key
    assert len(vault.versions["favcrm/acme"]) == 3


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("if_absent", [True, False])
def test_a_version_that_another_program_wrote_meanwhile_is_looked_at_first(
    same: bool, if_absent: bool, vault: Vault, store: VaultStore, key: Secret
) -> None:
    theirs = key if same else new_key()

    def write() -> None:
        vault.before.clear()
        vault.versions["favcrm/acme"] = [{"api_key": theirs.reveal()}]

    vault.before["POST", DATA] = write
    if if_absent and not same:
        with refused(key, theirs, match="Another key is stored as"):
            store.put("acme", key, {}, if_absent=if_absent)
    else:
        store.put("acme", key, {}, if_absent=if_absent)
    assert store.get(REF) == (theirs if if_absent else key)


def test_another_program_that_writes_again_and_again_raises_store_error(
    vault: Vault, store: VaultStore, key: Secret
) -> None:
    vault.before["POST", DATA] = lambda: vault.versions.setdefault("favcrm/acme", []).append({"api_key": "x"})
    with refused(key, match="^The key was not saved: somebody else writes to that name."):
        store.put("acme", key, {}, if_absent=False)


def test_a_secret_without_the_field_is_no_key(vault: Vault, store: VaultStore, key: Secret) -> None:
    vault.versions["favcrm/acme"] = [{"password": "theirs"}]
    with refused(
        key, match="^The key could not be read: what is at vault://favcrm/acme has no field api_key."
    ):
        store.get(REF)
    with refused(key, match="Another key is stored as"):
        store.put("acme", key, {})


def test_no_log_shows_a_key_or_a_token(vault: Vault, key: Secret, caplog: pytest.LogCaptureFixture) -> None:
    token = new_key()
    vault.tokens[token.reveal()] = {"": ["root"]}
    with caplog.at_level(logging.DEBUG):
        store = VaultStore(url=vault.url, token=token)
        store.check()
        store.get(store.put("acme", key, {}))
        store.delete(REF)
    assert "/v1/secret/data/favcrm/acme" in caplog.text
    assert hides(caplog.text + repr(store), key, token)
    assert repr(store) == "VaultStore(mount='secret', path='favcrm')"


def test_the_example_of_the_documentation(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_ADDR", vault.url)
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    ran = run_example("stores_vault.py", monkeypatch)
    assert ran.services.data is not None
    assert list(vault.versions) == [f"agents/favcrm/{ran.workspace.ref.name}"]


class TestDenied:
    @pytest.fixture
    def allow(self, vault: Vault) -> Callable[..., VaultStore]:
        def allow(*capabilities: str) -> VaultStore:
            vault.tokens = {"agent": {"secret/": list(capabilities)}}
            return VaultStore(url=vault.url, token="agent")

        return allow

    def test_the_documented_rights_are_enough(self, allow: Callable[..., VaultStore], key: Secret) -> None:
        store = allow("create", "read")
        store.check()
        assert store.get(store.put("acme", key, {})) == key

    @pytest.mark.parametrize("capabilities", [(), ("deny",), ("create",), ("read",), ("update", "read")])
    def test_a_check_without_the_rights_raises_store_error(
        self, allow: Callable[..., VaultStore], capabilities: tuple[str, ...]
    ) -> None:
        with refused(
            match="^The store cannot be used: the token may not create and read below secret/data/favcrm."
        ):
            allow(*capabilities).check()

    def test_an_invalid_token_raises_store_error_from_each_method(self, vault: Vault, key: Secret) -> None:
        for failing, action in actions_of(VaultStore(url=vault.url), key).items():
            with refused(key, match=f"^{failing}: Vault does not allow it, or the token is not valid. Check"):
                action()


class TestMounts:
    @pytest.mark.parametrize(
        "mount", [{"type": "kv", "options": {"version": "1"}}, {"type": "pki", "options": None}]
    )
    def test_a_check_of_another_engine_raises_store_error(
        self, mount: dict[str, Any], vault: Vault, store: VaultStore
    ) -> None:
        vault.mounts["secret"] = mount
        with refused(
            match="^The store cannot be used: at the mount secret there is no KV engine of version 2. Check"
        ):
            store.check()

    def test_a_check_without_a_mount_raises_store_error(self, vault: Vault, store: VaultStore) -> None:
        vault.mounts.clear()
        with refused(match="^The store cannot be used: Vault does not allow it"):
            store.check()

    def test_a_server_that_does_not_name_its_mounts_is_asked_for_capabilities(
        self, vault: Vault, store: VaultStore
    ) -> None:
        vault.before["GET", "sys/internal/ui/mounts/secret"] = lambda: (404, {"errors": []})
        store.check()

    def test_a_key_is_not_saved_where_nothing_is_mounted(
        self, vault: Vault, store: VaultStore, key: Secret
    ) -> None:
        vault.mounts.clear()
        with refused(key, match="^The key was not saved: Vault has nothing at that path. Check the mount"):
            store.put("acme", key, {})


class TestBroken:
    def test_a_server_that_is_down_raises_store_error(self) -> None:
        with (
            unused_address() as url,
            refused(match="^The store cannot be used: the connection to Vault failed."),
        ):
            VaultStore(url=url, token=TOKEN).check()

    @pytest.mark.parametrize(
        ("status", "reason"),
        [
            (400, "Vault does not accept the request"),
            (429, "Vault takes no more requests for now"),
            (503, "Vault is sealed or not ready"),
            (501, "Vault is sealed or not ready"),
            (500, "Vault failed with InternalServerError"),
        ],
    )
    def test_a_status_is_explained(self, status: int, reason: str, vault: Vault, store: VaultStore) -> None:
        vault.before["GET", DATA] = lambda: (status, {"errors": []})
        with refused(match=f"^The key could not be read: {reason}."):
            store.get(REF)

    def test_a_server_that_never_answers_raises_store_error_in_time(self) -> None:
        with serve(lambda peer, _: peer.stall()) as silent:
            store = VaultStore(url=silent.url, token=TOKEN, timeout=0.05)
            with refused(match="^The key could not be read: Vault did not answer in time. Check the address"):
                store.get(REF)

    @pytest.mark.parametrize(
        ("sent", "reason"),
        [
            ((500, {"errors": ["internal error"]}), "Vault failed with InternalServerError"),
            ((502, b"<html>"), "Vault failed with BadGateway"),
            ((200, b"<html>"), "the answer is not one of Vault's KV engine of version 2"),
            ((200, {"data": {}}), "the answer is not one of Vault's KV engine of version 2"),
        ],
    )
    def test_a_write_without_an_answer_is_called_uncertain(
        self, sent: tuple[int, object], reason: str, vault: Vault, store: VaultStore, key: Secret
    ) -> None:
        vault.before["POST", DATA] = lambda: sent
        with refused(key, match=f"^It is not certain that the key was saved: {reason}."):
            store.put("acme", key, {})

    @pytest.mark.parametrize("sent", [(200, b"<html>"), (200, {"data": {"data": {}}}), (200, ["data"])])
    def test_an_answer_that_is_not_of_vault_raises_store_error(
        self, sent: tuple[int, object], vault: Vault, store: VaultStore, key: Secret
    ) -> None:
        vault.before["GET", DATA] = lambda: sent
        with refused(
            key, match="^The key was not saved: the answer is not one of Vault's KV engine of version 2."
        ):
            store.put("acme", key, {})
        vault.before["POST", "sys/capabilities-self"] = lambda: sent
        with refused(match="^The store cannot be used: the token may not create and read"):
            store.check()

    def test_without_a_version_nothing_is_overwritten(
        self, vault: Vault, store: VaultStore, key: Secret
    ) -> None:
        vault.versions["favcrm/acme"] = [None]
        vault.before["GET", METADATA] = lambda: (200, {"data": {}})
        with refused(key, match="^The key was not saved: somebody else writes to that name."):
            store.put("acme", key, {})
