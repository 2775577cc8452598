"""The tools of a workspace: what it is, what its plan allows, and what is written in it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from favcrm.sandbox.forms import Answered
from favcrm.sandbox.schema import fields, text, whole
from favcrm.sandbox.tool import tool
from favcrm.sandbox.world import UPGRADE, new_id, not_found, over_limit

if TYPE_CHECKING:
    from favcrm.sandbox.tool import Caller
    from favcrm.sandbox.world import Access, Company, World
    from favcrm.typing import JSON

MOMENT = text(format="date-time", description="ISO 8601 with an offset.")


@tool(fields(), read_only=True)
def list_my_companies(caller: Caller) -> Answered:
    """List the companies that this key opens."""
    access = caller.member
    companies: list[JSON] = [_describe(company, access) for company in access.companies]
    data: dict[str, JSON] = {
        "userId": access.user_id,
        "currentCompanyId": access.company.company_id,
        "companies": companies,
    }
    return Answered(data, f"{len(companies)} companies.", "table")


@tool(fields("companyId", companyId=text(1)))
def switch_company(caller: Caller, *, company_id: str) -> Answered:
    """Work in another company from now on."""
    access = caller.member
    company = next((each for each in access.companies if each.company_id == company_id), None)
    if company is None:
        raise not_found("Company")
    access.company = company
    return Answered({"company": _describe(company, access)}, f"Now in {company.name}.")


@tool(fields(), read_only=True)
def get_plan_status(caller: Caller) -> Answered:
    """Show the plan and what is used of it."""
    world = caller.world
    used = _quotas(world, caller.member)
    quotas: JSON = {code: {"used": amount, "limit": most} for code, (amount, most) in used.items()}
    data: dict[str, JSON] = {"plan": "free", "status": world.plan_status, "quotas": quotas}
    return Answered(data, f"The plan is {world.plan_status}.", "card")


@tool(
    fields(toolName=text(1), quotaCode=text(1), moduleCode=text(1), delta=whole(1, 1_000_000)),
    read_only=True,
)
def check_plan_operation(
    caller: Caller,
    *,
    tool_name: str = "",
    quota_code: str = "",
    module_code: str = "",  # noqa: ARG001 - every module is in the sandbox's plan
    delta: int = 1,
) -> Answered:
    """Tell whether the plan allows something."""
    world = caller.world
    code = quota_code or {"create_member": "customers", "create_booking": "bookings"}.get(tool_name, "")
    used, most = _quotas(world, caller.member).get(code, (0, None))
    allowed = world.plan_status == "active" and (most is None or used + delta <= most)
    data: dict[str, JSON] = {"allowed": allowed, "used": used, "limit": most}
    if not allowed:
        data["upgradeAction"] = UPGRADE
    return Answered(data, "The plan allows it." if allowed else "The plan does not allow it.")


@tool(fields(), read_only=True)
def list_plan_options(caller: Caller) -> Answered:
    """List the plans."""
    world = caller.world
    limits: JSON = {code: most for code, (_, most) in _quotas(world, caller.member).items()}
    plans: JSON = [
        {"code": "free", "name": "Free", "limits": limits},
        {"code": "unlimited", "name": "Unlimited", "limits": {}},
    ]
    return Answered({"plans": plans}, "2 plans.", "table")


@tool(fields(), read_only=True)
def get_whatsapp_connection_status(caller: Caller) -> Answered:
    """Tell whether WhatsApp is connected."""
    world = caller.world
    connected = world.whatsapp_connected
    status = "connected" if connected else "not_connected"
    return Answered({"connected": connected, "status": status}, f"WhatsApp is {status.replace('_', ' ')}.")


@tool(fields(query=text(0, 200), limit=whole(1, 100)), read_only=True)
def search_members(caller: Caller, *, query: str = "", limit: int = 20) -> Answered:
    """Search members."""
    words = query.casefold()
    members = caller.member.company.members.values()
    found: list[JSON] = [
        each for each in members if words in f"{each['name']} {each['email']} {each['phone']}".casefold()
    ]
    return Answered({"members": found[:limit], "total": len(found)}, f"{len(found)} members found.", "table")


@tool(fields("name", name=text(1, 120), email=text(format="email"), phone=text(1, 40)))
def create_member(
    caller: Caller, *, name: str, email: str | None = None, phone: str | None = None
) -> Answered:
    """Create a member."""
    world = caller.world
    access = caller.member
    _may_write(world, access, "customers")
    member: dict[str, JSON] = {
        "memberId": new_id("mem_"),
        "name": name,
        "email": email,
        "phone": phone,
        "createdAt": world.iso(world.clock.time()),
    }
    access.company.members[str(member["memberId"])] = member
    return Answered({"memberId": member["memberId"], "member": member}, f"{name} is a member now.", "card")


@tool(fields("memberId", memberId=text(1)), read_only=True)
def get_member(caller: Caller, *, member_id: str) -> Answered:
    """Show a member."""
    member = _find(caller.member.company.members, member_id, "Member")
    return Answered({"member": member}, f"{member['name']}.", "card")


@tool(fields(), read_only=True)
def list_services(caller: Caller) -> Answered:
    """List the services."""
    services: list[JSON] = [*caller.member.company.services.values()]
    return Answered({"services": services}, f"{len(services)} services.", "table")


@tool(
    fields(
        "name durationMinutes",
        name=text(1, 120),
        durationMinutes=whole(1, 1440),
        price={"type": "number", "minimum": 0},
    ),
)
def create_service(
    caller: Caller, *, name: str, duration_minutes: int, price: float | None = None
) -> Answered:
    """Create a service."""
    world = caller.world
    access = caller.member
    _may_write(world, access)
    service: dict[str, JSON] = {
        "serviceId": new_id("svc_"),
        "name": name,
        "durationMinutes": duration_minutes,
        "price": price,
    }
    access.company.services[str(service["serviceId"])] = service
    return Answered(
        {"serviceId": service["serviceId"], "service": service}, f"{name} is offered now.", "card"
    )


@tool(fields(dateFrom=MOMENT, dateTo=MOMENT), read_only=True)
def list_bookings(
    caller: Caller,
    *,
    date_from: str = "0001-01-01T00:00:00Z",
    date_to: str = "9999-12-31T23:59:59Z",
) -> Answered:
    """List bookings, the earliest first."""
    first, last = datetime.fromisoformat(date_from), datetime.fromisoformat(date_to)
    dated = [
        (datetime.fromisoformat(str(each["startTime"])), each)
        for each in caller.member.company.bookings.values()
    ]
    found: list[JSON] = [
        each for start, each in sorted(dated, key=lambda pair: pair[0]) if first <= start <= last
    ]
    return Answered({"bookings": found}, f"{len(found)} bookings.", "table")


@tool(
    fields("memberId serviceId startTime", memberId=text(1), serviceId=text(1), startTime=MOMENT),
)
def create_booking(caller: Caller, *, member_id: str, service_id: str, start_time: str) -> Answered:
    """Book a service for a member."""
    world = caller.world
    access = caller.member
    _may_write(world, access, "bookings")
    company = access.company
    member = _find(company.members, member_id, "Member")
    service = _find(company.services, service_id, "Service")
    booking: dict[str, JSON] = {
        "bookingId": new_id("bkg_"),
        "memberId": member_id,
        "serviceId": service_id,
        "startTime": start_time,
        "status": "confirmed",
        "createdAt": world.iso(world.clock.time()),
    }
    company.bookings[str(booking["bookingId"])] = booking
    summary = f"{service['name']} is booked for {member['name']}."
    return Answered({"bookingId": booking["bookingId"], "booking": booking}, summary, "card")


@tool(fields(), needs_key=False, read_only=True)
def favcrm_doctor(caller: Caller) -> Answered:
    """Check the endpoint, the key, the plan and WhatsApp at once."""
    world = caller.world
    access = caller.access
    data: dict[str, JSON] = {
        "mcpEndpointStatus": "ok",
        "authStatus": "ok" if access else ("invalid" if caller.shows_key else "missing"),
        "toolCount": caller.listed,
        "organisationContext": _describe(access.company, access) if access else None,
        "planStatus": world.plan_status if access else None,
        "whatsappStatus": ("connected" if world.whatsapp_connected else "not_connected") if access else None,
    }
    return Answered(data, "Signed in." if access else "Not signed in.", "card")


def _describe(company: Company, access: Access) -> dict[str, JSON]:
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


def _quotas(world: World, access: Access) -> dict[str, tuple[int, int | None]]:
    """Return what is used and what is allowed."""
    month = world.iso(world.clock.time())[:7]
    company = access.company
    booked = sum(str(booking["createdAt"]).startswith(month) for booking in company.bookings.values())
    return {
        "customers": (len(company.members), world.rules.customers),
        "bookings": (booked, world.rules.bookings_per_month),
        "calls": (world.used_calls[company.organisation_id, month], world.rules.calls_per_month),
    }


def _may_write(world: World, access: Access, quota: str = "") -> None:
    """Raise a refusal where the plan does not allow to write one more."""
    if world.plan_status != "active":
        raise over_limit(f"The plan is {world.plan_status}.")
    used, most = _quotas(world, access).get(quota, (0, None))
    if most is not None and used >= most:
        raise over_limit(f"Plan limit reached: {most} {quota}.")


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
