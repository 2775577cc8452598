"""What is known of a code is said, and nothing else: in both colours, with a ledger in memory and in a file."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from colours import Colour, Facade, client, own_transport, provisioner, transport_to
from core.flows import EMAIL, REGISTRATION, REQUEST, VERIFY, WHO, Full, provisioned, sign_up, wrong

from favcrm import (
    Event,
    EventKind,
    FileLedger,
    MemoryLedger,
    PendingRegistration,
    RetryPolicy,
    Secret,
    SecretRef,
    Workspace,
    errors,
)
from favcrm._flows.confirmation import MOST_KEPT, Received
from favcrm.sandbox import Fault, Sandbox
from favcrm.stores import MemoryStore
from favcrm.transport import Request

pytestmark = pytest.mark.anyio

STAFF = "ada@example.com"
ASK_TO_JOIN, JOIN = "accept_team_invite_request", "accept_team_invite_verify"


@pytest.fixture(params=["memory", "file"])
def ledger(request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path) -> Any:
    if request.param == "memory":
        return MemoryLedger()
    return FileLedger(tmp_path / "pending.json", time=sandbox.clock.time, monotonic=sandbox.clock.monotonic)


async def unknown(sandbox: Sandbox, colour: Colour, ledger: Any) -> tuple[Facade, PendingRegistration, str]:
    """Use a code whose answer is lost, so that a workspace exists and nobody knows."""
    favcrm = sign_up(sandbox, colour, ledger=ledger)
    pending = await favcrm.initiate(**WHO)
    code = sandbox.inbox.code_for(EMAIL)
    sandbox.fail_next(VERIFY, Fault.RESET_AFTER)
    with pytest.raises(errors.OutcomeUnknownError):
        await favcrm.confirm(pending, code)
    return favcrm, pending, code


async def test_an_unknown_outcome_stays_unknown_however_often_it_is_confirmed(
    sandbox: Sandbox, colour: Colour, ledger: Any
) -> None:
    favcrm, pending, code = await unknown(sandbox, colour, ledger)
    for confirmed in (pending, pending.request_id, PendingRegistration.from_dict(pending.to_dict())):
        for use in (code, wrong(code)):
            with pytest.raises(errors.OutcomeUnknownError, match="sent before"):
                await favcrm.confirm(confirmed, use)


async def test_an_unknown_outcome_stays_unknown_in_another_run(
    sandbox: Sandbox, colour: Colour, ledger: Any
) -> None:
    _, pending, code = await unknown(sandbox, colour, ledger)
    with pytest.raises(errors.OutcomeUnknownError, match="sent before"):
        await sign_up(sandbox, colour, ledger=ledger).confirm(pending, code)


async def test_an_unknown_outcome_stays_unknown_when_the_code_has_died(
    sandbox: Sandbox, colour: Colour, ledger: Any
) -> None:
    favcrm, pending, code = await unknown(sandbox, colour, ledger)
    sandbox.clock.advance(601)
    sent = sandbox.count(VERIFY)
    with pytest.raises(errors.OutcomeUnknownError, match="sent before"):
        await favcrm.confirm(pending, code)
    assert sandbox.count(VERIFY) == sent


async def test_an_unknown_outcome_is_settled_by_an_answer_with_a_key(
    sandbox: Sandbox, colour: Colour, ledger: Any
) -> None:
    favcrm = sign_up(sandbox, colour, ledger=ledger)
    pending = await favcrm.initiate(**WHO)
    code = sandbox.inbox.code_for(EMAIL)
    sandbox.fail_next(VERIFY, Fault.RESET_BEFORE, Fault.RESET_BEFORE)
    with pytest.raises(errors.OutcomeUnknownError):
        await favcrm.confirm(pending, code)
    assert (await favcrm.confirm(pending, code)).api_key


@pytest.mark.parametrize("fault", [Fault.REFUSE_CONNECTION, Fault.server_error(503, retry_after=5)])
async def test_a_run_without_a_network_settles_nothing_and_keeps_the_registration(
    sandbox: Sandbox, colour: Colour, fault: Fault
) -> None:
    ledger = MemoryLedger()
    favcrm = sign_up(sandbox, colour, ledger=ledger, retry=RetryPolicy.never())
    pending = await favcrm.initiate(**WHO)
    ledger.mark_sent(pending.request_id, sent=True)
    sandbox.fail_next(VERIFY, fault)
    with pytest.raises((errors.NotSentError, errors.ServerBusyError)) as caught:
        await favcrm.confirm(pending, "123456")
    assert "A code was sent before" in caught.value.next_step
    assert (await favcrm.initiate(**WHO)).request_id == pending.request_id
    assert len(sandbox.inbox) == 1
    with pytest.raises(errors.OutcomeUnknownError, match="sent before"):
        await favcrm.confirm(pending, wrong(sandbox.inbox.code_for(EMAIL)))


async def test_a_refused_code_is_not_sent_again(sandbox: Sandbox, colour: Colour, ledger: Any) -> None:
    pending = await sign_up(sandbox, colour, ledger=ledger).initiate(**WHO)
    code = sandbox.inbox.code_for(EMAIL)
    for message in ("The code is wrong", "refused before", "refused before"):
        with pytest.raises(errors.InvalidCodeError, match=message):
            await sign_up(sandbox, colour, ledger=ledger).confirm(pending, wrong(code))
    with pytest.raises(errors.InvalidCodeError, match="The code is wrong"):
        await sign_up(sandbox, colour, ledger=ledger).confirm(pending, wrong(code, 2))
    assert sandbox.count(VERIFY) == 2
    assert (await sign_up(sandbox, colour, ledger=ledger).confirm(pending, code)).api_key


async def test_wrong_codes_that_are_played_again_cost_no_attempt(
    sandbox: Sandbox, colour: Colour, ledger: Any
) -> None:
    """As a workflow engine does it, which runs a node from its first line for each new answer of a person."""

    class Interrupt(Exception):  # noqa: N818  # it is no error
        pass

    answers: list[str] = []

    async def run() -> Any:
        left = list(answers)

        def read(_: PendingRegistration) -> str:
            if not left:
                raise Interrupt
            return left.pop(0)

        favcrm = sign_up(sandbox, colour, ledger=ledger)
        return await favcrm.provision(REGISTRATION, read_code=read)

    with pytest.raises(Interrupt):
        await run()
    code = sandbox.inbox.code_for(EMAIL)
    for by in (1, 2):
        answers.append(wrong(code, by))
        with pytest.raises(Interrupt):
            await run()
    answers.append(code)
    assert (await run()).report.ready
    assert sandbox.count(VERIFY) == 3
    assert len(sandbox.inbox) == 1


# Invitations


async def test_an_invitation_is_asked_for_once(sandbox: Sandbox, colour: Colour, ledger: Any) -> None:
    token = await invited(sandbox, colour)

    async def accept(read: Callable[[PendingRegistration], str]) -> Any:
        favcrm = sign_up(sandbox, colour, ledger=ledger)
        return await favcrm.accept_invite(token, read_code=read)

    def leave(_: PendingRegistration) -> str:
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            await accept(leave)
    assert sandbox.count(ASK_TO_JOIN) == 1
    sandbox.fail_next(JOIN, Fault.RESET_AFTER)
    with pytest.raises(errors.OutcomeUnknownError):
        await accept(lambda _: sandbox.inbox.code_for(STAFF))
    assert sandbox.count(ASK_TO_JOIN) == 1


async def test_an_invitation_that_a_killed_run_used_is_never_told_as_a_wrong_code(
    sandbox: Sandbox, colour: Colour, ledger: Any
) -> None:
    token = await invited(sandbox, colour)
    favcrm = sign_up(sandbox, colour, ledger=ledger)

    def read(pending: PendingRegistration) -> str:
        if not pending.last_refusal:
            ledger.mark_sent(pending.request_id, sent=True)
        return wrong(sandbox.inbox.code_for(STAFF))

    with pytest.raises(errors.OutcomeUnknownError, match="sent before"):
        await favcrm.accept_invite(token, read_code=read)


async def test_an_invitation_that_is_gone_after_a_lost_answer_is_an_unknown_outcome(
    sandbox: Sandbox, colour: Colour, ledger: Any
) -> None:
    token = await invited(sandbox, colour)

    def read(_: PendingRegistration) -> str:
        return sandbox.inbox.code_for(STAFF)

    sandbox.fail_next(JOIN, Fault.RESET_AFTER)
    for message in ("connection broke", "sent before"):
        favcrm = sign_up(sandbox, colour, ledger=ledger)
        with pytest.raises(errors.OutcomeUnknownError, match=message):
            await favcrm.accept_invite(token, read_code=read)
    with pytest.raises(errors.RefusedError, match="Invitation not found"):
        await sign_up(sandbox, colour).accept_invite(token, read_code=read)


async def test_a_typing_mistake_after_a_lost_answer_is_told_as_one_for_a_fresh_code(
    sandbox: Sandbox, colour: Colour, ledger: Any
) -> None:
    token = await invited(sandbox, colour)
    codes: list[Callable[[], str]] = []

    def read(_: PendingRegistration) -> str:
        return codes.pop(0)()

    async def accept(*left: Callable[[], str]) -> Any:
        codes[:] = left
        favcrm = sign_up(sandbox, colour, ledger=ledger)
        return await favcrm.accept_invite(token, read_code=read)

    def right() -> str:
        return sandbox.inbox.code_for(STAFF)

    sandbox.fail_next(JOIN, Fault.RESET_BEFORE, Fault.RESET_BEFORE)
    with pytest.raises(errors.OutcomeUnknownError):
        await accept(right)
    joined = await accept(lambda: wrong(right()), right)
    assert joined.report.ready
    assert sandbox.count(ASK_TO_JOIN) == 2


async def invited(sandbox: Sandbox, colour: Colour) -> Any:
    crm = client(colour, transport=transport_to(sandbox, colour), api_key=sandbox.add_organisation("Acme"))
    return (await crm.invite(STAFF)).token


# After success


async def test_a_confirmed_registration_is_confirmed_again_without_a_call(
    sandbox: Sandbox, colour: Colour, ledger: Any
) -> None:
    store = MemoryStore()
    favcrm = sign_up(sandbox, colour, ledger=ledger, store=store)
    pending = await favcrm.initiate(**WHO)
    workspace = await favcrm.confirm(pending, sandbox.inbox.code_for(EMAIL))
    assert await favcrm.confirm(pending, "123456") == workspace
    other = sign_up(sandbox, colour, ledger=ledger, store=store)
    assert (await other.initiate(**WHO)).request_id == pending.request_id
    again = await other.confirm(pending, "123456")
    assert (again.ref, again.api_key) == (workspace.ref, workspace.api_key)
    assert (await other.diagnose()).ready
    assert (sandbox.count(REQUEST), sandbox.count(VERIFY)) == (1, 1)


async def test_a_key_that_another_run_stored_elsewhere_is_named(
    sandbox: Sandbox, colour: Colour, ledger: Any
) -> None:
    favcrm = sign_up(sandbox, colour, ledger=ledger, store=MemoryStore())
    pending = await favcrm.initiate(**WHO)
    workspace = await favcrm.confirm(pending, sandbox.inbox.code_for(EMAIL))
    for store in (None, MemoryStore()):
        with pytest.raises(errors.MissingKeyError, match="confirmed already") as caught:
            await sign_up(sandbox, colour, ledger=ledger, store=store).confirm(pending, "123456")
        assert workspace.ref in caught.value.message
    assert sandbox.count(VERIFY) == 1


async def test_a_key_that_could_not_be_saved_is_saved_by_confirming_again(
    sandbox: Sandbox, colour: Colour, ledger: Any
) -> None:
    class Flaky(MemoryStore):
        fails = True

        def put(self, *args: Any, **options: Any) -> SecretRef:
            if self.fails:
                raise errors.StoreError("The disk is full.")
            return super().put(*args, **options)

    store = Flaky()
    favcrm = sign_up(sandbox, colour, ledger=ledger, store=store)
    pending = await favcrm.initiate(**WHO)
    code = sandbox.inbox.code_for(EMAIL)
    with pytest.raises(errors.StoreError, match="disk is full"):
        await favcrm.confirm(pending, code)
    store.fails = False
    workspace = await favcrm.confirm(pending, code)
    assert store.get(workspace.ref) == workspace.api_key
    assert sandbox.count(VERIFY) == 1


async def test_a_new_workspace_is_asked_for_where_the_old_one_is_not_wanted(
    sandbox: Sandbox, colour: Colour, ledger: Any
) -> None:
    store = MemoryStore()

    favcrm = sign_up(sandbox, colour, ledger=ledger)
    await provisioned(favcrm, sandbox, store=store)
    # FavCRM knows the email by now, and says so, instead of the old workspace being taken for a new one.
    with pytest.raises(errors.AlreadyRegisteredError):
        await provisioned(favcrm, sandbox, store=store, replace=True)
    assert sandbox.count(REQUEST) == 2


async def test_a_key_that_was_replaced_or_deleted_since_is_read_as_it_is_now(
    sandbox: Sandbox, colour: Colour, ledger: Any
) -> None:
    store = MemoryStore()
    favcrm = sign_up(sandbox, colour, ledger=ledger, store=store)
    pending = await favcrm.initiate(**WHO)
    workspace = await favcrm.confirm(pending, sandbox.inbox.code_for(EMAIL))
    new = sandbox.add_organisation("Other")
    store.put(workspace.ref.name, new, {}, if_absent=False)
    again = await favcrm.confirm(pending, "123456")
    assert (again.api_key, again.organisation_id) == (new, workspace.organisation_id)
    store.delete(workspace.ref)
    with pytest.raises(errors.MissingKeyError, match="confirmed already"):
        await favcrm.confirm(pending, "123456")


async def test_a_key_in_the_escrow_is_found_by_another_run_and_brought_to_its_store(
    sandbox: Sandbox, colour: Colour, ledger: Any
) -> None:
    class OtherFull(Full):
        scheme = "full"

    escrow, store = MemoryStore(), MemoryStore()
    favcrm = sign_up(sandbox, colour, ledger=ledger, store=OtherFull(), escrow=escrow)
    pending = await favcrm.initiate(**WHO)
    with pytest.raises(errors.StoreError, match="in the escrow") as caught:
        await favcrm.confirm(pending, sandbox.inbox.code_for(EMAIL))
    assert caught.value.workspace is not None
    store.scheme = "working"
    other = sign_up(sandbox, colour, ledger=ledger, store=store, escrow=escrow)
    again = await other.confirm(pending, "123456")
    assert again.api_key == caught.value.workspace.api_key == store.get(again.ref)
    assert sandbox.count(VERIFY) == 1


class Exit(BaseException):
    """What ends a process in a listener."""


async def test_a_listener_that_does_not_come_back_after_storing_leaves_the_reference(
    sandbox: Sandbox, colour: Colour, ledger: Any
) -> None:
    def leave(event: Event) -> None:
        if event.kind is EventKind.KEY_STORED:
            raise Exit

    store = MemoryStore()
    favcrm = sign_up(sandbox, colour, ledger=ledger, store=store, on_event=leave)
    pending = await favcrm.initiate(**WHO)
    with pytest.raises(Exit):
        await favcrm.confirm(pending, sandbox.inbox.code_for(EMAIL))
    again = await sign_up(sandbox, colour, ledger=ledger, store=store).confirm(pending, "123456")
    assert again.api_key == store.get(again.ref)


async def test_a_listener_that_does_not_come_back_before_sending_leaves_no_mark(
    sandbox: Sandbox, colour: Colour, ledger: Any
) -> None:
    def leave(event: Event) -> None:
        if event.kind is EventKind.VERIFY_SENT:
            raise Exit

    favcrm = sign_up(sandbox, colour, ledger=ledger, on_event=leave)
    pending = await favcrm.initiate(**WHO)
    code = sandbox.inbox.code_for(EMAIL)
    with pytest.raises(Exit):
        await favcrm.confirm(pending, code)
    with pytest.raises(errors.InvalidCodeError, match="Nothing was created"):
        await sign_up(sandbox, colour, ledger=ledger).confirm(pending, wrong(code))


async def test_what_a_transport_refuses_by_itself_leaves_no_mark(
    sandbox: Sandbox, colour: Colour, ledger: Any
) -> None:
    inner = transport_to(sandbox, colour)

    def answer(request: Request) -> Any:
        if request.params.get("name") == VERIFY:
            raise errors.InvalidInputError([errors.Problem("code", "cannot be sent this way")])
        return inner.request(request)

    transport = own_transport(colour, answer, clock=sandbox.clock)
    favcrm = provisioner(colour, transport=transport, ledger=ledger)
    pending = await favcrm.initiate(**WHO)
    with pytest.raises(errors.InvalidInputError, match="cannot be sent this way"):
        await favcrm.confirm(pending, "123456")
    assert not ledger.state(pending.request_id).sent


async def test_after_a_kill_a_refused_code_that_is_played_again_does_not_hide_the_next_one(
    sandbox: Sandbox, colour: Colour, ledger: Any
) -> None:
    favcrm = sign_up(sandbox, colour, ledger=ledger)
    pending = await favcrm.initiate(**WHO)
    code = sandbox.inbox.code_for(EMAIL)
    with pytest.raises(errors.InvalidCodeError):
        await favcrm.confirm(pending, wrong(code))
    ledger.mark_sent(pending.request_id, sent=True)
    codes = [wrong(code), code]

    def read(_: PendingRegistration) -> str:
        return codes.pop(0)

    done = await sign_up(sandbox, colour, ledger=ledger).provision(REGISTRATION, read_code=read)
    assert done.report.ready


async def test_one_ledger_serves_several_endpoints(ledger: Any) -> None:
    here, there = Sandbox(), Sandbox()
    with here.serve() as first, there.serve() as second:
        for sandbox, server in ((here, first), (there, second)):
            favcrm = provisioner("blocking", server.url, ledger=ledger)
            await favcrm.initiate(**WHO)
            await favcrm.end()
            assert len(sandbox.inbox) == 1


# Workspaces that came


def test_of_the_workspaces_that_came_the_last_are_remembered_and_all_that_are_unsaved() -> None:
    received, store = Received(), MemoryStore()
    for number in range(3 * MOST_KEPT):
        ref = None if number == 1 else SecretRef.of("memory", str(number))
        received.remember(str(number), Workspace(api_key=Secret("k" * 20), ref=ref), store)
    received.remember("kept nowhere", Workspace(api_key=Secret("k" * 20)), None)
    assert received.find("0") is None
    assert received.find("1") is not None
    assert received.find("kept nowhere") is not None
    assert received.last == Workspace(api_key=Secret("k" * 20))
    kept = [number for number in range(3 * MOST_KEPT) if received.find(str(number)) is not None]
    assert len(kept) <= MOST_KEPT + 1


def test_workspaces_come_from_many_threads() -> None:
    received = Received()

    def remember(number: int) -> None:
        received.remember(str(number), Workspace(api_key=Secret("k" * 20)), None)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(remember, range(20 * MOST_KEPT)))
    assert received.last is not None


# Expiry


async def test_a_code_that_dies_while_the_store_is_checked_is_not_sent(sandbox: Sandbox) -> None:
    class Slow(MemoryStore):
        def check(self) -> None:
            sandbox.clock.advance(601)

    favcrm = sign_up(sandbox, "blocking", store=Slow())
    pending = await favcrm.initiate(**WHO)
    with pytest.raises(errors.CodeExpiredError, match="not sent"):
        await favcrm.confirm(pending, sandbox.inbox.code_for(EMAIL))
    assert sandbox.count(VERIFY) == 0
    assert await favcrm.initiate(**WHO) != pending


async def test_a_call_whose_time_is_over_before_it_is_made_is_not_sent(sandbox: Sandbox) -> None:
    def on_event(event: Event) -> None:
        if event.kind is EventKind.VERIFY_SENT:
            sandbox.clock.advance(1)

    retry = RetryPolicy(deadline=1, attempts=3, backoff_initial=0)
    favcrm = sign_up(sandbox, "blocking", retry=retry, on_event=on_event)
    pending = await favcrm.initiate(**WHO)
    sandbox.fail_next(VERIFY, Fault.STALL)
    with pytest.raises(errors.OutcomeUnknownError):
        await favcrm.confirm(pending, sandbox.inbox.code_for(EMAIL))
    assert sandbox.count(VERIFY) == 1


async def test_an_account_that_is_found_when_a_code_has_died_is_a_route(sandbox: Sandbox) -> None:
    def read(_: PendingRegistration) -> str:
        sandbox.clock.advance(601)
        sandbox.add_account(EMAIL)
        return "123456"

    favcrm = sign_up(sandbox, "blocking")
    with pytest.raises(errors.AlreadyRegisteredError):
        await favcrm.provision(REGISTRATION, read_code=read)
