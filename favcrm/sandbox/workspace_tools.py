"""The tools of a workspace: what it is, what its plan allows, and what is written in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from favcrm.sandbox.forms import ToolAnswer
from favcrm.sandbox.state import UPGRADE, new_id, not_found, over_limit
from favcrm.sandbox.tools import fields, text, tool, whole

if TYPE_CHECKING:
    from favcrm.sandbox.state import KeyAccess, State
    from favcrm.sandbox.tools import CallContext
    from favcrm.typing import JSON


@tool(fields(), read_only=True)
def list_my_companies(context: CallContext) -> ToolAnswer:
    """List the companies that this key opens."""
    access = context.access
    data: dict[str, JSON] = {
        "userId": access.user_id,
        "currentCompanyId": access.company.company_id,
        "companies": [_describe(access)],
    }
    return ToolAnswer(data, "1 company.", "table")


@tool(fields(), read_only=True)
def get_plan_status(context: CallContext) -> ToolAnswer:
    """Show the plan and what is used of it."""
    state = context.state
    used = _quotas(state, context.access)
    quotas: JSON = {code: {"used": amount, "limit": most} for code, (amount, most) in used.items()}
    data: dict[str, JSON] = {"plan": "free", "status": state.rules.plan_status, "quotas": quotas}
    return ToolAnswer(data, f"The plan is {state.rules.plan_status}.", "card")


@tool(
    fields(toolName=text(1), quotaCode=text(1), moduleCode=text(1), delta=whole(1, 1_000_000)),
    read_only=True,
)
def check_plan_operation(
    context: CallContext,
    *,
    tool_name: str = "",
    quota_code: str = "",
    module_code: str = "",  # noqa: ARG001 - every module is in the sandbox's plan
    delta: int = 1,
) -> ToolAnswer:
    """Tell whether the plan allows something."""
    state = context.state
    code = quota_code or {"create_member": "customers"}.get(tool_name, "")
    used, most = _quotas(state, context.access).get(code, (0, None))
    allowed = state.rules.plan_status == "active" and (most is None or used + delta <= most)
    data: dict[str, JSON] = {"allowed": allowed, "used": used, "limit": most}
    if not allowed:
        data["upgradeAction"] = UPGRADE
    return ToolAnswer(data, "The plan allows it." if allowed else "The plan does not allow it.")


@tool(fields(), read_only=True)
def list_plan_options(context: CallContext) -> ToolAnswer:
    """List the plans."""
    state = context.state
    limits: JSON = {code: most for code, (_, most) in _quotas(state, context.access).items()}
    plans: JSON = [
        {"code": "free", "name": "Free", "limits": limits},
        {"code": "unlimited", "name": "Unlimited", "limits": {}},
    ]
    return ToolAnswer({"plans": plans}, "2 plans.", "table")


@tool(fields(), read_only=True)
def get_whatsapp_connection_status(context: CallContext) -> ToolAnswer:
    """Tell whether WhatsApp is connected."""
    state = context.state
    connected = state.rules.whatsapp_connected
    status = "connected" if connected else "not_connected"
    return ToolAnswer({"connected": connected, "status": status}, f"WhatsApp is {status.replace('_', ' ')}.")


@tool(fields(query=text(0, 200), limit=whole(1, 100)), read_only=True)
def search_members(context: CallContext, *, query: str = "", limit: int = 20) -> ToolAnswer:
    """Search members."""
    words = query.casefold()
    members = context.access.company.members.values()
    found: list[JSON] = [
        each for each in members if words in f"{each['name']} {each['email']} {each['phone']}".casefold()
    ]
    return ToolAnswer(
        {"members": found[:limit], "total": len(found)}, f"{len(found)} members found.", "table"
    )


@tool(fields("name", name=text(1, 120), email=text(format="email"), phone=text(1, 40)))
def create_member(
    context: CallContext, *, name: str, email: str | None = None, phone: str | None = None
) -> ToolAnswer:
    """Create a member."""
    rules, members = context.state.rules, context.access.company.members
    if rules.plan_status != "active":
        raise over_limit(f"The plan is {rules.plan_status}.")
    if len(members) >= rules.customers:
        raise over_limit(f"Plan limit reached: {rules.customers} customers.")
    identifier = new_id("mem_")
    member: dict[str, JSON] = {
        "memberId": identifier,
        "name": name,
        "email": email,
        "phone": phone,
        "createdAt": _now(context.state),
    }
    members[identifier] = member
    return ToolAnswer({"memberId": identifier, "member": member}, f"{name} is a member now.", "card")


@tool(fields("memberId", memberId=text(1)), read_only=True)
def get_member(context: CallContext, *, member_id: str) -> ToolAnswer:
    """Show a member."""
    member = context.access.company.members.get(member_id)
    if member is None:
        raise not_found("Member")
    return ToolAnswer({"member": member}, f"{member['name']}.", "card")


@tool(fields(), read_only=True)
def list_services(_: CallContext) -> ToolAnswer:
    """List the services. There are none, as in each workspace that is new."""
    return ToolAnswer({"services": []}, "0 services.", "table")


@tool(fields(), needs_key=False, read_only=True)
def favcrm_doctor(context: CallContext) -> ToolAnswer:
    """Check the endpoint, the key, the plan and WhatsApp at once."""
    state = context.state
    access = context.key_access
    data: dict[str, JSON] = {
        "mcpEndpointStatus": "ok",
        "authStatus": "ok" if access else ("invalid" if context.shows_key else "missing"),
        "toolCount": context.tool_count,
        "organisationContext": _describe(access) if access else None,
        "planStatus": state.rules.plan_status if access else None,
        "whatsappStatus": ("connected" if state.rules.whatsapp_connected else "not_connected")
        if access
        else None,
    }
    return ToolAnswer(data, "Signed in." if access else "Not signed in.", "card")


def _describe(access: KeyAccess) -> dict[str, JSON]:
    company = access.company
    return {
        "organisationId": company.organisation_id,
        "companyId": company.company_id,
        "name": company.name,
        "industry": company.industry,
        "country": company.country,
        "timezone": company.timezone,
        "role": access.role,
        "current": True,
    }


def _quotas(state: State, access: KeyAccess) -> dict[str, tuple[int, int | None]]:
    """Return what is used and what is allowed."""
    month = _now(state)[:7]
    company = access.company
    return {
        "customers": (len(company.members), state.rules.customers),
        "calls": (state.used_calls[company.organisation_id, month], state.rules.calls_per_month),
    }


def _now(state: State) -> str:
    return state.iso(state.clock.time())


TOOLS = (
    list_my_companies,
    get_plan_status,
    check_plan_operation,
    list_plan_options,
    get_whatsapp_connection_status,
    search_members,
    create_member,
    get_member,
    list_services,
)
