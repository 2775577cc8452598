"""What a workspace's owner and its members do with it: invite, ask what the plan allows."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from favcrm._flows import calls
from favcrm._text import clean, without_emails
from favcrm.errors import PlanLimitError
from favcrm.inputs import check_question, raise_problems, read_invite
from favcrm.models import Allowance, Invitation
from favcrm.results import plain
from favcrm.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from favcrm._flows.calls import Call
    from favcrm._flows.engine import Engine
    from favcrm.models import ToolData, ToolResult

# The names of the fields in these answers are not published.
TOKENS = ("token", "inviteToken", "invite_token")
ALLOWED = ("allowed", "isAllowed", "can")
UPGRADES = ("upgradeAction", "upgrade_action")


async def invite(
    engine: Engine, email: Secret, *, name: str | None, role: str | None, expires_in_hours: int | None
) -> Invitation:
    """Invite somebody to this workspace."""
    call, problems = _inviting(email, name=name, role=role, expires_in_hours=expires_in_hours)
    raise_problems(problems)
    result = await engine.perform(call)
    told = result.data if isinstance(result.data, dict) else {}
    token = _first(told, TOKENS)
    return Invitation(
        token=token if isinstance(token, Secret) else None,
        expires_at=_time(told.get("expiresAt")),
        summary=clean(without_emails(result.summary), hide=call.hide),
        x_request_id=result.x_request_id,
    )


def _inviting(
    email: Secret, *, name: str | None, role: str | None, expires_in_hours: int | None
) -> tuple[Call[ToolResult], dict[str, str | None]]:
    """Return the call, and what is wrong with it. It raises nothing: the email would stand in the frames."""
    asked, problems = read_invite(email.reveal(), name=name, role=role, expires_in_hours=expires_in_hours)
    hide = (email.reveal(), str(asked.get("email")))
    return calls.any_tool("create_team_member_invite", asked, hide=hide), problems


async def can(
    engine: Engine, *, tool: str | None, quota: str | None, module: str | None, delta: int | None
) -> Allowance:
    """Ask whether the plan allows something, before it is tried."""
    asked = check_question(tool=tool, quota=quota, module=module, delta=delta)
    try:
        result = await engine.perform(calls.ask_plan(asked))
    except PlanLimitError as error:
        return Allowance(allowed=False, upgrade_action=error.upgrade_action, summary=error.summary)
    told = result.data if isinstance(result.data, dict) else {}
    allowed, upgrade = _first(told, ALLOWED), _first(told, UPGRADES)
    return Allowance(
        allowed=allowed if isinstance(allowed, bool) else None,
        upgrade_action=clean(upgrade) if isinstance(upgrade, str) else None,
        summary=result.summary,
        raw=plain(result.data),
    )


def _first(told: Mapping[str, ToolData], names: tuple[str, ...]) -> ToolData:
    return next((told[name] for name in names if name in told), None)


def _time(value: ToolData) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
