"""Calls that type checkers must accept. Checked, never run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, assert_type

import httpx
import httpx2

import favcrm
from favcrm import (
    AlreadyRegisteredError,
    AsyncFavCRMClient,
    AsyncFavCRMProvisioner,
    Check,
    DiagnosticReport,
    FavCRMClient,
    FavCRMError,
    FavCRMProvisioner,
    Industry,
    InvalidInputError,
    NotReadyError,
    PendingRegistration,
    PlanLimitError,
    RateLimitError,
    RefusedError,
    Registration,
    RetryPolicy,
    Secret,
    ServerBusyError,
    StoreError,
    Tool,
    ToolResult,
    TransportError,
    UnexpectedAnswerError,
    Workspace,
)
from favcrm.errors import Problem
from favcrm.transports import (
    AsyncHTTPTransport,
    HTTPTransport,
    Session,
    SessionTransport,
)


def a_sign_up() -> None:
    with FavCRMProvisioner() as provisioner:
        assert_type(provisioner, FavCRMProvisioner)
        pending = provisioner.initiate(
            email="you@example.com",
            organisation_name="Stretch + Breathe",
            industry="fitness",
            country="HK",
            timezone="Asia/Hong_Kong",
        )
        assert_type(pending, PendingRegistration)
        workspace = provisioner.confirm(pending, code="123456")
        assert_type(workspace, Workspace)
        report = provisioner.diagnose()
        assert_type(report, DiagnosticReport)
        report.raise_if_not_ready()


async def a_sign_up_async() -> None:
    async with AsyncFavCRMProvisioner() as provisioner:
        assert_type(provisioner, AsyncFavCRMProvisioner)
        pending = await provisioner.initiate(email="you@example.com", organisation_name="Stretch + Breathe")
        assert_type(pending, PendingRegistration)
        assert_type(await provisioner.confirm(pending, "123456"), Workspace)
        assert_type(await provisioner.diagnose(), DiagnosticReport)
    await provisioner.aclose()


def a_registration_of_its_own(provisioner: FavCRMProvisioner) -> None:
    registration = Registration(
        email="you@example.com", organisation_name="Stretch + Breathe", industry=Industry.FITNESS
    )
    pending = provisioner.initiate(registration, resend=True)
    provisioner.confirm(pending.request_id, "123456")
    provisioner.close()


def what_a_constructor_takes(key: Secret, retry: RetryPolicy) -> None:
    FavCRMProvisioner("https://crm.example/mcp")
    FavCRMProvisioner(endpoint="https://crm.example/mcp", api_key="a key", retry=retry, timeout=5)
    FavCRMProvisioner(api_key=key, timeout=2.5, retry=RetryPolicy.never())
    FavCRMProvisioner(api_key=None, transport=None, store=None, ledger=None, on_event=None, http_client=None)
    FavCRMProvisioner(http_client=httpx.Client())
    FavCRMProvisioner(http_client=httpx2.Client())
    AsyncFavCRMProvisioner(http_client=httpx.AsyncClient())
    AsyncFavCRMProvisioner(http_client=httpx2.AsyncClient())
    FavCRMClient("https://crm.example/mcp", api_key=key, http_client=httpx.Client())
    FavCRMClient(api_key="a key", http_client=httpx2.Client())
    AsyncFavCRMClient(api_key=key, http_client=httpx.AsyncClient())
    AsyncFavCRMClient(api_key=key, http_client=httpx2.AsyncClient())
    FavCRMProvisioner(era="bare")
    AsyncFavCRMClient(era="modern")


async def each_way_to_reach_the_tools(session: Session) -> None:
    FavCRMProvisioner(transport=HTTPTransport("https://crm.example/mcp", on_input=lambda requests: requests))
    AsyncFavCRMProvisioner(transport=AsyncHTTPTransport("https://crm.example/mcp"))
    crm = AsyncFavCRMClient(transport=SessionTransport(session))
    await crm.call_tool("export", on_progress=lambda progress: print(progress.total or progress.message))


def the_hand_over(workspace: Workspace) -> None:
    with FavCRMClient(api_key=workspace.api_key) as crm:
        assert_type(crm, FavCRMClient)
        result = crm.call_tool("list_services")
        assert_type(result, ToolResult)
        crm.call_tool("search_members", {"query": "Ada", "limit": 5, "tags": ["new", None]})
        assert_type(crm.list_tools(), tuple[Tool, ...])


async def the_hand_over_async(workspace: Workspace) -> None:
    async with AsyncFavCRMClient(api_key=workspace.api_key) as crm:
        assert_type(crm, AsyncFavCRMClient)
        assert_type(await crm.call_tool("list_services", arguments=None), ToolResult)
        assert_type(await crm.list_tools(), tuple[Tool, ...])


def what_comes_out(
    pending: PendingRegistration,
    workspace: Workspace,
    report: DiagnosticReport,
    tool: Tool,
    result: ToolResult,
) -> None:
    assert_type(pending.request_id, str)
    assert_type(pending.masked_email, str)
    assert_type(pending.expires_at, datetime)
    assert_type(pending.instructions, str)
    assert_type(pending.remaining(), float)
    assert_type(pending.expired, bool)

    assert_type(workspace.organisation_id, str | None)
    assert_type(workspace.company_id, str | None)
    assert_type(workspace.user_id, str | None)
    assert_type(workspace.api_key, Secret)
    assert_type(workspace.api_key.reveal(), str)
    assert_type(workspace.login_url, str | None)
    assert_type(workspace.next_steps, tuple[str, ...])
    assert_type(workspace.problems, tuple[str, ...])

    assert_type(report.endpoint_reachable, bool)
    assert_type(report.auth_configured, bool)
    assert_type(report.tool_count, int)
    assert_type(report.organisation, str | None)
    assert_type(report.plan_status, str | None)
    assert_type(report.whatsapp_connected, bool | None)
    assert_type(report.checks, tuple[Check, ...])
    assert_type(report.ready, bool)

    assert_type(tool.name, str)
    assert_type(tool.description, str)
    schema: Mapping[str, Any] = tool.input_schema
    annotations: Mapping[str, Any] = tool.annotations

    assert_type(result.summary, str)
    content: Sequence[Mapping[str, Any]] = result.content
    raw: Mapping[str, Any] = result.raw
    print(schema, annotations, content, raw, result.data)


def what_can_go_wrong(provisioner: FavCRMProvisioner) -> None:
    try:
        provisioner.initiate(email="you@example.com", organisation_name="Stretch + Breathe")
    except InvalidInputError as error:
        assert_type(error.problems, tuple[Problem, ...])
        value_error: ValueError = error
        print(value_error)
    except TransportError as error:
        assert_type(error.request_id, str | None)
    except RateLimitError as error:
        assert_type(error.retry_after, float | None)
    except ServerBusyError as error:
        assert_type(error.retry_after, float | None)
    except UnexpectedAnswerError as error:
        assert_type(error.problems, tuple[str, ...])
    except AlreadyRegisteredError as error:
        assert_type(error.login_url, str)
    except PlanLimitError as error:
        assert_type(error.upgrade_action, str | None)
    except RefusedError as error:
        assert_type(error.code, str)
        assert_type(error.server_code, int | str | None)
        assert_type(error.summary, str)
    except NotReadyError as error:
        assert_type(error.report, DiagnosticReport)
    except StoreError as error:
        assert_type(error.workspace, Workspace | None)
    except FavCRMError as error:
        assert_type(error.next_step, str)


assert_type(favcrm.__version__, str)
