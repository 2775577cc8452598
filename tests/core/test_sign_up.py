"""Initiate and confirm in both colours: codes, expiry, one workspace, one key, kept before it is returned."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from colours import Colour, client, own_transport, transport_to
from core.flows import EMAIL, REGISTRATION, REQUEST, VERIFY, WHO, confirmed, sign_up, wrong

from favcrm import (
    Event,
    EventKind,
    MemoryLedger,
    RetryPolicy,
    Secret,
    SecretRef,
    Workspace,
    errors,
)
from favcrm._flows.keys import key_name_of
from favcrm.sandbox import Fault, Sandbox
from favcrm.stores import MemoryStore
from favcrm.transport import Request

pytestmark = pytest.mark.anyio

PORTAL = "https://app.favcrm.io"


async def test_a_confirmed_registration_brings_a_working_key(sandbox: Sandbox, colour: Colour) -> None:
    favcrm = sign_up(sandbox, colour)
    pending = await favcrm.initiate(**WHO, industry="fitness", country="hk", timezone="Asia/Hong_Kong")
    assert pending.masked_email == "yo*@example.com"
    assert 598 <= pending.remaining() <= 600
    workspace = await favcrm.confirm(pending, sandbox.inbox.code_for(EMAIL))
    assert workspace.api_key.reveal().startswith("fav_mcp_")
    assert workspace.organisation_id
    assert workspace.problems == ()
    assert workspace.x_request_id != pending.x_request_id
    assert (await favcrm.diagnose()).ready
    await favcrm.end()
    crm = client(colour, transport=transport_to(sandbox, colour), api_key=workspace.api_key)
    member = (await crm.call_tool("create_member", {"name": "Ada", "email": "ada@example.com"})).data
    read = (await crm.call_tool("get_member", {"memberId": member["memberId"]})).data
    assert read["member"]["name"] == "Ada"
    assert (await crm.call_tool("list_services")).data == {"services": []}
    await crm.end()


async def test_the_request_id_alone_is_enough_to_confirm(sandbox: Sandbox, colour: Colour) -> None:
    favcrm = sign_up(sandbox, colour)
    pending = await favcrm.initiate(**WHO)
    code = sandbox.inbox.code_for(EMAIL)
    assert isinstance(await favcrm.confirm(pending.request_id, f"{code[:3]} {code[3:]}"), Workspace)


async def test_bad_input_calls_nothing(sandbox: Sandbox, colour: Colour) -> None:
    favcrm = sign_up(sandbox, colour)
    with pytest.raises(errors.InvalidInputError, match=r"email: .*organisation_name: "):
        await favcrm.initiate(email="x", organisation_name="")
    with pytest.raises(errors.InvalidInputError, match="code: "):
        await favcrm.confirm("signup_req_1", 123456)
    with pytest.raises(errors.InvalidInputError, match="request_id: "):
        await favcrm.confirm("", "123456")
    assert sandbox.calls == ()


# Codes


async def test_a_wrong_code_can_be_corrected(sandbox: Sandbox, colour: Colour) -> None:
    favcrm = sign_up(sandbox, colour)
    pending = await favcrm.initiate(**WHO)
    code = sandbox.inbox.code_for(EMAIL)
    with pytest.raises(errors.InvalidCodeError):
        await favcrm.confirm(pending, wrong(code))
    assert (await favcrm.initiate(**WHO)) == pending
    assert (await favcrm.confirm(pending, code)).api_key


async def test_each_refusal_of_a_sign_up_raises_its_error(sandbox: Sandbox) -> None:
    favcrm = sign_up(sandbox, "blocking")
    pending = await favcrm.initiate(**WHO)
    code = sandbox.inbox.code_for(EMAIL)
    for by in range(1, sandbox.rules.code_attempts + 1):
        with pytest.raises(errors.InvalidCodeError):
            await favcrm.confirm(pending, wrong(code, by))
    with pytest.raises(errors.TooManyAttemptsError):
        await favcrm.confirm(pending, code)
    pending = await favcrm.initiate(**WHO)
    assert sandbox.count(REQUEST) == 2, "the dead registration was forgotten"
    sandbox.clock.advance(601)
    with pytest.raises(errors.CodeExpiredError):
        await favcrm.confirm(pending.request_id, sandbox.inbox.code_for(EMAIL))
    sandbox.add_account("taken@example.com")
    with pytest.raises(errors.AlreadyRegisteredError) as caught:
        await favcrm.initiate(email="taken@example.com", organisation_name="Acme")
    assert caught.value.login_url == PORTAL
    with pytest.raises(errors.RateLimitError) as limited:
        await favcrm.initiate(email="more@example.com", organisation_name="Acme")
    assert limited.value.retry_after == pytest.approx(3600 - 601, abs=61)


async def test_rule_4_an_expired_code_is_never_sent(sandbox: Sandbox, colour: Colour) -> None:
    favcrm = sign_up(sandbox, colour)
    pending = await favcrm.initiate(**WHO)
    sandbox.clock.advance(600)
    assert pending.expired
    with pytest.raises(errors.CodeExpiredError, match="was not sent"):
        await favcrm.confirm(pending, sandbox.inbox.code_for(EMAIL))
    assert sandbox.count(VERIFY) == 0
    assert not (await favcrm.initiate(**WHO)).expired


async def test_rule_4_no_attempt_and_no_sleep_goes_past_the_expiry(sandbox: Sandbox) -> None:
    policy = RetryPolicy(attempts=50, deadline=10_000, backoff_initial=30, backoff_max=300, jitter=0)
    favcrm = sign_up(sandbox, "blocking", retry=policy)
    pending = await favcrm.initiate(**WHO)
    ends = sandbox.clock.monotonic() + pending.remaining()
    sandbox.fail_next(VERIFY, *[Fault.REFUSE_CONNECTION] * 5)
    with pytest.raises(errors.NotSentError):
        await favcrm.confirm(pending, sandbox.inbox.code_for(EMAIL))
    assert sandbox.clock.sleeps == [30, 60, 120, 240]
    assert sandbox.clock.monotonic() < ends
    sandbox.clock.advance(pending.remaining() - 10)
    sandbox.fail_next(VERIFY, Fault.STALL)
    with pytest.raises(errors.OutcomeUnknownError):
        await favcrm.confirm(pending, sandbox.inbox.code_for(EMAIL))
    assert sandbox.clock.monotonic() == pytest.approx(ends), "the attempt ended with the code"


async def test_a_code_that_is_dead_by_the_servers_own_clock_is_told_at_once_and_not_kept(
    sandbox: Sandbox,
) -> None:
    favcrm = sign_up(sandbox, "blocking")
    sandbox.fail_next(REQUEST, Fault.clock_skew(3600))
    with pytest.raises(errors.CodeExpiredError, match="by the server's own clock"):
        await favcrm.initiate(**WHO)
    assert not (await favcrm.initiate(**WHO)).expired
    assert sandbox.count(REQUEST) == 2


# Exactly once (rule 2)


async def test_rule_2_a_lost_answer_to_verify_is_an_unknown_outcome_and_never_a_wrong_code(
    sandbox: Sandbox, colour: Colour
) -> None:
    favcrm = sign_up(sandbox, colour)
    pending = await favcrm.initiate(**WHO)
    sandbox.fail_next(VERIFY, Fault.RESET_AFTER)
    with pytest.raises(errors.OutcomeUnknownError) as caught:
        await favcrm.confirm(pending, sandbox.inbox.code_for(EMAIL))
    assert sandbox.count(VERIFY) == 2
    assert sandbox.count(VERIFY, "done") == 1
    assert PORTAL in caught.value.next_step


async def test_rule_2_an_attempt_that_was_never_sent_does_not_settle_one_before(sandbox: Sandbox) -> None:
    sandbox.fail_next(REQUEST, Fault.RESET_AFTER, *[Fault.REFUSE_CONNECTION] * 9)
    with pytest.raises(errors.OutcomeUnknownError):
        await sign_up(sandbox, "blocking").initiate(**WHO)


async def test_rule_2_repeats_after_an_unknown_outcome_do_not_pile_up(sandbox: Sandbox) -> None:
    favcrm = sign_up(sandbox, "blocking")
    pending = await favcrm.initiate(**WHO)
    sandbox.fail_next(
        VERIFY, Fault.RESET_BEFORE, Fault.REFUSE_CONNECTION, Fault.RESET_BEFORE, Fault.REFUSE_CONNECTION
    )
    with pytest.raises(errors.OutcomeUnknownError):
        await favcrm.confirm(pending, sandbox.inbox.code_for(EMAIL))
    assert sandbox.count(VERIFY) == 3


# Asking twice (rule 3)


async def test_rule_3_asking_twice_sends_one_mail(sandbox: Sandbox) -> None:
    favcrm = sign_up(sandbox, "blocking")
    first = await favcrm.initiate(**WHO)
    assert await favcrm.initiate(email=EMAIL.upper(), organisation_name=" stretch + breathe ") == first
    assert len(sandbox.inbox) == 1
    assert (await favcrm.initiate(**WHO, resend=True)) != first
    assert len(sandbox.inbox) == 2
    await favcrm.initiate(email=EMAIL, organisation_name="Another")
    assert len(sandbox.inbox) == 3


# Stores (rule 1)


class Store(MemoryStore):
    """A store that fails where it is told to, and notes what is asked of it."""

    def __init__(self, *, failing: str = "") -> None:
        super().__init__()
        self.failing = failing
        self.asked: list[str] = []

    def note(self, what: str) -> None:
        self.asked.append(what)
        if what == self.failing:
            raise errors.StoreError("The disk is full.")

    def check(self) -> None:
        self.note("check")

    def put(
        self, name: str, secret: Secret, metadata: Mapping[str, str], *, if_absent: bool = True
    ) -> SecretRef:
        self.note("put")
        return super().put(name, secret, metadata, if_absent=if_absent)

    def get(self, ref: SecretRef) -> Secret:
        self.note("get")
        return super().get(ref)


async def test_rule_1_the_key_is_stored_before_it_is_returned(sandbox: Sandbox, colour: Colour) -> None:
    store = Store()
    favcrm = sign_up(sandbox, colour, store=store)
    workspace = await confirmed(favcrm, sandbox)
    assert store.asked == ["check", "get", "put"]
    assert workspace.ref == f"memory://favcrm/{key_name_of(REGISTRATION)}"
    assert workspace.ref is not None
    assert store.get(workspace.ref) == workspace.api_key


async def test_rule_1_a_key_that_cannot_be_saved_is_in_the_error(sandbox: Sandbox, colour: Colour) -> None:
    favcrm = sign_up(sandbox, colour, store=Store(failing="put"))
    with pytest.raises(errors.StoreError, match="The key could not be saved") as caught:
        await confirmed(favcrm, sandbox)
    workspace = caught.value.workspace
    assert workspace is not None
    assert workspace.api_key.reveal() not in str(caught.value)
    assert (await favcrm.diagnose()).ready


async def test_the_key_is_read_from_its_store_for_each_request(sandbox: Sandbox, colour: Colour) -> None:
    store = Store()
    old, new = sandbox.add_organisation(), sandbox.add_organisation("Other")
    ref = store.put("acme", old, {})
    crm = client(colour, transport=transport_to(sandbox, colour), store=store, api_key=ref)
    assert "Stretch" in str((await crm.call_tool("list_my_companies")).data)
    store.put("acme", new, {}, if_absent=False)
    assert "Other" in str((await crm.call_tool("list_my_companies")).data)


async def test_a_reference_may_come_back_as_plain_text(sandbox: Sandbox, colour: Colour) -> None:
    store = MemoryStore()
    ref = store.put("acme", sandbox.add_organisation(), {})
    crm = client(colour, transport=transport_to(sandbox, colour), store=store, api_key=str(ref))
    assert (await crm.call_tool("list_services")).data == {"services": []}


def test_a_transport_of_the_other_colour_is_refused(sandbox: Sandbox, colour: Colour) -> None:
    other: Colour = "asynchronous" if colour == "blocking" else "blocking"
    with pytest.raises(
        errors.InvalidInputError, match=r"transport: must have the methods request and a?close"
    ):
        client(colour, transport=transport_to(sandbox, other))


class Careless(MemoryStore):
    """A store of somebody's that raises what it likes."""

    def put(self, *_: object, **__: object) -> SecretRef:
        raise OSError("no space left for the key")


class CarelessLedger(MemoryLedger):
    """A ledger of somebody's that raises what it likes."""

    def find(self, name: str) -> None:
        raise OSError(name)

    def forget(self, request_id: str) -> None:
        raise OSError(request_id)

    def reserve(self, subject: str) -> bool:
        raise OSError(subject)


async def test_a_store_that_raises_anything_loses_no_key(sandbox: Sandbox, colour: Colour) -> None:
    with pytest.raises(errors.StoreError, match="The store failed with OSError") as caught:
        await confirmed(sign_up(sandbox, colour, store=Careless()), sandbox)
    assert caught.value.workspace is not None
    assert caught.value.__context__ is None


async def test_a_ledger_that_raises_anything_loses_no_key(
    sandbox: Sandbox, colour: Colour, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = await confirmed(sign_up(sandbox, colour, ledger=CarelessLedger()), sandbox)
    assert workspace.problems == ()
    assert "the ledger failed with OSError" in caplog.text
    assert EMAIL not in caplog.text


async def test_a_transport_that_raises_anything_raises_ours(colour: Colour) -> None:
    def fail(_: Request) -> None:
        raise LookupError("of theirs")

    crm = client(colour, transport=own_transport(colour, fail))
    with pytest.raises(errors.OutcomeUnknownError, match="LookupError") as caught:
        await crm.call_tool("list_services")
    assert caught.value.__context__ is None
    assert "of theirs" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "arguments"), [(" ", None), (7, {}), ("a", [1]), ("list_services", {"a": {1, 2}})]
)
async def test_a_tool_call_that_cannot_be_one(sandbox: Sandbox, name: Any, arguments: Any) -> None:
    crm = client("blocking", transport=transport_to(sandbox, "blocking"))
    with pytest.raises(errors.InvalidInputError):
        await crm.call_tool(name, arguments)
    assert sandbox.calls == ()


async def test_after_an_unknown_outcome_initiate_starts_anew(sandbox: Sandbox) -> None:
    favcrm = sign_up(sandbox, "blocking")
    pending = await favcrm.initiate(**WHO)
    sandbox.fail_next(VERIFY, Fault.RESET_BEFORE, Fault.RESET_BEFORE)
    with pytest.raises(errors.OutcomeUnknownError):
        await favcrm.confirm(pending, sandbox.inbox.code_for(EMAIL))
    assert await favcrm.initiate(**WHO) != pending


# Cancellation (rule 1)


async def test_rule_1_a_cancelled_confirm_still_stores_the_key(sandbox: Sandbox) -> None:
    store = Store()
    favcrm = sign_up(sandbox, "asynchronous", store=store)
    pending = await favcrm.initiate(**WHO)
    with anyio.CancelScope() as scope:
        sandbox.inbox.on_mail = None

        def cancel(event: Event) -> None:
            if event.kind is EventKind.VERIFY_SENT:
                scope.cancel()

        favcrm.inner._engine.emit._on_event = cancel
        await favcrm.confirm(pending, sandbox.inbox.code_for(EMAIL))
        await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert store.asked == ["check", "get", "put"]


# Events and logs (rules 7 and 8)


async def test_events_tell_what_happened(sandbox: Sandbox, colour: Colour) -> None:
    events: list[Event] = []
    favcrm = sign_up(sandbox, colour, store=Store(), on_event=events.append)
    await favcrm.initiate(**WHO)
    workspace = await confirmed(favcrm, sandbox)
    await favcrm.diagnose()
    assert [event.kind.value for event in events] == [
        "code_requested",
        "code_reused",
        "verify_sent",
        "key_received",
        "key_stored",
        "diagnosed",
    ]
    assert events[3].fingerprint == workspace.api_key.fingerprint
    assert events[4].ref == workspace.ref
    assert events[4].organisation_id == workspace.organisation_id
    assert len({event.registration_id for event in events[:5]}) == 1


async def test_failures_are_told_too(sandbox: Sandbox, colour: Colour) -> None:
    events: list[Event] = []
    favcrm = sign_up(sandbox, colour, store=Store(failing="put"), on_event=events.append)
    pending = await favcrm.initiate(**WHO)
    code = sandbox.inbox.code_for(EMAIL)
    with pytest.raises(errors.StoreError):
        await favcrm.confirm(pending, code)
    assert [event.kind.value for event in events][-2:] == ["key_received", "store_failed"]
    assert events[-1].error == "StoreError"
    another = await favcrm.initiate(email="me@example.com", organisation_name="Acme")
    sandbox.fail_next(VERIFY, Fault.RESET_AFTER)
    with pytest.raises(errors.OutcomeUnknownError):
        await favcrm.confirm(another, sandbox.inbox.code_for("me@example.com"))
    assert [event.kind.value for event in events][-2:] == ["verify_sent", "outcome_unknown"]
    assert events[-1].error == "OutcomeUnknownError"


async def test_a_listener_that_fails_loses_no_key(sandbox: Sandbox, colour: Colour) -> None:
    def fail(event: Event) -> None:
        raise ZeroDivisionError

    favcrm = sign_up(sandbox, colour, on_event=fail)
    assert (await confirmed(favcrm, sandbox)).problems == ()


async def test_logs_have_every_part_and_nothing_secret(
    sandbox: Sandbox, colour: Colour, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    favcrm = sign_up(sandbox, colour, store=Store())
    pending = await favcrm.initiate(**WHO)
    code = sandbox.inbox.code_for(EMAIL)
    with pytest.raises(errors.InvalidCodeError):
        await favcrm.confirm(pending, wrong(code))
    sandbox.fail_next(VERIFY, Fault.REFUSE_CONNECTION)
    workspace = await favcrm.confirm(pending, code)
    await favcrm.diagnose()
    attempts = [record for record in caplog.records if hasattr(record, "phase")]
    assert [(r.phase, r.tool, r.attempt, r.outcome) for r in attempts[:4]] == [  # type: ignore[attr-defined]  # ours
        ("initiate", REQUEST, 1, "answered"),
        ("confirm", VERIFY, 1, "refused"),
        ("confirm", VERIFY, 1, "never sent"),
        ("confirm", VERIFY, 2, "answered"),
    ]
    assert attempts[0].request_id == pending.x_request_id  # type: ignore[attr-defined]  # ours
    told = caplog.text + "".join(str(vars(record)) for record in caplog.records)
    for secret in (workspace.api_key.reveal(), code, wrong(code), EMAIL, pending.masked_email):
        assert secret not in told
