"""The tools of a workspace: what it is, what its plan allows, and what is written in it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from favcrm.sandbox.forms import ToolAnswer
from favcrm.sandbox.state import UPGRADE, new_id, not_found, over_limit
from favcrm.sandbox.tools import fields, text, tool, whole

if TYPE_CHECKING:
    from favcrm.sandbox.state import Company, KeyAccess, State
    from favcrm.sandbox.tools import CallContext
    from favcrm.typing import JSON

MOMENT = text(format="date-time", description="ISO 8601 with an offset.")


@tool(fields(), read_only=True)
def list_my_companies(context: CallContext) -> ToolAnswer:
    """List the companies that this key opens."""
    access = context.access
    companies: list[JSON] = [_describe(company, access) for company in access.companies]
    data: dict[str, JSON] = {
        "userId": access.user_id,
        "currentCompanyId": access.company.company_id,
        "companies": companies,
    }
    return ToolAnswer(data, f"{len(companies)} companies.", "table")


@tool(fields("companyId", companyId=text(1)))
def switch_company(context: CallContext, *, company_id: str) -> ToolAnswer:
    """Work in another company from now on."""
    access = context.access
    company = next((each for each in access.companies if each.company_id == company_id), None)
    if company is None:
        raise not_found("Company")
    access.company = company
    return ToolAnswer({"company": _describe(company, access)}, f"Now in {company.name}.")


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
    code = quota_code or {"create_member": "customers", "create_booking": "bookings"}.get(tool_name, "")
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
    _may_write(context, "customers")
    record: dict[str, JSON] = {"name": name, "email": email, "phone": phone, "createdAt": _now(context.state)}
    members = context.access.company.members
    return _create(members, "member", "mem_", record, f"{name} is a member now.")


@tool(fields("memberId", memberId=text(1)), read_only=True)
def get_member(context: CallContext, *, member_id: str) -> ToolAnswer:
    """Show a member."""
    member = _find(context.access.company.members, member_id, "Member")
    return ToolAnswer({"member": member}, f"{member['name']}.", "card")


@tool(fields(), read_only=True)
def list_services(context: CallContext) -> ToolAnswer:
    """List the services."""
    services: list[JSON] = [*context.access.company.services.values()]
    return ToolAnswer({"services": services}, f"{len(services)} services.", "table")


@tool(
    fields(
        "name durationMinutes",
        name=text(1, 120),
        durationMinutes=whole(1, 1440),
        price={"type": "number", "minimum": 0},
    ),
)
def create_service(
    context: CallContext, *, name: str, duration_minutes: int, price: float | None = None
) -> ToolAnswer:
    """Create a service."""
    _may_write(context)
    record: dict[str, JSON] = {"name": name, "durationMinutes": duration_minutes, "price": price}
    services = context.access.company.services
    return _create(services, "service", "svc_", record, f"{name} is offered now.")


@tool(fields(dateFrom=MOMENT, dateTo=MOMENT), read_only=True)
def list_bookings(
    context: CallContext,
    *,
    date_from: str = "0001-01-01T00:00:00Z",
    date_to: str = "9999-12-31T23:59:59Z",
) -> ToolAnswer:
    """List bookings, the earliest first."""
    first, last = datetime.fromisoformat(date_from), datetime.fromisoformat(date_to)
    dated = [
        (datetime.fromisoformat(str(each["startTime"])), each)
        for each in context.access.company.bookings.values()
    ]
    found: list[JSON] = [
        each for start, each in sorted(dated, key=lambda pair: pair[0]) if first <= start <= last
    ]
    return ToolAnswer({"bookings": found}, f"{len(found)} bookings.", "table")


@tool(
    fields("memberId serviceId startTime", memberId=text(1), serviceId=text(1), startTime=MOMENT),
)
def create_booking(context: CallContext, *, member_id: str, service_id: str, start_time: str) -> ToolAnswer:
    """Book a service for a member."""
    _may_write(context, "bookings")
    company = context.access.company
    member = _find(company.members, member_id, "Member")
    service = _find(company.services, service_id, "Service")
    record: dict[str, JSON] = {
        "memberId": member_id,
        "serviceId": service_id,
        "startTime": start_time,
        "status": "confirmed",
        "createdAt": _now(context.state),
    }
    summary = f"{service['name']} is booked for {member['name']}."
    return _create(company.bookings, "booking", "bkg_", record, summary)


@tool(fields(), needs_key=False, read_only=True)
def favcrm_doctor(context: CallContext) -> ToolAnswer:
    """Check the endpoint, the key, the plan and WhatsApp at once."""
    state = context.state
    access = context.key_access
    data: dict[str, JSON] = {
        "mcpEndpointStatus": "ok",
        "authStatus": "ok" if access else ("invalid" if context.shows_key else "missing"),
        "toolCount": context.tool_count,
        "organisationContext": _describe(access.company, access) if access else None,
        "planStatus": state.rules.plan_status if access else None,
        "whatsappStatus": ("connected" if state.rules.whatsapp_connected else "not_connected")
        if access
        else None,
    }
    return ToolAnswer(data, "Signed in." if access else "Not signed in.", "card")


def _describe(company: Company, access: KeyAccess) -> dict[str, JSON]:
    return {
        "organisationId": company.organisation_id,
        "companyId": company.company_id,
        "name": company.name,
        "industry": company.industry,
        "country": company.country,
        "timezone": company.timezone,
        "role": access.role,
        "current": company is access.company,
    }


def _quotas(state: State, access: KeyAccess) -> dict[str, tuple[int, int | None]]:
    """Return what is used and what is allowed."""
    month = _now(state)[:7]
    company = access.company
    booked = sum(str(booking["createdAt"]).startswith(month) for booking in company.bookings.values())
    return {
        "customers": (len(company.members), state.rules.customers),
        "bookings": (booked, state.rules.bookings_per_month),
        "calls": (state.used_calls[company.organisation_id, month], state.rules.calls_per_month),
    }


def _may_write(context: CallContext, quota: str = "") -> None:
    """Raise a refusal where the plan does not allow to write one more."""
    status = context.state.rules.plan_status
    if status != "active":
        raise over_limit(f"The plan is {status}.")
    used, most = _quotas(context.state, context.access).get(quota, (0, None))
    if most is not None and used >= most:
        raise over_limit(f"Plan limit reached: {most} {quota}.")


def _create(
    records: dict[str, dict[str, JSON]], kind: str, prefix: str, values: dict[str, JSON], summary: str
) -> ToolAnswer:
    """Write a record with a new id, and answer with the record."""
    identifier = new_id(prefix)
    record: dict[str, JSON] = {f"{kind}Id": identifier, **values}
    records[identifier] = record
    return ToolAnswer({f"{kind}Id": identifier, kind: record}, summary, "card")


def _now(state: State) -> str:
    return state.iso(state.clock.time())


def _find(records: dict[str, dict[str, JSON]], identifier: str, what: str) -> dict[str, JSON]:
    record = records.get(identifier)
    if record is None:
        raise not_found(what)
    return record


TOOLS = (
    list_my_companies,
    get_plan_status,
    check_plan_operation,
    list_plan_options,
    get_whatsapp_connection_status,
    switch_company,
    search_members,
    create_member,
    get_member,
    list_services,
    create_service,
    list_bookings,
    create_booking,
)
