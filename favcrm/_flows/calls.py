"""Each call as data: which tool, with what, how to read the answer, and whether it may be repeated."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import frozen

from favcrm._flows import answers
from favcrm._flows.redaction import hidden_in
from favcrm._mcp.requests import page_params

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from favcrm._mcp.payloads import Answer
    from favcrm.models import PendingRegistration, Progress, Tool, ToolResult, Workspace
    from favcrm.registration import Registration
    from favcrm.transport import Clock
    from favcrm.typing import JSON

R = TypeVar("R")

ALWAYS = 1_000_000
"""More repeats than any policy allows attempts: for calls that change nothing."""

LIST = "tools/list"
DOCTOR = "favcrm_doctor"
COMPANIES = "list_my_companies"
PLAN = "get_plan_status"
PLAN_OPERATION = "check_plan_operation"
WHATSAPP = "get_whatsapp_connection_status"


@frozen(kw_only=True, eq=False, repr=False)
class Call(Generic[R]):
    """One call.

    Attributes:
        phase: The part of the flow it belongs to.
        tool: The tool's name, or ``tools/list``, for logs.
        method: The MCP method.
        params: The method's parameters.
        find_anywhere: Looks for the value first, in every answer, refusals and broken ones included: an answer with a
            key is a success. None where only a good answer has a value.
        read_good: Reads an answer that is whole and refuses nothing; raises `UnexpectedAnswerError` where something is
            missing in it.
        promised: The field that a good payload has, or None where no field is certain.
        never_empty: Whether a good payload holds something, although no field of it is certain.
        unknown_repeats: How often it may be sent again when it may have been carried out.
        authenticated: Whether the key is presented.
        hide: Values in the parameters that no error may show.
        on_progress: Who is told of progress.
    """

    phase: str
    tool: str
    method: str = "tools/call"
    params: Mapping[str, JSON]
    find_anywhere: Callable[[Answer], R | None] | None = None
    read_good: Callable[[Answer], R]
    promised: str | None = None
    never_empty: bool = False
    unknown_repeats: int = 0
    authenticated: bool = True
    hide: tuple[str, ...] = ()
    on_progress: Callable[[Progress], None] | None = None

    @property
    def acts(self) -> bool:
        """Whether it may change something, so that an answer that cannot be read leaves its outcome unknown."""
        return self.unknown_repeats < ALWAYS

    @property
    def sign_up(self) -> bool:
        """Whether it is part of a registration, where words such as "expired" speak of the code."""
        return self.phase in {"initiate", "confirm"}


def request_code(registration: Registration, clock: Clock) -> Call[PendingRegistration]:
    """Ask for a one-time code. It sends an email and counts against 3 an hour: once more at most when unknown."""
    arguments = {
        "email": registration.email,
        "organisationName": registration.organisation_name,
        "industry": registration.industry,
        "country": registration.country,
        "timezone": registration.timezone,
    }
    hide = (registration.email,)
    return Call(
        phase="initiate",
        tool="register_organisation_request",
        params=_named(
            "register_organisation_request",
            {name: str(value) for name, value in arguments.items() if value is not None},
        ),
        read_good=partial(answers.read_pending, clock=clock, hide=hide),
        promised="requestId",
        unknown_repeats=1,
        authenticated=False,
        hide=hide,
    )


def verify_code(registration_id: str, code: str) -> Call[Workspace]:
    """Use a one-time code. The server takes it once, so the same code may be sent once more when unknown."""
    return Call(
        phase="confirm",
        tool="register_organisation_verify",
        params=_named("register_organisation_verify", {"requestId": registration_id, "code": code}),
        find_anywhere=partial(answers.find_workspace, hide=(code,)),
        read_good=answers.raise_without_key,
        promised="apiKey",
        unknown_repeats=1,
        authenticated=False,
        hide=(code,),
    )


def request_invite_code(token: str, clock: Clock) -> Call[PendingRegistration]:
    """Ask for the one-time code that goes with an invitation; what is true of `request_code` is true of this."""
    return Call(
        phase="initiate",
        tool="accept_team_invite_request",
        params=_named("accept_team_invite_request", {"token": token}),
        read_good=partial(answers.read_pending_invite, clock=clock, token=token),
        unknown_repeats=1,
        authenticated=False,
        hide=(token,),
    )


def verify_invite(token: str, code: str, name: str | None) -> Call[Workspace]:
    """Use the one-time code of an invitation; what is true of `verify_code` is true of this."""
    arguments = {"token": token, "code": code} | ({} if name is None else {"name": name})
    return Call(
        phase="confirm",
        tool="accept_team_invite_verify",
        params=_named("accept_team_invite_verify", arguments),
        find_anywhere=partial(answers.find_workspace, hide=(code, token)),
        read_good=answers.raise_without_key,
        promised="apiKey",
        unknown_repeats=1,
        authenticated=False,
        hide=(code, token),
    )


def list_tools(cursor: str | None, *, authenticated: bool) -> Call[tuple[tuple[Tool, ...], str | None]]:
    """Read one page of the tools."""
    return Call(
        phase="list",
        tool=LIST,
        method=LIST,
        params=page_params(cursor),
        read_good=answers.read_tools,
        unknown_repeats=ALWAYS,
        authenticated=authenticated,
    )


def check_tool(name: str) -> Call[ToolResult]:
    """Call a tool that only reads, for a diagnosis."""
    return Call(
        phase="diagnose",
        tool=name,
        params=_named(name, {}),
        read_good=partial(answers.read_result, tool=name),
        never_empty=True,
        unknown_repeats=ALWAYS,
    )


def ask_plan(question: Mapping[str, JSON]) -> Call[ToolResult]:
    """Ask whether the plan allows something; it only reads."""
    return Call(
        phase="call",
        tool=PLAN_OPERATION,
        params=_named(PLAN_OPERATION, question),
        read_good=partial(answers.read_result, tool=PLAN_OPERATION),
        unknown_repeats=ALWAYS,
    )


def any_tool(
    name: str,
    arguments: Mapping[str, JSON],
    *,
    hide: tuple[str, ...] = (),
    on_progress: Callable[[Progress], None] | None = None,
) -> Call[ToolResult]:
    """Call any tool for a user. What it does is not known here, so it is not repeated when unknown."""
    return Call(
        phase="call",
        tool=name,
        params=_named(name, arguments),
        read_good=partial(answers.read_result, tool=name),
        hide=(*hide, *hidden_in(arguments, name)),
        on_progress=on_progress,
    )


def _named(name: str, arguments: Mapping[str, JSON]) -> Mapping[str, JSON]:
    return {"name": name, "arguments": arguments}
