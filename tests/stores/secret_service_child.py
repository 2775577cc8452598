"""Runs in a D-Bus session of its own: starts gnome-keyring in a state, uses the store, and prints what came of it.

    python secret_service_child.py {unlocked,locked,none,empty} STEP...

The key comes on stdin.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from importlib import import_module
from typing import Any

import secretstorage

from favcrm import Secret, SecretRef, StoreError
from favcrm.stores.keyring import KeyringStore

PASSWORD = b"the password of the login"
START = ("gnome-keyring-daemon", "--components=secrets", "--daemonize")
PATIENCE = 30.0
REF = SecretRef.of("keyring", "acme")


def start_keyring(state: str) -> None:
    """Unlock the login collection (and make it, the first time); or leave it locked; or have none."""
    if state == "unlocked":
        subprocess.run([*START, "--unlock"], input=PASSWORD, check=True, stdout=subprocess.DEVNULL)
    elif state == "locked":
        subprocess.run([*START, "--start"], check=True, stdout=subprocess.DEVNULL)
    if state in {"unlocked", "locked"}:
        wait_for_keyring(unlocked=state == "unlocked")


def wait_for_keyring(*, unlocked: bool) -> None:
    """Wait until the daemon is on the bus: it goes to the background before that, and D-Bus would start another."""
    ends_at = time.monotonic() + PATIENCE
    blocking: Any = import_module("jeepney.io.blocking")
    message_bus: Any = import_module("jeepney.bus_messages").message_bus
    with closing(blocking.open_dbus_connection()) as connection:
        bus = blocking.Proxy(message_bus, connection)
        while not bus.NameHasOwner("org.freedesktop.secrets")[0] or (unlocked and not is_open(connection)):
            assert time.monotonic() < ends_at, "gnome-keyring did not come up"
            time.sleep(0.01)


def is_open(connection: Any) -> bool:
    try:
        return not secretstorage.Collection(connection).is_locked()
    except secretstorage.ItemNotFoundException:
        return False


def main() -> None:
    state, *steps = sys.argv[1:]
    key = Secret(sys.stdin.read())
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    start_keyring(state)
    store = KeyringStore(timeout=10)
    actions: dict[str, Callable[[], object]] = {
        "check": store.check,
        "put": lambda: store.put("acme", key, {}),
        "put another": lambda: store.put("acme", Secret(key.reveal()[::-1]), {}),
        "replace": lambda: store.put("acme", Secret(key.reveal()[::-1]), {}, if_absent=False),
        "get": lambda: store.get(REF) == key,
        "delete": lambda: store.delete(REF),
    }
    results: list[str] = []
    started = time.monotonic()
    for step in steps:
        try:
            results.append(repr(actions[step]()))
        except StoreError as error:
            results.append(f"{type(error).__name__}: {error.message}")
    json.dump({"results": results, "seconds": time.monotonic() - started}, sys.stdout)


main()
