"""What is known of a code is said, and nothing else: in both colours, with a ledger in memory and in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from colours import Colour, Facade, client, provisioner, transport_to

from favcrm import (
    Event,
    EventKind,
    FileLedger,
    MemoryLedger,
    MemoryStore,
    PendingRegistration,
    RetryPolicy,
    SecretRef,
    errors,
)
from favcrm.sandbox import Fault, Sandbox

pytestmark = pytest.mark.anyio

EMAIL, STAFF = "you@example.com", "ada@example.com"
WHO = {"email": EMAIL, "organisation_name": "Stretch + Breathe"}
REQUEST, VERIFY = "register_organisation_request", "register_organisation_verify"
ASK_TO_JOIN, JOIN = "accept_team_invite_request", "accept_team_invite_verify"


@pytest.fixture(params=["memory", "file"])
def ledger(request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path) -> Any:
    if request.param == "memory":
        return MemoryLedger()
    return FileLedger(tmp_path / "pending.json", time=sandbox.clock.time, monotonic=sandbox.clock.monotonic)


def sign_up(sandbox: Sandbox, colour: Colour, **options: Any) -> Facade:
    return provisioner(colour, transport=transport_to(sandbox, colour), **options)


def wrong(code: str, by: int = 1) -> str:
    return f"{(int(code) + by) % 1_000_000:06}"


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


async def test_a_run_without_a_network_settles_nothing_and_keeps_the_registration(
    sandbox: Sandbox, colour: Colour, ledger: Any
) -> None:
    favcrm = sign_up(sandbox, colour, ledger=ledger, retry=RetryPolicy.never())
    pending = await favcrm.initiate(**WHO)
    ledger.mark_sent(pending.request_id, sent=True)
    for fault in (Fault.REFUSE_CONNECTION, Fault.server_error(503, retry_after=5)):
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

    def reader() -> Callable[[PendingRegistration], Any]:
        left = list(answers)

        def read(_: PendingRegistration) -> str:
            if not left:
                raise Interrupt
            return left.pop(0)

        async def read_async(pending: PendingRegistration) -> str:
            return read(pending)

        return read if colour == "blocking" else read_async

    async def run() -> Any:
        favcrm = sign_up(sandbox, colour, ledger=ledger)
        return await favcrm.provision(registration(), read_code=reader(), code_attempts=10)

    with pytest.raises(Interrupt):
        await run()
    code = sandbox.inbox.code_for(EMAIL)
    for by in range(1, sandbox.rules.code_attempts):
        answers.append(wrong(code, by))
        with pytest.raises(Interrupt):
            await run()
    answers.append(code)
    assert (await run()).report.ready
    assert sandbox.count(VERIFY) == sandbox.rules.code_attempts
    assert len(sandbox.inbox) == 1


def registration() -> Any:
    from favcrm import Registration

    return Registration(**WHO)


# Invitations


async def test_an_invitation_is_asked_for_once(sandbox: Sandbox, colour: Colour, ledger: Any) -> None:
    token = await invited(sandbox, colour)

    async def accept(read: Callable[[PendingRegistration], str]) -> Any:
        async def read_async(pending: PendingRegistration) -> str:
            return read(pending)

        favcrm = sign_up(sandbox, colour, ledger=ledger)
        chosen = read if colour == "blocking" else read_async
        return await favcrm.accept_invite(token, read_code=chosen, code_attempts=1)

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
    pendings: list[PendingRegistration] = []

    def read(pending: PendingRegistration) -> str:
        if not pendings:
            ledger.mark_sent(pending.request_id, sent=True)
        pendings.append(pending)
        return wrong(sandbox.inbox.code_for(STAFF))

    async def read_async(pending: PendingRegistration) -> str:
        return read(pending)

    with pytest.raises(errors.OutcomeUnknownError, match="sent before"):
        await favcrm.accept_invite(token, read_code=read if colour == "blocking" else read_async)


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

    def read(_: PendingRegistration) -> str:
        return sandbox.inbox.code_for(EMAIL)

    async def read_async(pending: PendingRegistration) -> str:
        return read(pending)

    options = {"read_code": read if colour == "blocking" else read_async, "store": store}
    favcrm = sign_up(sandbox, colour, ledger=ledger)
    await favcrm.provision(registration(), **options)
    # FavCRM knows the email by now, and says so, instead of the old workspace being taken for a new one.
    with pytest.raises(errors.AlreadyRegisteredError):
        await favcrm.provision(registration(), **options, use_existing=False)
    assert sandbox.count(REQUEST) == 2


async def test_only_so_many_workspaces_are_remembered(
    sandbox: Sandbox, colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("favcrm._core.confirmation.MOST_REMEMBERED", 1)
    favcrm = sign_up(sandbox, colour)
    pendings = [await favcrm.initiate(email=email, organisation_name="Acme") for email in (EMAIL, STAFF)]
    codes = [sandbox.inbox.code_for(email) for email in (EMAIL, STAFF)]
    for pending, code in zip(pendings, codes, strict=True):
        await favcrm.confirm(pending, code)
    assert (await favcrm.confirm(pendings[1], codes[1])).api_key
    with pytest.raises(errors.OutcomeUnknownError):
        await favcrm.confirm(pendings[0], codes[0])


# Expiry


async def test_a_code_that_dies_while_the_store_is_checked_is_not_sent(
    sandbox: Sandbox, colour: Colour
) -> None:
    class Slow(MemoryStore):
        def check(self) -> None:
            sandbox.clock.advance(601)

    favcrm = sign_up(sandbox, colour, store=Slow())
    pending = await favcrm.initiate(**WHO)
    with pytest.raises(errors.CodeExpiredError, match="not sent"):
        await favcrm.confirm(pending, sandbox.inbox.code_for(EMAIL))
    assert sandbox.count(VERIFY) == 0
    assert await favcrm.initiate(**WHO) != pending


async def test_a_call_whose_time_is_over_before_it_is_made_is_not_sent(
    sandbox: Sandbox, colour: Colour
) -> None:
    def on_event(event: Event) -> None:
        if event.kind is EventKind.VERIFY_SENT:
            sandbox.clock.advance(1)

    retry = RetryPolicy(deadline=1, attempts=3, backoff_initial=0)
    favcrm = sign_up(sandbox, colour, retry=retry, on_event=on_event)
    pending = await favcrm.initiate(**WHO)
    sandbox.fail_next(VERIFY, Fault.STALL)
    with pytest.raises(errors.OutcomeUnknownError):
        await favcrm.confirm(pending, sandbox.inbox.code_for(EMAIL))
    assert sandbox.count(VERIFY) == 1


async def test_an_account_that_is_found_when_a_code_has_died_is_a_route(
    sandbox: Sandbox, colour: Colour
) -> None:
    def read(_: PendingRegistration) -> str:
        sandbox.clock.advance(601)
        sandbox.add_account(EMAIL)
        return "123456"

    async def read_async(pending: PendingRegistration) -> str:
        return read(pending)

    favcrm = sign_up(sandbox, colour)
    with pytest.raises(errors.AlreadyRegisteredError):
        await favcrm.provision(registration(), read_code=read if colour == "blocking" else read_async)


@pytest.mark.parametrize("bounds", [{"code_attempts": 0}, {"code_attempts": -1}, {"fresh_codes": -1}])
async def test_bounds_that_cannot_be_meant_are_refused(
    sandbox: Sandbox, colour: Colour, bounds: dict[str, int]
) -> None:
    favcrm = sign_up(sandbox, colour)
    with pytest.raises(errors.InvalidInputError, match=next(iter(bounds))):
        await favcrm.provision(registration(), read_code=lambda _: "123456", **bounds)
    with pytest.raises(errors.InvalidInputError, match=next(iter(bounds))):
        await favcrm.accept_invite("token", read_code=lambda _: "123456", **bounds)
    assert sandbox.calls == ()
