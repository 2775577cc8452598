"""Where no thread can be started, as Python 3.12 refuses it while the process ends, a store works without one."""

from __future__ import annotations

import threading

import pytest
from stores.service_checks import new_key
from stores.test_keyring import InMemory

from favcrm.stores.keyring import KeyringStore


def test_without_a_thread_the_key_is_saved_in_the_callers_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    store, key = KeyringStore(InMemory()), new_key()
    assert store.get(store.put("acme", key, {})) == key
