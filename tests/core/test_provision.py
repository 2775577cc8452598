"""All of a registration in one call, in both colours: every way through the states, and none beside them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from colours import Colour, Facade, as_coroutine_function
from core.flows import EMAIL, REGISTRATION, VERIFY, Full, sign_up, wrong

from favcrm import (
    Event,
    EventKind,
    FavCRMProvisioner,
    MemoryLedger,
    PendingRegistration,
    Provisioned,
    Registration,
    Secret,
    SecretRef,
    errors,
)
from favcrm._flows.keys import key_name_of
from favcrm.sandbox import Fault, Sandbox
from favcrm.stores import MemoryStore

pytestmark = pytest.mark.anyio

Reader = Callable[[PendingRegistration], str]


class Run:
    """One provisioner of a colour, what it told, and how it is made to provision."""

    def __init__(self, sandbox: Sandbox, colour: Colour, **options: Any) -> None:
        self.events: list[Event] = []
        self.sandbox = sandbox
        self.facade = sign_up(sandbox, colour, on_event=self.events.append, **options)

    async def provision(self, read_code: Reader | None = None, **options: Any) -> Provisioned[Any]:
        read = read_code or self.mailed
        done: Provisioned[Any] = await self.facade.provision(REGISTRATION, read_code=read, **options)
        return done

    def mailed(self, _: PendingRegistration) -> str:
        return self.sandbox.inbox.code_for(EMAIL)

    def wrong(self, pending: PendingRegistration) -> str:
        return wrong(self.mailed(pending))

    @property
    def states(self) -> list[str | None]:
        return [event.state for event in self.events if event.kind is EventKind.STATE_CHANGED]


def in_turn(*readers: Reader) -> Reader:
    left = list(readers)

    def read(pending: PendingRegistration) -> str:
        return left.pop(0)(pending)

    return read


async def test_a_reader_sees_why_the_last_code_was_refused_and_how_many_tries_are_left(
    sandbox: Sandbox, colour: Colour
) -> None:
    run = Run(sandbox, colour)
    seen: list[tuple[int | None, str]] = []

    def noting(read: Reader) -> Reader:
        def note(pending: PendingRegistration) -> str:
            seen.append((pending.tries_left, pending.last_refusal))
            return read(pending)

        return note

    await run.provision(noting(in_turn(run.wrong, lambda _: "12345", late(run), run.mailed)))
    assert [tries_left for tries_left, _ in seen] == [3, 2, 1, 1]
    first, refused, short, expired = (refusal for _, refusal in seen)
    assert first == ""
    assert refused.startswith("The code is wrong.")
    assert short == "The code must be exactly six digits."
    assert "expired" in expired


async def test_the_fields_of_a_registration_are_given_by_name(sandbox: Sandbox, colour: Colour) -> None:
    run = Run(sandbox, colour, store=MemoryStore())
    fields = {"email": EMAIL, "organisation_name": "Stretch + Breathe"}
    done = await run.facade.provision(**fields, read_code=run.mailed)
    assert done.ref == f"memory://favcrm/{key_name_of(REGISTRATION)}"
    again = await run.facade.provision(REGISTRATION, read_code=run.mailed)
    assert again.ref == done.ref
    with pytest.raises(errors.InvalidInputError, match="email: give either a Registration or its fields"):
        await run.facade.provision(REGISTRATION, email=EMAIL, read_code=run.mailed)
    with pytest.raises(errors.InvalidInputError) as caught:
        await run.facade.provision(read_code=run.mailed)
    assert [problem.field for problem in caught.value.problems] == ["email", "organisation_name"]


async def test_provisioning_reaches_every_state_and_ends_in_a_working_client(
    sandbox: Sandbox, colour: Colour
) -> None:
    run = Run(sandbox, colour)
    store = MemoryStore()
    done = await run.provision(store=store)
    states = [event for event in run.events if event.kind is EventKind.STATE_CHANGED]
    (registration,) = {event.registration_id for event in states[1:]}
    assert states[0].registration_id is None
    assert registration is not None
    assert registration.startswith("signup_req_")
    assert run.states == [
        "store checked",
        "code requested",
        "code read",
        "verify sent",
        "key received",
        "stored",
        "diagnosed",
    ]
    assert done.report.ready
    assert done.ref == f"memory://favcrm/{key_name_of(REGISTRATION)}"
    assert store.get(done.ref) == done.workspace.api_key
    crm = Facade(done.client())
    assert (await crm.call_tool("list_services")).data == {"services": []}
    await crm.end()


async def test_provisioning_again_uses_the_stored_key_and_sends_no_code(
    sandbox: Sandbox, colour: Colour
) -> None:
    store = MemoryStore()
    first = await Run(sandbox, colour).provision(store=store)
    run = Run(sandbox, colour)
    again = await run.provision(store=store)
    # Nothing is going to be written, so the store is not checked.
    assert run.states == ["stored", "diagnosed"]
    assert (again.ref, again.workspace.api_key) == (first.ref, first.workspace.api_key)
    assert again.report.ready
    assert sandbox.count(VERIFY) == 1


async def test_provisioning_with_replace_replaces_the_stored_key(sandbox: Sandbox) -> None:
    store, old = MemoryStore(), Secret("not a key of this sandbox")
    store.put(key_name_of(REGISTRATION), old, {})
    done = await Run(sandbox, "blocking").provision(store=store, replace=True)
    assert store.get(done.ref) == done.workspace.api_key != old


async def test_a_wrong_code_is_asked_for_again(sandbox: Sandbox, colour: Colour) -> None:
    run = Run(sandbox, colour)
    done = await run.provision(in_turn(run.wrong, lambda _: "12345", run.mailed))
    assert done.report.ready
    assert sandbox.count(VERIFY) == 2
    assert run.states[1:-3] == [
        "code requested",
        *("code read", "verify sent", "code refused"),
        *("code read", "code refused"),
        *("code read", "verify sent"),
    ]


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidCodeError("The inbox has no code."),
        errors.InvalidInputError([errors.Problem("inbox", "is not the one")]),
        errors.TooManyAttemptsError("The inbox is locked."),
        errors.OutcomeUnknownError("The inbox did not answer."),
        errors.NotSentError("The inbox is not reached."),
        OSError("The inbox is not there."),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_of_the_reader_passes_and_costs_no_second_email(
    sandbox: Sandbox, colour: Colour, error: Exception
) -> None:
    reads = 0

    def failing(_: PendingRegistration) -> str:
        nonlocal reads
        reads += 1
        raise error

    run = Run(sandbox, colour)
    with pytest.raises(type(error)) as caught:
        await run.provision(failing)
    assert caught.value is error
    assert (reads, len(sandbox.inbox)) == (1, 1)
    assert run.states == ["store checked", "code requested"]


async def test_a_reader_that_returns_none_costs_a_try_and_no_second_email(
    sandbox: Sandbox, colour: Colour
) -> None:
    def nothing(_: PendingRegistration) -> Any:
        return None

    run = Run(sandbox, colour)
    assert (await run.provision(in_turn(nothing, run.mailed))).report.ready
    assert len(sandbox.inbox) == 1


async def test_a_code_that_dies_while_it_is_read_is_replaced_once(sandbox: Sandbox, colour: Colour) -> None:
    def late(_: PendingRegistration) -> str:
        raise errors.CodeExpiredError("No mail came.")

    run = Run(sandbox, colour)
    with pytest.raises(errors.CodeExpiredError, match="No mail came"):
        await run.provision(late)
    assert len(sandbox.inbox) == 2
    assert run.states == ["store checked", "code requested", "code requested"]


async def test_a_code_that_expired_before_it_was_asked_for_is_replaced(
    sandbox: Sandbox, colour: Colour
) -> None:
    def expire(event: Event) -> None:
        if event.state == "code requested" and len(sandbox.inbox) == 1:
            sandbox.clock.advance(600)

    seen: list[str] = []

    def read(pending: PendingRegistration) -> str:
        seen.append(pending.last_refusal)
        return sandbox.inbox.code_for(EMAIL)

    done = await sign_up(sandbox, colour, on_event=expire).provision(REGISTRATION, read_code=read)
    assert done.report.ready
    assert len(sandbox.inbox) == 2
    assert seen == ["The code has expired, so it was not asked for."]


async def test_the_last_wrong_code_raises_invalid_code_error(sandbox: Sandbox) -> None:
    run = Run(sandbox, "blocking")
    with pytest.raises(errors.InvalidCodeError):
        await run.provision(run.wrong)
    assert sandbox.count(VERIFY) == 1


def late(run: Run) -> Reader:
    def read(pending: PendingRegistration) -> str:
        run.sandbox.clock.advance(600)
        return run.mailed(pending)

    return read


async def test_a_fresh_code_is_asked_for_when_one_expires(sandbox: Sandbox) -> None:
    run = Run(sandbox, "blocking")
    done = await run.provision(in_turn(late(run), run.mailed))
    assert done.report.ready
    assert len(sandbox.inbox) == 2
    assert sandbox.count(VERIFY) == 1


async def test_one_fresh_code_is_asked_for_and_no_more(sandbox: Sandbox) -> None:
    run = Run(sandbox, "blocking")
    with pytest.raises(errors.CodeExpiredError):
        await run.provision(late(run))
    assert len(sandbox.inbox) == 2
    assert sandbox.count(VERIFY) == 0


async def test_too_many_attempts_ask_for_a_fresh_code(sandbox: Sandbox) -> None:
    sandbox.rules.code_attempts = 1
    run = Run(sandbox, "blocking")
    done = await run.provision(in_turn(run.wrong, run.mailed, run.mailed))
    assert done.report.ready
    assert len(sandbox.inbox) == 2


async def test_a_pending_registration_in_the_ledger_is_resumed(sandbox: Sandbox, colour: Colour) -> None:
    ledger = MemoryLedger()
    pending = await Run(sandbox, colour, ledger=ledger).facade.initiate(REGISTRATION)
    done = await Run(sandbox, colour, ledger=ledger).provision()
    assert done.report.ready
    assert len(sandbox.inbox) == 1
    assert pending.request_id


async def test_rule_6_an_existing_account_is_told_and_its_key_can_be_adopted(
    sandbox: Sandbox, colour: Colour
) -> None:
    sandbox.add_account(EMAIL)
    run = Run(sandbox, colour)
    with pytest.raises(errors.AlreadyRegisteredError, match="MCP Keys"):
        await run.provision()
    assert run.states == ["store checked", "already registered"]
    adopted = await run.facade.adopt(sandbox.add_organisation("Acme").reveal())
    assert adopted.report.organisation == "Acme"
    assert adopted.ref == "memory://favcrm/workspace"
    assert run.states[2:] == ["store checked", "stored", "diagnosed"]


@pytest.mark.parametrize("key", [" ", "two words", "schlüssel"])
async def test_adopting_an_invalid_key_replaces_no_key(sandbox: Sandbox, key: str) -> None:
    store = MemoryStore()
    run = Run(sandbox, "blocking", store=store)
    await run.facade.adopt(good := sandbox.add_organisation("One"), key_name="acme")
    with pytest.raises(errors.InvalidInputError, match="api_key: is empty, or holds characters that no key"):
        await run.facade.adopt(key, key_name="acme", replace=True)
    assert store.get(SecretRef.of("memory", "acme")) == good


async def test_adopting_replaces_another_key_only_with_replace(sandbox: Sandbox) -> None:
    run = Run(sandbox, "blocking", store=MemoryStore())
    await run.facade.adopt(sandbox.add_organisation("One"), key_name="acme")
    other = sandbox.add_organisation("Two")
    with pytest.raises(errors.StoreError, match="not replaced") as caught:
        await run.facade.adopt(other, key_name="acme")
    assert caught.value.workspace is not None
    assert (await run.facade.adopt(other, key_name="acme", replace=True)).report.organisation == "Two"


async def test_an_unknown_outcome_of_confirming_is_raised(sandbox: Sandbox) -> None:
    run = Run(sandbox, "blocking")
    sandbox.fail_next(VERIFY, Fault.RESET_AFTER)
    with pytest.raises(errors.OutcomeUnknownError):
        await run.provision()
    assert run.states[-2:] == ["verify sent", "outcome unknown"]


async def test_a_store_that_fails_raises_an_error_with_the_key(sandbox: Sandbox, colour: Colour) -> None:
    run = Run(sandbox, colour)
    with pytest.raises(errors.StoreError, match="disk is full") as caught:
        await run.provision(store=Full())
    assert run.states[-2:] == ["key received", "not stored"]
    assert caught.value.workspace is not None
    assert run.facade.inner.workspace == caught.value.workspace


async def test_a_key_that_the_store_refuses_goes_to_the_escrow(sandbox: Sandbox, colour: Colour) -> None:
    escrow = MemoryStore()
    run = Run(sandbox, colour, escrow=escrow)
    with pytest.raises(errors.StoreError, match="It is in the escrow at memory://") as caught:
        await run.provision(store=Full())
    workspace = caught.value.workspace
    assert workspace is not None
    assert workspace.ref is not None
    assert escrow.get(workspace.ref) == workspace.api_key
    assert run.states[-2:] == ["key received", "escrowed"]
    assert EventKind.ESCROWED in [event.kind for event in run.events]


async def test_a_key_that_store_and_escrow_refuse_is_in_the_error(sandbox: Sandbox, colour: Colour) -> None:
    run = Run(sandbox, colour, escrow=Full())
    with pytest.raises(errors.StoreError, match="Neither could the escrow take it") as caught:
        await run.provision(store=Full())
    assert caught.value.workspace is not None
    assert run.states[-1] == "not stored"


class Closed(MemoryStore):
    """A store that cannot even be read."""

    def check(self) -> None:
        raise errors.StoreError("It is locked.")


async def test_a_store_that_cannot_be_written_raises_before_a_code_is_asked_for(
    sandbox: Sandbox, colour: Colour
) -> None:
    run = Run(sandbox, colour)
    with pytest.raises(errors.StoreError, match="locked"):
        await run.provision(store=Closed())
    assert run.states == []
    assert sandbox.calls == ()


async def test_a_store_that_closes_meanwhile_raises_before_the_code_is_used(
    sandbox: Sandbox, colour: Colour
) -> None:
    class Closing(MemoryStore):
        checks = 0

        def check(self) -> None:
            self.checks += 1
            if self.checks > 1:
                raise errors.StoreError("It is locked now.")

    run = Run(sandbox, colour)
    with pytest.raises(errors.StoreError, match="locked now") as caught:
        await run.provision(store=Closing())
    assert caught.value.workspace is None
    assert run.states[-1] == "code read"
    assert sandbox.count(VERIFY) == 0


async def test_a_reader_that_cannot_work_costs_no_email(sandbox: Sandbox, colour: Colour) -> None:
    def fail() -> None:
        raise errors.CodeUnavailableError("The mailbox refuses the password.")

    class Mailbox:
        check = staticmethod(fail if colour == "blocking" else as_coroutine_function(fail))

        def __call__(self, _: PendingRegistration) -> str:
            raise AssertionError

    with pytest.raises(errors.CodeUnavailableError):
        await sign_up(sandbox, colour).provision(REGISTRATION, read_code=Mailbox())
    assert len(sandbox.inbox) == 0


async def test_a_key_stored_meanwhile_raises_before_the_code_is_used(
    sandbox: Sandbox, colour: Colour
) -> None:
    run, store = Run(sandbox, colour), MemoryStore()

    def read(pending: PendingRegistration) -> str:
        store.put(key_name_of(REGISTRATION), Secret("somebody else's"), {})
        return run.mailed(pending)

    with pytest.raises(errors.StoreError, match="Another key is stored"):
        await run.provision(read, store=store)
    assert sandbox.count(VERIFY) == 0


async def test_an_error_of_read_code_passes_through(sandbox: Sandbox, colour: Colour) -> None:
    class Interrupt(BaseException):
        pass

    def interrupt(_: PendingRegistration) -> str:
        raise Interrupt

    run = Run(sandbox, colour, ledger=(ledger := MemoryLedger()))
    with pytest.raises(Interrupt):
        await run.provision(interrupt)
    assert (await Run(sandbox, colour, ledger=ledger).provision()).report.ready
    assert len(sandbox.inbox) == 1


def test_the_default_name_of_a_key_is_stable_and_has_no_email() -> None:
    def name_of(registration: Registration) -> str:
        return key_name_of(registration)

    name = name_of(REGISTRATION)
    assert name == name_of(Registration(email=EMAIL.upper(), organisation_name=" stretch + breathe "))
    assert name.startswith("stretch-breathe-")
    assert EMAIL not in name
    assert name_of(Registration(email=EMAIL, organisation_name="瑜伽")).startswith("workspace-")
    assert name != name_of(Registration(email="other@example.com", organisation_name="Stretch + Breathe"))


# What is kept elsewhere


def test_rule_8_a_pending_registration_is_kept_without_the_masked_email(sandbox: Sandbox) -> None:
    with FavCRMProvisioner(transport=sandbox.transport()) as favcrm:
        pending = favcrm.initiate(REGISTRATION)
    kept = pending.to_dict()
    assert set(kept) == {"request_id", "expires_at", "ends_at", "key_name"}
    again = PendingRegistration.from_dict(kept)
    assert (again.request_id, again.expires_at) == (pending.request_id, pending.expires_at)
    assert again.key_name == pending.key_name == key_name_of(REGISTRATION)
    assert again.remaining() == pytest.approx(pending.remaining(), abs=5)
    assert again.masked_email == ""
    pickled: PendingRegistration = pickle.loads(pickle.dumps(pending))  # noqa: S301  # our own bytes
    assert (pickled.request_id, pickled.masked_email) == (pending.request_id, "")
    assert copy.copy(pending) is copy.deepcopy(pending) is pending


@pytest.mark.parametrize(
    "kept",
    [{}, {"request_id": "a"}, {"request_id": "a", "expires_at": "x", "ends_at": 1}, {"ends_at": "soon"}],
)
def test_a_pending_registration_from_other_data_is_refused(kept: Any) -> None:
    with pytest.raises(errors.InvalidInputError, match="to_dict"):
        PendingRegistration.from_dict(kept)


def test_a_pending_registration_made_by_hand_uses_this_machines_clock() -> None:
    pending = PendingRegistration(request_id="a", expires_at=datetime.now(UTC) + timedelta(seconds=90))
    assert 80 < pending.remaining() <= 90
