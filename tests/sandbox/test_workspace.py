"""The tools that need a key, and the invites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sandbox.wires import InProcess, ask, call, data, other_code, refusal

from favcrm.sandbox import Rules, Sandbox, SandboxClock
from favcrm.secret import Secret

if TYPE_CHECKING:
    from sandbox.wires import Wire

GUEST = "guest@example.com"
NEED_A_KEY = [
    "create_team_member_invite",
    "list_my_companies",
    "get_plan_status",
    "check_plan_operation",
    "list_plan_options",
    "get_whatsapp_connection_status",
    "switch_company",
    "search_members",
    "create_member",
    "get_member",
    "list_services",
    "create_service",
    "list_bookings",
    "create_booking",
]
NEED_NONE = [
    "register_organisation_request",
    "register_organisation_verify",
    "accept_team_invite_request",
    "accept_team_invite_verify",
]


@pytest.fixture
def key(sandbox: Sandbox) -> Secret:
    return sandbox.add_organisation(companies=("Second",))


def test_these_are_the_tools(sandbox: Sandbox) -> None:
    assert set(sandbox.tools) == {*NEED_A_KEY, *NEED_NONE}


@pytest.mark.parametrize("tool", NEED_A_KEY)
def test_refuses_without_a_key_and_with_one_that_opens_nothing(wire: Wire, tool: str) -> None:
    wire.sandbox.add_organisation()
    assert "Unauthorized" in refusal(call(wire, tool))
    assert "Unauthorized" in refusal(call(wire, tool, Secret("fav_mcp_made-up")))


@pytest.mark.parametrize("tool", NEED_NONE)
def test_needs_no_key_and_minds_no_wrong_one(wire: Wire, tool: str) -> None:
    assert "Unauthorized" not in refusal(call(wire, tool))
    assert "Unauthorized" not in refusal(call(wire, tool, Secret("fav_mcp_made-up")))


def test_a_revoked_key_opens_nothing(wire: Wire, key: Secret) -> None:
    data(call(wire, "list_services", key))
    wire.sandbox.revoke(key)
    wire.sandbox.revoke(key)
    assert "Unauthorized" in refusal(call(wire, "list_services", key))


def test_everything_is_empty_at_the_start(wire: Wire, key: Secret) -> None:
    assert data(call(wire, "list_services", key)) == {"services": []}
    assert data(call(wire, "list_bookings", key)) == {"bookings": []}
    assert data(call(wire, "search_members", key)) == {"members": [], "total": 0}


def test_what_is_written_is_kept(wire: Wire, key: Secret) -> None:
    made = data(call(wire, "create_member", key, name="Ada Lovelace", email="ada@example.com"))
    member = made["member"]
    assert member == {
        "memberId": made["memberId"],
        "name": "Ada Lovelace",
        "email": "ada@example.com",
        "phone": None,
        "createdAt": "2026-05-11T12:00:00.000Z",
    }
    assert data(call(wire, "get_member", key, memberId=made["memberId"])) == {"member": member}

    service = data(call(wire, "create_service", key, name="Yoga", durationMinutes=60, price=12.5))["service"]
    assert data(call(wire, "list_services", key)) == {"services": [service]}
    assert (service["durationMinutes"], service["price"]) == (60, 12.5)

    def book(start: str) -> Any:
        ids = {"memberId": member["memberId"], "serviceId": service["serviceId"]}
        return data(call(wire, "create_booking", key, **ids, startTime=start))["booking"]

    late, early = book("2026-06-01T10:00:00Z"), book("2026-06-01T11:00:00+08:00")
    assert late["status"] == "confirmed"
    assert data(call(wire, "list_bookings", key)) == {"bookings": [early, late]}
    from_nine = data(call(wire, "list_bookings", key, dateFrom="2026-06-01T09:00:00Z"))
    assert from_nine == {"bookings": [late]}
    to_nine = data(call(wire, "list_bookings", key, dateTo="2026-06-01T09:00:00Z"))
    assert to_nine == {"bookings": [early]}


def test_members_are_searched_by_name_email_and_phone(wire: Wire, key: Secret) -> None:
    call(wire, "create_member", key, name="Ada", email="countess@example.com")
    call(wire, "create_member", key, name="Grace", phone="+852 1234")

    def found(**query: object) -> list[str]:
        return [member["name"] for member in data(call(wire, "search_members", key, **query))["members"]]

    assert found() == ["Ada", "Grace"]
    assert found(query="COUNTESS") == ["Ada"]
    assert found(query="1234") == ["Grace"]
    assert found(limit=1) == ["Ada"]
    assert data(call(wire, "search_members", key, limit=1))["total"] == 2


def test_workspaces_do_not_see_each_other(wire: Wire, key: Secret) -> None:
    member = data(call(wire, "create_member", key, name="Ada"))
    other = wire.sandbox.add_organisation("Other")
    assert refusal(call(wire, "get_member", other, memberId=member["memberId"])) == "Member not found."


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("get_member", {"memberId": "made up"}, "Member not found."),
        ("switch_company", {"companyId": "made up"}, "Company not found."),
        ("create_member", {"name": ""}, "name: shorter than 1"),
        ("create_member", {"name": "A", "email": "nobody"}, "email: not a valid email"),
        ("search_members", {"limit": 0}, "limit: less than 1"),
        ("search_members", {"limit": 101}, "limit: more than 100"),
        ("search_members", {"limit": True}, "limit: expected integer"),
        ("search_members", {"limit": "1"}, "limit: expected integer"),
        ("list_bookings", {"dateFrom": "tomorrow"}, "dateFrom: not a valid date-time"),
        ("list_bookings", {"dateFrom": "2026-06-01T10:00:00"}, "dateFrom: not a valid date-time"),
        ("create_team_member_invite", {"email": GUEST, "expiresInHours": 337}, "more than 336"),
        ("create_team_member_invite", {"email": GUEST, "role": "owner"}, "role: not one of"),
        ("create_team_member_invite", {"email": GUEST, "name": "N" * 121}, "name: longer than 120"),
        ("create_team_member_invite", {"email": GUEST, "modules": "all"}, "modules: expected array"),
        ("create_service", {"name": "Yoga"}, "durationMinutes: required"),
    ],
)
def test_what_is_refused(wire: Wire, key: Secret, tool: str, arguments: dict[str, Any], words: str) -> None:
    assert words in refusal(call(wire, tool, key, **arguments))


def test_a_booking_needs_a_member_and_a_service(wire: Wire, key: Secret) -> None:
    member = data(call(wire, "create_member", key, name="Ada"))["memberId"]
    when = {"startTime": "2026-06-01T10:00:00Z"}
    missing = call(wire, "create_booking", key, memberId="made up", serviceId="made up", **when)
    assert refusal(missing) == "Member not found."
    missing = call(wire, "create_booking", key, memberId=member, serviceId="made up", **when)
    assert refusal(missing) == "Service not found."


def test_switching_the_company(wire: Wire, key: Secret) -> None:
    first, second = data(call(wire, "list_my_companies", key))["companies"]
    assert (first["current"], second["current"]) == (True, False)
    assert first["organisationId"] == second["organisationId"]
    call(wire, "create_member", key, name="Ada")
    company = data(call(wire, "switch_company", key, companyId=second["companyId"]))["company"]
    assert (company["name"], company["current"]) == ("Second", True)
    assert data(call(wire, "search_members", key))["total"] == 0
    call(wire, "switch_company", key, companyId=first["companyId"])
    assert data(call(wire, "search_members", key))["total"] == 1


def test_the_plan_shows_what_is_used(wire: Wire, key: Secret) -> None:
    call(wire, "create_member", key, name="Ada")
    assert data(call(wire, "get_plan_status", key)) == {
        "plan": "free",
        "status": "active",
        "quotas": {
            "customers": {"used": 1, "limit": 100},
            "bookings": {"used": 0, "limit": 200},
            "calls": {"used": 2, "limit": 1000},
        },
    }
    plans = data(call(wire, "list_plan_options", key))["plans"]
    assert plans[0]["limits"] == {"customers": 100, "bookings": 200, "calls": 1000}


def test_the_plan_s_members_run_out(wire: Wire, key: Secret) -> None:
    wire.sandbox.rules.customers = 1
    assert data(call(wire, "check_plan_operation", key, toolName="create_member"))["allowed"] is True
    call(wire, "create_member", key, name="Ada")
    assert "Plan limit reached: 1 customers." in refusal(call(wire, "create_member", key, name="Grace"))
    assert data(call(wire, "check_plan_operation", key, quotaCode="customers")) == {
        "allowed": False,
        "used": 1,
        "limit": 1,
        "upgradeAction": "https://app.favcrm.io/settings/plan",
    }
    assert data(call(wire, "search_members", key))["total"] == 1


def test_a_plan_operation_is_checked_for_several_at_once(wire: Wire, key: Secret) -> None:
    allowed = [
        data(call(wire, "check_plan_operation", key, toolName="create_booking", delta=delta))["allowed"]
        for delta in (200, 201)
    ]
    assert allowed == [True, False]
    assert data(call(wire, "check_plan_operation", key, moduleCode="bookings"))["allowed"] is True


def test_the_plan_s_bookings_run_out_until_next_month(sandbox: Sandbox, key: Secret) -> None:
    wire = InProcess(sandbox)
    sandbox.rules.bookings_per_month = 1
    member = data(call(wire, "create_member", key, name="Ada"))["memberId"]
    service = data(call(wire, "create_service", key, name="Yoga", durationMinutes=60))["serviceId"]
    booking = {"memberId": member, "serviceId": service, "startTime": "2026-06-01T10:00:00Z"}
    data(call(wire, "create_booking", key, **booking))
    assert "bookings" in refusal(call(wire, "create_booking", key, **booking))
    sandbox.clock.advance(21 * 24 * 3600)
    data(call(wire, "create_booking", key, **booking))


def test_the_plan_s_calls_run_out_until_next_month(sandbox: Sandbox, key: Secret) -> None:
    wire = InProcess(sandbox)
    sandbox.rules.calls_per_month = 1
    data(call(wire, "list_services", key))
    assert "1 MCP calls a month" in refusal(call(wire, "list_services", key))
    sandbox.clock.advance(21 * 24 * 3600)
    data(call(wire, "list_services", key))
    sandbox.rules.calls_per_month = None
    data(call(wire, "list_services", key))


def test_a_suspended_plan_can_be_read_but_not_written(wire: Wire, key: Secret) -> None:
    wire.sandbox.suspend_plan()
    assert wire.sandbox.plan_status == "suspended"
    assert data(call(wire, "get_plan_status", key))["status"] == "suspended"
    assert "The plan is suspended." in refusal(call(wire, "create_member", key, name="Ada"))
    assert data(call(wire, "check_plan_operation", key))["allowed"] is False
    assert data(call(wire, "list_services", key)) == {"services": []}
    wire.sandbox.plan_status = "active"
    data(call(wire, "create_member", key, name="Ada"))


def test_whatsapp_is_not_connected_until_it_is(wire: Wire, key: Secret) -> None:
    status = data(call(wire, "get_whatsapp_connection_status", key))
    assert status == {"connected": False, "status": "not_connected"}
    wire.sandbox.whatsapp_connected = True
    assert wire.sandbox.whatsapp_connected
    status = data(call(wire, "get_whatsapp_connection_status", key))
    assert status == {"connected": True, "status": "connected"}


def test_the_doctor_is_there_only_when_switched_on() -> None:
    assert "favcrm_doctor" not in Sandbox().tools
    sandbox = Sandbox(doctor=True)
    wire = InProcess(sandbox)
    assert data(call(wire, "favcrm_doctor")) == {
        "mcpEndpointStatus": "ok",
        "authStatus": "missing",
        "toolCount": 19,
        "organisationContext": None,
        "planStatus": None,
        "whatsappStatus": None,
    }
    assert data(call(wire, "favcrm_doctor", Secret("fav_mcp_made-up")))["authStatus"] == "invalid"
    report = data(call(wire, "favcrm_doctor", sandbox.add_organisation("Stretch")))
    assert (report["authStatus"], report["planStatus"]) == ("ok", "active")
    assert report["whatsappStatus"] == "not_connected"
    assert report["organisationContext"]["name"] == "Stretch"
    sandbox.whatsapp_connected = True
    assert data(call(wire, "favcrm_doctor", sandbox.add_organisation()))["whatsappStatus"] == "connected"


def test_an_organisation_s_owner_has_an_account(sandbox: Sandbox) -> None:
    sandbox.add_organisation(email=GUEST)
    arguments = {"email": GUEST, "organisationName": "Stretch"}
    assert "already exists" in refusal(call(InProcess(sandbox), "register_organisation_request", **arguments))


def invite(wire: Wire, key: Secret, **more: object) -> str:
    made = data(call(wire, "create_team_member_invite", key, email=GUEST, **more))
    token: str = made["token"]
    return token


def test_joining_a_workspace(wire: Wire, key: Secret) -> None:
    invited = data(call(wire, "create_team_member_invite", key, email=GUEST, role="manager", modules=["crm"]))
    assert invited["token"] in invited["inviteUrl"]
    assert invited["expiresAt"] == "2026-05-14T12:00:00.000Z"
    assert (invited["role"], invited["modules"], invited["permissions"]) == ("manager", ["crm"], [])

    asked = data(call(wire, "accept_team_invite_request", token=invited["token"]))
    assert (asked["maskedEmail"], asked["expiresAt"]) == ("gu*@example.com", "2026-05-11T12:10:00.000Z")
    code = wire.sandbox.inbox.code_for(GUEST)
    joined = data(call(wire, "accept_team_invite_verify", token=invited["token"], code=code, name="Guest"))
    companies = data(call(wire, "list_my_companies", Secret(joined["apiKey"])))["companies"]
    assert [(company["name"], company["role"]) for company in companies] == [("Stretch + Breathe", "manager")]
    assert joined["companyId"] == companies[0]["companyId"]
    assert (
        refusal(call(wire, "accept_team_invite_request", token=invited["token"])) == "Invitation not found."
    )


def test_who_joins_sees_what_is_there(wire: Wire, key: Secret) -> None:
    call(wire, "create_member", key, name="Ada")
    token = invite(wire, key)
    call(wire, "accept_team_invite_request", token=token)
    code = wire.sandbox.inbox.code_for(GUEST)
    joined = Secret(data(call(wire, "accept_team_invite_verify", token=token, code=code))["apiKey"])
    assert data(call(wire, "search_members", joined))["total"] == 1
    assert data(call(wire, "list_my_companies", joined))["companies"][0]["role"] == "staff"
    response = call(wire, "register_organisation_request", email=GUEST, organisationName="Mine")
    assert "already exists" in refusal(response)


def test_an_invitation_expires(wire: Wire, key: Secret) -> None:
    token = invite(wire, key, expiresInHours=1)
    wire.sandbox.clock.advance(3600)
    assert "expired" in refusal(call(wire, "accept_team_invite_request", token=token))


def test_the_code_of_an_invitation_is_checked(wire: Wire, key: Secret) -> None:
    token = invite(wire, key)
    early = call(wire, "accept_team_invite_verify", token=token, code="123456")
    assert "none was requested" in refusal(early)
    call(wire, "accept_team_invite_request", token=token)
    code = wire.sandbox.inbox.code_for(GUEST)
    wrong = call(wire, "accept_team_invite_verify", token=token, code=other_code(code))
    assert "Invalid code" in refusal(wrong)
    wire.sandbox.clock.advance(600)
    late = call(wire, "accept_team_invite_verify", token=token, code=code)
    assert "expired" in refusal(late)


def test_the_limits_can_be_given_at_the_start() -> None:
    sandbox = Sandbox(rules=Rules(customers=0), clock=SandboxClock(start=0.0))
    key = sandbox.add_organisation()
    assert "0 customers" in refusal(call(InProcess(sandbox), "create_member", key, name="Ada"))


def test_nothing_secret_is_in_what_the_sandbox_shows_of_itself(sandbox: Sandbox, key: Secret) -> None:
    wire = InProcess(sandbox)
    ask(wire, email=GUEST)
    data(call(wire, "list_services", key))
    shown = repr([sandbox, sandbox.world, sandbox.calls, sandbox.inbox, list(sandbox.inbox)])
    assert key.reveal() not in shown
    assert sandbox.inbox.code_for(GUEST) not in shown
    assert GUEST not in shown
