"""From the answers to the questions of a diagnosis to its report.

The names of the fields inside the server's answers are not published, so they are looked for by the names that
are likely, and the payload is kept with the check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from favcrm._error_codes import ERROR_CODES
from favcrm._flows import calls
from favcrm._text import clean
from favcrm.errors import (
    PORTAL,
    AuthenticationError,
    FavCRMError,
    RefusedError,
    TransportError,
    UnexpectedAnswerError,
)
from favcrm.models import Check, CheckStatus, DiagnosticReport, Tool, ToolResult
from favcrm.results import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from favcrm.errors import StoreError
    from favcrm.typing import JSON

QUESTIONS = (calls.COMPANIES, calls.PLAN, calls.WHATSAPP)

ORGANISATION_NAMES = ("organisationName", "companyName", "name", "organisationId", "companyId", "id")
CURRENT_MARKS = ("isCurrent", "current", "isActive", "active", "isDefault")
PLAN_NAMES = ("planStatus", "status", "state", "planName", "planCode", "name", "code", "plan")
CONNECTED_NAMES = ("connected", "isConnected", "whatsappConnected", "connectionStatus", "status", "state")
CONNECTED_WORDS = frozenset({"connected", "active", "ok", "online", "ready", "open"})
SUSPENDED_WORDS = frozenset({"suspended", "disabled", "blocked", "deactivated", "terminated"})
SUSPENDED_FLAGS = ("suspended", "isSuspended")
DEEPEST = 2
DOUBTFUL_WORDS = frozenset({"expired", "cancelled", "canceled", "past_due", "unpaid", "inactive", "paused"})
DOCTOR_GOOD = {
    "mcpEndpointStatus": frozenset({"active", "ok"}),
    "authStatus": frozenset({"configured", "ok"}),
}


@frozen
class Finding:
    """One question of a diagnosis with its answer, or with the error in place of an answer."""

    name: str
    answer: tuple[Tool, ...] | ToolResult | FavCRMError
    duration: float

    @property
    def data(self) -> JSON:
        """The payload of a tool's answer, or None."""
        return plain(self.answer.data) if isinstance(self.answer, ToolResult) else None

    @property
    def error(self) -> FavCRMError | None:
        """The error, or None."""
        return self.answer if isinstance(self.answer, FavCRMError) else None


def names_doctor(listing: Finding) -> bool:
    """Tell whether the server has a doctor of its own."""
    return isinstance(listing.answer, tuple) and any(tool.name == calls.DOCTOR for tool in listing.answer)


def report(
    findings: Mapping[str, Finding], *, has_key: bool, store_error: StoreError | None
) -> DiagnosticReport:
    """Return the report; what the server's doctor says stands before what the other questions brought.

    Args:
        findings: What the questions brought, by name.
        has_key: Whether there is a key.
        store_error: Why the key could not be read from its store, or None.
    """
    doctor = findings[calls.DOCTOR].data if calls.DOCTOR in findings else None
    told: Mapping[str, JSON] = doctor if isinstance(doctor, dict) else {}
    listing = findings[calls.LIST]
    tool_count = len(listing.answer) if isinstance(listing.answer, tuple) else 0
    reachable = any(_reached(finding) for finding in findings.values())
    organisation = _organisation(told.get("organisationContext")) or _organisation(
        _data(findings, calls.COMPANIES)
    )
    plan = _plan(told.get("planStatus")) or _plan(_data(findings, calls.PLAN))
    connected = _connected(told.get("whatsappStatus"))
    if connected is None:
        connected = _connected(_data(findings, calls.WHATSAPP))
    if store_error is not None:
        key = _failed("key", Finding("key", store_error, 0.0))
    else:
        key = _key_check(findings, told, has_key=has_key, reachable=reachable)
    checks = (
        _endpoint_check(listing, told, reachable=reachable),
        key,
        _tools_check(listing, tool_count, reachable=reachable),
        _tool_check("organisation", findings.get(calls.COMPANIES), organisation or "not named"),
        _plan_check(findings.get(calls.PLAN), plan),
        _tool_check("whatsapp", findings.get(calls.WHATSAPP), _CONNECTED_DETAILS[connected]),
    )
    return DiagnosticReport(
        endpoint_reachable=reachable,
        auth_configured=key.status is CheckStatus.OK,
        tool_count=tool_count,
        organisation=organisation,
        plan_status=plan,
        whatsapp_connected=connected,
        checks=checks,
    )


_CONNECTED_DETAILS = {True: "connected", False: "not connected, which is fine", None: "not told"}


def _reached(finding: Finding) -> bool:
    """Tell whether an MCP server answered: a refusal by a tool proves it, a bare HTTP refusal does not."""
    error = finding.error
    if error is None or isinstance(error, AuthenticationError):
        return True
    if isinstance(error, TransportError | UnexpectedAnswerError):
        return False
    return not (type(error) is RefusedError and isinstance(error.server_code, int) and error.server_code > 0)


def _endpoint_check(listing: Finding, told: Mapping[str, JSON], *, reachable: bool) -> Check:
    if not reachable:
        return _failed("endpoint", listing)
    if (doubt := _doctor_doubt(told, "mcpEndpointStatus")) is not None:
        return Check(name="endpoint", status=CheckStatus.WARNING, detail=f"answers, and calls itself {doubt}")
    return Check(name="endpoint", status=CheckStatus.OK, detail="answers", duration=listing.duration)


def _key_check(
    findings: Mapping[str, Finding], told: Mapping[str, JSON], *, has_key: bool, reachable: bool
) -> Check:
    if not has_key:
        advice = f"Sign up, or create a key at {PORTAL} under Settings, MCP Keys."
        return Check(name="key", status=CheckStatus.FAILED, detail="there is none", advice=advice)
    if not reachable:
        return Check(name="key", status=CheckStatus.SKIPPED, detail="could not be tried")
    asked = [finding for name, finding in findings.items() if name != calls.LIST]
    accepted = next((finding for finding in asked if finding.error is None), None)
    refused = next(
        (finding for finding in findings.values() if isinstance(finding.error, AuthenticationError)), None
    )
    doubt = _doctor_doubt(told, "authStatus")
    if accepted and doubt is None:
        return Check(name="key", status=CheckStatus.OK, detail="accepted", duration=accepted.duration)
    if refused:
        return _failed("key", refused)
    if doubt is not None:
        advice = ERROR_CODES[AuthenticationError.code].next_step
        return Check(
            name="key", status=CheckStatus.FAILED, detail=f"the server calls it {doubt}", advice=advice
        )
    return _failed("key", asked[0], status=CheckStatus.WARNING)


def _tools_check(listing: Finding, count: int, *, reachable: bool) -> Check:
    if listing.error is not None:
        if not reachable:
            return Check(name="tools", status=CheckStatus.SKIPPED, detail="could not be listed")
        return _failed("tools", listing)
    detail = f"{count} available"
    if count == 0:
        advice = "Check that the endpoint is FavCRM's, and that the key belongs to the right workspace."
        return Check(
            name="tools", status=CheckStatus.FAILED, detail=detail, advice=advice, duration=listing.duration
        )
    return Check(name="tools", status=CheckStatus.OK, detail=detail, duration=listing.duration)


def _plan_check(finding: Finding | None, plan: str | None) -> Check:
    check = _tool_check("plan", finding, plan or "not told")
    word = (plan or "").casefold()
    if word in SUSPENDED_WORDS:
        status = CheckStatus.FAILED
        advice = f"The owner of the workspace must sign in at {PORTAL} and look at the plan."
    elif word in DOUBTFUL_WORDS:
        status = CheckStatus.WARNING
        advice = (
            "The owner of the workspace should look at the plan. The tool list_plan_options shows the others."
        )
    else:
        return check
    return Check(
        name="plan",
        status=status,
        detail=word,
        advice=advice,
        duration=check.duration,
        raw=check.raw,
        x_request_id=check.x_request_id,
    )


def _tool_check(name: str, finding: Finding | None, detail: str) -> Check:
    """Report a question that nothing depends on: its failure is a warning."""
    if finding is None:
        return Check(name=name, status=CheckStatus.SKIPPED, detail="needs a key")
    if not isinstance(finding.answer, ToolResult):
        return _failed(name, finding, status=CheckStatus.WARNING)
    return Check(
        name=name,
        status=CheckStatus.OK,
        detail=detail,
        duration=finding.duration,
        raw=finding.data,
        x_request_id=finding.answer.x_request_id,
    )


def _failed(name: str, finding: Finding, *, status: CheckStatus = CheckStatus.FAILED) -> Check:
    error = finding.error
    assert error is not None
    return Check(
        name=name,
        status=status,
        detail=error.message,
        advice=error.next_step,
        duration=finding.duration,
        x_request_id=error.request_id,
    )


def _doctor_doubt(told: Mapping[str, JSON], name: str) -> str | None:
    """Return the doctor's word for a status where that word is not a good one."""
    word = told.get(name)
    return word if isinstance(word, str) and word.casefold() not in DOCTOR_GOOD[name] else None


def _data(findings: Mapping[str, Finding], name: str) -> JSON:
    return findings[name].data if name in findings else None


def _organisation(value: JSON) -> str | None:
    """Return the name or id of the organisation worked in: the one marked as current, or the first."""
    entries = list(_objects(value))
    current = [entry for entry in entries if any(entry.get(mark) is True for mark in CURRENT_MARKS)]
    for entry in current + entries:
        if (name := _word(entry, ORGANISATION_NAMES)) is not None:
            return name
    return _word(value, ())


def _objects(value: JSON, depth: int = 0) -> Iterable[Mapping[str, JSON]]:
    """Yield the objects in a value that are not nested deeper than an answer of this kind is, inner ones first."""
    if depth > DEEPEST or not isinstance(value, dict | list):
        return
    for inner in value.values() if isinstance(value, dict) else value:
        yield from _objects(inner, depth + 1)
    if isinstance(value, dict):
        yield value


def _word(value: JSON, names: Iterable[str]) -> str | None:
    """Return the first named text in an object, or else in an object inside it."""
    if isinstance(value, str):
        return clean(value) or None
    for entry in reversed(list(_objects(value))):
        for name in names:
            if isinstance(found := entry.get(name), str) and found:
                return clean(found) or None
    return None


def _plan(value: JSON) -> str | None:
    suspended = any(entry.get(name) is True for entry in _objects(value) for name in SUSPENDED_FLAGS)
    return "suspended" if suspended else _word(value, PLAN_NAMES)


def _connected(value: JSON) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.casefold() in CONNECTED_WORDS
    if not isinstance(value, dict):
        return None
    for name in CONNECTED_NAMES:
        if isinstance(found := value.get(name), bool | str):
            return _connected(found)
    return None
