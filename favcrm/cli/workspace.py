"""The commands that work with a workspace: ``doctor``, ``whoami``, ``plan``, ``whatsapp`` and ``tool``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
from attrs import evolve

from favcrm._text import clean
from favcrm.cli.keys import why_no_key
from favcrm.cli.options import Given, action
from favcrm.cli.output import Found, answered, key_place
from favcrm.errors import FavCRMError, InvalidInputError, Problem
from favcrm.models import CheckStatus
from favcrm.settings import Settings

if TYPE_CHECKING:
    from favcrm import Check, DiagnosticReport, Tool
    from favcrm.typing import JSON

__all__ = ["doctor", "plan", "tool", "whatsapp", "whoami"]

WIDEST = 100
OWN_COMMANDS = {
    "register_organisation_request": "favcrm signup request",
    "register_organisation_verify": "favcrm signup verify",
    "create_team_member_invite": "favcrm team invite create",
    "accept_team_invite_request": "favcrm team invite accept-request",
    "accept_team_invite_verify": "favcrm team invite accept-verify",
}


@click.command()
@action()
def doctor(given: Given) -> Found:
    """Find out whether the workspace is ready for work.

    The exit status is 0 when the workspace is ready, and 1 otherwise.
    """
    settings = Settings.load(endpoint=given.url, api_key=given.api_key)
    with given.provisioner() as favcrm:
        report = favcrm.diagnose()
    key = next(check for check in report.checks if check.name == "key")
    if settings.api_key is None:
        detail, advice = why_no_key(given)
        report = with_check(report, key, evolve(key, detail=detail, advice=advice))
    elif key.status is CheckStatus.FAILED:
        detail = f"{key.detail.rstrip('.')}. Key from: {key_place(settings.key_source)}."
        report = with_check(report, key, evolve(key, detail=detail))
    named = {check.name: check for check in report.checks}
    document: dict[str, JSON] = {
        "url": settings.endpoint,
        "authenticated": report.auth_configured,
        "reachable": report.endpoint_reachable,
        "toolCount": report.tool_count,
    }
    if named["endpoint"].status is CheckStatus.FAILED:
        document["error"] = named["endpoint"].detail
    for name, shown in (("organisation", "currentUser"), ("plan", "plan"), ("whatsapp", "whatsapp")):
        check = named[name]
        if check.raw is not None:
            document[shown] = check.raw
        elif check.status is not CheckStatus.SKIPPED:
            document[f"{shown}Error"] = check.detail
    return Found(document, report=report)


def with_check(report: DiagnosticReport, old: Check, new: Check) -> DiagnosticReport:
    """Return a report in which each check that says the same as the old one says what the new one says."""
    checks = (
        evolve(check, detail=new.detail, advice=new.advice) if check.detail == old.detail else check
        for check in report.checks
    )
    return evolve(report, checks=tuple(checks))


@click.command()
@action()
def whoami(given: Given) -> Found:
    """Show the companies that the key opens."""
    return call_tool(given, "list_my_companies")


@click.group()
def plan() -> None:
    """Look at the plan."""


@plan.command("status")
@action()
def plan_status(given: Given) -> Found:
    """Show the plan and its limits."""
    return call_tool(given, "get_plan_status")


@click.group()
def whatsapp() -> None:
    """Look at WhatsApp."""


@whatsapp.command("status")
@action()
def whatsapp_status(given: Given) -> Found:
    """Show whether WhatsApp is connected."""
    return call_tool(given, "get_whatsapp_connection_status")


@click.group()
def tool() -> None:
    """List, describe and call tools."""


@tool.command("list")
@action()
def tool_list(given: Given) -> Found:
    """List the tools."""
    tools = tools_of(given)
    lines = [clean(f"{tool.name}: {tool.description}", longest=WIDEST) for tool in tools]
    return Found([entry(tool) for tool in tools], tuple(lines))


@tool.command("describe")
@click.argument("name")
@action()
def tool_describe(given: Given, *, name: str) -> Found:
    """Show a tool with its schemas."""
    for tool in tools_of(given):
        if tool.name == name:
            return Found(entry(tool), (json.dumps(entry(tool), indent=2),))
    raise FavCRMError("There is no tool of this name.", next_step='Run "favcrm tool list" for the names.')


@tool.command("call")
@click.argument("name")
@click.argument("arguments", metavar="[JSON]", default="{}")
@click.option("--show-key", is_flag=True, help="Show keys and one-time tokens in full.")
@action(stopped="The tool may have done its work.")
def tool_call(given: Given, *, name: str, arguments: str, show_key: bool) -> Found:
    """Call a tool; its arguments are a JSON object."""
    # Names may come with a prefix, such as "mcp__favcrm__".
    folded = name.lower().replace("-", "_")
    if own := next((own for tool, own in OWN_COMMANDS.items() if folded.endswith(tool)), None):
        problem = f'has a command of its own, which keeps secrets out of the output: run "{own}"'
        raise InvalidInputError([Problem("NAME", problem)])
    try:
        values: JSON = json.loads(arguments)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise InvalidInputError([Problem("JSON", "must be an object")])
    return call_tool(given, name, values, show_key=show_key)


def call_tool(
    given: Given, name: str, arguments: dict[str, JSON] | None = None, *, show_key: bool = False
) -> Found:
    """Return what a tool answers."""
    with given.client() as crm:
        return answered(crm.call_tool(name, arguments), show_key=show_key)


def tools_of(given: Given) -> tuple[Tool, ...]:
    """Return the tools."""
    with given.client() as crm:
        return crm.list_tools()


def entry(tool: Tool) -> dict[str, JSON]:
    """Return a tool as MCP lists it."""
    listed: dict[str, JSON] = {
        "name": tool.name,
        "description": tool.description,
        "inputSchema": tool.input_schema,
        "outputSchema": tool.output_schema,
        "annotations": tool.annotations,
    }
    return {name: value for name, value in listed.items() if value is not None}
