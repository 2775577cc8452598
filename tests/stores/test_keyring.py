"""The keyring store over keyrings of every character; a real Secret Service is in test_keyring_secret_service.py."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from types import SimpleNamespace

import keyring
import keyring.backend
import keyring.errors
import pytest
from stores.service_checks import PATIENCE, InMemory, new_key, refused

from favcrm import MissingKeyError, Secret, SecretRef
from favcrm.stores.keyring import KeyringStore

REF = SecretRef.of("keyring", "acme")
PLAIN = "keyrings.alt.file.PlaintextKeyring"
WRITTEN = 3
"""How many arguments a keyring is given to write: the service, the name and the key."""
SECRET_SERVICE = "keyring.backends.SecretService.Keyring"


def load(name: str) -> keyring.backend.KeyringBackend:
    """Return one of the keyrings that come with keyring, also where it cannot work and would not be made."""
    module, _, kind = name.rpartition(".")
    made: type[keyring.backend.KeyringBackend] = getattr(import_module(module), kind)
    backend: keyring.backend.KeyringBackend = object.__new__(made)
    return backend


class Failing(InMemory):
    """Raises, with what it was given in the exception, from its nth call on."""

    def __init__(self, error: type[BaseException], calls_before: int = 0) -> None:
        super().__init__()
        self.error = error
        self.calls_left = calls_before

    def _begin(self, *seen: object) -> None:
        self.calls_left -= 1
        if self.calls_left < 0:
            raise self.error(*seen, *self.kept.values())


class Hanging(InMemory):
    """Asks a question that nobody answers, before it reads or writes, until the test opens the gate."""

    def __init__(self, asks_to: str) -> None:
        super().__init__()
        self.asks_to = asks_to
        self.gate = threading.Event()
        self.thread = threading.current_thread()

    def _begin(self, *seen: object) -> None:
        self.thread = threading.current_thread()
        if self.asks_to == ("write" if len(seen) == WRITTEN else "read"):
            assert self.gate.wait(PATIENCE)

    def answer(self) -> None:
        """Open the gate, and wait until the store's thread has ended."""
        self.gate.set()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


@pytest.fixture
def key() -> Secret:
    return new_key()


@pytest.fixture
def backend() -> InMemory:
    return InMemory()


@pytest.fixture
def default() -> Iterator[None]:
    """Put back the keyring that this process uses."""
    before = keyring.get_keyring()
    yield
    keyring.set_keyring(before)


def test_a_key_is_kept_under_the_service_and_its_name(backend: InMemory, key: Secret) -> None:
    ref = KeyringStore(backend).put("Stretch + Breathe", key, {"organisation_id": "org"})
    assert backend.kept == {("favcrm", "Stretch + Breathe"): key.reveal()}
    with refused(key, match="There is no key at", kind=MissingKeyError):
        KeyringStore(backend, service="agents").get(ref)


def test_the_keyring_of_the_process_is_the_default(default: None, backend: InMemory, key: Secret) -> None:
    keyring.set_keyring(backend)
    KeyringStore().put("acme", key, {})
    assert list(backend.kept.values()) == [key.reveal()]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (keyring.errors.KeyringLocked, "the keyring is locked"),
        (keyring.errors.InitError, "the keyring could not be opened"),
        (keyring.errors.NoKeyringError, "there is no keyring here"),
        (RuntimeError, "the keyring failed with RuntimeError"),
        (SystemExit, "the keyring failed with SystemExit"),
    ],
)
def test_a_failure_is_explained_and_says_what_came_of_the_key(
    error: type[BaseException], reason: str, key: Secret
) -> None:
    backend = Failing(error)
    with refused(key, match=f"^The key was not saved: {reason}."):
        KeyringStore(backend).put("acme", key, {})
    assert not backend.kept
    with refused(match=f"^The key could not be read: {reason}."):
        KeyringStore(backend).get(REF)
    for calls in (1, 2):
        with refused(key, match=f"^It is not certain that the key was saved: {reason}."):
            KeyringStore(Failing(error, calls)).put("acme", key, {})


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_failure_to_remove_raises_store_error(calls: int, key: Secret) -> None:
    backend = Failing(keyring.errors.PasswordDeleteError, calls)
    backend.kept["favcrm", "acme"] = key.reveal()
    with refused(key, match="^The key could not be removed: the keyring failed with PasswordDeleteError."):
        KeyringStore(backend).delete(REF)


def test_a_keyring_that_keeps_nothing_raises_store_error(key: Secret) -> None:
    class Forgetful(InMemory):
        def set_password(self, service: str, username: str, password: str) -> None:
            pass

    with refused(
        key, match="^It is not certain that the key was saved: the keyring gives back something else."
    ):
        KeyringStore(Forgetful()).put("acme", key, {})


def test_a_keyring_that_removes_nothing_raises_store_error(key: Secret) -> None:
    class Faithful(InMemory):
        def delete_password(self, service: str, username: str) -> None:
            pass

    store = KeyringStore(Faithful())
    ref = store.put("acme", key, {})
    with refused(key, match="^The key could not be removed: the keyring still has one of that name."):
        store.delete(ref)


class TestNobodyAnswers:
    """The deadline is what ends these calls: the gate opens only after the error came."""

    def test_no_write_begins_after_the_deadline(self, key: Secret) -> None:
        backend = Hanging("read")
        store = KeyringStore(backend, timeout=0.2)
        with refused(
            key, match=r"not saved: the keyring did not answer within 0\.2 seconds\. Unlock the keyri"
        ):
            store.put("acme", key, {})
        assert backend.thread.daemon
        backend.answer()
        assert not backend.kept

    def test_a_write_that_has_begun_may_still_succeed(self, key: Secret) -> None:
        backend = Hanging("write")
        store = KeyringStore(backend, timeout=0.2)
        with refused(key, match="^It is not certain that the key was saved: the keyring did not answer"):
            store.put("acme", key, {})
        backend.answer()
        assert store.get(REF) == key

    def test_nothing_is_removed_after_the_deadline(self, key: Secret) -> None:
        backend = Hanging("read")
        backend.kept["favcrm", "acme"] = key.reveal()
        with refused(key, match="^The key could not be removed: the keyring did not answer"):
            KeyringStore(backend, timeout=0.2).delete(REF)
        backend.answer()
        assert backend.kept

    def test_a_check_ends_at_the_deadline(self, default: None, monkeypatch: pytest.MonkeyPatch) -> None:
        gate = threading.Event()
        monkeypatch.setattr(keyring, "get_keyring", lambda: gate.wait(PATIENCE))
        with refused(match="^The store cannot be used: the keyring did not answer within 0.2 seconds."):
            KeyringStore(timeout=0.2).check()
        gate.set()


class TestUnsafe:
    @pytest.mark.parametrize("name", ["PlaintextKeyring", "EncryptedKeyring"])
    def test_plain_files_are_refused(self, name: str, key: Secret) -> None:
        backend = load(f"keyrings.alt.file.{name}")
        with refused(key, match=f"^The store cannot be used: the keyring here is {name}, which keeps keys"):
            KeyringStore(backend).check()
        with refused(key, match="allow_plaintext=True"):
            KeyringStore(backend).put("acme", key, {})
        KeyringStore(backend, allow_plaintext=True).check()

    def test_a_class_that_is_named_plaintext_is_refused(self) -> None:
        class MyPlaintextKeyring(InMemory):
            pass

        with refused(match="the keyring here is MyPlaintextKeyring"):
            KeyringStore(MyPlaintextKeyring()).check()

    @pytest.mark.parametrize("name", ["fail", "null"])
    def test_a_keyring_that_keeps_nothing_by_design_is_refused(self, name: str, key: Secret) -> None:
        backend = load(f"keyring.backends.{name}.Keyring")
        store = KeyringStore(backend, allow_plaintext=True)
        for use in (store.check, lambda: store.put("acme", key, {})):
            with refused(key, match="^The store cannot be used: there is no keyring here. Start a keyring"):
                use()

    def test_a_chain_is_judged_by_the_keyring_that_it_writes_to(
        self, key: Secret, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chain = load("keyring.backends.chainer.ChainerBackend")
        first = InMemory()
        monkeypatch.setattr(type(chain), "backends", [first, load(PLAIN)])
        KeyringStore(chain).put("acme", key, {})
        assert first.kept
        monkeypatch.setattr(type(chain), "backends", [load(PLAIN), first])
        with refused(match="PlaintextKeyring"):
            KeyringStore(chain).check()


class TestLookingAtSecretService:
    """Which questions are asked; the answers of a real one are in test_keyring_secret_service.py."""

    @pytest.fixture
    def bus(self, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
        bus = SimpleNamespace(closed=0, looked_at=[], locked=False)

        class Connection:
            def close(self) -> None:
                bus.closed += 1

        class Collection:
            def __init__(self, _: Connection, path: str = "default") -> None:
                bus.looked_at.append(path)

            def is_locked(self) -> bool:
                return bool(bus.locked)

        fake = SimpleNamespace(dbus_init=Connection, Collection=Collection)
        monkeypatch.setitem(sys.modules, "secretstorage", fake)
        return bus

    def test_a_locked_collection_raises_store_error(self, bus: SimpleNamespace) -> None:
        bus.locked = True
        with refused(match="^The store cannot be used: the keyring is locked. Unlock the keyring"):
            KeyringStore(load(SECRET_SERVICE)).check()
        assert bus.closed == 1

    def test_the_default_collection_is_looked_at_or_the_preferred_one(self, bus: SimpleNamespace) -> None:
        backend = load(SECRET_SERVICE)
        KeyringStore(backend).check()
        KeyringStore(backend.with_properties(preferred_collection="/mine")).check()
        assert (bus.looked_at, bus.closed) == (["default", "/mine"], 2)

    def test_without_d_bus_the_check_raises_store_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
        with refused(match="^The store cannot be used: there is no keyring here. Start a keyring"):
            KeyringStore(load(SECRET_SERVICE)).check()


def test_without_secretstorage_the_check_raises_store_error(monkeypatch: pytest.MonkeyPatch) -> None:
    store = KeyringStore(load(SECRET_SERVICE))
    monkeypatch.setitem(sys.modules, "secretstorage", None)
    with refused(match="^This store needs the package secretstorage, which is not installed."):
        store.check()


def test_where_no_thread_can_be_started_the_key_is_saved_in_the_callers_thread(
    key: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        # As Python 3.12 does while the process ends.
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    store = KeyringStore(InMemory())
    assert store.get(store.put("acme", key, {})) == key
