"""The diagnosis: what is asked, how long that takes, and what the report says."""

from __future__ import annotations

import secrets
import threading
from typing import Any

import anyio
import pytest
from colours import Colour, Facade, client, provisioner, transport_to

from favcrm import (
    Check,
    CheckStatus,
    DiagnosticReport,
    RetryPolicy,
    Secret,
    SecretRef,
    Tool,
    ToolResult,
    errors,
)
from favcrm._flows import calls, diagnosis
from favcrm._flows.diagnosis import Finding
from favcrm.sandbox import Fault, RefusalForm, Sandbox
from favcrm.stores import MemoryStore
from favcrm.transport import Request

pytestmark = pytest.mark.anyio

QUESTIONS = ["tools/list", "list_my_companies", "get_plan_status", "get_whatsapp_connection_status"]
OK, WARNING, FAILED, SKIPPED = CheckStatus.OK, CheckStatus.WARNING, CheckStatus.FAILED, CheckStatus.SKIPPED
ORDER = ["endpoint", "key", "tools", "organisation", "plan", "whatsapp"]


def favcrm(sandbox: Sandbox, colour: Colour, api_key: Secret | None, **options: Any) -> Facade:
    return provisioner(
        colour, transport=transport_to(sandbox, colour), api_key=api_key, retry=RetryPolicy.never(), **options
    )


def statuses(report: DiagnosticReport) -> dict[str, CheckStatus]:
    return {check.name: check.status for check in report.checks}


def check(report: DiagnosticReport, name: str) -> Check:
    return next(check for check in report.checks if check.name == name)


async def test_a_fresh_workspace_is_ready(sandbox: Sandbox, colour: Colour) -> None:
    report = await favcrm(sandbox, colour, sandbox.add_organisation("Acme")).diagnose()
    assert report.ready
    report.raise_if_not_ready()
    assert statuses(report) == dict.fromkeys(ORDER, OK)
    assert (report.endpoint_reachable, report.auth_configured) == (True, True)
    assert report.tool_count == len(sandbox.tools)
    assert (report.organisation, report.plan_status, report.whatsapp_connected) == ("Acme", "active", False)
    assert check(report, "plan").raw == report.plan
    assert "active" in str(report.plan)
    assert check(report, "plan").x_request_id


async def test_whatsapp_is_told(sandbox: Sandbox, colour: Colour) -> None:
    sandbox.rules.whatsapp_connected = True
    assert (await favcrm(sandbox, colour, sandbox.add_organisation()).diagnose()).whatsapp_connected is True


async def test_without_a_key_only_the_tools_are_listed(sandbox: Sandbox, colour: Colour) -> None:
    report = await favcrm(sandbox, colour, None).diagnose()
    assert [call.name for call in sandbox.calls] == ["tools/list"]
    assert not report.ready
    assert (report.endpoint_reachable, report.auth_configured) == (True, False)
    assert statuses(report)["key"] is FAILED
    assert statuses(report)["plan"] is SKIPPED
    with pytest.raises(errors.NotReadyError, match="key: there is none") as caught:
        report.raise_if_not_ready()
    assert caught.value.report is report
    assert "Sign up" in caught.value.next_step


@pytest.mark.parametrize("form", RefusalForm)
async def test_a_refused_key_is_told_apart_from_an_unreachable_endpoint(
    sandbox: Sandbox, colour: Colour, form: RefusalForm
) -> None:
    sandbox.refusal_form = form
    refused = await favcrm(sandbox, colour, Secret(f"fav_mcp_{secrets.token_urlsafe(24)}")).diagnose()
    assert refused.endpoint_reachable
    assert not refused.auth_configured
    assert statuses(refused)["endpoint"] is OK
    assert statuses(refused)["key"] is FAILED
    assert "Settings, MCP Keys" in check(refused, "key").advice
    for question in QUESTIONS:
        sandbox.fail_next(question, Fault.REFUSE_CONNECTION)
    unreachable = await favcrm(sandbox, colour, sandbox.add_organisation()).diagnose()
    assert not unreachable.endpoint_reachable
    assert not unreachable.ready
    assert statuses(unreachable) == {
        "endpoint": FAILED,
        "key": SKIPPED,
        "tools": SKIPPED,
        "organisation": WARNING,
        "plan": WARNING,
        "whatsapp": WARNING,
    }


async def test_a_key_refused_by_the_listing_too(sandbox: Sandbox, colour: Colour) -> None:
    sandbox.rules.list_checks_key = True
    report = await favcrm(sandbox, colour, Secret(f"fav_mcp_{secrets.token_urlsafe(24)}")).diagnose()
    assert report.endpoint_reachable
    assert (statuses(report)["key"], statuses(report)["tools"]) == (FAILED, FAILED)


@pytest.mark.parametrize("failing", QUESTIONS)
async def test_one_failing_check_hides_no_other(sandbox: Sandbox, colour: Colour, failing: str) -> None:
    sandbox.fail_next(failing, Fault.RESET_BEFORE)
    report = await favcrm(sandbox, colour, sandbox.add_organisation()).diagnose()
    bad = dict(zip(QUESTIONS, ["tools", "organisation", "plan", "whatsapp"], strict=True))[failing]
    expected = dict.fromkeys(ORDER, OK) | {bad: FAILED if bad == "tools" else WARNING}
    assert statuses(report) == expected
    assert report.ready is (bad != "tools")
    assert check(report, bad).advice


async def test_a_suspended_plan_is_not_ready(sandbox: Sandbox, colour: Colour) -> None:
    sandbox.rules.plan_status = "suspended"
    report = await favcrm(sandbox, colour, sandbox.add_organisation()).diagnose()
    assert (report.plan_status, statuses(report)["plan"], report.ready) == ("suspended", FAILED, False)


async def test_a_doubtful_plan_is_a_warning(sandbox: Sandbox, colour: Colour) -> None:
    sandbox.rules.plan_status = "past_due"
    report = await favcrm(sandbox, colour, sandbox.add_organisation()).diagnose()
    assert (statuses(report)["plan"], report.ready) == (WARNING, True)


async def test_the_servers_doctor_is_used_where_it_is_named(colour: Colour) -> None:
    sandbox = Sandbox(doctor=True)
    report = await favcrm(sandbox, colour, sandbox.add_organisation("Acme")).diagnose()
    assert sandbox.count("favcrm_doctor") == 1
    assert (report.ready, report.organisation, report.plan_status) == (True, "Acme", "active")
    assert report.tool_count == len(sandbox.tools)


async def test_a_doctor_that_fails_hides_nothing(colour: Colour) -> None:
    sandbox = Sandbox(doctor=True)
    sandbox.fail_next("favcrm_doctor", Fault.RESET_BEFORE)
    report = await favcrm(sandbox, colour, sandbox.add_organisation()).diagnose()
    assert statuses(report) == dict.fromkeys(ORDER, OK)


async def test_without_a_key_the_doctor_is_not_asked(colour: Colour) -> None:
    sandbox = Sandbox(doctor=True)
    await favcrm(sandbox, colour, None).diagnose()
    assert sandbox.count("favcrm_doctor") == 0


async def test_a_key_that_cannot_be_read_is_a_failed_check(sandbox: Sandbox, colour: Colour) -> None:
    options = {"store": MemoryStore(), "retry": RetryPolicy.never()}
    made = provisioner(
        colour, transport=transport_to(sandbox, colour), api_key=SecretRef("memory://favcrm/gone"), **options
    )
    report = await made.diagnose()
    assert (report.endpoint_reachable, statuses(report)["tools"], statuses(report)["key"]) == (
        True,
        OK,
        FAILED,
    )
    assert "memory://favcrm/gone" in check(report, "key").detail
    crm = client(
        colour, transport=transport_to(sandbox, colour), api_key=SecretRef("memory://favcrm/gone"), **options
    )
    with pytest.raises(errors.StoreError):
        await crm.call_tool("list_services")


async def test_a_page_that_is_no_mcp_server_is_not_reachable(sandbox: Sandbox, colour: Colour) -> None:
    for question in QUESTIONS:
        sandbox.fail_next(question, Fault.server_error(404, body="html"))
    report = await favcrm(sandbox, colour, sandbox.add_organisation()).diagnose()
    assert not report.endpoint_reachable
    assert "HTTP 404" in check(report, "endpoint").detail


async def test_every_page_of_the_tools_is_read(colour: Colour) -> None:
    sandbox = Sandbox()
    sandbox.rules.page_size = 5
    crm = client(colour, transport=transport_to(sandbox, colour))
    tools = await crm.list_tools()
    assert [tool.name for tool in tools] == list(sandbox.tools)
    assert sandbox.count("tools/list") == -(-len(sandbox.tools) // 5)
    assert tools[0].input_schema["type"] == "object"


@pytest.mark.parametrize("endless", ["circle", "more and more"])
async def test_rule_11_a_list_without_end_ends(colour: Colour, endless: str) -> None:
    class Endless:
        pages = 0

        def page(self) -> Any:
            self.pages += 1
            cursor = "again" if endless == "circle" else str(self.pages)
            return diagnosis_response({"tools": [], "nextCursor": cursor})

        def request(self, _: Request) -> Any:
            return self.page()

        def close(self) -> None: ...

    class AsyncEndless(Endless):
        async def request(self, _: Request) -> Any:
            return self.page()

        async def aclose(self) -> None: ...

    transport = Endless() if colour == "blocking" else AsyncEndless()
    with pytest.raises(errors.UnexpectedAnswerError, match="does not end"):
        await client(colour, transport=transport).list_tools()
    assert transport.pages == (2 if endless == "circle" else 100)


def diagnosis_response(result: dict[str, Any]) -> Any:
    from favcrm.transports import Response

    return Response(result=result)


async def test_the_blocking_questions_are_asked_at_the_same_time() -> None:
    sandbox = Sandbox(doctor=True)
    inner = sandbox.transport()
    together = threading.Barrier(len(QUESTIONS))
    rounds: list[str] = []

    class Meeting:
        clock = sandbox.clock

        def request(self, request: Request) -> Any:
            if request.params.get("name") != "favcrm_doctor":
                together.wait(timeout=30)
            rounds.append(str(request.params.get("name", request.method)))
            return inner.request(request)

        def close(self) -> None: ...

    made = provisioner("blocking", transport=Meeting(), api_key=sandbox.add_organisation())
    assert (await made.diagnose()).ready
    assert rounds[-1] == "favcrm_doctor"


async def test_the_asynchronous_questions_are_asked_at_the_same_time() -> None:
    sandbox = Sandbox()
    inner = sandbox.async_transport()
    waiting: list[str] = []
    all_there = anyio.Event()

    class Meeting:
        clock = sandbox.clock

        async def request(self, request: Request) -> Any:
            waiting.append(str(request.params.get("name", request.method)))
            if len(waiting) == len(QUESTIONS):
                all_there.set()
            with anyio.fail_after(30):
                await all_there.wait()
            return await inner.request(request)

        async def aclose(self) -> None: ...

    made = provisioner("asynchronous", transport=Meeting(), api_key=sandbox.add_organisation())
    assert (await made.diagnose()).ready
    assert sorted(waiting) == sorted(QUESTIONS)


# Reading answers whose field names are not published


def report_of(has_key: bool = True, /, **data: Any) -> DiagnosticReport:
    names = {
        "companies": calls.COMPANIES,
        "plan": calls.PLAN,
        "whatsapp": calls.WHATSAPP,
        "doctor": calls.DOCTOR,
    }
    findings = {calls.LIST: Finding(calls.LIST, (Tool(name="a"),), 0.0)}
    findings |= {name: Finding(name, ToolResult(data=None), 0.0) for name in diagnosis.QUESTIONS}
    findings |= {
        names[name]: Finding(names[name], ToolResult(data=value), 0.0) for name, value in data.items()
    }
    return diagnosis.report(findings, has_key=has_key, store_error=None)


@pytest.mark.parametrize(
    ("companies", "organisation"),
    [
        ([{"name": "A"}, {"name": "B", "isCurrent": True}], "B"),
        ({"companies": [{"companyName": "A"}]}, "A"),
        ({"data": {"companies": [{"id": "co_1"}]}}, "co_1"),
        ({"organisationName": "A", "companies": []}, "A"),
        ("Acme", "Acme"),
        ([], None),
        ({"companies": []}, None),
        (None, None),
        ({"a": {"b": {"c": {"d": {"e": {"name": "too deep"}}}}}}, None),
        ({"name": "A\x00\u202e" + "x" * 900}, "A" + "x" * 496 + "..."),
    ],
    ids=range(10),
)
def test_the_organisation(companies: object, organisation: str | None) -> None:
    assert report_of(companies=companies).organisation == organisation


@pytest.mark.parametrize(
    ("plan", "status"),
    [
        ({"status": "active", "plan": {"name": "Free"}}, "active"),
        ({"plan": {"status": "suspended", "name": "Free"}}, "suspended"),
        ({"plan": "free"}, "free"),
        ({"plan": {"code": "free"}}, "free"),
        ({"suspended": True, "plan": "free"}, "suspended"),
        ("active", "active"),
        ({}, None),
        (7, None),
    ],
    ids=range(8),
)
def test_the_plan(plan: object, status: str | None) -> None:
    assert report_of(plan=plan).plan_status == status


@pytest.mark.parametrize(
    ("whatsapp", "connected"),
    [
        ({"connected": True}, True),
        ({"isConnected": False}, False),
        ({"status": "CONNECTED"}, True),
        ({"status": "pending"}, False),
        (True, True),
        ("active", True),
        ({"phone": None}, None),
        (None, None),
    ],
    ids=range(8),
)
def test_whatsapp(whatsapp: object, connected: bool | None) -> None:
    assert report_of(whatsapp=whatsapp).whatsapp_connected is connected


def test_the_doctors_word_stands_before_the_others() -> None:
    doctor = {
        "mcpEndpointStatus": "degraded",
        "authStatus": "configured",
        "organisationContext": {"name": "D"},
        "planStatus": "suspended",
        "whatsappStatus": "connected",
    }
    report = report_of(doctor=doctor, companies=[{"name": "C"}], plan={"status": "active"}, whatsapp=False)
    assert (report.organisation, report.plan_status, report.whatsapp_connected) == ("D", "suspended", True)
    assert statuses(report)["endpoint"] is WARNING
    assert not report.ready


def test_a_doctor_that_doubts_the_key() -> None:
    report = report_of(doctor={"authStatus": "revoked"})
    assert (statuses(report)["key"], report.ready) == (FAILED, False)
    assert "revoked" in check(report, "key").detail


def test_rule_9_zero_tools_are_not_fine_though_zero_records_are() -> None:
    findings = {calls.LIST: Finding(calls.LIST, (), 0.0)}
    report = diagnosis.report(findings, has_key=False, store_error=None)
    assert (report.tool_count, statuses(report)["tools"]) == (0, FAILED)


def test_a_key_that_nothing_proves_is_a_warning() -> None:
    busy = errors.ServerBusyError("Busy.")
    findings = {calls.LIST: Finding(calls.LIST, (Tool(name="a"),), 0.0)}
    findings |= {name: Finding(name, busy, 0.0) for name in diagnosis.QUESTIONS}
    report = diagnosis.report(findings, has_key=True, store_error=None)
    assert (statuses(report)["key"], report.auth_configured) == (WARNING, False)
