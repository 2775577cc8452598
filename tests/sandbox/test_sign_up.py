"""The two registration tools."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from sandbox.clients import EMAIL, InProcess, ask, call, data, other_code, refusal

from favcrm.sandbox import AccountCheck, Mail, Rules, Sandbox
from favcrm.secret import Secret
from favcrm.transport import Request

if TYPE_CHECKING:
    from sandbox.clients import SandboxClient


@pytest.fixture
def client(sandbox: Sandbox) -> SandboxClient:
    """In process only, because a tool does not know how it was reached."""
    return InProcess(sandbox)


def verify(client: SandboxClient, pending: Any, code: str | None = None) -> Any:
    code = code or client.sandbox.inbox.code_for(EMAIL)
    return call(client, "register_organisation_verify", requestId=pending["requestId"], code=code)


def test_a_request_mails_a_code(client: SandboxClient) -> None:
    pending = ask(client)
    assert pending["requestId"].startswith("signup_req_")
    assert pending["expiresAt"] == "2026-05-11T12:10:00.000Z"
    assert pending["maskedEmail"] == "yo*@example.com"
    assert "register_organisation_verify" in pending["instructions"]
    (mail,) = client.sandbox.inbox
    assert (mail.to, mail.sent_at) == (EMAIL, 1_778_500_800.0)
    assert mail.code is not None
    assert re.fullmatch(r"\d{6}", mail.code)
    assert mail.code in mail.body
    assert "10 minutes" in mail.body
    assert "Stretch" in mail.subject


def test_a_right_code_creates_a_workspace_and_a_working_key(client: SandboxClient) -> None:
    made = data(verify(client, ask(client, country="HK", industry="fitness")))
    assert set(made) == {"organisationId", "companyId", "userId", "apiKey", "loginUrl", "nextSteps"}
    assert re.fullmatch(r"fav_mcp_[A-Za-z0-9_-]{32,}", made["apiKey"])
    assert made["loginUrl"] == "https://app.favcrm.io"
    companies = data(call(client, "list_my_companies", Secret(made["apiKey"])))
    assert companies["userId"] == made["userId"]
    (company,) = companies["companies"]
    assert company == {
        "organisationId": made["organisationId"],
        "companyId": made["companyId"],
        "name": "Stretch",
        "industry": "fitness",
        "country": "HK",
        "timezone": "Asia/Hong_Kong",
        "role": "owner",
        "current": True,
    }


@pytest.mark.parametrize(
    ("given", "timezone"),
    [
        ({"country": "SG"}, "Asia/Singapore"),
        ({"country": "SG", "timezone": "Europe/Paris"}, "Europe/Paris"),
        ({"country": "FR"}, "UTC"),
        ({}, "UTC"),
    ],
)
def test_an_absent_timezone_is_that_of_the_country(
    client: SandboxClient, sandbox: Sandbox, given: dict[str, str], timezone: str
) -> None:
    key = Secret(data(verify(client, ask(client, **given)))["apiKey"])
    assert data(call(client, "list_my_companies", key))["companies"][0]["timezone"] == timezone


def test_a_right_code_is_taken_until_five_wrong_ones(client: SandboxClient) -> None:
    pending = ask(client)
    wrong = other_code(client.sandbox.inbox.code_for(EMAIL))
    outcomes = [refusal(verify(client, pending, code))[:8] for code in [*[wrong] * 5, None]]
    assert outcomes == [*["Invalid "] * 5, "Too many"]
    client.sandbox.rules.code_attempts = 6
    assert data(verify(client, pending))["apiKey"]


def test_code_ttl_sets_the_expiry(client: SandboxClient, sandbox: Sandbox) -> None:
    sandbox.rules.code_ttl = 60
    pending = ask(client)
    assert pending["expiresAt"] == "2026-05-11T12:01:00.000Z"
    assert "1 minutes" in sandbox.inbox.last_to(EMAIL).body
    sandbox.clock.advance(59.9)
    assert "Invalid" in refusal(verify(client, pending, other_code(sandbox.inbox.code_for(EMAIL))))
    sandbox.clock.advance(0.1)
    assert "expired" in refusal(verify(client, pending))


def test_a_confirmed_request_is_not_found(client: SandboxClient) -> None:
    pending = ask(client)
    code = client.sandbox.inbox.code_for(EMAIL)
    data(verify(client, pending, code))
    assert refusal(verify(client, pending, code)) == "Sign-up request not found."
    response = call(client, "register_organisation_request", email=EMAIL, organisationName="Again")
    assert "already exists" in refusal(response)


def test_an_email_with_an_account_is_refused_at_the_request(client: SandboxClient) -> None:
    client.sandbox.add_account("You@Example.com")
    response = call(client, "register_organisation_request", email=EMAIL, organisationName="Stretch")
    assert "already exists" in refusal(response)
    assert not client.sandbox.inbox


def test_account_check_at_verify_refuses_at_the_verification(client: SandboxClient) -> None:
    client.sandbox.rules.account_check = AccountCheck.AT_VERIFY
    client.sandbox.add_account(EMAIL)
    assert "https://app.favcrm.io" in refusal(verify(client, ask(client)))


@pytest.mark.parametrize("cancels", [True, False])
def test_one_request_each_cancels_the_earlier_request(client: SandboxClient, cancels: bool) -> None:
    client.sandbox.rules.one_request_each = cancels
    other = ask(client, email="other@example.com")
    first, code = ask(client), client.sandbox.inbox.code_for(EMAIL)
    ask(client)
    answer = verify(client, first, code)
    assert "not found" in refusal(answer) if cancels else data(answer)["apiKey"]
    code = client.sandbox.inbox.code_for("other@example.com")
    assert data(verify(client, other, code))["apiKey"]


def test_a_fourth_request_in_an_hour_is_refused(client: SandboxClient) -> None:
    clock = client.sandbox.clock
    for _ in range(3):
        ask(client)
        clock.advance(600)
    response = call(client, "register_organisation_request", email=EMAIL, organisationName="Stretch")
    assert refusal(response) == "Rate limit exceeded for sign-up requests. Try again in 30 minutes."
    assert len(client.sandbox.inbox) == 3
    clock.advance(1800)
    ask(client)


def test_a_twenty_first_request_in_a_day_is_refused(client: SandboxClient, sandbox: Sandbox) -> None:
    for _ in range(20):
        ask(client)
        sandbox.clock.advance(1200)
    response = call(client, "register_organisation_request", email=EMAIL, organisationName="Stretch")
    assert "Try again in 1040 minutes" in refusal(response)
    sandbox.clock.advance(1040 * 60)
    ask(client)


def test_each_ip_address_has_its_own_rate_limit(sandbox: Sandbox) -> None:
    sandbox.rules.requests_per_hour = 1
    params: dict[str, Any] = {
        "name": "register_organisation_request",
        "arguments": {"email": EMAIL, "organisationName": "Stretch"},
    }

    def refused(ip: str) -> bool:
        response = sandbox.transport(ip=ip).request(Request("tools/call", params, timeout=1.0))
        assert isinstance(response.result, dict)
        return response.result["isError"] is True

    assert [refused("192.0.2.1"), refused("192.0.2.1"), refused("192.0.2.2")] == [False, True, False]


def test_a_rate_limit_of_zero_raises_value_error() -> None:
    with pytest.raises(ValueError, match="requests_per_hour"):
        Rules(requests_per_hour=0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "nobody"),
        ("email", ".you@example.com"),
        ("email", "you.@example.com"),
        ("email", "y..ou@example.com"),
        ("email", "you@example.c"),
        ("email", "you@-example.com"),
        ("email", 7),
        ("organisationName", "S"),
        ("organisationName", "S" * 81),
        ("industry", "mining"),
        ("country", "HKG"),
        ("country", "H"),
        ("timezone", "Asia/Nowhere"),
        ("email", None),
        ("organisationName", None),
    ],
)
def test_an_invalid_request_is_refused_without_a_mail(
    client: SandboxClient, field: str, value: object
) -> None:
    arguments: dict[str, object] = {"email": EMAIL, "organisationName": "Stretch", field: value}
    response = call(client, "register_organisation_request", **arguments)
    assert refusal(response).startswith(f"Invalid arguments: {field}: ")
    assert not client.sandbox.inbox


@pytest.mark.parametrize("email", ["a@b.co", "first.last+tag@sub.example.museum", "o'neil_%-@ex-ample.com"])
def test_a_valid_email_is_accepted(sandbox: Sandbox, email: str) -> None:
    ask(InProcess(sandbox), email=email)
    assert sandbox.inbox.code_for(email)


@pytest.mark.parametrize("name", ["St", "S" * 80])
def test_a_name_of_2_to_80_characters_is_accepted(sandbox: Sandbox, name: str) -> None:
    data(call(InProcess(sandbox), "register_organisation_request", email=EMAIL, organisationName=name))


def test_null_and_unknown_fields_are_ignored(client: SandboxClient) -> None:
    ask(client, country=None, surprise=[1, 2])


@pytest.mark.parametrize("code", ["12345", "1234567", "12345a", "12 345", 123456])
def test_a_malformed_code_is_refused(client: SandboxClient, code: object) -> None:
    pending = ask(client)
    response = call(client, "register_organisation_verify", requestId=pending["requestId"], code=code)
    assert refusal(response).startswith("Invalid arguments: code: ")


def test_the_inbox_is_a_list_of_mails() -> None:
    seen: list[Mail] = []
    sandbox = Sandbox(on_mail=seen.append)
    client = InProcess(sandbox)
    ask(client)
    sandbox.inbox.on_mail = None
    ask(client, email="other@example.com")
    ask(client)
    assert [mail.to for mail in sandbox.inbox] == [EMAIL, "other@example.com", EMAIL]
    assert seen == sandbox.inbox[:1]
    assert sandbox.inbox.last_to("OTHER@example.com") is sandbox.inbox[1]
    assert sandbox.inbox.last_to(EMAIL) is sandbox.inbox[2]
    assert sandbox.inbox.code_for("You@example.com") == sandbox.inbox[2].code


def test_code_for_skips_a_mail_without_a_code(sandbox: Sandbox) -> None:
    ask(InProcess(sandbox))
    code = sandbox.inbox.code_for(EMAIL)
    sandbox.inbox.deliver(Mail(to=EMAIL, subject="News", body="Hello", code=None, sent_at=0.0))
    assert sandbox.inbox.code_for(EMAIL) == code


def test_an_address_without_mail_raises_lookup_error(sandbox: Sandbox) -> None:
    with pytest.raises(LookupError):
        sandbox.inbox.code_for(EMAIL)
    with pytest.raises(LookupError):
        sandbox.inbox.last_to(EMAIL)
