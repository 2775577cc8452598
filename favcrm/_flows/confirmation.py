"""Using a one-time code: once, whoever asks, and with the key in its store before anything else."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Never

from attrs import evolve

from favcrm._flows.attempts import NOT_SENT_SINCE_EXPIRED, Attempts, Failed, Kind
from favcrm._flows.records import WaitForOthers, code_fingerprint
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


class CodeUse:
    """One use of a code.

    Args:
        call: The call that uses the code.
        registration_id: The registration.
        code: The code.
        pending: The pending registration, which says how long the code lives, or None.
        keys: What saves the key.
        before_sending: Called right before the code is sent, or None.
    """

    def __init__(  # noqa: PLR0917  # all of them, always
        self,
        call: Call[Workspace],
        registration_id: str,
        code: Secret,
        pending: PendingRegistration | None,
        keys: KeyManager,
        before_sending: Callable[[], None] | None,
    ) -> None:
        self.call = call
        self.registration_id = registration_id
        self.pending = pending
        self.keys = keys
        self.before_sending = before_sending
        self._code = code

    def fingerprint(self) -> str:
        """Return the fingerprint by which the code is remembered if it is wrong."""
        return code_fingerprint(self.registration_id, self._code)


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

    def find(self, registration_id: str) -> Receipt | None:
        """Return the workspace of a registration, or None."""
        return self._receipts.get(registration_id)

    def remember(self, registration_id: str, workspace: Workspace, store: Store | None) -> None:
        """Remember a workspace. It raises nothing: a key has just come."""
        self.last = workspace
        self._receipts[registration_id] = Receipt(workspace, store)
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
        self._in_use: dict[CodeUse, object] = {}
        self._closing: Callable[[], Awaitable[None]] | None = None
        self.received = Received()

    async def confirm(self, use: CodeUse) -> Workspace:
        """Use a code, or return the workspace that it made already."""
        reservation = self._records.reservation(use.registration_id)
        others = WaitForOthers(
            self._backend, self._caller.policy.deadline, "uses a code of the same registration"
        )
        try:
            while not await reservation.take():
                await others.wait()
            if (known := await self.restore(use.registration_id, use.keys)) is not None:
                return known
            before = await self._records.state(use.registration_id)
            if use.pending and use.pending.expired:
                raise await self.expired_error(use.registration_id, NOT_SENT_SINCE_EXPIRED)
            if before.refused and use.fingerprint() in before.refused:
                made = "" if before.sent else " Nothing was created."
                raise InvalidCodeError(f"{NOT_SENT_SINCE_REFUSED}{made}")
            await use.keys.check_writable(use.registration_id)
            # Nobody may cancel from here to the store's commit, because the server shows the key only once.
            return await self._backend.uncancelled(partial(self._use, use, before))
        finally:
            await reservation.give_back()

    async def close(self, close: Callable[[], Awaitable[None]]) -> None:
        """Close the transport, or let the last use of a code close it, because the answer to a code has the key."""
        if self._backend.home() in self._in_use.copy().values():
            self._closing = close
        else:
            await close()

    async def knows(self, registration_id: str) -> bool:
        """Tell whether a registration is confirmed already."""
        if self.received.find(registration_id) is not None:
            return True
        return (await self._records.state(registration_id)).ref is not None

    async def expired_error(self, registration_id: str, message: str) -> FavCRMError:
        """Return the error for a code that has died: an earlier one that was sent may have made a workspace."""
        await self._records.forget(registration_id)
        error = CodeExpiredError(message)
        state = await self._records.state(registration_id)
        return self.unknown_error(registration_id, SENT_BEFORE, error) if state.sent else error

    async def restore(self, registration_id: str, keys: KeyManager) -> Workspace | None:
        """Return the workspace of a registration that is confirmed already, or None where it is not.

        Raises:
            StoreError: It is confirmed, and its key is not in the store and could not be saved there.
        """
        workspace = None
        receipt = self.received.find(registration_id)
        if receipt is not None:
            workspace = receipt.workspace
            if workspace.ref is None or receipt.store is not keys.store:
                return await self._keep(registration_id, workspace, keys)
        ref = (await self._records.state(registration_id)).ref if workspace is None else workspace.ref
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
            return await self._keep(registration_id, workspace, keys)
        keys.key = ref
        return workspace

    async def _use(self, use: CodeUse, before: CodeState) -> Workspace:
        self._in_use[use] = self._backend.home()
        try:
            return await self._send(use, before)
        finally:
            del self._in_use[use]
            closing = self._closing
            if closing is not None and not self._in_use:
                self._closing = None
                with suppress(Exception):
                    await closing()

    async def _send(self, use: CodeUse, before: CodeState) -> Workspace:
        registration_id = use.registration_id
        # Emitted before the mark is made, because nothing was sent if the user's callback does not come back.
        if use.before_sending is not None:
            use.before_sending()
        self._emit(EventKind.VERIFY_SENT, registration_id=registration_id)
        await self._records.mark_sent(registration_id, sent=True)
        started = self._backend.clock.monotonic()
        attempts = Attempts(self._caller, use.call, use.keys, use.pending)
        outcome = await attempts.settle()
        if isinstance(outcome, Failed):
            await self._raise_unconfirmed(use, outcome, attempts, before)
        self.received.remember(registration_id, outcome.value, use.keys.store)
        emit_received = partial(
            self._emit,
            EventKind.KEY_RECEIVED,
            registration_id=registration_id,
            organisation_id=outcome.value.organisation_id,
            fingerprint=outcome.value.api_key.fingerprint,
            attempt=len(attempts.outcomes),
            duration=self._backend.clock.monotonic() - started,
            x_request_id=outcome.value.x_request_id,
        )
        return await self._keep(registration_id, outcome.value, use.keys, emit_received)

    async def _keep(
        self,
        registration_id: str,
        workspace: Workspace,
        keys: KeyManager,
        emit_received: Callable[[], None] | None = None,
    ) -> Workspace:
        """Save a key, if there is a store, then mark the code as settled in the ledger, then emit events.

        The mark comes second, because after a crash the ledger must tell that a workspace may exist until its key is
        safe. The events come last, because the user's callback takes its time and may not come back.
        """
        keys.key = workspace.api_key
        if keys.store is None:
            # The mark stays, because no other process can get the key, and the server would refuse its code.
            await self._records.forget(registration_id)
            if emit_received is not None:
                emit_received()
            return workspace
        saved = await keys.put(workspace, registration_id)
        if saved.ref is not None:
            await self._records.mark_sent(registration_id, sent=False, ref=saved.ref)
        if saved.failure is None:
            self.received.remember(registration_id, saved.workspace, keys.store)
        if emit_received is not None:
            emit_received()
        return keys.announce_or_raise(saved, registration_id)

    async def _raise_unconfirmed(
        self, use: CodeUse, outcome: Failed, attempts: Attempts[Workspace], before: CodeState
    ) -> Never:
        """Raise why a code brought no key, and note what is known of the code now.

        Args:
            use: The use of the code.
            outcome: What became of the last attempt.
            attempts: All attempts.
            before: What was known of the code before it was sent.
        """
        error, unknown = outcome.error, attempts.unknown
        refused = not unknown and not before.sent
        did_nothing = not unknown and outcome.kind in {Kind.NEVER_SENT, Kind.BUSY}
        if refused:
            await self._note_refusal(use, error)
        elif did_nothing:
            # What an earlier run did is still open.
            error.next_step = f"{error.next_step} {SENT_BEFORE} Its answer can still settle that."
        else:
            # An earlier attempt may have used the code, and the server refuses a used code. So the refusal does not
            # prove that there is no workspace. `initiate` asks for a fresh code from now on; this one stays marked.
            await self._records.forget(use.registration_id)
            what = unknown[0].error.message if unknown else SENT_BEFORE
            cause = unknown[0].error if unknown else error
            raise self.unknown_error(use.registration_id, what, cause, len(attempts.outcomes))
        raise self._caller.with_origin(error)

    async def _note_refusal(self, use: CodeUse, error: FavCRMError) -> None:
        refused = use.fingerprint() if isinstance(error, InvalidCodeError) else None
        await self._records.mark_sent(use.registration_id, sent=False, refused=refused)
        if isinstance(error, CodeExpiredError | TooManyAttemptsError):
            await self._records.forget(use.registration_id)

    def unknown_error(
        self, registration_id: str, what: str, error: FavCRMError, attempts: int | None = None
    ) -> OutcomeUnknownError:
        """Emit that an outcome is unknown, and return the error that says so."""
        self._emit(
            EventKind.OUTCOME_UNKNOWN,
            registration_id=registration_id,
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
