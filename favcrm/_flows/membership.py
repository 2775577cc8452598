"""Inviting people to a workspace, and asking what its plan allows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from favcrm._flows import calls
from favcrm._flows.checks import invite_arguments, plan_question
from favcrm._text import clean, mask, without_emails
from favcrm.errors import PlanLimitError
from favcrm.models import Invitation, PlanCheck
from favcrm.results import plain
from favcrm.secret import Secret

if TYPE_CHECKING:
    from favcrm._flows.engine import Engine
    from favcrm.models import ToolData

# The names of the fields in these answers are not published.
TOKENS = ("token", "inviteToken", "invite_token")
ALLOWED = ("allowed", "isAllowed", "can")
UPGRADES = ("upgradeAction", "upgrade_action")


async def invite(
    engine: Engine, email: str, *, name: str | None, role: str | None, expires_in_hours: int | None
) -> Invitation:
    """Invite somebody to this workspace."""
    arguments = invite_arguments(email, name=name, role=role, expires_in_hours=expires_in_hours)
    # Both forms are hidden, because the server may repeat the one that is sent.
    hide = (email, str(arguments["email"]))
    result = await engine.perform(calls.any_tool("create_team_member_invite", arguments, hide=hide))
    fields = result.data if isinstance(result.data, dict) else {}
    token = _first(fields, TOKENS)
    return Invitation(
        token=token if isinstance(token, Secret) else None,
        expires_at=_time(fields.get("expiresAt")),
        summary=clean(without_emails(result.summary), hide=hide),
        data=_without_emails(result.data, hide),
        x_request_id=result.x_request_id,
    )


async def check_plan(
    engine: Engine, *, tool: str | None, quota: str | None, module: str | None, delta: int | None
) -> PlanCheck:
    """Ask whether the plan allows something."""
    question = plan_question(tool=tool, quota=quota, module=module, delta=delta)
    try:
        result = await engine.perform(calls.ask_plan(question))
    except PlanLimitError as error:
        return PlanCheck(allowed=False, upgrade_action=error.upgrade_action, summary=error.summary)
    fields = result.data if isinstance(result.data, dict) else {}
    allowed, upgrade = _first(fields, ALLOWED), _first(fields, UPGRADES)
    return PlanCheck(
        allowed=allowed if isinstance(allowed, bool) else None,
        upgrade_action=clean(upgrade) if isinstance(upgrade, str) else None,
        summary=result.summary,
        raw=plain(result.data),
    )


def _without_emails(value: ToolData, hide: tuple[str, ...]) -> ToolData:
    """Return a payload with every email in it masked, and with its secrets."""
    if isinstance(value, str):
        return mask(without_emails(value), hide=hide)
    if isinstance(value, Mapping):
        return {name: _without_emails(inner, hide) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_emails(inner, hide) for inner in value]
    return value


def _first(fields: Mapping[str, ToolData], names: tuple[str, ...]) -> ToolData:
    return next((fields[name] for name in names if name in fields), None)


def _time(value: ToolData) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
