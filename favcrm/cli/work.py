"""What the commands do that use FavCRM. Each call is tried once: whoever calls decides what comes next."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import frozen

from favcrm import FavCRMClient, FavCRMError, FavCRMProvisioner, InvalidInputError, RetryPolicy, Secret
from favcrm._assembly import Options, blocking_engine
from favcrm._bridge import run_sync
from favcrm._core import calls, payloads
from favcrm._core.custody import Saving
from favcrm._core.text import clean
from favcrm.errors import Problem, StoreError
from favcrm.inputs import raise_problems, read_invite, registration_of
from favcrm.ledger import MemoryLedger
from favcrm.models import CheckStatus, PendingRegistration
from favcrm.results import plain
from favcrm.settings import KEY_VARIABLES, Settings, check_key, config_path
from favcrm.stores.config_file import ConfigFileStore

if TYPE_CHECKING:
    from favcrm._core.engine import Engine
    from favcrm._core.ports import Store
    from favcrm.cli.options import Given
    from favcrm.models import DiagnosticReport, Tool, ToolResult, Workspace
    from favcrm.typing import JSON

ONCE = RetryPolicy.never()
FAILED, WRONG_USE = 1, 2
CODE_LIFE = timedelta(minutes=10)
WIDEST = 100


@frozen
class Found:
    """What a command brings.

    Attributes:
        payload: For machines.
        lines: For people.
        report: The diagnosis, where it is one.
    """

    payload: JSON
    lines: tuple[str, ...] = ()
    report: DiagnosticReport | None = None


def perform(given: Given, act: Callable[[], Found]) -> None:
    """Do it and show what it brings; where it fails, say why and end with a status that tells."""
    try:
        found = act()
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


@contextmanager
def connected(given: Given, store: Store | None = None) -> Generator[Engine]:
    """Lend what makes the calls that the public classes make only as a part of more."""
    options = Options(
        endpoint=given.url,
        api_key=given.api_key,
        store=store,
        ledger=MemoryLedger(),
        retry=ONCE,
        timeout=None,
        on_event=None,
    )
    engine, close = blocking_engine(options, options.settings(), None, None, None)
    try:
        yield engine
    finally:
        close()


# Signing up


def request_code(given: Given, **fields: str | None) -> Found:
    """Ask for a code."""
    with FavCRMProvisioner(given.url, retry=ONCE) as favcrm:
        pending = favcrm.initiate(registration_of(None, fields))
    then = f"Then: favcrm signup verify --request-id {clean(pending.request_id)} --code CODE"
    return Found({"requestId": pending.request_id, **asked(pending)}, (*told(pending), then))


def verify_code(given: Given, request_id: str, code: str, *, save: bool, show_key: bool) -> Found:
    """Confirm a code."""
    store, path = key_file(save=save)
    with FavCRMProvisioner(given.url, retry=ONCE, store=store) as favcrm:
        workspace = favcrm.confirm(request_id, code)
    return received(workspace, path, show_key=show_key, given=given)


# Invitations


def create_invite(
    given: Given, email: str, *, name: str | None, role: str | None, expires_in_hours: int | None
) -> Found:
    """Invite somebody. The whole answer is shown, as it is not published in which field the invitation is."""
    arguments, problems = read_invite(email, name=name, role=role, expires_in_hours=expires_in_hours)
    raise_problems(problems)
    call = calls.any_tool("create_team_member_invite", arguments, hide=(email, str(arguments["email"])))
    with connected(given) as engine:
        return answered(run_sync(engine.perform(call)), show_key=True)


def request_invite_code(given: Given, token: str) -> Found:
    """Ask for the code that goes with an invitation."""
    with connected(given) as engine:
        pending = run_sync(engine.request_invite(Secret(token)))
    return Found(asked(pending), (*told(pending), "Then: favcrm team invite accept-verify"))


def verify_invite(
    given: Given, token: str, code: str, name: str | None, *, save: bool, show_key: bool
) -> Found:
    """Confirm the code of an invitation."""
    store, path = key_file(save=save)
    pending = PendingRegistration(request_id="invitation", expires_at=datetime.now(UTC) + CODE_LIFE)
    with connected(given, store) as engine:
        flow = engine.confirm_invite(
            Secret(token), pending, code, person=name, saving=Saving(), before_sending=lambda: None
        )
        workspace = run_sync(flow)
    return received(workspace, path, show_key=show_key, given=given)


def asked(pending: PendingRegistration) -> dict[str, JSON]:
    """Return what was asked for, for machines."""
    return {
        "expiresAt": pending.expires_at.isoformat(),
        "maskedEmail": pending.masked_email,
        "instructions": pending.instructions,
    }


def told(pending: PendingRegistration) -> tuple[str, ...]:
    """Return what was asked for, for people."""
    minutes = round(pending.remaining() / 60)
    return (f"A code was sent to {pending.masked_email}, and is good for {minutes} minutes.",)


# Keys


def key_file(*, save: bool) -> tuple[ConfigFileStore | None, Path | None]:
    """Return where a key is saved, and the path of that; nothing where it is not."""
    path = config_path(os.environ, sys.platform)
    return (ConfigFileStore(path), path) if save else (None, None)


def received(workspace: Workspace, path: Path | None, *, show_key: bool, given: Given) -> Found:
    """Return a workspace. Whoever asks for JSON takes the key from there."""
    key = workspace.api_key
    names = {"organisationId": workspace.organisation_id, "companyId": workspace.company_id}
    names |= {"userId": workspace.user_id, "apiKey": key.reveal(), "loginUrl": workspace.login_url}
    payload: dict[str, JSON] = {name: value for name, value in names.items() if value is not None}
    payload |= {"nextSteps": list(workspace.next_steps), **workspace.extra}
    lines = [f"Organisation: {workspace.organisation_id}", f"Key: {key.reveal() if show_key else key}"]
    if path is not None:
        payload["apiKeySavedTo"] = str(path)
        lines.append(f"Saved in: {path}")
        lines += elsewhere(given)
    return Found(payload, (*lines, *workspace.next_steps))


def elsewhere(given: Given) -> list[str]:
    """Say it where the key in the config file is not the key of this address: that goes where the file says."""
    variables = {name: value for name, value in os.environ.items() if name not in KEY_VARIABLES}
    settings = Settings.load(endpoint=given.url, environment=variables)
    return (
        []
        if settings.api_key
        else [f'To have it used here, add this to that file: url = "{settings.endpoint}"']
    )


def save_key(given: Given, key: Secret) -> Found:
    """Save a key in place of the one that is there."""
    # Looked at before anything is replaced: a key that can be sent, and settings that can be read.
    check_key(key)
    Settings.load(endpoint=given.url)
    store, path = key_file(save=True)
    assert store is not None
    store.check()
    store.put("workspace", key, {}, if_absent=False)
    return Found({"apiKeySavedTo": str(path)}, (f"Saved in: {path}", *elsewhere(given)))


# Tools


def call_tool(given: Given, name: str, arguments: str, *, show_key: bool) -> Found:
    """Call a tool."""
    values = payloads.as_json(arguments)
    if not isinstance(values, dict):
        raise InvalidInputError([Problem("JSON", "must be an object")])
    with FavCRMClient(given.url, api_key=given.api_key, retry=ONCE) as crm:
        return answered(crm.call_tool(name, values), show_key=show_key)


def answered(result: ToolResult, *, show_key: bool) -> Found:
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
