"""Inviting people to a workspace, and asking what its plan allows."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, cast

from favcrm._flows import calls
from favcrm._flows.checks import invite_arguments, plan_question
from favcrm._text import clean, mask, masked, without_emails
from favcrm.errors import PlanLimitError
from favcrm.models import Invitation, PlanCheck
from favcrm.results import plain
from favcrm.secret import Secret

if TYPE_CHECKING:
    from favcrm._flows.engine import Engine
    from favcrm.models import ToolData
    from favcrm.typing import JSON

# The name of this field is not published.
TOKENS = ("token", "inviteToken")


async def invite(
    engine: Engine, email: str, *, name: str | None, role: str | None, expires_in_hours: int | None
) -> Invitation:
    """Invite somebody to this workspace."""
    arguments = invite_arguments(email, name=name, role=role, expires_in_hours=expires_in_hours)
    # Both forms are hidden, because the server may repeat the one that is sent.
    hide = (email, str(arguments["email"]))
    result = await engine.perform(calls.any_tool("create_team_member_invite", arguments, hide=hide))
    fields = result.data if isinstance(result.data, dict) else {}
    token = next((fields[name] for name in TOKENS if name in fields), None)
    # A Secret stays, since only texts are masked.
    data = masked(cast("JSON", result.data), lambda text: mask(without_emails(text), hide=hide))
    return Invitation(
        token=token if isinstance(token, Secret) else None,
        expires_at=_time(fields.get("expiresAt")),
        summary=clean(without_emails(result.summary), hide=hide),
        data=cast("ToolData", data),
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
    allowed, upgrade = fields.get("allowed"), fields.get("upgradeAction")
    return PlanCheck(
        allowed=allowed if isinstance(allowed, bool) else None,
        upgrade_action=clean(upgrade) if isinstance(upgrade, str) else None,
        summary=result.summary,
        raw=plain(result.data),
    )


def _time(value: ToolData) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
