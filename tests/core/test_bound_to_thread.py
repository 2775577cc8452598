"""Blocking, a store and a ledger may be bound to the thread that made them, as a connection of sqlite is."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from favcrm import FavCRMProvisioner, MemoryLedger, PendingRegistration, Registration, Secret, SecretRef
from favcrm._backends.threads import Errands
from favcrm.errors import MissingKeyError
from favcrm.ledger import CodeState
from favcrm.sandbox import Fault, Sandbox

REGISTRATION = Registration(email="you@example.com", organisation_name="Stretch + Breathe")


class SqliteStore:
    """Keys in a table."""

    scheme = "sqlite"

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:")
        self._connection.execute("CREATE TABLE keys (ref TEXT PRIMARY KEY, key TEXT)")

    def close(self) -> None:
        self._connection.close()

    def check(self) -> None:
        self._connection.execute("SELECT 1 FROM keys")

    def put(
        self, name: str, secret: Secret, metadata: Mapping[str, str], *, if_absent: bool = True
    ) -> SecretRef:
        ref = SecretRef.of(self.scheme, name)
        self._connection.execute("INSERT INTO keys VALUES (?, ?)", (ref, secret.reveal()))
        return ref

    def get(self, ref: SecretRef) -> Secret:
        for (key,) in self._connection.execute("SELECT key FROM keys WHERE ref = ?", (ref,)):
            return Secret(key)
        raise MissingKeyError(f"There is no key at {ref}.")

    def delete(self, ref: SecretRef) -> None:
        self._connection.execute("DELETE FROM keys WHERE ref = ?", (ref,))


class BoundLedger(MemoryLedger):
    """A ledger that counts who asks it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_by = set[threading.Thread]()

    blocks = True

    def state(self, subject: str) -> CodeState:
        self.asked_by.add(threading.current_thread())
        return super().state(subject)


def provision(sandbox: Sandbox, store: SqliteStore, ledger: MemoryLedger) -> bool:
    def read_code(_: PendingRegistration) -> str:
        return sandbox.inbox.code_for(REGISTRATION.email)

    with FavCRMProvisioner(transport=sandbox.transport(), store=store, ledger=ledger) as favcrm:
        return favcrm.provision(REGISTRATION, read_code=read_code).report.ready


@pytest.mark.parametrize("fault", [None, Fault.SERVER_ERROR])
def test_all_the_way(fault: Fault | None) -> None:
    """Also where the diagnosis asks twice, for which the key is read once more."""
    sandbox, store, ledger = Sandbox(), SqliteStore(), BoundLedger()
    if fault is not None:
        sandbox.fail_next("list_services", fault)
    assert provision(sandbox, store, ledger)
    assert ledger.asked_by == {threading.current_thread()}
    store.close()


def test_ctrl_c_in_the_store_while_it_is_diagnosed_is_raised_and_no_thread_stays() -> None:
    class Interrupted(SqliteStore):
        left = 1

        def get(self, ref: SecretRef) -> Secret:
            key = super().get(ref)
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return key

    before = threading.active_count()
    store = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        provision(Sandbox(), store, MemoryLedger())
    for thread in threading.enumerate():
        if thread.name.startswith("favcrm"):
            thread.join()
    assert threading.active_count() <= before
    store.close()


# Errands


def test_an_errand_runs_in_the_thread_that_waits_and_its_error_is_raised_in_the_one_that_asked() -> None:
    errands = Errands()

    def fail() -> None:
        raise LookupError(threading.get_ident())

    def ask() -> tuple[int, object]:
        with pytest.raises(LookupError) as caught:
            errands.run(fail)
        return errands.run(threading.get_ident), caught.value.args[0]

    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(ask) for _ in range(2)]
        errands.run_until_done(asked)
    assert [future.result() for future in asked] == [(threading.get_ident(),) * 2] * 2


def test_who_asks_when_nobody_waits_any_more_is_told() -> None:
    errands = Errands()
    with ThreadPoolExecutor() as pool:
        # Before or after the closing, as it happens.
        asked = pool.submit(errands.run, object)
        errands.close()
        late = pool.submit(errands.run, object)
    for each in (asked, late):
        with pytest.raises(CancelledError):
            each.result()


def test_an_errand_of_the_waiting_thread_runs_at_once() -> None:
    assert Errands().run(threading.get_ident) == threading.get_ident()
