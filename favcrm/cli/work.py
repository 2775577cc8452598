"""What the commands do that use FavCRM. Each call is tried once: whoever calls decides what comes next."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from favcrm import FavCRMClient, FavCRMError, FavCRMProvisioner, InvalidInputError, RetryPolicy, Secret
from favcrm._mcp import payloads
from favcrm._text import clean
from favcrm.cli.keys import key_file, received, refuse_another_key
from favcrm.cli.output import Found
from favcrm.errors import KeyNotStoredWarning, Problem, StoreError
from favcrm.events import EventKind
from favcrm.ledger_file import FileLedger
from favcrm.models import CheckStatus
from favcrm.results import plain
from favcrm.settings import Settings, config_path

if TYPE_CHECKING:
    from favcrm.cli.options import Given
    from favcrm.events import Event
    from favcrm.models import Invitation, PendingRegistration, Tool, ToolResult
    from favcrm.typing import JSON

ONCE = RetryPolicy.never()
FAILED, WRONG_USE = 1, 2
WIDEST = 100
MINUTE = 60
HASH_LENGTH = 12


def perform(given: Given, act: Callable[[], Found]) -> None:
    """Do it and show what it brings; where it fails, say why and end with a status that tells."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            # A command says by itself where a key is, and shows one that is not saved.
            warnings.simplefilter("ignore", KeyNotStoredWarning)
            found = act()
        for words in dict.fromkeys(str(warning.message) for warning in caught):
            warn(given, words)
        show(given, found)
        if found.report is not None:
            found.report.raise_if_not_ready()
    except FavCRMError as error:
        if isinstance(error, StoreError) and error.workspace is not None:
            # It comes only once, so it is shown where it could not be saved.
            show(given, received(error.workspace, None, show_key=True, given=given))
        given.output.error(error)
        sys.exit(WRONG_USE if isinstance(error, InvalidInputError) else FAILED)


def show(given: Given, found: Found) -> None:
    """Write what was found."""
    if given.as_json:
        click.echo(json.dumps(found.payload, indent=2))
    elif found.report is None:
        click.echo("\n".join(found.lines))
    else:
        output = given.output
        output.report = found.report
        output.finish()


# Signing up


def request_code(given: Given, *, resend: bool, **fields: str | None) -> Found:
    """Ask for a code, unless one that was asked for before is still good."""
    ledger = pending_ledger(given)
    events: list[Event] = []
    with FavCRMProvisioner(given.url, retry=ONCE, ledger=ledger, on_event=events.append) as favcrm:
        pending = favcrm.initiate(**fields, resend=resend)
    if ledger is None:
        warn(given, "This request could not be remembered, so asking again sends another email.")
    reused = any(event.kind is EventKind.CODE_REUSED for event in events)
    then = f"Then: favcrm signup verify --request-id {clean(pending.request_id)} --code CODE"
    payload = {"requestId": pending.request_id, **asked(pending), "reused": reused}
    return Found(payload, (*told(pending, reused=reused), then))


def verify_code(given: Given, request_id: str, code: str, *, save: bool, show_key: bool) -> Found:
    """Confirm a code."""
    store, path = key_file(save=save)
    refuse_another_key(path)
    with FavCRMProvisioner(given.url, retry=ONCE, store=store, ledger=pending_ledger(given)) as favcrm:
        workspace = favcrm.confirm(request_id, code)
    return received(workspace, path, show_key=show_key, given=given)


def pending_ledger(given: Given) -> FileLedger | None:
    """Return what remembers requests from one command to the next, or None where there is no place for a file."""
    path = config_path(os.environ, sys.platform)
    if path is None:
        return None
    # A file for each endpoint, because a code of one endpoint means nothing to another. The endpoint is hashed,
    # because an address may hold a secret.
    endpoint = Settings.load(endpoint=given.url).endpoint
    name = hashlib.sha256(endpoint.encode()).hexdigest()[:HASH_LENGTH]
    return FileLedger(path.with_name(f"pending-{name}.json"))


def warn(given: Given, words: str) -> None:
    """Write a warning to stderr."""
    click.echo(json.dumps({"warning": words}) if given.as_json else f"Warning: {words}", err=True)


# Invitations


def create_invite(
    given: Given, email: str, *, name: str | None, role: str | None, expires_in_hours: int | None
) -> Found:
    """Invite somebody. The whole answer is shown, because nobody published which field has the token."""
    with FavCRMClient(given.url, api_key=given.api_key, retry=ONCE) as crm:
        invitation = crm.invite(email, name=name, role=role, expires_in_hours=expires_in_hours)
    return answered(invitation, show_key=True)


def request_invite_code(given: Given, token: str) -> Found:
    """Ask for the code that goes with an invitation."""
    with FavCRMProvisioner(given.url, retry=ONCE, ledger=pending_ledger(given)) as favcrm:
        pending = favcrm.request_invite_code(token)
    return Found(asked(pending), (*told(pending), "Then: favcrm team invite accept-verify"))


def verify_invite(
    given: Given, token: str, code: str, name: str | None, *, save: bool, show_key: bool
) -> Found:
    """Confirm the code of an invitation."""
    store, path = key_file(save=save)
    refuse_another_key(path)
    with FavCRMProvisioner(given.url, retry=ONCE, store=store, ledger=pending_ledger(given)) as favcrm:
        workspace = favcrm.confirm_invite(token, code, person=name)
    return received(workspace, path, show_key=show_key, given=given)


def asked(pending: PendingRegistration) -> dict[str, JSON]:
    """Return what was asked for, for machines."""
    return {
        "expiresAt": pending.expires_at.isoformat(),
        "maskedEmail": pending.masked_email,
        "instructions": pending.instructions,
    }


def told(pending: PendingRegistration, *, reused: bool = False) -> tuple[str, ...]:
    """Return what was asked for, for people."""
    seconds = pending.remaining()
    time = f"{seconds / MINUTE:.0f} minutes" if seconds >= 2 * MINUTE else f"{seconds:.0f} seconds"
    if reused:
        return (
            f"A code was sent by an earlier request, and is good for {time} more. No second email was sent.",
            "Give --resend to ask for a new code.",
        )
    place = f" to {pending.masked_email}" if pending.masked_email else ""
    return (f"A code was sent{place}, and is good for {time}.",)


# Tools


def call_tool(given: Given, name: str, arguments: str, *, show_key: bool) -> Found:
    """Call a tool."""
    values = payloads.as_json(arguments)
    if not isinstance(values, dict):
        raise InvalidInputError([Problem("JSON", "must be an object")])
    with FavCRMClient(given.url, api_key=given.api_key, retry=ONCE) as crm:
        return answered(crm.call_tool(name, values), show_key=show_key)


def answered(result: ToolResult | Invitation, *, show_key: bool) -> Found:
    """Return what a tool answered, with its keys and one-time tokens only for who asks for them."""
    data = plain(result.data, Secret.reveal) if show_key else plain(result.data)
    return Found(data, (*([result.summary] if result.summary else []), json.dumps(data, indent=2)))


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
    """Find out whether the workspace can be worked with."""
    url = Settings.load(endpoint=given.url).endpoint
    with FavCRMProvisioner(given.url, api_key=given.api_key, retry=ONCE) as favcrm:
        report = favcrm.diagnose()
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
