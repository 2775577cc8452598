"""The flows: what is asked of the server and in which order, written once for sync and async.

A flow awaits its backend and other flows, and nothing else. An attempt at a call returns what became of it, and the
call raises one error after its last attempt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from attrs import evolve

from favcrm._flows import calls
from favcrm._flows.attempts import Caller
from favcrm._flows.checks import check_joining, check_request_id, check_tool_call, parse_code
from favcrm._flows.confirmation import SENT_BEFORE, CodeUse, Confirmation
from favcrm._flows.keys import KeyManager, check_is_store, key_name_of, key_name_of_invitation
from favcrm._flows.records import (
    Records,
    WaitForOthers,
    id_of_invitation,
    name_of_invitation,
    name_of_registration,
)
from favcrm._flows.reserved import check_not_reserved
from favcrm._mcp.negotiation import INVALID_PARAMS
from favcrm._mcp.requests import read_pages
from favcrm._text import is_text
from favcrm._warn import warn
from favcrm.errors import (
    CodeExpiredError,
    KeyNotStoredWarning,
    OutcomeUnknownError,
    RefusedError,
    UnexpectedAnswerError,
    raise_problems,
)
from favcrm.events import Emitter, Event, EventKind
from favcrm.ledger import MemoryLedger
from favcrm.models import PendingRegistration
from favcrm.settings import as_secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from favcrm._backends import Backend
    from favcrm._flows.calls import Call
    from favcrm.ledger import Ledger
    from favcrm.models import DiagnosticReport, Progress, Tool, ToolResult, Workspace
    from favcrm.registration import Registration
    from favcrm.retry import RetryPolicy
    from favcrm.secret import Secret, SecretRef
    from favcrm.store import Store
    from favcrm.typing import JSON

R = TypeVar("R")

KEY_IS_NOT_KEPT = (
    "No store is given, so the only key ends with this process. Give a store, such as "
    "one of favcrm.stores. Where the key may be lost, give a MemoryStore(): then there is no warning."
)


class Engine:
    """The flows over one backend. What belongs to one sign-up is made for it, so any number may run at once.

    Attributes:
        keys: The key that calls present: the one that was given, until a sign-up that ended well brings one.
        store: Where keys go by default.
        escrow: Where they go by default if the store fails.
        endpoint: The address that is asked, without what is secret in it; empty where there is none.
        confirmation: Uses codes.
        diagnosis_interval: Seconds between two diagnoses of a watch, or None where the settings say nothing.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        policy: RetryPolicy,
        timeout: float,
        key: Secret | SecretRef | None = None,
        key_source: str = "",
        missing_key: str = "",
        store: Store | None = None,
        escrow: Store | None = None,
        ledger: Ledger | None = None,
        on_event: Callable[[Event], None] | None = None,
        new_store: Callable[[], Store],
        diagnosis_interval: float | None = None,
    ) -> None:
        self.backend = backend
        self.emit = Emitter(on_event, backend.clock.time)
        self.store = store
        self.escrow = escrow
        self.endpoint: str = getattr(backend.transport, "endpoint", "")
        self.diagnosis_interval = diagnosis_interval
        self._new_store = new_store
        self._warned = False
        self._accepted: list[Store] = []
        self.keys = KeyManager(backend, self.emit, key=key, store=store, source=key_source)
        self.keys.missing = missing_key
        self._caller = Caller(backend, policy=policy, timeout=timeout)
        self._records = Records(backend, MemoryLedger() if ledger is None else ledger)
        self.confirmation = Confirmation(self._caller, self._records, self.emit)

    def warn_that_key_is_not_kept(self) -> None:
        """Warn, once for each engine, that the key ends with this process."""
        if not self._warned:
            self._warned = True
            warn(KEY_IS_NOT_KEPT, KeyNotStoredWarning)

    def store_or_new(self, store: Store | None) -> Store:
        """Return where a key goes: to the given store, to the engine's own, or to a new one in this process."""
        store = self.store if store is None else store
        if store is None:
            self.warn_that_key_is_not_kept()
            return self._new_store()
        return store

    def keys_for(
        self, *, store: Store | None = None, name: str | None = None, replace: bool = False
    ) -> KeyManager:
        """Return what manages the key of one sign-up.

        Args:
            store: Where the key goes; the engine's store where it is None.
            name: The name of the key in the store.
            replace: Whether the key may take the place of another one.

        Raises:
            InvalidInputError: The name is no text, or the store or the escrow lacks a method of `favcrm.Store`.
        """
        raise_problems({"key_name": None if name is None or is_text(name) else "must be text"})
        store = self.store if store is None else store
        for field, each in {"store": store, "escrow": self.escrow}.items():
            if each is None or any(each is known for known in self._accepted):
                continue
            check_is_store(each, field)
            # Checked once, because to read the signatures takes as long as a call. Other stores may not live on.
            if each is self.store or each is self.escrow:
                self._accepted.append(each)
        return KeyManager(
            self.backend, self.emit, store=store, escrow=self.escrow, name=name, replace=replace
        )

    def initiate(
        self, registration: Registration, *, resend: bool = False, spent: PendingRegistration | None = None
    ) -> Coroutine[None, None, PendingRegistration]:
        """Ask for a one-time code, unless one for the same email and organisation is still good.

        Args:
            registration: What to register.
            resend: Whether to ask although a code is still good.
            spent: A pending registration that must not be returned, because its code is spent.
        """
        name = name_of_registration(registration, self.endpoint)
        call = calls.request_code(registration, self.backend.clock)
        return self._ask_for_code(name, key_name_of(registration), call, resend=resend, spent=spent)

    async def request_invite(
        self, token: str | Secret, *, resend: bool = False, spent: PendingRegistration | None = None
    ) -> PendingRegistration:
        """Ask for the one-time code of an invitation, unless one is still good."""
        token = as_secret(token, "token")
        name = name_of_invitation(token, self.endpoint)
        call = calls.request_invite_code(token.reveal(), self.backend.clock)
        registration_id, key_name = id_of_invitation(token), key_name_of_invitation(token)
        try:
            return await self._ask_for_code(
                name, key_name, call, resend=resend, spent=spent, settles=registration_id
            )
        except RefusedError as error:
            if not (await self._records.state(registration_id)).sent:
                raise
            raise self.confirmation.unknown_error(registration_id, SENT_BEFORE, error) from None

    async def _ask_for_code(
        self,
        name: str,
        key_name: str,
        call: Call[PendingRegistration],
        *,
        resend: bool,
        spent: PendingRegistration | None,
        settles: str | None = None,
    ) -> PendingRegistration:
        if resend and spent is None:
            spent = await self._records.find(name)
        reservation = self._records.reservation(name)
        others = WaitForOthers(
            self.backend, self._caller.policy.deadline, "asks for a code for the same registration"
        )
        waited = False
        try:
            while True:
                known = await reservation.find_or_take(spent=spent)
                if known is not None:
                    self.emit(EventKind.CODE_REUSED, registration_id=known.request_id)
                    # A ledger need not keep the name of the key.
                    return evolve(known, key_name=key_name)
                if not reservation.held_elsewhere:
                    break
                waited = True
                await others.wait()
            unheard = (await self._records.state(name)).sent
            if waited and unheard:
                raise OutcomeUnknownError(
                    "Another call asked for a code and had no answer. An email may have been sent."
                )
            try:
                pending = await self._caller.perform(call, self.keys)
            except OutcomeUnknownError:
                await self._records.mark_sent(name, sent=True)
                raise
            if unheard:
                await self._records.mark_sent(name, sent=False)
            if pending.expired:
                raise CodeExpiredError(
                    "The answer came after the code had expired by the server's own clock. Nothing was created."
                )
            if settles is not None and (await self._records.state(settles)).sent:
                # The server gives a code for an invitation that is open, so no code before was accepted.
                await self._records.mark_sent(settles, sent=False)
            # Before the event, because the user's callback takes its time and may not come back.
            await self._records.keep(name, pending)
        finally:
            await reservation.give_back()
        self.emit(
            EventKind.CODE_REQUESTED, registration_id=pending.request_id, x_request_id=pending.x_request_id
        )
        return evolve(pending, key_name=key_name)

    async def close(self, close_transport: Callable[[], Awaitable[None]]) -> None:
        """Close the transport once no code is being used."""
        await self.confirmation.close(close_transport)

    def confirm(
        self,
        pending: PendingRegistration | str,
        code: str,
        *,
        keys: KeyManager | None = None,
        before_sending: Callable[[], None] | None = None,
    ) -> Coroutine[None, None, Workspace]:
        """Use a one-time code, and save the key before anything else."""
        known = pending if isinstance(pending, PendingRegistration) else None
        registration_id = check_request_id(known.request_id if known else pending)
        digits = parse_code(code)
        call = calls.verify_code(registration_id, digits.reveal())
        keys = keys or self.keys_for()
        keys.name = keys.name or (known.key_name if known else None)
        return self._confirm(CodeUse(call, registration_id, digits, known, keys, before_sending))

    async def confirm_invite(
        self,
        token: str | Secret,
        code: str,
        *,
        pending: PendingRegistration | None = None,
        person: str | None,
        keys: KeyManager | None = None,
        before_sending: Callable[[], None] | None = None,
    ) -> Workspace:
        """Use the one-time code of an invitation, with the same care as that of a registration."""
        token, digits = as_secret(token, "token"), parse_code(code)
        check_joining(pending, person)
        registration_id = id_of_invitation(token)
        if pending is None:
            pending = await self._records.find(name_of_invitation(token, self.endpoint))
        call = calls.verify_invite(token.reveal(), digits.reveal(), person)
        keys = keys or self.keys_for()
        keys.name = keys.name or key_name_of_invitation(token)
        return await self._confirm(CodeUse(call, registration_id, digits, pending, keys, before_sending))

    async def _confirm(self, use: CodeUse) -> Workspace:
        if use.keys.store is None:
            self.warn_that_key_is_not_kept()
        try:
            return await self.confirmation.confirm(use)
        finally:
            # Also where the key was received and could not be saved, so that calls can go on.
            if use.keys.key is not None:
                self.keys = use.keys

    def diagnose(self, keys: KeyManager | None = None) -> Coroutine[None, None, DiagnosticReport]:
        """Ask every question side by side, then the server's own doctor where it has one."""
        from favcrm._flows.diagnosis import diagnose

        return diagnose(self, keys or self.keys)

    def call_tool(
        self,
        name: str,
        arguments: Mapping[str, JSON],
        *,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Coroutine[None, None, ToolResult]:
        """Call any tool that has no method of its own."""
        check_tool_call(name, arguments)
        check_not_reserved(name, arguments)
        return self.perform(calls.any_tool(name, arguments, on_progress=on_progress))

    def perform(self, call: Call[R], keys: KeyManager | None = None) -> Coroutine[None, None, R]:
        """Make a call, by default with the current key."""
        return self._caller.perform(call, keys or self.keys)

    async def list_tools(
        self, keys: KeyManager | None = None, *, authenticated: bool = True
    ) -> tuple[Tool, ...]:
        """List every tool, page by page; once more from the first page if the server forgot a cursor."""
        tools: dict[str, Tool] = {}

        async def ask(cursor: str | None) -> str | None:
            call = calls.list_tools(cursor, authenticated=authenticated)
            page, following = await self._caller.perform(call, keys or self.keys)
            for tool in page:
                tools.setdefault(tool.name, tool)  # pages may overlap
            return following

        try:
            ended = await read_pages(ask)
        except RefusedError as error:
            if not tools or error.server_code != INVALID_PARAMS:
                raise
            tools.clear()
            ended = await read_pages(ask)
        if not ended:
            raise UnexpectedAnswerError(
                "The list of tools does not end.", problems=["$.nextCursor leads nowhere"]
            )
        return tuple(tools.values())
