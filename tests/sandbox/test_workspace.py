"""The tools that need a key, and the invites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sandbox.clients import InProcess, ask, call, data, other_code, refusal

from favcrm.sandbox import Sandbox
from favcrm.secret import Secret

if TYPE_CHECKING:
    from sandbox.clients import SandboxClient

GUEST = "guest@example.com"
NEED_NONE = [
    "register_organisation_request",
    "register_organisation_verify",
    "accept_team_invite_request",
    "accept_team_invite_verify",
]
NEED_A_KEY = sorted(Sandbox().tools.keys() - NEED_NONE)


@pytest.fixture
def client(sandbox: Sandbox) -> SandboxClient:
    """In process only, because a tool does not know how it was reached."""
    return InProcess(sandbox)


@pytest.fixture
def key(sandbox: Sandbox) -> Secret:
    return sandbox.add_organisation()


@pytest.mark.parametrize("tool", NEED_A_KEY)
def test_a_missing_or_unknown_key_is_refused(client: SandboxClient, tool: str) -> None:
    client.sandbox.add_organisation()
    assert "Unauthorized" in refusal(call(client, tool))
    assert "Unauthorized" in refusal(call(client, tool, Secret("fav_mcp_made-up")))


@pytest.mark.parametrize("tool", NEED_NONE)
def test_sign_up_tools_ignore_the_key(client: SandboxClient, tool: str) -> None:
    assert "Unauthorized" not in refusal(call(client, tool, Secret("fav_mcp_made-up")))


def test_a_revoked_key_is_refused(client: SandboxClient, key: Secret) -> None:
    data(call(client, "list_services", key))
    client.sandbox.revoke(key)
    client.sandbox.revoke(key)
    assert "Unauthorized" in refusal(call(client, "list_services", key))


def test_a_created_member_is_read_back(client: SandboxClient, key: Secret) -> None:
    made = data(call(client, "create_member", key, name="Ada Lovelace", email="ada@example.com"))
    assert made["member"] == {
        "memberId": made["memberId"],
        "name": "Ada Lovelace",
        "email": "ada@example.com",
        "phone": None,
        "createdAt": "2026-05-11T12:00:00.000Z",
    }
    found = data(call(client, "get_member", key, memberId=made["memberId"]))
    assert found == {"member": made["member"]}
    assert data(call(client, "list_services", key)) == {"services": []}


def test_search_members_matches_name_email_and_phone(client: SandboxClient, key: Secret) -> None:
    call(client, "create_member", key, name="Ada", email="countess@example.com")
    call(client, "create_member", key, name="Grace", phone="+852 1234")

    def found(**query: object) -> list[str]:
        return [member["name"] for member in data(call(client, "search_members", key, **query))["members"]]

    assert found() == ["Ada", "Grace"]
    assert found(query="COUNTESS") == ["Ada"]
    assert found(query="1234") == ["Grace"]
    assert found(limit=1) == ["Ada"]
    assert data(call(client, "search_members", key, limit=1))["total"] == 2


def test_a_member_of_another_workspace_is_not_found(client: SandboxClient, key: Secret) -> None:
    member = data(call(client, "create_member", key, name="Ada"))
    other = client.sandbox.add_organisation("Other")
    assert other != key
    assert refusal(call(client, "get_member", other, memberId=member["memberId"])) == "Member not found."


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("get_member", {"memberId": "made up"}, "Member not found."),
        ("create_member", {"name": ""}, "name: shorter than 1"),
        ("create_member", {"name": "A", "email": "nobody"}, "email: not a valid email"),
        ("search_members", {"limit": 0}, "limit: less than 1"),
        ("search_members", {"limit": 101}, "limit: more than 100"),
        ("search_members", {"limit": True}, "limit: expected integer"),
        ("search_members", {"limit": "1"}, "limit: expected integer"),
        ("create_team_member_invite", {"email": GUEST, "expiresInHours": 337}, "more than 336"),
        ("create_team_member_invite", {"email": GUEST, "role": "owner"}, "role: not one of"),
        ("create_team_member_invite", {"email": GUEST, "name": "N" * 121}, "name: longer than 120"),
        ("get_member", {}, "memberId: required"),
    ],
)
def test_an_invalid_argument_is_refused(
    client: SandboxClient, key: Secret, tool: str, arguments: dict[str, Any], words: str
) -> None:
    assert words in refusal(call(client, tool, key, **arguments))


def test_get_plan_status_counts_what_is_used(client: SandboxClient, key: Secret) -> None:
    call(client, "create_member", key, name="Ada")
    assert data(call(client, "get_plan_status", key)) == {
        "plan": "free",
        "status": "active",
        "quotas": {
            "customers": {"used": 1, "limit": 100},
            "calls": {"used": 2, "limit": 1000},
        },
    }
    plans = data(call(client, "list_plan_options", key))["plans"]
    assert plans[0]["limits"] == {"customers": 100, "calls": 1000}


def test_a_member_over_the_plan_limit_is_refused(client: SandboxClient, key: Secret) -> None:
    client.sandbox.rules.customers = 1
    ask_for_two = call(client, "check_plan_operation", key, toolName="create_member", delta=2)
    assert data(ask_for_two)["allowed"] is False
    assert data(call(client, "check_plan_operation", key, toolName="create_member"))["allowed"] is True
    assert data(call(client, "check_plan_operation", key, moduleCode="bookings"))["allowed"] is True
    call(client, "create_member", key, name="Ada")
    assert "Plan limit reached: 1 customers." in refusal(call(client, "create_member", key, name="Grace"))
    assert data(call(client, "check_plan_operation", key, quotaCode="customers")) == {
        "allowed": False,
        "used": 1,
        "limit": 1,
        "upgradeAction": "https://app.favcrm.io/settings/plan",
    }
    assert data(call(client, "search_members", key))["total"] == 1


def test_a_call_over_the_monthly_limit_is_refused_until_next_month(
    client: SandboxClient, sandbox: Sandbox, key: Secret
) -> None:
    sandbox.rules.calls_per_month = 1
    data(call(client, "list_services", key))
    assert "1 MCP calls a month" in refusal(call(client, "list_services", key))
    sandbox.clock.advance(21 * 24 * 3600)
    data(call(client, "list_services", key))
    sandbox.rules.calls_per_month = None
    data(call(client, "list_services", key))


def test_a_suspended_plan_allows_reads_only(client: SandboxClient, key: Secret) -> None:
    client.sandbox.rules.plan_status = "suspended"
    assert data(call(client, "get_plan_status", key))["status"] == "suspended"
    assert "The plan is suspended." in refusal(call(client, "create_member", key, name="Ada"))
    assert data(call(client, "check_plan_operation", key))["allowed"] is False
    assert data(call(client, "list_services", key)) == {"services": []}
    client.sandbox.rules.plan_status = "active"
    data(call(client, "create_member", key, name="Ada"))


def test_whatsapp_status_follows_the_rule(client: SandboxClient, key: Secret) -> None:
    status = data(call(client, "get_whatsapp_connection_status", key))
    assert status == {"connected": False, "status": "not_connected"}
    client.sandbox.rules.whatsapp_connected = True
    status = data(call(client, "get_whatsapp_connection_status", key))
    assert status == {"connected": True, "status": "connected"}


def test_favcrm_doctor_exists_only_on_request() -> None:
    assert "favcrm_doctor" not in Sandbox().tools
    sandbox = Sandbox(doctor=True)
    client = InProcess(sandbox)
    assert data(call(client, "favcrm_doctor")) == {
        "mcpEndpointStatus": "ok",
        "authStatus": "missing",
        "toolCount": 15,
        "organisationContext": None,
        "planStatus": None,
        "whatsappStatus": None,
    }
    assert data(call(client, "favcrm_doctor", Secret("fav_mcp_made-up")))["authStatus"] == "invalid"
    report = data(call(client, "favcrm_doctor", sandbox.add_organisation("Stretch")))
    assert (report["authStatus"], report["planStatus"]) == ("ok", "active")
    assert report["whatsappStatus"] == "not_connected"
    assert report["organisationContext"]["name"] == "Stretch"
    sandbox.rules.whatsapp_connected = True
    assert data(call(client, "favcrm_doctor", sandbox.add_organisation()))["whatsappStatus"] == "connected"


def test_add_organisation_gives_its_owner_an_account(sandbox: Sandbox) -> None:
    sandbox.add_organisation(email=GUEST)
    arguments = {"email": GUEST, "organisationName": "Stretch"}
    assert "already exists" in refusal(call(InProcess(sandbox), "register_organisation_request", **arguments))


def invite(client: SandboxClient, key: Secret, **more: object) -> str:
    made = data(call(client, "create_team_member_invite", key, email=GUEST, **more))
    token: str = made["token"]
    return token


def test_an_accepted_invitation_opens_the_workspace(client: SandboxClient, key: Secret) -> None:
    invited = data(call(client, "create_team_member_invite", key, email=GUEST, role="manager"))
    assert invited["token"] in invited["inviteUrl"]
    assert invited["expiresAt"] == "2026-05-14T12:00:00.000Z"
    assert invited["role"] == "manager"
    asked = data(call(client, "accept_team_invite_request", token=invited["token"]))
    assert (asked["maskedEmail"], asked["expiresAt"]) == ("gu*@example.com", "2026-05-11T12:10:00.000Z")
    code = client.sandbox.inbox.code_for(GUEST)
    joined = data(call(client, "accept_team_invite_verify", token=invited["token"], code=code, name="Guest"))
    companies = data(call(client, "list_my_companies", Secret(joined["apiKey"])))["companies"]
    assert [(company["name"], company["role"]) for company in companies] == [("Stretch + Breathe", "manager")]
    assert joined["companyId"] == companies[0]["companyId"]
    assert (
        refusal(call(client, "accept_team_invite_request", token=invited["token"])) == "Invitation not found."
    )


def test_a_new_member_of_the_team_sees_the_workspace(client: SandboxClient, key: Secret) -> None:
    call(client, "create_member", key, name="Ada")
    token = invite(client, key)
    call(client, "accept_team_invite_request", token=token)
    code = client.sandbox.inbox.code_for(GUEST)
    joined = Secret(data(call(client, "accept_team_invite_verify", token=token, code=code))["apiKey"])
    assert data(call(client, "search_members", joined))["total"] == 1
    assert data(call(client, "list_my_companies", joined))["companies"][0]["role"] == "staff"
    response = call(client, "register_organisation_request", email=GUEST, organisationName="Mine")
    assert "already exists" in refusal(response)


def test_an_invitation_expires(client: SandboxClient, key: Secret) -> None:
    token = invite(client, key, expiresInHours=1)
    client.sandbox.clock.advance(3600)
    assert "expired" in refusal(call(client, "accept_team_invite_request", token=token))


def test_the_code_of_an_invitation_is_checked(client: SandboxClient, key: Secret) -> None:
    token = invite(client, key)
    early = call(client, "accept_team_invite_verify", token=token, code="123456")
    assert "No code was requested" in refusal(early)
    call(client, "accept_team_invite_request", token=token)
    code = client.sandbox.inbox.code_for(GUEST)
    wrong = call(client, "accept_team_invite_verify", token=token, code=other_code(code))
    assert "Invalid code" in refusal(wrong)
    client.sandbox.clock.advance(600)
    late = call(client, "accept_team_invite_verify", token=token, code=code)
    assert "expired" in refusal(late)


def test_no_repr_shows_a_secret(client: SandboxClient, sandbox: Sandbox, key: Secret) -> None:
    ask(client, email=GUEST)
    data(call(client, "list_services", key))
    shown = repr([sandbox, sandbox.state, sandbox.calls, sandbox.inbox, list(sandbox.inbox)])
    assert key.reveal() not in shown
    assert sandbox.inbox.code_for(GUEST) not in shown
    assert GUEST not in shown
