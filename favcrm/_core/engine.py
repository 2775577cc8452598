"""The order of things, written once for both colours.

Rules of this file: it awaits nothing but its port; one attempt is a value, and an error is raised once, from here;
no local variable of a frame that raises holds a key, a code or an answer.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Never, TypeAlias, TypeVar

from favcrm._boundary import bare
from favcrm._core import calls
from favcrm._core.caller import Caller
from favcrm._core.custody import Custody, Saving
from favcrm._core.eras import INVALID_PARAMS
from favcrm._core.outcomes import Failed
from favcrm._core.reserved import check_not_reserved
from favcrm.errors import (
    PORTAL,
    CodeExpiredError,
    FavCRMError,
    OutcomeUnknownError,
    RefusedError,
    StoreError,
    TooManyAttemptsError,
    UnexpectedAnswerError,
)
from favcrm.events import Event, EventKind, Teller, logger
from favcrm.inputs import check_request_id, check_tool_call, raise_problems, read_code
from favcrm.models import PendingRegistration

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from favcrm._core.attempts import Attempts
    from favcrm._core.calls import Call
    from favcrm._core.diagnosis import Finding
    from favcrm._core.ports import Port, Store
    from favcrm.inputs import Registration
    from favcrm.ledger import Ledger
    from favcrm.models import DiagnosticReport, Progress, Tool, ToolResult, Workspace
    from favcrm.retry import RetryPolicy
    from favcrm.secret import Secret, SecretRef
    from favcrm.typing import JSON

    Question: TypeAlias = Callable[[], Coroutine[None, None, tuple[Tool, ...] | ToolResult]]

R = TypeVar("R")
T = TypeVar("T")

MAX_PAGES = 100
UNKNOWN_WORKSPACE = (
    f"The workspace may exist: sign in at {PORTAL} with the email. If it does, create a key under Settings, MCP Keys; "
    "if it does not, call initiate again."
)


class Engine:
    """The flows over one port."""

    def __init__(
        self,
        port: Port,
        *,
        policy: RetryPolicy,
        timeout: float,
        key: Secret | SecretRef | None = None,
        store: Store | None = None,
        ledger: Ledger | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self.port = port
        self.tell = Teller(on_event, port.clock.time)
        self.keys = Custody(port, self.tell, key=key, store=store)
        self._caller = Caller(port, self.keys, self.tell, policy=policy, timeout=timeout)
        self._ledger = ledger
        self.workspace: Workspace | None = None
        """The last workspace that was received, for who is interrupted before it is returned."""

    async def initiate(self, registration: Registration, *, resend: bool) -> PendingRegistration:
        """Ask for a one-time code, unless one for the same email and organisation is still good."""
        known = None if resend else await self._with_ledger(lambda ledger: ledger.find(registration))
        if known is not None:
            self.tell(EventKind.CODE_REUSED, registration_id=known.request_id)
            return known
        pending = await self._caller.perform(calls.request_code(registration, self.port.clock))
        # Before anybody is told: a listener takes its time, and may not come back.
        await self._with_ledger(lambda ledger: ledger.keep(registration, pending))
        self.tell(
            EventKind.CODE_REQUESTED, registration_id=pending.request_id, x_request_id=pending.x_request_id
        )
        return pending

    async def confirm(
        self,
        pending: PendingRegistration | str,
        code: str,
        *,
        saving: Saving | None = None,
        before_sending: Callable[[], None] | None = None,
    ) -> Workspace:
        """Use a one-time code, and save the key before anything else."""
        window = pending if isinstance(pending, PendingRegistration) else None
        digits, problem = read_code(code)
        del code
        request_id = check_request_id(window.request_id if window else pending)
        raise_problems({"code": problem})
        call = calls.verify_code(request_id, digits.reveal())
        return await self._use(call, request_id, window, saving or Saving(), before_sending)

    async def request_invite(self, token: Secret) -> PendingRegistration:
        """Ask for the one-time code of an invitation."""
        pending = await self._caller.perform(calls.request_invite_code(token.reveal(), self.port.clock))
        self.tell(
            EventKind.CODE_REQUESTED, registration_id=pending.request_id, x_request_id=pending.x_request_id
        )
        return pending

    async def confirm_invite(
        self,
        token: Secret,
        pending: PendingRegistration,
        code: str,
        *,
        person: str | None,
        saving: Saving,
        before_sending: Callable[[], None],
    ) -> Workspace:
        """Use the one-time code of an invitation, with the same care as that of a registration."""
        digits, problem = read_code(code)
        del code
        raise_problems({"code": problem})
        call = calls.verify_invite(token.reveal(), digits.reveal(), person)
        return await self._use(call, pending.request_id, pending, saving, before_sending)

    async def _use(
        self,
        call: Call[Workspace],
        request_id: str,
        window: PendingRegistration | None,
        saving: Saving,
        before_sending: Callable[[], None] | None,
    ) -> Workspace:
        if window and window.expired:
            await self._forget(request_id)
            raise CodeExpiredError("The code has expired, so it was not sent. No workspace was created.")
        if self.keys.store is not None:
            await self.keys.make_sure_of_room(saving)
        if before_sending is not None:
            before_sending()
        # From here to the store's commit nobody may cancel: the key is in the answer, and comes only once.
        return await self.port.uncancelled(partial(self._verify, call, request_id, window, saving))

    async def _verify(
        self, call: Call[Workspace], request_id: str, window: PendingRegistration | None, saving: Saving
    ) -> Workspace:
        sent_before = bool(await self._with_ledger(lambda ledger: ledger.was_sent(request_id)))
        await self._with_ledger(lambda ledger: ledger.mark_sent(request_id, sent=True))
        self.tell(EventKind.VERIFY_SENT, registration_id=request_id)
        started = self.port.clock.monotonic()
        attempts = self._caller.attempts(call, window)
        outcome = await attempts.settle()
        if isinstance(outcome, Failed):
            self._caller.tell_routes(attempts)
            await self._raise_unconfirmed(outcome, attempts, request_id, sent_before=sent_before)
        self.workspace = workspace = outcome.value
        self.keys.key = workspace.api_key
        received = partial(
            self.tell,
            EventKind.KEY_RECEIVED,
            registration_id=request_id,
            organisation_id=workspace.organisation_id,
            fingerprint=workspace.api_key.fingerprint,
            attempt=len(attempts.outcomes),
            duration=self.port.clock.monotonic() - started,
            x_request_id=workspace.x_request_id,
        )
        if self.keys.store is None:
            received()
        else:
            # Told there, after the key is safe: a listener takes its time, and may not come back.
            self.workspace = workspace = await self.keys.save(workspace, saving, request_id, received)
        self._caller.tell_routes(attempts)
        # Only now: until the key is safe, a crash must leave what tells that a workspace may exist.
        await self._forget(request_id)
        return workspace

    async def _raise_unconfirmed(
        self, outcome: Failed, attempts: Attempts[Workspace], request_id: str, *, sent_before: bool
    ) -> Never:
        unknown = attempts.unknown
        over = isinstance(outcome.error, CodeExpiredError | TooManyAttemptsError)
        if not unknown and not sent_before:
            if over:
                await self._forget(request_id)
            await self._with_ledger(lambda ledger: ledger.mark_sent(request_id, sent=False))
            raise bare(outcome.error)
        # A refusal after an attempt that may have worked is what a used code gets: it proves nothing.
        error = unknown[0].error if unknown else outcome.error
        what = (
            error.message
            if unknown
            else "An earlier run sent a code and did not end, and this one was refused."
        )
        await self._forget(request_id)
        self.tell(
            EventKind.OUTCOME_UNKNOWN,
            registration_id=request_id,
            error=type(error).__name__,
            attempt=len(attempts.outcomes),
            x_request_id=error.request_id,
        )
        raise OutcomeUnknownError(
            f"{what} No key was received.", next_step=UNKNOWN_WORKSPACE, request_id=error.request_id
        )

    async def diagnose(self) -> DiagnosticReport:
        """Ask every question side by side, then the server's own doctor where it has one."""
        from favcrm._core import diagnosis

        started = self.port.clock.monotonic()
        has_key, store_error = False, None
        try:
            has_key = await self.keys.current() is not None
        except StoreError as error:
            store_error = error
        questions: dict[str, Question] = {calls.LIST: partial(self.list_tools, authenticated=has_key)}
        if has_key:
            questions |= {name: self._asker(name) for name in diagnosis.QUESTIONS}
        answers = await self.port.side_by_side(
            [partial(self._ask, *question) for question in questions.items()]
        )
        findings = {finding.name: finding for finding in answers}
        if has_key and diagnosis.names_doctor(findings[calls.LIST]):
            findings[calls.DOCTOR] = await self._ask(calls.DOCTOR, self._asker(calls.DOCTOR))
        self.tell(EventKind.DIAGNOSED, duration=self.port.clock.monotonic() - started)
        return diagnosis.report(findings, has_key=has_key, store_error=store_error)

    def _asker(self, name: str) -> Question:
        return partial(self._caller.perform, calls.check_tool(name))

    async def _ask(self, name: str, question: Question) -> Finding:
        """Ask one question; its failure is a finding too."""
        from favcrm._core.diagnosis import Finding

        started = self.port.clock.monotonic()
        answer: tuple[Tool, ...] | ToolResult | FavCRMError
        try:
            answer = await question()
        except FavCRMError as error:
            answer = error
        return Finding(name, answer, self.port.clock.monotonic() - started)

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, JSON],
        *,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> ToolResult:
        """Call any tool that has no method of its own."""
        check_tool_call(name, arguments)
        check_not_reserved(name, arguments)
        return await self.perform(calls.any_tool(name, arguments, on_progress=on_progress))

    async def perform(self, call: Call[R]) -> R:
        """Make a call whose parameters are in no variable of a frame."""
        return await self._caller.perform(call)

    async def list_tools(self, *, authenticated: bool = True) -> tuple[Tool, ...]:
        """List every tool, page by page; where the server does not know its cursor, once more from the first."""
        tools: dict[str, Tool] = {}
        cursor: str | None = None
        cursors: set[str] = set()
        restarted = False
        while len(cursors) < MAX_PAGES:
            try:
                page, cursor = await self._caller.perform(
                    calls.list_tools(cursor, authenticated=authenticated)
                )
            except RefusedError as error:
                if restarted or cursor is None or error.code != INVALID_PARAMS:
                    raise
                restarted, cursor = True, None
                tools.clear()
                cursors.clear()
                continue
            for tool in page:
                tools.setdefault(tool.name, tool)  # pages may overlap
            if cursor is None:
                return tuple(tools.values())
            if cursor in cursors:
                break
            cursors.add(cursor)
        raise UnexpectedAnswerError(
            "The list of tools does not end.", problems=["$.nextCursor leads nowhere"]
        )

    async def _with_ledger(self, ask: Callable[[Ledger], T]) -> T | None:
        """Ask the ledger something; one that fails costs an email at worst, and must not cost a key."""
        ledger = self._ledger
        assert ledger is not None  # whoever signs up has one
        try:
            return await self.port.blocking(lambda: ask(ledger))
        except Exception as error:  # noqa: BLE001  # a ledger of the user's may raise anything
            with suppress(Exception):
                logger.warning("the ledger failed with %s", type(error).__name__)
            return None

    async def _forget(self, request_id: str) -> None:
        await self._with_ledger(lambda ledger: ledger.forget(request_id))
