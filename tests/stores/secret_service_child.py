"""Runs in a D-Bus session of its own: starts gnome-keyring in a state, uses the store, and prints what came of it.

    python secret_service_child.py {unlocked,locked,activated,none} STEP...

The key comes on stdin.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable

from favcrm import Secret, SecretRef, StoreError
from favcrm.stores.keyring import KeyringStore

PASSWORD = b"the password of the login"
COMMAND = ("gnome-keyring-daemon", "--components=secrets", "--daemonize")
# The first goes to the background before it is on the bus, and until then D-Bus would start another. The second finds
# the daemon that runs, and ends when that one is ready. Only --unlock reads the password.
STARTS = {"unlocked": ("--unlock", "--start"), "locked": ("--start", "--start")}
REF = SecretRef.of("keyring", "acme")


def start_keyring(state: str) -> None:
    """Unlock the login collection (and make it, the first time); or leave it locked; or have none."""
    for how in STARTS.get(state, ()):
        subprocess.run([*COMMAND, how], input=PASSWORD, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    state, *steps = sys.argv[1:]
    key = Secret(sys.stdin.read())
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    start_keyring(state)
    store = KeyringStore(timeout=10)
    actions: dict[str, Callable[[], object]] = {
        "check": store.check,
        "put": lambda: store.put("acme", key, {}),
        "replace": lambda: store.put("acme", Secret(key.reveal()[::-1]), {}, if_absent=False),
        "get": lambda: store.get(REF) == key,
        "delete": lambda: store.delete(REF),
    }
    results: list[str] = []
    for step in steps:
        try:
            results.append(repr(actions[step]()))
        except StoreError as error:
            results.append(f"{type(error).__name__}: {error.message}")
    json.dump(results, sys.stdout)


main()
