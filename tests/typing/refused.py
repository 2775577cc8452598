"""Calls that type checkers must refuse. Checked, never run.

Every marked line must be an error: mypy warns of a marker that it does not need, and so does pyright here.
"""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import json

import httpx

from favcrm import (
    AsyncFavCRMClient,
    AsyncFavCRMProvisioner,
    DiagnosticReport,
    FavCRMClient,
    FavCRMProvisioner,
    PendingRegistration,
    Registration,
    RetryPolicy,
    Secret,
    ToolResult,
    Workspace,
)
from favcrm.transports import (
    Session,
    SessionTransport,
)


def a_registration_needs_its_fields(provisioner: FavCRMProvisioner) -> None:
    Registration(email="you@example.com")  # type: ignore[call-arg]
    Registration("you@example.com", "Stretch + Breathe")  # type: ignore[call-arg]
    provisioner.initiate(email=None, organisation_name=7)  # type: ignore[arg-type]
    provisioner.initiate("you@example.com")  # type: ignore[arg-type]
    provisioner.initiate(email="you@example.com", organization_name="Stretch")  # type: ignore[call-arg]


def a_code_is_text(provisioner: FavCRMProvisioner, pending: PendingRegistration) -> None:
    provisioner.confirm(pending, 123456)  # type: ignore[arg-type]
    provisioner.confirm(pending)  # type: ignore[call-arg]


def settings_are_named(key: Secret) -> None:
    FavCRMProvisioner("https://crm.example/mcp", "a key")  # type: ignore[call-arg]
    FavCRMProvisioner(api_key=b"a key")  # type: ignore[arg-type]
    FavCRMProvisioner(timeout="5 s")  # type: ignore[arg-type]
    FavCRMProvisioner(retry=3)  # type: ignore[arg-type]
    FavCRMProvisioner(api_token=key)  # type: ignore[call-arg]
    RetryPolicy(3)  # type: ignore[call-arg]
    FavCRMProvisioner(era="2026-07-28")  # type: ignore[arg-type]


def each_colour_takes_its_own_client() -> None:
    FavCRMProvisioner(http_client=httpx.AsyncClient())  # type: ignore[arg-type]
    AsyncFavCRMProvisioner(http_client=httpx.Client())  # type: ignore[arg-type]
    FavCRMClient(http_client=httpx.AsyncClient())  # type: ignore[arg-type]
    AsyncFavCRMClient(http_client=httpx.Client())  # type: ignore[arg-type]


def colours_do_not_mix(session: Session) -> None:
    FavCRMProvisioner(transport=SessionTransport(session))  # type: ignore[arg-type]
    with AsyncFavCRMProvisioner():  # type: ignore[attr-defined]
        pass


async def colours_do_not_mix_async(provisioner: FavCRMProvisioner, crm: FavCRMClient) -> None:
    await provisioner.diagnose()  # type: ignore[misc]
    await crm.list_tools()  # type: ignore[misc]


def a_secret_is_no_text(workspace: Workspace) -> None:
    header: str = workspace.api_key  # type: ignore[assignment]
    print("Bearer " + workspace.api_key)  # type: ignore[operator]
    print(len(workspace.api_key), json, header)  # type: ignore[arg-type]


def what_comes_out_is_frozen(
    pending: PendingRegistration, workspace: Workspace, report: DiagnosticReport, result: ToolResult
) -> None:
    pending.request_id = "another"  # type: ignore[misc]
    workspace.api_key = Secret("another")  # type: ignore[misc]
    report.ready = True  # type: ignore[misc]
    result.summary = ""  # type: ignore[misc]


def a_tool_takes_json(crm: FavCRMClient) -> None:
    crm.call_tool("create_member", ["Ada"])  # type: ignore[arg-type]
    crm.call_tool(arguments={})  # type: ignore[call-arg]
