"""What the commands do that ask the server: they call and list tools, and diagnose the workspace."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from attrs import evolve

from favcrm import FavCRMClient, FavCRMError, FavCRMProvisioner, InvalidInputError
from favcrm._text import clean
from favcrm.cli.keys import key_of_another_endpoint
from favcrm.cli.output import Found
from favcrm.cli.work import ONCE, answered
from favcrm.errors import Problem
from favcrm.models import CheckStatus
from favcrm.settings import Settings

if TYPE_CHECKING:
    from favcrm.cli.options import Given
    from favcrm.models import Tool
    from favcrm.typing import JSON

WIDEST = 100
OWN_COMMANDS = {
    "register_organisation_request": "favcrm signup request",
    "register_organisation_verify": "favcrm signup verify",
    "create_team_member_invite": "favcrm team invite create",
    "accept_team_invite_request": "favcrm team invite accept-request",
    "accept_team_invite_verify": "favcrm team invite accept-verify",
}


def call_tool(given: Given, name: str, arguments: str, *, show_key: bool) -> Found:
    """Call a tool."""
    if (own := OWN_COMMANDS.get(name)) is not None:
        problem = f'has a command of its own, which keeps secrets out of the output: run "{own}"'
        raise InvalidInputError([Problem(name, problem)])
    try:
        values: JSON = json.loads(arguments)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise InvalidInputError([Problem("JSON", "must be an object")])
    with FavCRMClient(given.url, api_key=given.api_key, retry=ONCE) as crm:
        return answered(crm.call_tool(name, values), show_key=show_key)


def list_tools(given: Given) -> Found:
    """List the tools."""
    tools = tools_of(given)
    lines = [clean(f"{tool.name}: {tool.description}", longest=WIDEST) for tool in tools]
    return Found([entry(tool) for tool in tools], tuple(lines))


def describe_tool(given: Given, name: str) -> Found:
    """Show one tool."""
    for tool in tools_of(given):
        if tool.name == name:
            return Found(entry(tool), (json.dumps(entry(tool), indent=2),))
    raise FavCRMError("There is no tool of this name.", next_step='Run "favcrm tool list" for the names.')


def tools_of(given: Given) -> tuple[Tool, ...]:
    """Return the tools."""
    with FavCRMClient(given.url, api_key=given.api_key, retry=ONCE) as crm:
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


def diagnose(given: Given) -> Found:
    """Find out whether the workspace is ready for work."""
    url = Settings.load(endpoint=given.url).endpoint
    with FavCRMProvisioner(given.url, api_key=given.api_key, retry=ONCE) as favcrm:
        report = favcrm.diagnose()
    if elsewhere := key_of_another_endpoint(given):
        advice = "Give the key of this address with --api-key, or in FAVCRM_API_KEY."
        report = evolve(
            report,
            checks=tuple(
                evolve(check, detail=elsewhere, advice=advice) if check.name == "key" else check
                for check in report.checks
            ),
        )
    checks = {check.name: check for check in report.checks}
    document: dict[str, JSON] = {
        "url": url,
        "authenticated": report.auth_configured,
        "reachable": report.endpoint_reachable,
        "toolCount": report.tool_count,
    }
    if checks["endpoint"].status is CheckStatus.FAILED:
        document["error"] = checks["endpoint"].detail
    for name, shown in (("organisation", "currentUser"), ("plan", "plan"), ("whatsapp", "whatsapp")):
        check = checks[name]
        if check.raw is not None:
            document[shown] = check.raw
        elif check.status is not CheckStatus.SKIPPED:
            document[f"{shown}Error"] = check.detail
    return Found(document, report=report)
