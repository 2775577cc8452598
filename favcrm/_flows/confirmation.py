"""Using a one-time code: once, whoever asks, and with the key in its store before anything else."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Never

from attrs import evolve

from favcrm._flows.attempts import NOT_SENT_SINCE_EXPIRED, Attempts, Failed, Kind
from favcrm._flows.records import Turns, mark_of_code
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

    from favcrm._flows.attempts import Caller
    from favcrm._flows.calls import Call
    from favcrm._flows.keys import KeyManager
    from favcrm._flows.records import Records
    from favcrm.errors import FavCRMError
    from favcrm.events import Emitter
    from favcrm.ledger import CodeState
    from favcrm.models import PendingRegistration
    from favcrm.secret import Secret
    from favcrm.store import Store

LOOK_FOR_WORKSPACE = f"Sign in at {PORTAL} with the email, and look whether the workspace exists."
UNKNOWN_WORKSPACE = (
    f"The workspace may exist: sign in at {PORTAL} with the email. Where the workspace exists, create a key under "
    "Settings, MCP Keys. Where there is none, ask for a fresh code."
)
MOST_KEPT = 100
"""How many workspaces an object remembers."""
NOT_SENT_SINCE_REFUSED = "The code was refused before, so it was not sent again."
SENT_BEFORE = "A code was sent before for this registration, and its outcome is not known."


class Use:
    """One use of a code.

    Args:
        call: The call that uses the code.
        request_id: The registration.
        code: The code.
        window: The pending registration, which says how long the code lives, or None.
        keys: What saves the key.
        before_sending: Called right before the code is sent, or None.
    """

    def __init__(  # noqa: PLR0917  # all of them, always
        self,
        call: Call[Workspace],
        request_id: str,
        code: Secret,
        window: PendingRegistration | None,
        keys: KeyManager,
        before_sending: Callable[[], None] | None,
    ) -> None:
        self.call = call
        self.request_id = request_id
        self.window = window
        self.keys = keys
        self.before_sending = before_sending
        self._code = code

    def mark(self) -> str:
        """Return what the code is remembered by if it is wrong."""
        return mark_of_code(self.request_id, self._code)


class Receipt(NamedTuple):
    """One workspace, and the store that its key went to or was to go to."""

    workspace: Workspace
    store: Store | None

    @property
    def unsaved(self) -> bool:
        """Whether the key is nowhere but here, although it was to be saved."""
        return self.store is not None and self.workspace.ref is None


class Received:
    """Remembers the last workspaces by their registration, and all whose key could not be saved.

    Attributes:
        last: The last one.
    """

    def __init__(self) -> None:
        self._receipts: dict[str, Receipt] = {}
        self.last: Workspace | None = None

    def find(self, request_id: str) -> Receipt | None:
        """Return the workspace of a registration, or None."""
        return self._receipts.get(request_id)

    def remember(self, request_id: str, workspace: Workspace, store: Store | None) -> None:
        """Remember a workspace. It raises nothing: a key has just come."""
        self.last = workspace
        self._receipts[request_id] = Receipt(workspace, store)
        if len(self._receipts) <= MOST_KEPT:
            return
        # A copy, because other threads change the original meanwhile.
        for old in list(self._receipts)[:-MOST_KEPT]:
            receipt = self._receipts.get(old)
            if receipt is not None and not receipt.unsaved:
                self._receipts.pop(old, None)


class Confirmation:
    """Uses codes, and remembers which workspaces they made.

    Args:
        caller: Makes the calls.
        records: The ledger.
        emit: Emits events.

    Attributes:
        received: The workspaces that came.
    """

    def __init__(self, caller: Caller, records: Records, emit: Emitter) -> None:
        self._backend = caller.backend
        self._caller = caller
        self._records = records
        self._emit = emit
        self._in_use: dict[Use, object] = {}
        self._closing: Callable[[], Awaitable[None]] | None = None
        self.received = Received()

    async def confirm(self, use: Use) -> Workspace:
        """Use a code, or return the workspace that it made already."""
        reservation = self._records.reservation(use.request_id)
        turns = Turns(self._backend, self._caller.policy.deadline, "uses a code of the same registration")
        try:
            while not await reservation.take():
                await turns.wait()
            if (known := await self.find(use.request_id, use.keys)) is not None:
                return known
            state = await self._records.state(use.request_id)
            if use.window and use.window.expired:
                raise await self.expired(use.request_id, NOT_SENT_SINCE_EXPIRED)
            if state.refused and use.mark() in state.refused:
                made = "" if state.sent else " Nothing was created."
                raise InvalidCodeError(f"{NOT_SENT_SINCE_REFUSED}{made}")
            await use.keys.check_writable(use.request_id)
            # Nobody may cancel from here to the store's commit, because the server shows the key only once.
            return await self._backend.uncancelled(partial(self._use, use, state))
        finally:
            await reservation.give_back()

    async def close(self, close: Callable[[], Awaitable[None]]) -> None:
        """Close the transport, or let the last use of a code close it, because the answer to a code has the key."""
        if self._backend.home() in self._in_use.copy().values():
            self._closing = close
        else:
            await close()

    async def knows(self, request_id: str) -> bool:
        """Tell whether a registration is confirmed already."""
        if self.received.find(request_id) is not None:
            return True
        return (await self._records.state(request_id)).ref is not None

    async def expired(self, request_id: str, message: str) -> FavCRMError:
        """Return the error for a code that has died: an earlier one that was sent may have made a workspace."""
        await self._records.forget(request_id)
        error = CodeExpiredError(message)
        state = await self._records.state(request_id)
        return self.unknown(request_id, SENT_BEFORE, error) if state.sent else error

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
        # Emitted before the mark is made, because nothing was sent if the user's callback does not come back.
        if use.before_sending is not None:
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
        """Save a key, if there is a store, then mark the code as settled in the ledger, then emit events.

        The mark comes second, because after a crash the ledger must tell that a workspace may exist until its key is
        safe. The events come last, because the user's callback takes its time and may not come back.
        """
        keys.key = workspace.api_key
        if keys.store is None:
            # The mark stays, because no other process can get the key, and the server would refuse its code.
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
            raise self._caller.with_origin(error)
        if not unknown and outcome.kind in {Kind.NEVER_SENT, Kind.BUSY}:
            # Nothing was done this time, so it is still open what an earlier run did.
            error.next_step = f"{error.next_step} {SENT_BEFORE} Its answer can still settle that."
            raise self._caller.with_origin(error)
        # An earlier attempt may have used the code, and the server refuses a used code. So the refusal does not prove
        # that there is no workspace. `initiate` asks for a fresh code from now on; the mark of this one stays.
        await self._records.forget(use.request_id)
        what = unknown[0].error.message if unknown else SENT_BEFORE
        cause = unknown[0].error if unknown else error
        raise self.unknown(use.request_id, what, cause, len(attempts.outcomes))

    def unknown(
        self, request_id: str, what: str, error: FavCRMError, attempts: int | None = None
    ) -> OutcomeUnknownError:
        """Emit that an outcome is unknown, and return the error that says so."""
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
        self._caller.with_origin(unknown)
        return unknown
