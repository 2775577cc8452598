"""Many sign-ups at once on one provisioner, and many callers of one registration, in both colours."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import anyio
import pytest
from colours import own_transport
from core.flows import EMAIL, REGISTRATION, REQUEST, VERIFY, Full

import favcrm
from favcrm import (
    AsyncFavCRMProvisioner,
    FavCRMProvisioner,
    FileLedger,
    MemoryLedger,
    PendingRegistration,
    Registration,
    SecretRef,
    errors,
)
from favcrm._backends import run_sync
from favcrm._backends.asynchronous import AsyncBackend
from favcrm._backends.blocking import BlockingBackend
from favcrm._flows.records import Records
from favcrm.sandbox import Fault, Sandbox
from favcrm.stores import MemoryStore
from favcrm.transport import Request

COUNT, CALLERS = 50, 8
AsyncReader = Callable[[PendingRegistration], Awaitable[str]]


@pytest.fixture
def sandbox() -> Sandbox:
    made = Sandbox()
    made.rules.requests_per_hour = made.rules.requests_per_day = 1000
    return made


class Attempt:
    """One of many sign-ups: its registration, its store, and what came of it."""

    def __init__(self, sandbox: Sandbox, number: int, escrow: MemoryStore) -> None:
        self.sandbox = sandbox
        self.email = f"user-{number}@example.com"
        self.registration = Registration(email=self.email, organisation_name=f"Organisation {number}")
        self.fails, self.is_cancelled = number % 5 == 1, number % 7 == 3
        self.store: MemoryStore = Full() if self.fails else MemoryStore()
        self.escrow = escrow
        self.scope: anyio.CancelScope
        self.result: Any = None

    @property
    def options(self) -> dict[str, Any]:
        return {"store": self.store, "key_name": self.email}

    def code(self, _: PendingRegistration) -> str:
        return self.sandbox.inbox.code_for(self.email)

    async def run(self, provisioner: AsyncFavCRMProvisioner, read_code: AsyncReader) -> None:
        with anyio.CancelScope() as self.scope:
            try:
                self.result = await provisioner.provision(
                    self.registration, read_code=read_code, **self.options
                )
            except errors.FavCRMError as error:
                self.result = error

    def check_stores(self) -> None:
        """The key is where this sign-up put it, and nowhere else."""
        ref = SecretRef.of("memory", self.email)
        assert keys_in(self.store) == ([] if self.fails else [ref])
        assert (ref in keys_in(self.escrow)) == self.fails

    def check_result(self) -> None:
        if self.fails:
            assert isinstance(self.result, errors.StoreError)
            assert self.result.workspace is not None
            assert self.result.workspace.ref == SecretRef.of("memory", self.email)
        else:
            assert self.result.report.organisation == self.registration.organisation_name
            assert self.result.workspace.api_key == self.store.get(self.result.ref)


def keys_in(store: MemoryStore) -> list[SecretRef]:
    return [SecretRef(ref) for ref in vars(store)["_secrets"]]


def test_fifty_threads_sign_up_with_one_provisioner_and_share_nothing(sandbox: Sandbox) -> None:
    escrow = MemoryStore()
    attempts = [Attempt(sandbox, number, escrow) for number in range(COUNT)]
    together = Barrier(COUNT)
    with (
        FavCRMProvisioner(transport=sandbox.transport(), escrow=escrow) as provisioner,
        ThreadPoolExecutor(COUNT) as pool,
    ):

        def run(attempt: Attempt) -> None:
            def read_code(pending: PendingRegistration) -> str:
                together.wait()
                return attempt.code(pending)

            try:
                attempt.result = provisioner.provision(
                    attempt.registration, read_code=read_code, **attempt.options
                )
            except errors.FavCRMError as error:
                attempt.result = error

        list(pool.map(run, attempts))
        for attempt in attempts:
            attempt.check_stores()
            attempt.check_result()
        with attempts[0].result.client() as crm:
            assert "Organisation 0" in str(crm.call_tool("list_my_companies").data)
    assert sandbox.count(REQUEST) == sandbox.count(VERIFY) == COUNT


@pytest.mark.anyio
async def test_fifty_tasks_sign_up_with_one_provisioner_and_share_nothing(sandbox: Sandbox) -> None:
    escrow = MemoryStore()
    attempts = [Attempt(sandbox, number, escrow) for number in range(COUNT)]
    waiting, may_go_on = dict[str, Attempt](), anyio.Event()

    def on_event(event: favcrm.Event) -> None:
        if event.kind is favcrm.EventKind.VERIFY_SENT:
            attempt = waiting[event.registration_id or ""]
            if attempt.is_cancelled:
                attempt.scope.cancel()

    async def run(attempt: Attempt) -> None:
        async def read_code(pending: PendingRegistration) -> str:
            waiting[pending.request_id] = attempt
            if len(waiting) == COUNT:
                may_go_on.set()
            await may_go_on.wait()
            return attempt.code(pending)

        await attempt.run(provisioner, read_code)

    async with (
        AsyncFavCRMProvisioner(
            transport=sandbox.async_transport(), escrow=escrow, on_event=on_event
        ) as provisioner,
        anyio.create_task_group() as group,
    ):
        for attempt in attempts:
            group.start_soon(run, attempt)
    for attempt in attempts:
        attempt.check_stores()
        if not attempt.is_cancelled:
            attempt.check_result()
    async with attempts[0].result.client() as crm:
        assert "Organisation 0" in str((await crm.call_tool("list_my_companies")).data)
    assert sandbox.count(REQUEST) == sandbox.count(VERIFY) == COUNT


def test_a_store_for_one_call_does_not_stick(sandbox: Sandbox) -> None:
    theirs, ours = MemoryStore(), MemoryStore()
    with FavCRMProvisioner(transport=sandbox.transport(), store=ours) as provisioner:
        provisioner.provision(REGISTRATION, read_code=lambda _: sandbox.inbox.code_for(EMAIL), store=theirs)
        pending = provisioner.initiate(email="me@example.com", organisation_name="Acme")
        workspace = provisioner.confirm(pending, sandbox.inbox.code_for("me@example.com"))
        assert provisioner.diagnose().organisation == "Acme"
    assert len(keys_in(theirs)) == 1
    assert keys_in(ours) == [workspace.ref]


def test_without_a_store_a_later_confirm_stores_nothing(sandbox: Sandbox) -> None:
    with FavCRMProvisioner(transport=sandbox.transport()) as provisioner:
        provisioner.provision(REGISTRATION, read_code=lambda _: sandbox.inbox.code_for(EMAIL))
        pending = provisioner.initiate(email="me@example.com", organisation_name="Acme")
        assert provisioner.confirm(pending, sandbox.inbox.code_for("me@example.com")).ref is None


# Many callers of one registration


class Crowd(MemoryLedger):
    """A ledger that tells when as many callers as there are wait for the one who was first."""

    def __init__(self, callers: int = CALLERS) -> None:
        super().__init__()
        self.refused: set[int] = set()
        self.callers = callers
        self.everybody_waits = Event()

    def reserve(self, subject: str) -> bool:
        reserved = super().reserve(subject)
        if not reserved:
            self.turn_away()
        return reserved

    def turn_away(self) -> None:
        # A thread counts once, however often it asks; tasks share a thread, and are told apart by the loop.
        self.refused.add(who_asks())
        if len(self.refused) == self.callers - 1:
            self.everybody_waits.set()


def who_asks() -> int:
    try:
        return id(asyncio.current_task())
    except RuntimeError:
        return threading.get_ident()


def slow(sandbox: Sandbox, ledger: Crowd, *tools: str) -> Any:
    """Return a transport that answers some tools only when everybody else waits."""
    inner = sandbox.transport()

    def answer(request: Request) -> Any:
        if request.params.get("name") in tools:
            assert ledger.everybody_waits.wait(60)
        return inner.request(request)

    return own_transport("blocking", answer, clock=sandbox.clock)


def async_slow(sandbox: Sandbox, ledger: Crowd, *tools: str) -> Any:
    """The same, asynchronous, in one thread."""
    inner = sandbox.async_transport()

    async def answer(request: Request) -> Any:
        if request.params.get("name") in tools:
            assert await asyncio.to_thread(ledger.everybody_waits.wait, 60)
        return await inner.request(request)

    return own_transport("asynchronous", answer, clock=sandbox.clock)


def in_threads(call: Callable[[], Any], callers: int = CALLERS) -> list[Any]:
    def outcome(_: int) -> Any:
        try:
            return call()
        except errors.FavCRMError as error:
            return error

    with ThreadPoolExecutor(callers) as pool:
        return list(pool.map(outcome, range(callers)))


async def in_tasks(call: Callable[[], Awaitable[Any]], callers: int = CALLERS) -> list[Any]:
    return await asyncio.gather(*(call() for _ in range(callers)), return_exceptions=True)


def test_threads_that_ask_for_one_registration_get_one_mail(sandbox: Sandbox) -> None:
    ledger = Crowd()
    with FavCRMProvisioner(transport=slow(sandbox, ledger, REQUEST), ledger=ledger) as provisioner:
        found = in_threads(lambda: provisioner.initiate(REGISTRATION))
    assert len({pending.request_id for pending in found}) == 1
    assert len(sandbox.inbox) == 1


def test_tasks_that_ask_for_one_registration_get_one_mail(sandbox: Sandbox) -> None:
    ledger = Crowd()

    async def main() -> list[Any]:
        transport = async_slow(sandbox, ledger, REQUEST)
        async with AsyncFavCRMProvisioner(transport=transport, ledger=ledger) as provisioner:
            return await in_tasks(lambda: provisioner.initiate(REGISTRATION))

    found = asyncio.run(main())
    assert len({pending.request_id for pending in found}) == 1
    assert len(sandbox.inbox) == 1


def test_threads_that_ask_for_a_fresh_code_at_once_get_one_mail_more(sandbox: Sandbox) -> None:
    ledger = Crowd()
    with FavCRMProvisioner(transport=sandbox.transport(), ledger=ledger) as provisioner:
        first = provisioner.initiate(REGISTRATION)
    with FavCRMProvisioner(transport=slow(sandbox, ledger, REQUEST), ledger=ledger) as provisioner:
        found = in_threads(lambda: provisioner.initiate(REGISTRATION, resend=True))
    assert len({pending.request_id for pending in found} - {first.request_id}) == 1
    assert len(sandbox.inbox) == 2


def test_where_the_first_one_fails_another_one_asks(sandbox: Sandbox) -> None:
    ledger = Crowd()
    sandbox.fail_next(REQUEST, Fault.REFUSE_CONNECTION)
    with FavCRMProvisioner(
        transport=slow(sandbox, ledger, REQUEST), ledger=ledger, retry=favcrm.RetryPolicy.never()
    ) as provisioner:
        found = in_threads(lambda: provisioner.initiate(REGISTRATION))
    assert sorted(type(one).__name__ for one in found) == ["NotSentError"] + ["PendingRegistration"] * 7
    assert len(sandbox.inbox) == 1


@pytest.mark.parametrize("store", [None, MemoryStore])
def test_threads_that_confirm_one_registration_get_one_workspace(
    sandbox: Sandbox, store: Callable[[], MemoryStore] | None
) -> None:
    ledger = Crowd()
    transport = slow(sandbox, ledger, VERIFY)
    with FavCRMProvisioner(
        transport=transport, ledger=ledger, store=store() if store else None
    ) as provisioner:
        pending = provisioner.initiate(REGISTRATION)
        code = sandbox.inbox.code_for(EMAIL)
        found = in_threads(lambda: provisioner.confirm(pending, code))
        assert provisioner.confirm(pending, code) == found[0]
    assert len({workspace.api_key.reveal() for workspace in found}) == 1
    assert sandbox.count(VERIFY) == 1


def test_tasks_that_confirm_one_registration_get_one_workspace(sandbox: Sandbox) -> None:
    ledger, store = Crowd(), MemoryStore()

    async def main() -> list[Any]:
        transport = async_slow(sandbox, ledger, VERIFY)
        async with AsyncFavCRMProvisioner(transport=transport, ledger=ledger, store=store) as provisioner:
            pending = await provisioner.initiate(REGISTRATION)
            code = sandbox.inbox.code_for(EMAIL)
            # Each confirms in tasks of its own, which the ledger cannot tell apart: one that waits is enough.
            ledger.callers = 2
            return await in_tasks(lambda: provisioner.confirm(pending, code))

    found = asyncio.run(main())
    assert len({workspace.ref for workspace in found}) == 1
    assert sandbox.count(VERIFY) == 1


def test_threads_that_provision_one_registration_get_one_workspace(sandbox: Sandbox) -> None:
    ledger, store = Crowd(), MemoryStore()
    with FavCRMProvisioner(
        transport=slow(sandbox, ledger, REQUEST), ledger=ledger, store=store
    ) as provisioner:
        found = in_threads(
            lambda: provisioner.provision(REGISTRATION, read_code=lambda _: sandbox.inbox.code_for(EMAIL))
        )
    assert {one.ref for one in found} == set(keys_in(store))
    assert len(keys_in(store)) == 1
    assert sandbox.count(VERIFY) == len(sandbox.inbox) == 1


def test_a_call_does_not_wait_for_ever_for_another_one(sandbox: Sandbox) -> None:
    ledger = MemoryLedger()
    retry = favcrm.RetryPolicy(deadline=0.01)
    with FavCRMProvisioner(transport=sandbox.transport(), ledger=ledger, retry=retry) as provisioner:
        pending = provisioner.initiate(REGISTRATION)
        ledger.reserve(pending.request_id)
        with pytest.raises(errors.NotSentError, match="uses a code of the same registration"):
            provisioner.confirm(pending, sandbox.inbox.code_for(EMAIL))
        ledger.release(pending.request_id)
        assert provisioner.confirm(pending, sandbox.inbox.code_for(EMAIL)).organisation_id


def test_who_waited_for_a_lost_answer_sends_no_email_of_its_own(sandbox: Sandbox) -> None:
    ledger = Crowd()
    sandbox.fail_next(REQUEST, Fault.RESET_AFTER, Fault.RESET_AFTER)
    with FavCRMProvisioner(
        transport=slow(sandbox, ledger, REQUEST), ledger=ledger, retry=favcrm.RetryPolicy.never()
    ) as provisioner:
        found = in_threads(lambda: provisioner.initiate(REGISTRATION))
        assert {type(one) for one in found} == {errors.OutcomeUnknownError}
        assert len(sandbox.inbox) == 1
        # Who asks afterwards asks anew, and settles it.
        with pytest.raises(errors.OutcomeUnknownError, match="connection broke"):
            provisioner.initiate(REGISTRATION)
        assert provisioner.initiate(REGISTRATION) == provisioner.initiate(REGISTRATION)
    assert len(sandbox.inbox) == 3


def test_a_caller_that_is_interrupted_while_it_waits_takes_nothing_from_who_it_waits_for(
    tmp_path: Path,
) -> None:
    ledger = FileLedger(tmp_path / "pending.json")
    assert ledger.reserve("signup_req_1")

    class Interrupted(BlockingBackend):
        async def pause(self, seconds: float) -> None:
            raise KeyboardInterrupt

    port = Interrupted(Sandbox().transport())
    reservation = Records(port, ledger).reservation("signup_req_1")

    async def wait() -> None:
        try:
            while not await reservation.take():
                await port.pause(0)
        finally:
            await reservation.give_back()

    with pytest.raises(KeyboardInterrupt):
        run_sync(wait())
    assert not ledger.reserve("signup_req_1")
    ledger.release("signup_req_1")


def test_a_caller_that_is_cancelled_while_the_ledger_refuses_takes_nothing_either(tmp_path: Path) -> None:
    ledger = FileLedger(tmp_path / "pending.json")
    assert ledger.reserve("signup_req_1")

    async def main() -> None:
        class Cancelled(AsyncBackend):
            async def uncancelled(self, task: Any) -> Any:
                await super().uncancelled(task)
                raise asyncio.CancelledError

        port = Cancelled(Sandbox().async_transport())
        reservation = Records(port, ledger).reservation("signup_req_1")
        with pytest.raises(asyncio.CancelledError):
            await reservation.take()
        await reservation.give_back()

    asyncio.run(main())
    assert not ledger.reserve("signup_req_1")
    ledger.release("signup_req_1")


@pytest.mark.anyio
async def test_a_call_that_is_cancelled_while_it_asks_keeps_nobody_waiting(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    ledger = FileLedger(tmp_path / "pending.json")
    asked = anyio.Event()

    async def never(_: Request) -> None:
        asked.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        stuck = AsyncFavCRMProvisioner(transport=own_transport("asynchronous", never), ledger=ledger)
        group.start_soon(stuck.initiate, REGISTRATION)
        await asked.wait()
        group.cancel_scope.cancel()
    again = AsyncFavCRMProvisioner(transport=sandbox.async_transport(), ledger=ledger)
    assert not (await again.initiate(REGISTRATION)).expired


# Closing meanwhile


class Held:
    """A transport that holds the answer to a code, and is closed like any other."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.clock = sandbox.clock
        self.inner = sandbox.async_transport()
        self.asked, self.may_answer, self.closed = anyio.Event(), anyio.Event(), False

    async def request(self, request: Request) -> Any:
        if request.params.get("name") == VERIFY:
            self.asked.set()
            await self.may_answer.wait()
            if self.closed:
                raise errors.OutcomeUnknownError("The connection was closed.")
        return await self.inner.request(request)

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.anyio
async def test_a_provisioner_that_is_closed_while_a_code_is_on_its_way_waits_for_the_key(
    sandbox: Sandbox,
) -> None:
    store, transport = MemoryStore(), Held(sandbox)
    provisioner = AsyncFavCRMProvisioner(transport=transport, store=store)
    provisioner._close = transport.aclose
    pending = await provisioner.initiate(REGISTRATION)
    async with anyio.create_task_group() as group:
        group.start_soon(provisioner.confirm, pending, sandbox.inbox.code_for(EMAIL))
        await transport.asked.wait()
        group.start_soon(provisioner.aclose)
        await anyio.wait_all_tasks_blocked()
        assert not transport.closed
        transport.may_answer.set()
    assert transport.closed
    assert len(keys_in(store)) == 1


def test_a_listener_may_close_the_provisioner_that_tells_it(sandbox: Sandbox) -> None:
    def on_event(event: favcrm.Event) -> None:
        if event.kind is favcrm.EventKind.VERIFY_SENT:
            provisioner.close()

    store = MemoryStore()
    with sandbox.serve() as server:
        provisioner = FavCRMProvisioner(server.url, store=store, on_event=on_event, era="bare")
        pending = provisioner.initiate(REGISTRATION)
        assert provisioner.confirm(pending, sandbox.inbox.code_for(EMAIL)).ref in keys_in(store)
        with pytest.raises(errors.NotSentError, match="closed"):
            provisioner.initiate(email="me@example.com", organisation_name="Acme")


def test_a_child_that_is_forked_meanwhile_closes_without_waiting(sandbox: Sandbox) -> None:
    def on_event(event: favcrm.Event) -> None:
        if event.kind is favcrm.EventKind.VERIFY_SENT:
            children.append(os.fork())
            if children[0] == 0:
                provisioner.close()
                os._exit(0)

    children: list[int] = []
    provisioner = FavCRMProvisioner(transport=sandbox.transport(), store=MemoryStore(), on_event=on_event)
    pending = provisioner.initiate(REGISTRATION)
    provisioner.confirm(pending, sandbox.inbox.code_for(EMAIL))
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0


# Several processes with one file

CHILD = """
import json, sys
from favcrm import FavCRMProvisioner, FileLedger
from favcrm.stores.config_file import ConfigFileStore
url, directory = sys.argv[1:]
ledger, store = FileLedger(directory + "/pending.json"), ConfigFileStore(directory + "/config.toml")
with FavCRMProvisioner(url, era="bare", ledger=ledger, store=store) as favcrm:
    print("ready", flush=True)
    sys.stdin.readline()
    pending = favcrm.initiate(email="you@example.com", organisation_name="Stretch + Breathe")
    print(pending.request_id, flush=True)
    code = sys.stdin.readline().strip()
    print(json.dumps([favcrm.confirm(pending, code).ref]), flush=True)
"""


@pytest.fixture
def children(sandbox: Sandbox, tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    with sandbox.serve() as server:
        started = [
            subprocess.Popen(
                [sys.executable, "-c", CHILD, server.url, str(tmp_path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        yield started
        for child in started:
            child.communicate(timeout=60)


def each(children: list[subprocess.Popen[str]], line: str) -> set[str]:
    """Let every process go on at once, and return what they say."""
    for child in children:
        assert child.stdin is not None
        child.stdin.write(f"{line}\n")
        child.stdin.flush()
    return {child.stdout.readline() for child in children if child.stdout is not None}


def test_processes_with_one_file_get_one_mail_and_one_workspace(
    sandbox: Sandbox, children: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    assert {child.stdout.readline() for child in children if child.stdout is not None} == {"ready\n"}
    assert len(each(children, "")) == 1
    assert len(sandbox.inbox) == 1
    (told,) = each(children, sandbox.inbox.code_for(EMAIL))
    assert sandbox.count(VERIFY) == 1
    assert json.loads(told)[0].startswith("config://favcrm/")
    assert {path.name for path in tmp_path.iterdir()} == {"pending.json", "config.toml"}
