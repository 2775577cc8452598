"""A diagnosis: its questions, and from their answers to its report.

The names of the fields inside the server's answers are not published, so they are looked for by the names that
are likely, and the payload is kept with the check.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from favcrm._error_codes import ERROR_CODES
from favcrm._flows import calls
from favcrm._text import clean
from favcrm.errors import (
    PORTAL,
    AuthenticationError,
    FavCRMError,
    RefusedError,
    StoreError,
    TransportError,
    UnexpectedAnswerError,
)
from favcrm.events import EventKind
from favcrm.models import Check, CheckStatus, DiagnosticReport, Tool, ToolResult
from favcrm.results import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from favcrm._flows.engine import Engine
    from favcrm._flows.keys import KeyManager
    from favcrm.typing import JSON

QUESTIONS = (calls.COMPANIES, calls.PLAN, calls.WHATSAPP)

ORGANISATION_NAMES = ("organisationName", "companyName", "name", "organisationId", "companyId", "id")
CURRENT_MARKS = ("isCurrent", "current")
PLAN_NAMES = ("planStatus", "status", "planName", "planCode", "name", "code", "plan")
CONNECTED_NAMES = ("connected", "isConnected", "status")
CONNECTED_WORDS = frozenset({"connected", "active", "ok", "online", "ready"})
CONNECTED_DETAILS = {True: "connected", False: "not connected, which is fine", None: "not told"}
SUSPENDED_WORDS = frozenset({"suspended", "disabled", "blocked", "deactivated", "terminated"})
DOUBTFUL_WORDS = frozenset({"expired", "cancelled", "canceled", "past_due", "unpaid", "inactive", "paused"})
DOCTOR_GOOD = {
    "mcpEndpointStatus": frozenset({"active", "ok"}),
    "authStatus": frozenset({"configured", "ok"}),
}
DEEPEST = 2


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

    @property
    def reached(self) -> bool:
        """Whether an MCP server answered: a refusal by a tool proves that, a bare HTTP refusal does not."""
        error = self.error
        if error is None or isinstance(error, AuthenticationError):
            return True
        if isinstance(error, TransportError | UnexpectedAnswerError):
            return False
        by_http = isinstance(error.server_code, int) and error.server_code > 0
        return not (type(error) is RefusedError and by_http)

    def check(self, name: str, status: CheckStatus, detail: str, advice: str = "") -> Check:
        """Return the check that this finding answers."""
        return Check(
            name=name,
            status=status,
            detail=detail,
            advice=advice,
            duration=self.duration,
            raw=self.data,
            x_request_id=self._x_request_id,
        )

    def failed_check(self, name: str, status: CheckStatus = CheckStatus.FAILED) -> Check:
        """Return the check that the error of this finding leaves without an answer."""
        assert self.error is not None
        return self.check(name, status, self.error.message, self.error.next_step)

    @property
    def _x_request_id(self) -> str | None:
        if isinstance(self.answer, FavCRMError):
            return self.answer.request_id
        return self.answer.x_request_id if isinstance(self.answer, ToolResult) else None


async def diagnose(engine: Engine, keys: KeyManager) -> DiagnosticReport:
    """Ask every question side by side, then the server's own doctor where it has one."""
    clock = engine.backend.clock
    started = clock.monotonic()
    has_key, store_error = False, None
    try:
        has_key = await keys.current() is not None
    except StoreError as error:
        store_error = error

    async def ask(name: str) -> Finding:
        """Ask one question; its failure is a finding too."""
        started = clock.monotonic()
        answer: tuple[Tool, ...] | ToolResult | FavCRMError
        try:
            if name == calls.LIST:
                answer = await engine.list_tools(keys, authenticated=has_key)
            else:
                answer = await engine.perform(calls.check_tool(name), keys)
        except FavCRMError as error:
            answer = error
        return Finding(name, answer, clock.monotonic() - started)

    names = (calls.LIST, *QUESTIONS) if has_key else (calls.LIST,)
    answers = await engine.backend.side_by_side([partial(ask, name) for name in names])
    findings = {finding.name: finding for finding in answers}
    if has_key and names_doctor(findings[calls.LIST]):
        findings[calls.DOCTOR] = await ask(calls.DOCTOR)
    engine.emit(EventKind.DIAGNOSED, duration=clock.monotonic() - started)
    return report(findings, has_key=has_key, store_error=store_error)


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
    data = {name: finding.data for name, finding in findings.items()}
    told = data.get(calls.DOCTOR)
    doctor: Mapping[str, JSON] = told if isinstance(told, dict) else {}
    organisation = _organisation(doctor.get("organisationContext")) or _organisation(
        data.get(calls.COMPANIES)
    )
    plan = _word(doctor.get("planStatus"), PLAN_NAMES) or _word(data.get(calls.PLAN), PLAN_NAMES)
    connected = _connected(doctor.get("whatsappStatus"))
    if connected is None:
        connected = _connected(data.get(calls.WHATSAPP))
    listing = findings[calls.LIST]
    reachable = any(finding.reached for finding in findings.values())
    if store_error is not None:
        key = Finding("key", store_error, 0.0).failed_check("key")
    else:
        key = _key_check(findings, doctor, has_key=has_key, reachable=reachable)
    return DiagnosticReport(
        endpoint_reachable=reachable,
        auth_configured=key.status is CheckStatus.OK,
        tool_count=len(listing.answer) if isinstance(listing.answer, tuple) else 0,
        organisation=organisation,
        plan_status=plan,
        whatsapp_connected=connected,
        checks=(
            _endpoint_check(listing, doctor, reachable=reachable),
            key,
            _tools_check(listing, reachable=reachable),
            _tool_check("organisation", findings.get(calls.COMPANIES), organisation or "not named"),
            _plan_check(findings.get(calls.PLAN), plan),
            _tool_check("whatsapp", findings.get(calls.WHATSAPP), CONNECTED_DETAILS[connected]),
        ),
    )


def _endpoint_check(listing: Finding, doctor: Mapping[str, JSON], *, reachable: bool) -> Check:
    if not reachable:
        return listing.failed_check("endpoint")
    if (doubt := _doubt(doctor, "mcpEndpointStatus")) is not None:
        return listing.check("endpoint", CheckStatus.WARNING, f"answers, and calls itself {doubt}")
    return listing.check("endpoint", CheckStatus.OK, "answers")


def _key_check(
    findings: Mapping[str, Finding], doctor: Mapping[str, JSON], *, has_key: bool, reachable: bool
) -> Check:
    if not has_key:
        advice = f"Sign up, or create a key at {PORTAL} under Settings, MCP Keys."
        return Check(name="key", status=CheckStatus.FAILED, detail="there is none", advice=advice)
    if not reachable:
        return Check(name="key", status=CheckStatus.SKIPPED, detail="could not be tried")
    asked = [finding for name, finding in findings.items() if name != calls.LIST]
    doubt = _doubt(doctor, "authStatus")
    if doubt is None and (accepted := next((each for each in asked if each.error is None), None)):
        return Check(name="key", status=CheckStatus.OK, detail="accepted", duration=accepted.duration)
    for finding in findings.values():
        if isinstance(finding.error, AuthenticationError):
            return finding.failed_check("key")
    if doubt is not None:
        advice = ERROR_CODES[AuthenticationError.code].next_step
        detail = f"the server calls it {doubt}"
        return Check(name="key", status=CheckStatus.FAILED, detail=detail, advice=advice)
    return asked[0].failed_check("key", CheckStatus.WARNING)


def _tools_check(listing: Finding, *, reachable: bool) -> Check:
    if not isinstance(listing.answer, tuple):
        if reachable:
            return listing.failed_check("tools")
        return Check(name="tools", status=CheckStatus.SKIPPED, detail="could not be listed")
    detail = f"{len(listing.answer)} available"
    if listing.answer:
        return listing.check("tools", CheckStatus.OK, detail)
    advice = "Check that the endpoint is FavCRM's, and that the key belongs to the right workspace."
    return listing.check("tools", CheckStatus.FAILED, detail, advice)


def _plan_check(finding: Finding | None, plan: str | None) -> Check:
    """Report the plan; the doctor's word for it counts also where the plan's own tool failed."""
    check = _tool_check("plan", finding, plan or "not told")
    word = (plan or "").casefold()
    if word in SUSPENDED_WORDS:
        advice = f"The owner of the workspace must sign in at {PORTAL} and look at the plan."
        return evolve(check, status=CheckStatus.FAILED, detail=word, advice=advice)
    if word in DOUBTFUL_WORDS:
        advice = (
            "The owner of the workspace should look at the plan. The tool list_plan_options shows the others."
        )
        return evolve(check, status=CheckStatus.WARNING, detail=word, advice=advice)
    return check


def _tool_check(name: str, finding: Finding | None, detail: str) -> Check:
    """Report a question that nothing depends on: its failure is a warning."""
    if finding is None:
        return Check(name=name, status=CheckStatus.SKIPPED, detail="needs a key")
    if finding.error is not None:
        return finding.failed_check(name, CheckStatus.WARNING)
    return finding.check(name, CheckStatus.OK, detail)


def _doubt(doctor: Mapping[str, JSON], name: str) -> str | None:
    """Return the doctor's word for a status where that word is not a good one."""
    word = doctor.get(name)
    return word if isinstance(word, str) and word.casefold() not in DOCTOR_GOOD[name] else None


def _organisation(value: JSON) -> str | None:
    """Return the name or id of the organisation worked in: the one marked as current, or the first."""
    entries = list(_objects(value))
    current = [entry for entry in entries if any(entry.get(mark) is True for mark in CURRENT_MARKS)]
    named = (_word(entry, ORGANISATION_NAMES) for entry in current + entries)
    return next(filter(None, named), None) or _word(value, ())


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


def _connected(value: JSON) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.casefold() in CONNECTED_WORDS
    if not isinstance(value, dict):
        return None
    found = (value[name] for name in CONNECTED_NAMES if isinstance(value.get(name), bool | str))
    return _connected(next(found, None))
