"""Using a one-time code: once, whoever asks, and with the key in its store before anything else."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Never

from attrs import evolve, frozen

from favcrm._flows.attempts import NOT_SENT_SINCE_EXPIRED, Attempts
from favcrm._flows.outcomes import Failed, Kind
from favcrm._flows.received import Received
from favcrm._flows.records import Turns
from favcrm.errors import (
    PORTAL,
    CodeExpiredError,
    InvalidCodeError,
    MissingKeyError,
    OutcomeUnknownError,
    TooManyAttemptsError,
)
from favcrm.events import EventKind
from favcrm.models import Workspace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from favcrm._backends import Backend
    from favcrm._flows.attempts import Caller
    from favcrm._flows.calls import Call
    from favcrm._flows.keys import KeyManager
    from favcrm._flows.records import Records
    from favcrm.errors import FavCRMError
    from favcrm.events import Emitter
    from favcrm.ledger import CodeState
    from favcrm.models import PendingRegistration

LOOK_FOR_WORKSPACE = f"Sign in at {PORTAL} with the email, and look whether the workspace exists."
UNKNOWN_WORKSPACE = (
    f"The workspace may exist: sign in at {PORTAL} with the email. Where the workspace exists, create a key under "
    "Settings, MCP Keys. Where there is none, ask for a fresh code."
)
NOT_SENT_SINCE_REFUSED = "The code was refused before, so it was not sent again."
SENT_BEFORE = "A code was sent before for this registration, and its outcome is not known."


@frozen(kw_only=True, eq=False, repr=False)
class Use:
    """One use of a code.

    Attributes:
        call: The call that uses it.
        request_id: The registration.
        mark: Returns what the code is remembered by if it is wrong.
        window: The pending registration, which says how long the code lives, or None.
        keys: Who gets the key.
        before_sending: Called right before the code is sent.
    """

    call: Call[Workspace]
    request_id: str
    mark: Callable[[], str]
    window: PendingRegistration | None
    keys: KeyManager
    before_sending: Callable[[], None]


class Confirmation:
    """Uses codes over one backend, and remembers which workspaces they made.

    Args:
        backend: Where to wait, and what cannot be cancelled.
        caller: Makes the calls.
        records: The ledger.
        emit: Emits events.
        deadline: Seconds to wait for somebody else who uses the same code.

    Attributes:
        received: The workspaces that came.
    """

    def __init__(
        self, backend: Backend, caller: Caller, records: Records, emit: Emitter, *, deadline: float
    ) -> None:
        self._backend = backend
        self._caller = caller
        self._records = records
        self._emit = emit
        self._deadline = deadline
        self._in_use: dict[Use, object] = {}
        self._closing: Callable[[], Awaitable[None]] | None = None
        self.received = Received()

    async def confirm(self, use: Use) -> Workspace:
        """Use a code, or return the workspace that it made already."""
        reservation = self._records.reservation(use.request_id)
        turns = Turns(self._backend, self._deadline, "uses a code of the same registration")
        try:
            while not await reservation.take():
                await turns.wait()
            if (known := await self.find(use.request_id, use.keys)) is not None:
                return known
            state = await self._records.state(use.request_id)
            if use.window and use.window.expired:
                raise await self.expired(use.request_id, use.keys, NOT_SENT_SINCE_EXPIRED)
            if state.refused and use.mark() in state.refused:
                made = "" if state.sent else " No workspace was created."
                raise InvalidCodeError(f"{NOT_SENT_SINCE_REFUSED}{made}")
            await use.keys.check_writable(use.request_id)
            # From here to the store's commit nobody may cancel: the key is in the answer, and comes only once.
            return await self._backend.uncancelled(partial(self._use, use, state))
        finally:
            await reservation.give_back()

    async def close(self, close: Callable[[], Awaitable[None]]) -> None:
        """Close the transport; where a code is on its way, the answer to the last one has the key, and comes first."""
        if self._backend.home() in self._in_use.copy().values():
            self._closing = close
        else:
            await close()

    async def knows(self, request_id: str) -> bool:
        """Tell whether a registration is confirmed already."""
        if self.received.find(request_id) is not None:
            return True
        return (await self._records.state(request_id)).ref is not None

    async def expired(self, request_id: str, keys: KeyManager, message: str) -> FavCRMError:
        """Return the error for a code that has died: an earlier one that was sent may have made a workspace."""
        await self._records.forget(request_id)
        error = CodeExpiredError(message)
        state = await self._records.state(request_id)
        return self.unknown(request_id, keys, SENT_BEFORE, error) if state.sent else error

    async def find(self, request_id: str, keys: KeyManager) -> Workspace | None:
        """Return the workspace of a registration that is confirmed already, or None where it is not.

        Raises:
            StoreError: It is confirmed, and its key is not in the store and could not be saved there.
        """
        workspace = None
        receipt = self.received.find(request_id)
        if receipt is not None:
            workspace = receipt.workspace
            if workspace.ref is None or receipt.store is not keys.store:
                return await self._keep(request_id, workspace, keys)
        ref = (await self._records.state(request_id)).ref if workspace is None else workspace.ref
        if ref is None:
            return None
        # Read from its store, where somebody may have replaced or deleted it since.
        key, store = await keys.look_up(ref)
        if key is None:
            raise MissingKeyError(
                f"The registration was confirmed already, and its key was stored at {ref}. It is not in this store.",
                next_step=f"Read the key from that store, or create another one at {PORTAL} under Settings, MCP Keys.",
            )
        workspace = Workspace(api_key=key, ref=ref) if workspace is None else evolve(workspace, api_key=key)
        if store is not keys.store:
            return await self._keep(request_id, workspace, keys)
        keys.key = ref
        return workspace

    async def _use(self, use: Use, state: CodeState) -> Workspace:
        self._in_use[use] = self._backend.home()
        try:
            return await self._send(use, state)
        finally:
            del self._in_use[use]
            closing = self._closing
            if closing is not None and not self._in_use:
                self._closing = None
                with suppress(Exception):
                    await closing()

    async def _send(self, use: Use, state: CodeState) -> Workspace:
        request_id = use.request_id
        # Told before the mark is made: a listener that does not come back has sent nothing.
        use.before_sending()
        self._emit(EventKind.VERIFY_SENT, registration_id=request_id)
        await self._records.mark_sent(request_id, sent=True)
        started = self._backend.clock.monotonic()
        attempts = Attempts(self._caller, use.call, use.keys, use.window)
        outcome = await attempts.settle()
        if isinstance(outcome, Failed):
            await self._raise_unconfirmed(use, outcome, attempts, state)
        self.received.remember(request_id, outcome.value, use.keys.store)
        received = partial(
            self._emit,
            EventKind.KEY_RECEIVED,
            registration_id=request_id,
            organisation_id=outcome.value.organisation_id,
            fingerprint=outcome.value.api_key.fingerprint,
            attempt=len(attempts.outcomes),
            duration=self._backend.clock.monotonic() - started,
            x_request_id=outcome.value.x_request_id,
        )
        return await self._keep(request_id, outcome.value, use.keys, received)

    async def _keep(
        self,
        request_id: str,
        workspace: Workspace,
        keys: KeyManager,
        received: Callable[[], None] | None = None,
    ) -> Workspace:
        """Save a key, if there is a store, then settle what the ledger knows of its code, then tell.

        In this order: a listener takes its time, and may not come back; until the key is safe, a crash must leave what
        tells that a workspace may exist.
        """
        keys.key = workspace.api_key
        if keys.store is None:
            # The mark stays: no other process could get the key, and its code would be refused.
            await self._records.forget(request_id)
            if received is not None:
                received()
            return workspace
        saved = await keys.put(workspace, request_id)
        if saved.ref is not None:
            await self._records.mark_sent(request_id, sent=False, ref=saved.ref)
        if saved.failure is None:
            self.received.remember(request_id, saved.workspace, keys.store)
        if received is not None:
            received()
        return keys.report(saved, request_id)

    async def _raise_unconfirmed(
        self, use: Use, outcome: Failed, attempts: Attempts[Workspace], state: CodeState
    ) -> Never:
        error, unknown = outcome.error, attempts.unknown
        if not unknown and not state.sent:
            refused = use.mark() if isinstance(error, InvalidCodeError) else None
            await self._records.mark_sent(use.request_id, sent=False, refused=refused)
            if isinstance(error, CodeExpiredError | TooManyAttemptsError):
                await self._records.forget(use.request_id)
            raise self._caller.with_origin(error, use.keys)
        if not unknown and outcome.kind in {Kind.NEVER_SENT, Kind.BUSY}:
            # Nothing was done this time, so what an earlier run may have done is as open as it was.
            error.next_step = f"{error.next_step} {SENT_BEFORE} Its answer can still settle that."
            raise self._caller.with_origin(error, use.keys)
        # A refusal after an attempt that may have worked is what a used code gets: it proves nothing. The next one who
        # asks is sent a fresh code; what is known of this one stays.
        await self._records.forget(use.request_id)
        what = unknown[0].error.message if unknown else SENT_BEFORE
        cause = unknown[0].error if unknown else error
        raise self.unknown(use.request_id, use.keys, what, cause, len(attempts.outcomes))

    def unknown(  # what an event and an error need
        self, request_id: str, keys: KeyManager, what: str, error: FavCRMError, attempts: int | None = None
    ) -> OutcomeUnknownError:
        self._emit(
            EventKind.OUTCOME_UNKNOWN,
            registration_id=request_id,
            error=type(error).__name__,
            attempt=attempts,
            x_request_id=error.request_id,
        )
        unknown = OutcomeUnknownError(
            f"{what} No key was received.",
            next_step=UNKNOWN_WORKSPACE,
            human_action=LOOK_FOR_WORKSPACE,
            request_id=error.request_id,
        )
        self._caller.with_origin(unknown, keys)
        return unknown
