"""The diagnosis: what is asked, how long that takes, and what the report says."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

import anyio
import pytest
from colours import Colour, Facade, client, own_transport, provisioner, transport_to

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
from favcrm.sandbox import Fault, Sandbox
from favcrm.stores import MemoryStore
from favcrm.transport import Request, Response

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


async def test_a_refused_key_leaves_the_endpoint_reachable(sandbox: Sandbox) -> None:
    refused = await favcrm(sandbox, "blocking", Secret("not-a-real-key-6789")).diagnose()
    assert (refused.endpoint_reachable, refused.auth_configured) == (True, False)
    assert (statuses(refused)["endpoint"], statuses(refused)["key"]) == (OK, FAILED)
    assert "Settings, MCP Keys" in check(refused, "key").advice


async def test_an_unreachable_endpoint_leaves_the_key_untried(sandbox: Sandbox) -> None:
    for question in QUESTIONS:
        sandbox.fail_next(question, Fault.REFUSE_CONNECTION)
    unreachable = await favcrm(sandbox, "blocking", sandbox.add_organisation()).diagnose()
    assert (unreachable.endpoint_reachable, unreachable.ready) == (False, False)
    assert statuses(unreachable) == {
        "endpoint": FAILED,
        "key": SKIPPED,
        "tools": SKIPPED,
        "organisation": WARNING,
        "plan": WARNING,
        "whatsapp": WARNING,
    }


async def test_a_key_refused_by_the_listing_too(sandbox: Sandbox) -> None:
    sandbox.rules.list_checks_key = True
    report = await favcrm(sandbox, "blocking", Secret("not-a-real-key-6789")).diagnose()
    assert report.endpoint_reachable
    assert (statuses(report)["key"], statuses(report)["tools"]) == (FAILED, FAILED)


@pytest.mark.parametrize("failing", QUESTIONS)
async def test_one_failing_check_hides_no_other(sandbox: Sandbox, failing: str) -> None:
    sandbox.fail_next(failing, Fault.RESET_BEFORE)
    report = await favcrm(sandbox, "blocking", sandbox.add_organisation()).diagnose()
    bad = dict(zip(QUESTIONS, ["tools", "organisation", "plan", "whatsapp"], strict=True))[failing]
    assert statuses(report) == dict.fromkeys(ORDER, OK) | {bad: FAILED if bad == "tools" else WARNING}
    assert report.ready is (bad != "tools")
    assert check(report, bad).advice


async def test_the_servers_doctor_is_used_where_it_is_named(colour: Colour) -> None:
    sandbox = Sandbox(doctor=True)
    report = await favcrm(sandbox, colour, sandbox.add_organisation("Acme")).diagnose()
    assert sandbox.count("favcrm_doctor") == 1
    assert (report.ready, report.organisation, report.plan_status) == (True, "Acme", "active")
    assert report.tool_count == len(sandbox.tools)


async def test_a_doctor_that_fails_hides_nothing() -> None:
    sandbox = Sandbox(doctor=True)
    sandbox.fail_next("favcrm_doctor", Fault.RESET_BEFORE)
    report = await favcrm(sandbox, "blocking", sandbox.add_organisation()).diagnose()
    assert statuses(report) == dict.fromkeys(ORDER, OK)


async def test_without_a_key_the_doctor_is_not_asked() -> None:
    sandbox = Sandbox(doctor=True)
    await favcrm(sandbox, "blocking", None).diagnose()
    assert sandbox.count("favcrm_doctor") == 0


async def test_a_key_that_cannot_be_read_is_a_failed_check(sandbox: Sandbox, colour: Colour) -> None:
    options: dict[str, Any] = {"store": MemoryStore(), "api_key": SecretRef("memory://favcrm/gone")}
    transport = transport_to(sandbox, colour)
    report = await provisioner(colour, transport=transport, **options).diagnose()
    assert (statuses(report)["endpoint"], statuses(report)["tools"]) == (OK, OK)
    assert statuses(report)["key"] is FAILED
    assert "memory://favcrm/gone" in check(report, "key").detail
    with pytest.raises(errors.StoreError):
        await client(colour, transport=transport, **options).call_tool("list_services")


async def test_a_page_that_is_no_mcp_server_is_not_reachable(sandbox: Sandbox) -> None:
    for question in QUESTIONS:
        sandbox.fail_next(question, Fault.server_error(404, body="html"))
    report = await favcrm(sandbox, "blocking", sandbox.add_organisation()).diagnose()
    assert not report.endpoint_reachable
    assert "HTTP 404" in check(report, "endpoint").detail


async def test_every_page_of_the_tools_is_read(colour: Colour) -> None:
    sandbox = Sandbox()
    sandbox.rules.page_size = 5
    tools = await client(colour, transport=transport_to(sandbox, colour)).list_tools()
    assert [tool.name for tool in tools] == list(sandbox.tools)
    assert sandbox.count("tools/list") == -(-len(sandbox.tools) // 5)
    assert tools[0].input_schema["type"] == "object"


@pytest.mark.parametrize(("cursors", "pages"), [(["again"] * 2, 2), (map(str, range(1000)), 100)])
async def test_rule_11_a_list_without_end_ends(cursors: Iterable[str], pages: int) -> None:
    asked: list[Request] = []
    left = iter(cursors)

    def answer(request: Request) -> Response:
        asked.append(request)
        return Response(result={"tools": [], "nextCursor": next(left)})

    with pytest.raises(errors.UnexpectedAnswerError, match="does not end"):
        await client("blocking", transport=own_transport("blocking", answer)).list_tools()
    assert len(asked) == pages


async def test_the_blocking_questions_are_asked_at_the_same_time() -> None:
    sandbox = Sandbox(doctor=True)
    inner = sandbox.transport()
    together = threading.Barrier(len(QUESTIONS))
    rounds: list[str] = []

    def answer(request: Request) -> Response:
        if request.params.get("name") != "favcrm_doctor":
            together.wait(timeout=30)
        rounds.append(str(request.params.get("name", request.method)))
        return inner.request(request)

    transport = own_transport("blocking", answer, clock=sandbox.clock)
    made = provisioner("blocking", transport=transport, api_key=sandbox.add_organisation())
    assert (await made.diagnose()).ready
    assert rounds[-1] == "favcrm_doctor"


async def test_the_asynchronous_questions_are_asked_at_the_same_time() -> None:
    sandbox = Sandbox()
    inner = sandbox.async_transport()
    waiting: list[str] = []
    all_there = anyio.Event()

    async def answer(request: Request) -> Response:
        waiting.append(str(request.params.get("name", request.method)))
        if len(waiting) == len(QUESTIONS):
            all_there.set()
        with anyio.fail_after(30):
            await all_there.wait()
        return await inner.request(request)

    transport = own_transport("asynchronous", answer, clock=sandbox.clock)
    made = provisioner("asynchronous", transport=transport, api_key=sandbox.add_organisation())
    assert (await made.diagnose()).ready
    assert sorted(waiting) == sorted(QUESTIONS)


# Reading answers whose field names are not published


def report_of(**data: Any) -> DiagnosticReport:
    names = dict(zip(["companies", "plan", "whatsapp"], diagnosis.QUESTIONS, strict=True))
    answers = {calls.LIST: (Tool(name="a"),)} | {name: ToolResult(data=None) for name in names.values()}
    answers |= {names.get(name, calls.DOCTOR): ToolResult(data=value) for name, value in data.items()}
    return report_with(answers)


def report_with(answers: Mapping[str, Any], *, has_key: bool = True) -> DiagnosticReport:
    findings = {name: Finding(name, answer, 0.0) for name, answer in answers.items()}
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
def test_the_organisation_is_found_under_each_of_its_names(
    companies: object, organisation: str | None
) -> None:
    assert report_of(companies=companies).organisation == organisation


@pytest.mark.parametrize(
    ("plan", "status", "check_status"),
    [
        ({"status": "active", "plan": {"name": "Free"}}, "active", OK),
        ({"plan": {"status": "suspended", "name": "Free"}}, "suspended", FAILED),
        ({"plan": {"code": "free"}}, "free", OK),
        ({"status": "Past_Due"}, "Past_Due", WARNING),
        ("active", "active", OK),
        ({}, None, OK),
        (7, None, OK),
    ],
    ids=range(7),
)
def test_the_plan_is_found_and_a_suspended_one_is_not_ready(
    plan: object, status: str | None, check_status: CheckStatus
) -> None:
    report = report_of(plan=plan)
    assert (report.plan_status, statuses(report)["plan"]) == (status, check_status)
    assert report.ready is (check_status is not FAILED)
    assert report.plan == plan


@pytest.mark.parametrize(
    ("whatsapp", "connected"),
    [
        ({"connected": True}, True),
        ({"isConnected": False}, False),
        ({"status": "CONNECTED"}, True),
        ({"status": "pending"}, False),
        (True, True),
        ({"phone": None}, None),
        (None, None),
    ],
    ids=range(7),
)
def test_whatsapp_is_connected_where_the_answer_says_so(whatsapp: object, connected: bool | None) -> None:
    assert report_of(whatsapp=whatsapp).whatsapp_connected is connected


def test_the_doctor_calls_a_plan_suspended_although_the_tool_of_the_plan_failed() -> None:
    doctor = ToolResult(data={"planStatus": "suspended"})
    answers = dict.fromkeys(diagnosis.QUESTIONS, errors.ServerBusyError("Busy."))
    report = report_with({calls.LIST: (Tool(name="a"),), **answers, calls.DOCTOR: doctor})
    assert (statuses(report)["plan"], report.ready) == (FAILED, False)


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
    report = report_with({calls.LIST: ()}, has_key=False)
    assert (report.tool_count, statuses(report)["tools"]) == (0, FAILED)


def test_a_key_that_nothing_proves_is_a_warning() -> None:
    answers = dict.fromkeys(diagnosis.QUESTIONS, errors.ServerBusyError("Busy."))
    report = report_with({calls.LIST: (Tool(name="a"),), **answers})
    assert (statuses(report)["key"], report.auth_configured) == (WARNING, False)
