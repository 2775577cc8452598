"""The keyring store over a real Secret Service: gnome-keyring, each time on a D-Bus of its own.

Needs the Debian packages of `nox -s secretservice`. Where they are missing, CI fails and others skip.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from stores.service_checks import PATIENCE, hides, new_key

from favcrm import Secret

CHILD = Path(__file__).with_name("secret_service_child.py")
NEEDED = ("dbus-run-session", "gnome-keyring-daemon")
LOCKED = "StoreError: The store cannot be used: the keyring is locked."


@pytest.fixture(autouse=True)
def programs() -> None:
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"{missing} must be there: apt-get install dbus gnome-keyring")
    if missing:
        pytest.skip(f"{missing} are not installed: apt-get install dbus gnome-keyring")


@pytest.fixture
def key() -> Secret:
    return new_key()


class Desk:
    """A home directory with its keyrings. Each run is a session: the one after the first finds them locked."""

    def __init__(self, home: Path, key: Secret) -> None:
        self._home = home
        self._key = key

    def session(self, state: str, *steps: str, bus: bool = True) -> list[str]:
        runtime = self._home / "run"
        runtime.mkdir(mode=0o700, exist_ok=True)
        kept = {"PATH", "PYTHONPATH", "PYTHONSAFEPATH", "LANG"}
        environment = {
            name: value for name, value in os.environ.items() if name in kept or name.startswith("COVERAGE")
        }
        environment |= {"HOME": str(self._home), "XDG_RUNTIME_DIR": str(runtime), "PYTHONWARNINGS": "error"}
        ran = subprocess.run(
            [*(["dbus-run-session", "--"] if bus else []), sys.executable, str(CHILD), state, *steps],
            input=self._key.reveal(),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            # Less than what the store waits for a person, at four steps one after the other.
            timeout=PATIENCE,
        )
        assert hides(ran.stderr + ran.stdout, self._key)
        assert ran.returncode == 0, ran.stderr
        results: list[str] = json.loads(ran.stdout)
        return results


@pytest.fixture
def desk(tmp_path_factory: pytest.TempPathFactory, key: Secret) -> Desk:
    return Desk(tmp_path_factory.mktemp("home"), key)


REF = "'keyring://favcrm/acme'"


def test_an_unlocked_keyring_keeps_a_key_beyond_the_next_login(desk: Desk) -> None:
    missing = "MissingKeyError: There is no key at keyring://favcrm/acme."
    assert desk.session("unlocked", "check", "get", "put", "get") == ["None", missing, REF, "True"]
    assert desk.session("unlocked", "get", "replace", "get") == ["True", REF, "False"]
    assert desk.session("unlocked", "delete", "delete", "get") == ["None", "None", missing]


def test_a_locked_keyring_raises_store_error_at_once(desk: Desk) -> None:
    assert desk.session("unlocked", "put") == [REF]
    assert desk.session("locked", "check", "put", "get", "delete") == [
        LOCKED,
        "StoreError: The key was not saved: the keyring is locked.",
        "StoreError: The key could not be read: the keyring is locked.",
        "StoreError: The key could not be removed: the keyring is locked.",
    ]
    # One that D-Bus starts is locked too.
    assert desk.session("activated", "check") == [LOCKED]


def test_a_missing_collection_raises_store_error_and_is_not_made(desk: Desk) -> None:
    nothing = "the keyring has no collection to keep a key in."
    assert desk.session("locked", "check", "put", "check") == [
        f"StoreError: The store cannot be used: {nothing}",
        "StoreError: The key was not saved: the keyring could not be opened.",
        f"StoreError: The store cannot be used: {nothing}",
    ]


def test_the_plain_file_that_is_taken_without_d_bus_is_refused(desk: Desk) -> None:
    (told,) = set(desk.session("none", "check", "put", bus=False))
    assert "the keyring here is PlaintextKeyring, which keeps keys in a plain file" in told
