"""The two registration tools."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sandbox.wires import EMAIL, InProcess, ask, call, data, other_code, refusal

from favcrm.sandbox import Mail, Moment, Rules, Sandbox, SandboxClock
from favcrm.secret import Secret
from favcrm.transport import Request

if TYPE_CHECKING:
    from sandbox.wires import Wire


def verify(wire: Wire, pending: Any, code: str | None = None) -> Any:
    code = code or wire.sandbox.inbox.code_for(EMAIL)
    return call(wire, "register_organisation_verify", requestId=pending["requestId"], code=code)


def test_a_request_mails_a_code(wire: Wire) -> None:
    pending = ask(wire)
    assert pending["requestId"].startswith("signup_req_")
    assert pending["expiresAt"] == "2026-05-11T12:10:00.000Z"
    assert pending["maskedEmail"] == "yo*@example.com"
    assert "register_organisation_verify" in pending["instructions"]
    (mail,) = wire.sandbox.inbox
    assert (mail.to, mail.sent_at) == (EMAIL, 1_778_500_800.0)
    assert mail.code is not None
    assert re.fullmatch(r"\d{6}", mail.code)
    assert mail.code in mail.body
    assert "10 minutes" in mail.body
    assert "Stretch" in mail.subject


def test_the_answer_of_a_tool_is_an_envelope_with_the_payload_as_text_too(wire: Wire) -> None:
    response = call(wire, "register_organisation_request", email=EMAIL, organisationName="Stretch")
    result: Any = response.result
    assert set(result["structuredContent"]) == {"data", "summary", "renderType"}
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]["data"]
    assert result["structuredContent"]["summary"] == "A 6-digit code was sent to yo*@example.com."


def test_the_code_makes_a_workspace_with_a_key_that_works(wire: Wire) -> None:
    made = data(verify(wire, ask(wire, country="HK", industry="fitness")))
    assert set(made) == {"organisationId", "companyId", "userId", "apiKey", "loginUrl", "nextSteps"}
    assert re.fullmatch(r"fav_mcp_[A-Za-z0-9_-]{32,}", made["apiKey"])
    assert made["loginUrl"] == "https://app.favcrm.io"
    companies = data(call(wire, "list_my_companies", Secret(made["apiKey"])))
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
def test_the_time_zone_is_the_country_s_where_none_is_given(
    sandbox: Sandbox, given: dict[str, str], timezone: str
) -> None:
    wire = InProcess(sandbox)
    key = Secret(data(verify(wire, ask(wire, **given)))["apiKey"])
    assert data(call(wire, "list_my_companies", key))["companies"][0]["timezone"] == timezone


def test_every_key_is_another_one(sandbox: Sandbox) -> None:
    assert sandbox.add_organisation() != sandbox.add_organisation()


def test_a_wrong_code_is_refused_and_the_right_one_still_works(wire: Wire) -> None:
    pending = ask(wire)
    wrong = other_code(wire.sandbox.inbox.code_for(EMAIL))
    assert refusal(verify(wire, pending, wrong)).startswith("Invalid code")
    assert data(verify(wire, pending))["apiKey"]


def test_after_too_many_wrong_codes_the_right_one_is_refused_too(wire: Wire) -> None:
    wire.sandbox.rules.code_attempts = 2
    pending = ask(wire)
    wrong = other_code(wire.sandbox.inbox.code_for(EMAIL))
    outcomes = [refusal(verify(wire, pending, code))[:8] for code in (wrong, wrong, None)]
    assert outcomes == ["Invalid ", "Invalid ", "Too many"]


def test_five_wrong_codes_are_the_default() -> None:
    assert Rules().code_attempts == 5


def test_a_code_lives_ten_minutes(wire: Wire) -> None:
    pending = ask(wire)
    wire.sandbox.clock.advance(600)
    assert "expired" in refusal(verify(wire, pending))


def test_a_code_is_good_to_the_last_moment(wire: Wire) -> None:
    pending = ask(wire)
    wire.sandbox.clock.advance(599.9)
    assert data(verify(wire, pending))["apiKey"]


def test_how_long_a_code_lives_can_be_set(sandbox: Sandbox) -> None:
    sandbox.rules.code_ttl = 60
    wire = InProcess(sandbox)
    pending = ask(wire)
    assert pending["expiresAt"] == "2026-05-11T12:01:00.000Z"
    assert "1 minutes" in sandbox.inbox.last_to(EMAIL).body
    sandbox.clock.advance(60)
    assert "expired" in refusal(verify(wire, pending))


def test_a_request_that_was_used_is_gone(wire: Wire) -> None:
    pending = ask(wire)
    code = wire.sandbox.inbox.code_for(EMAIL)
    data(verify(wire, pending, code))
    assert refusal(verify(wire, pending, code)) == "Sign-up request not found."


def test_an_unknown_request_is_not_found(wire: Wire) -> None:
    assert refusal(verify(wire, {"requestId": "made up"}, "123456")) == "Sign-up request not found."


def test_an_email_with_an_account_is_refused_at_the_request(wire: Wire) -> None:
    wire.sandbox.add_account("You@Example.com")
    response = call(wire, "register_organisation_request", email=EMAIL, organisationName="Stretch")
    assert "already exists" in refusal(response)
    assert not wire.sandbox.inbox


def test_or_only_at_the_verification(wire: Wire) -> None:
    wire.sandbox.rules.account_found = Moment.AT_VERIFY
    wire.sandbox.add_account(EMAIL)
    assert "https://app.favcrm.io" in refusal(verify(wire, ask(wire)))


def test_a_finished_sign_up_is_an_account(wire: Wire) -> None:
    data(verify(wire, ask(wire)))
    response = call(wire, "register_organisation_request", email=EMAIL, organisationName="Again")
    assert "already exists" in refusal(response)


def test_two_requests_for_one_email_live_side_by_side(wire: Wire) -> None:
    first, code = ask(wire), wire.sandbox.inbox.code_for(EMAIL)
    ask(wire)
    assert data(verify(wire, first, code))["apiKey"]


def test_or_the_second_one_cancels_the_first(wire: Wire) -> None:
    wire.sandbox.rules.one_request_each = True
    other = ask(wire, email="other@example.com")
    first, code = ask(wire), wire.sandbox.inbox.code_for(EMAIL)
    second = ask(wire)
    assert "not found" in refusal(verify(wire, first, code))
    assert data(verify(wire, second))["apiKey"]
    code = wire.sandbox.inbox.code_for("other@example.com")
    assert data(verify(wire, other, code))["apiKey"]


def test_three_requests_an_hour(wire: Wire) -> None:
    clock = wire.sandbox.clock
    for _ in range(3):
        ask(wire)
        clock.advance(600)
    response = call(wire, "register_organisation_request", email=EMAIL, organisationName="Stretch")
    assert refusal(response) == "Rate limit exceeded for sign-up requests. Try again in 30 minutes."
    assert len(wire.sandbox.inbox) == 3
    clock.advance(1800)
    ask(wire)


def test_twenty_requests_a_day(sandbox: Sandbox) -> None:
    wire = InProcess(sandbox)
    for _ in range(20):
        ask(wire)
        sandbox.clock.advance(1200)
    response = call(wire, "register_organisation_request", email=EMAIL, organisationName="Stretch")
    assert "Try again in 1040 minutes" in refusal(response)
    sandbox.clock.advance(1040 * 60)
    ask(wire)


def test_each_address_has_requests_of_its_own(sandbox: Sandbox) -> None:
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


def test_a_limit_below_one_request_is_an_error() -> None:
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
def test_what_a_request_may_not_be(wire: Wire, field: str, value: object) -> None:
    arguments: dict[str, object] = {"email": EMAIL, "organisationName": "Stretch", field: value}
    response = call(wire, "register_organisation_request", **arguments)
    assert refusal(response).startswith(f"Invalid arguments: {field}: ")
    assert not wire.sandbox.inbox


@pytest.mark.parametrize("email", ["a@b.co", "first.last+tag@sub.example.museum", "o'neil_%-@ex-ample.com"])
def test_emails_that_are_good(sandbox: Sandbox, email: str) -> None:
    ask(InProcess(sandbox), email=email)
    assert sandbox.inbox.code_for(email)


@pytest.mark.parametrize("name", ["St", "S" * 80])
def test_names_that_are_good(sandbox: Sandbox, name: str) -> None:
    data(call(InProcess(sandbox), "register_organisation_request", email=EMAIL, organisationName=name))


@pytest.mark.parametrize(
    "industry", ["beauty", "fitness", "tutoring", "retail", "hospitality", "services", "other"]
)
def test_industries_that_are_good(sandbox: Sandbox, industry: str) -> None:
    ask(InProcess(sandbox), industry=industry)


def test_optional_fields_may_be_null_and_unknown_ones_are_dropped(wire: Wire) -> None:
    ask(wire, country=None, surprise=[1, 2])


@pytest.mark.parametrize("code", ["12345", "1234567", "12345a", "12 345", 123456])
def test_what_a_code_may_not_be(wire: Wire, code: object) -> None:
    pending = ask(wire)
    response = call(wire, "register_organisation_verify", requestId=pending["requestId"], code=code)
    assert refusal(response).startswith("Invalid arguments: code: ")


def test_the_inbox_reads_like_a_list() -> None:
    seen: list[Mail] = []
    sandbox = Sandbox(on_mail=seen.append)
    wire = InProcess(sandbox)
    ask(wire)
    sandbox.on_mail = None
    ask(wire, email="other@example.com")
    assert len(sandbox.inbox) == 2
    assert [mail.to for mail in sandbox.inbox] == [EMAIL, "other@example.com"]
    assert sandbox.inbox[0] is sandbox.inbox[:1][0] is seen[0]
    assert len(seen) == 1
    assert sandbox.on_mail is None
    assert sandbox.inbox.last_to("OTHER@example.com").code == sandbox.inbox.code_for("Other@example.com")
    assert sandbox.inbox.last_to(EMAIL) is sandbox.inbox[0]


def test_the_inbox_gives_the_code_of_the_last_mail(sandbox: Sandbox) -> None:
    wire = InProcess(sandbox)
    ask(wire)
    pending = ask(wire)
    ask(wire, email="other@example.com")
    assert sandbox.inbox.code_for(EMAIL) == sandbox.inbox[1].code
    assert data(verify(wire, pending))["apiKey"]


def test_a_mail_without_a_code_is_passed_over(sandbox: Sandbox) -> None:
    ask(InProcess(sandbox))
    code = sandbox.inbox.code_for(EMAIL)
    sandbox.inbox.deliver(Mail(to=EMAIL, subject="News", body="Hello", code=None, sent_at=0.0))
    assert sandbox.inbox.code_for(EMAIL) == code


def test_an_address_without_mail_is_an_error(sandbox: Sandbox) -> None:
    with pytest.raises(LookupError):
        sandbox.inbox.code_for(EMAIL)
    with pytest.raises(LookupError):
        sandbox.inbox.last_to(EMAIL)


def test_the_clock_decides_what_the_server_writes() -> None:
    start = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
    sandbox = Sandbox(clock=SandboxClock(start=start.timestamp()))
    pending = ask(InProcess(sandbox))
    assert datetime.fromisoformat(pending["expiresAt"]) == start + timedelta(minutes=10)
