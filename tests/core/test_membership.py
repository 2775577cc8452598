"""Inviting, joining, asking the plan, and watching, in both colours."""

from __future__ import annotations

from typing import Any

import pytest
from colours import Colour, Facade, client, own_transport, provisioner, transport_to

from favcrm import (
    DiagnosticReport,
    PendingRegistration,
    RetryPolicy,
    Secret,
    SecretRef,
    errors,
)
from favcrm._flows.watch import essence
from favcrm.sandbox import Fault, Sandbox
from favcrm.stores import MemoryStore
from favcrm.transports import JSON, Response

pytestmark = pytest.mark.anyio

OWNER, STAFF = "you@example.com", "ada@example.com"
ACCEPT = "accept_team_invite_verify"


def owner(sandbox: Sandbox, colour: Colour) -> Facade:
    return client(colour, transport=transport_to(sandbox, colour), api_key=sandbox.add_organisation("Acme"))


async def accept(sandbox: Sandbox, colour: Colour, token: Any, **options: Any) -> Any:
    def read(pending: PendingRegistration) -> str:
        assert pending.masked_email == "ad*@example.com"
        assert 590 < pending.remaining() <= 600
        return sandbox.inbox.code_for(STAFF)

    facade = provisioner(colour, transport=transport_to(sandbox, colour))
    return await facade.accept_invite(token, read_code=read, **options)


async def test_an_invitation_is_made_and_accepted(sandbox: Sandbox, colour: Colour) -> None:
    invitation = await owner(sandbox, colour).invite(STAFF, name="Ada", role="manager", expires_in_hours=24)
    assert invitation.token is not None
    assert invitation.token.reveal() not in repr(invitation)
    assert invitation.expires_at is not None
    assert STAFF not in invitation.summary
    assert invitation.token in invitation.data.values()
    assert invitation.token.reveal() not in str(invitation.data)
    store = MemoryStore()
    joined = await accept(sandbox, colour, invitation.token, person="Ada", store=store)
    assert joined.report.ready
    assert joined.report.organisation == "Acme"
    assert store.get(joined.ref) == joined.workspace.api_key
    assert invitation.token.reveal() not in joined.ref
    again = await accept(sandbox, colour, invitation.token.reveal(), store=store)
    assert again.ref == joined.ref
    assert sandbox.count(ACCEPT) == 1


async def test_an_invitation_is_accepted_in_two_steps(sandbox: Sandbox, colour: Colour) -> None:
    token = (await owner(sandbox, colour).invite(STAFF)).token
    store, other = MemoryStore(), MemoryStore()
    facade = provisioner(colour, transport=transport_to(sandbox, colour), store=store)
    pending = await facade.request_invite_code(token)
    assert await facade.request_invite_code(token.reveal()) == pending
    code = sandbox.inbox.code_for(STAFF)
    assert len(sandbox.inbox) == 1
    with pytest.raises(errors.InvalidInputError, match="code: must be exactly six digits"):
        await facade.confirm_invite(token, "12345")
    workspace = await facade.confirm_invite(token, code, person="Ada", store=other, key_name="ada")
    assert workspace.ref == SecretRef.of("memory", "ada")
    assert other.get(SecretRef.of("memory", "ada")) == workspace.api_key
    assert (await facade.diagnose()).organisation == "Acme"
    again = await facade.confirm_invite(token, code, pending=pending, store=other, key_name="ada")
    assert again == workspace
    assert sandbox.count(ACCEPT) == 1


async def test_an_expired_code_of_an_invitation_is_not_sent(sandbox: Sandbox) -> None:
    token = (await owner(sandbox, "blocking").invite(STAFF)).token
    facade = provisioner("blocking", transport=transport_to(sandbox, "blocking"))
    pending = await facade.request_invite_code(token)
    code = sandbox.inbox.code_for(STAFF)
    sandbox.clock.advance(601)
    with pytest.raises(errors.CodeExpiredError):
        await facade.confirm_invite(token, code, pending=pending)
    assert sandbox.count(ACCEPT) == 0


async def test_accepting_an_invitation_tells_unknown_outcomes_and_rescues_keys(
    sandbox: Sandbox, colour: Colour
) -> None:
    token = (await owner(sandbox, colour).invite(STAFF)).token
    sandbox.fail_next(ACCEPT, Fault.RESET_AFTER)
    with pytest.raises(errors.OutcomeUnknownError) as caught:
        await accept(sandbox, colour, token)
    assert token.reveal() not in str(caught.value)
    token = (await owner(sandbox, colour).invite(STAFF)).token
    sandbox.fail_next(ACCEPT, Fault.TRUNCATED_SSE_AFTER_KEY)
    assert (await accept(sandbox, colour, token)).report.auth_configured


async def test_an_invitation_that_expired_is_not_called_an_expired_code(sandbox: Sandbox) -> None:
    token = (await owner(sandbox, "blocking").invite(STAFF)).token
    facade = provisioner("blocking", transport=transport_to(sandbox, "blocking"))
    await facade.request_invite_code(token)
    sandbox.clock.advance(73 * 3600)
    code = sandbox.inbox.code_for(STAFF)
    for call in (facade.request_invite_code(token), facade.confirm_invite(token, code)):
        with pytest.raises(errors.RefusedError, match="The invitation has expired") as caught:
            await call
        assert type(caught.value) is errors.RefusedError
        assert "for a new one" in caught.value.next_step


async def test_confirming_an_invitation_before_a_code_was_requested_says_to_request_one(
    sandbox: Sandbox,
) -> None:
    token = (await owner(sandbox, "blocking").invite(STAFF)).token
    facade = provisioner("blocking", transport=transport_to(sandbox, "blocking"))
    with pytest.raises(errors.RefusedError, match="No code was requested for the invitation") as caught:
        await facade.confirm_invite(token, "123456")
    assert type(caught.value) is errors.RefusedError
    assert caught.value.next_step.startswith("Request the code of the invitation")


async def test_an_error_of_joining_does_not_speak_of_a_new_workspace(sandbox: Sandbox) -> None:
    token = (await owner(sandbox, "blocking").invite(STAFF)).token
    facade = provisioner("blocking", transport=transport_to(sandbox, "blocking"))
    await facade.request_invite_code(token)
    code = sandbox.inbox.code_for(STAFF)
    for _ in range(2):
        with pytest.raises(errors.InvalidCodeError, match="Nothing was created") as caught:
            await facade.confirm_invite(token, f"{(int(code) + 1) % 10**6:06}")
        assert "workspace" not in str(caught.value)


async def test_an_unknown_invitation_is_refused(sandbox: Sandbox) -> None:
    facade = provisioner("blocking", transport=transport_to(sandbox, "blocking"))
    with pytest.raises(errors.RefusedError):
        await facade.accept_invite("invite_unknown", read_code=lambda _: "123456")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"email": "x"}, ["email"]),
        (
            {"email": STAFF, "role": "king", "name": "", "expires_in_hours": 0},
            ["name", "role", "expires_in_hours"],
        ),
        ({"email": STAFF, "expires_in_hours": 337, "name": "x" * 121}, ["name", "expires_in_hours"]),
    ],
    ids=range(3),
)
async def test_a_bad_invitation_is_not_sent(
    sandbox: Sandbox, fields: dict[str, Any], named: list[str]
) -> None:
    with pytest.raises(errors.InvalidInputError) as caught:
        await owner(sandbox, "blocking").invite(**fields)
    assert [problem.field for problem in caught.value.problems] == named
    assert sandbox.calls == ()


def answering(data: JSON) -> Any:
    result: JSON = {"structuredContent": {"data": data, "summary": "s", "renderType": "j"}}
    return own_transport("blocking", lambda _: Response(result=result))


async def test_an_invitation_without_a_token_in_the_answer_has_none() -> None:
    crm = client("blocking", transport=answering({"expiresAt": "soon", "token": 7}))
    invitation = await crm.invite(STAFF)
    assert (invitation.token, invitation.expires_at) == (None, None)
    assert (await client("blocking", transport=answering(["x"])).invite(STAFF)).token is None


async def test_an_acceptance_with_an_empty_answer_waits_for_its_code() -> None:
    facade = provisioner("blocking", transport=answering({}))
    seen: list[PendingRegistration] = []

    def read(pending: PendingRegistration) -> str:
        seen.append(pending)
        raise LookupError

    with pytest.raises(LookupError):
        await facade.accept_invite("invite_1", read_code=read)
    assert 595 < seen[0].remaining() <= 600
    assert (seen[0].masked_email, seen[0].instructions) == ("", "")
    assert "invite_1" not in seen[0].request_id


async def test_check_plan_tells_what_the_plan_allows(sandbox: Sandbox, colour: Colour) -> None:
    crm = owner(sandbox, colour)
    assert await crm.check_plan(tool="create_member")
    sandbox.rules.customers = 0
    denied = await crm.check_plan(quota="customers", delta=5)
    assert not denied
    assert (denied.allowed, bool(denied.upgrade_action)) == (False, True)
    assert denied.raw
    with pytest.raises(errors.InvalidInputError, match="name a tool"):
        await crm.check_plan(delta=3)


async def test_a_plan_limit_error_is_a_check_that_denies() -> None:
    data: JSON = {"code": "PLAN_LIMIT", "error": "no", "upgradeAction": "create_plan_upgrade_link"}
    denied = await client("blocking", transport=answering(data)).check_plan(module="bookings")
    assert (denied.allowed, denied.upgrade_action) == (False, "create_plan_upgrade_link")
    unsaid = await client("blocking", transport=answering([])).check_plan(module="bookings")
    assert unsaid.allowed is None
    assert not unsaid


# Watching


class Watched:
    """The reports of a watch, one at a time, in both colours."""

    def __init__(self, facade: Facade, **options: Any) -> None:
        self.reports = facade.inner.watch(**options)

    async def next(self) -> DiagnosticReport:
        report: DiagnosticReport = (
            await anext(self.reports) if hasattr(self.reports, "__anext__") else next(self.reports)
        )
        return report

    async def end(self) -> None:
        if hasattr(self.reports, "aclose"):
            await self.reports.aclose()
        else:
            self.reports.close()


async def test_a_watch_tells_what_changes_and_nothing_else(sandbox: Sandbox, colour: Colour) -> None:
    facade = provisioner(
        colour,
        transport=transport_to(sandbox, colour),
        api_key=sandbox.add_organisation(),
        retry=RetryPolicy.never(),
    )
    watch = Watched(facade, interval=10)
    assert (await watch.next()).ready
    assert sandbox.clock.sleeps == []
    sandbox.fail_next("get_plan_status", *[Fault.RESET_BEFORE] * 2)
    changed = await watch.next()
    assert [check.name for check in changed.checks if check.status == "warning"] == ["plan"]
    assert sandbox.clock.sleeps == [10]
    assert not [check for check in (await watch.next()).checks if check.status == "warning"]
    assert sandbox.clock.sleeps == [10, 10, 10]
    assert essence(changed) != essence(await facade.diagnose())
    await watch.end()


async def test_a_watch_backs_off_while_the_endpoint_is_down(sandbox: Sandbox) -> None:
    facade = provisioner("blocking", transport=sandbox.transport(), retry=RetryPolicy.never())
    watch = Watched(facade, interval=10)
    sandbox.fail_next("tools/list", *[Fault.REFUSE_CONNECTION] * 6)
    assert not (await watch.next()).endpoint_reachable
    assert (await watch.next()).endpoint_reachable
    assert sandbox.clock.sleeps == [10, 20, 40, 80, 100, 100]


async def test_the_interval_comes_from_the_environment(
    sandbox: Sandbox, colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAVCRM_DIAG_INTERVAL", "5000")
    facade = provisioner(colour, transport=transport_to(sandbox, colour), retry=RetryPolicy.never())
    watch = Watched(facade)
    await watch.next()
    sandbox.fail_next("tools/list", Fault.RESET_BEFORE)
    await watch.next()
    assert sandbox.clock.sleeps == [5]
    await watch.end()


@pytest.mark.parametrize("interval", [-5, 0, float("nan"), float("inf")])
def test_an_interval_out_of_range_is_refused_at_once(
    sandbox: Sandbox, colour: Colour, interval: float
) -> None:
    facade = provisioner(colour, transport=transport_to(sandbox, colour))
    with pytest.raises(errors.InvalidInputError, match="interval"):
        facade.inner.watch(interval=interval)


# A rotated key


async def test_a_key_rotated_meanwhile_is_read_again_once(sandbox: Sandbox, colour: Colour) -> None:
    old, new = sandbox.add_organisation("Old"), sandbox.add_organisation("New")

    class Rotating(MemoryStore):
        reads = 0

        def get(self, ref: Any) -> Secret:
            self.reads += 1
            return old if self.reads == 1 else new

    store = Rotating()
    ref = store.put("acme", old, {})
    sandbox.revoke(old)
    crm = client(colour, transport=transport_to(sandbox, colour), store=store, api_key=ref)
    assert "New" in str((await crm.call_tool("list_my_companies")).data)
    assert sandbox.count("list_my_companies") == 2
    sandbox.revoke(new)
    with pytest.raises(errors.AuthenticationError):
        await crm.call_tool("list_my_companies")
    assert sandbox.count("list_my_companies") == 3


async def test_a_rotated_key_does_not_begin_a_second_deadline(sandbox: Sandbox) -> None:
    old, new = sandbox.add_organisation("Old"), sandbox.add_organisation("New")

    class Rotating(MemoryStore):
        def get(self, ref: Any) -> Secret:
            return new if sandbox.count("list_my_companies") == 2 else old

    store = Rotating()
    ref = store.put("acme", old, {})
    busy = Fault.server_error(503, retry_after=6)
    sandbox.fail_next("list_my_companies", busy, Fault.server_error(401), busy)
    policy = RetryPolicy(deadline=10)
    crm = client("blocking", transport=sandbox.transport(), store=store, api_key=ref, retry=policy)
    with pytest.raises(errors.ServerBusyError):
        await crm.call_tool("list_my_companies")
    assert sandbox.clock.sleeps == [6]
