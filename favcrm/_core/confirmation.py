"""Using a one-time code: once, whoever asks, and with the key in its store before anything else."""

from __future__ import annotations

from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Never

from attrs import field, frozen

from favcrm._boundary import bare
from favcrm._core.caller import NOT_SENT_SINCE_EXPIRED
from favcrm._core.outcomes import Failed, Kind
from favcrm._core.records import LONGEST_PAUSE, Turns
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
    from collections.abc import Callable

    from favcrm._core.attempts import Attempts
    from favcrm._core.caller import Caller
    from favcrm._core.calls import Call
    from favcrm._core.custody import Custody
    from favcrm._core.ports import Port
    from favcrm._core.records import Records
    from favcrm.errors import FavCRMError
    from favcrm.events import Teller
    from favcrm.ledger import CodeState
    from favcrm.models import PendingRegistration

MOST_REMEMBERED = 100
UNKNOWN_WORKSPACE = (
    f"The workspace may exist: sign in at {PORTAL} with the email. If it does, create a key under Settings, MCP Keys; "
    "if it does not, call initiate again."
)
NOT_SENT_SINCE_REFUSED = "The code was refused before, so it was not sent again. No workspace was created."
SENT_BEFORE = "A code was sent before for this registration, and its outcome is not known."

_in_use: ContextVar[bool] = ContextVar("favcrm_in_use", default=False)


@frozen(kw_only=True, eq=False)
class Use:
    """One use of a code.

    Attributes:
        call: The call that uses it.
        request_id: The registration.
        mark: What the code is remembered by if it is wrong.
        window: The pending registration, which says how long the code lives, or None.
        custody: Who gets the key.
        before_sending: Called right before the code is sent.
    """

    call: Call[Workspace] = field(repr=False)
    request_id: str
    mark: str
    window: PendingRegistration | None
    custody: Custody
    before_sending: Callable[[], None]


class Confirmation:
    """Uses codes over one port, and remembers which workspaces they made.

    Args:
        port: Where to wait, and what cannot be cancelled.
        caller: Makes the calls.
        records: The ledger.
        tell: Who is told.
        deadline: Seconds to wait for somebody else who uses the same code.

    Attributes:
        workspace: The last workspace that was received, for who is interrupted before it is returned.
    """

    def __init__(
        self, port: Port, caller: Caller, records: Records, tell: Teller, *, deadline: float
    ) -> None:
        self._port = port
        self._caller = caller
        self._records = records
        self._tell = tell
        self._deadline = deadline
        self._received: dict[str, Workspace] = {}
        self._in_use: set[Use] = set()
        self.workspace: Workspace | None = None

    async def confirm(self, use: Use) -> Workspace:
        """Use a code, or return the workspace that it made already."""
        reservation = self._records.reservation(use.request_id)
        turns = Turns(self._port, self._deadline, "uses a code of the same registration")
        try:
            while not await reservation.take():
                await turns.wait()
            if (known := await self.find(use.request_id, use.custody)) is not None:
                return known
            state = await self._records.state(use.request_id)
            if use.window and use.window.expired:
                await self._records.forget(use.request_id)
                raise self._unless_sent(use, state, CodeExpiredError(NOT_SENT_SINCE_EXPIRED))
            if use.mark in state.refused:
                raise self._unless_sent(use, state, InvalidCodeError(NOT_SENT_SINCE_REFUSED))
            await use.custody.check_writable(use.request_id)
            # From here to the store's commit nobody may cancel: the key is in the answer, and comes only once.
            return await self._port.uncancelled(partial(self._use, use, state))
        finally:
            await reservation.give_back()

    async def until_unused(self) -> None:
        """Wait until every code that was sent is settled, unless this is called by who is told of one."""
        while self._in_use and not _in_use.get():
            await self._port.pause(LONGEST_PAUSE)

    async def knows(self, request_id: str) -> bool:
        """Tell whether a registration is confirmed already."""
        return request_id in self._received or (await self._records.state(request_id)).ref is not None

    async def find(self, request_id: str, custody: Custody) -> Workspace | None:
        """Return the workspace of a registration that is confirmed already, or None where it is not.

        Raises:
            StoreError: It is confirmed, and its key is not in the store and could not be saved there.
        """
        if (received := self._received.get(request_id)) is not None:
            return await self._keep(request_id, received, custody)
        if (ref := (await self._records.state(request_id)).ref) is None:
            return None
        try:
            key = None if custody.store is None else await custody.ask(lambda store: store.get(ref))
        except MissingKeyError:
            key = None
        if key is None:
            raise MissingKeyError(
                f"The registration was confirmed already, and its key was stored at {ref}. It is not in this store.",
                next_step=f"Read the key from that store, or create another one at {PORTAL} under Settings, MCP Keys.",
            )
        custody.key = ref
        return Workspace(api_key=key, ref=ref)

    async def _use(self, use: Use, state: CodeState) -> Workspace:
        self._in_use.add(use)
        token = _in_use.set(True)
        try:
            return await self._send(use, state)
        finally:
            _in_use.reset(token)
            self._in_use.discard(use)

    async def _send(self, use: Use, state: CodeState) -> Workspace:
        request_id = use.request_id
        use.before_sending()
        await self._records.mark_sent(request_id, sent=True)
        self._tell(EventKind.VERIFY_SENT, registration_id=request_id)
        started = self._port.clock.monotonic()
        attempts = self._caller.attempts(use.call, use.custody, use.window)
        outcome = await attempts.settle()
        if isinstance(outcome, Failed):
            self._caller.tell_routes(attempts)
            await self._raise_unconfirmed(use, outcome, attempts, state)
        self._remember(request_id, outcome.value)
        received = partial(
            self._tell,
            EventKind.KEY_RECEIVED,
            registration_id=request_id,
            organisation_id=outcome.value.organisation_id,
            fingerprint=outcome.value.api_key.fingerprint,
            attempt=len(attempts.outcomes),
            duration=self._port.clock.monotonic() - started,
            x_request_id=outcome.value.x_request_id,
        )
        workspace = await self._keep(request_id, outcome.value, use.custody, received)
        self._caller.tell_routes(attempts)
        return workspace

    async def _keep(
        self,
        request_id: str,
        workspace: Workspace,
        custody: Custody,
        received: Callable[[], None] | None = None,
    ) -> Workspace:
        """Save a key, if there is a store, and only then settle what the ledger knows of its code."""
        custody.key = workspace.api_key
        if custody.store is None:
            if received is not None:
                received()
            # The mark stays: no other process could get the key, and its code would be refused.
            await self._records.forget(request_id)
            return workspace
        # Told there, after the key is safe: a listener takes its time, and may not come back.
        workspace = await custody.save(workspace, request_id, received)
        self._remember(request_id, workspace)
        await self._records.mark_sent(request_id, sent=False, ref=workspace.ref)
        return workspace

    def _remember(self, request_id: str, workspace: Workspace) -> None:
        self.workspace = self._received[request_id] = workspace
        if len(self._received) > MOST_REMEMBERED:
            self._received.pop(next(iter(self._received)), None)

    async def _raise_unconfirmed(
        self, use: Use, outcome: Failed, attempts: Attempts[Workspace], state: CodeState
    ) -> Never:
        error, unknown = outcome.error, attempts.unknown
        if not unknown and not state.sent:
            refused = use.mark if isinstance(error, InvalidCodeError) else None
            await self._records.mark_sent(use.request_id, sent=False, refused=refused)
            if isinstance(error, CodeExpiredError | TooManyAttemptsError):
                await self._records.forget(use.request_id)
            raise bare(self._caller.with_origin(error, use.custody))
        if not unknown and outcome.kind in {Kind.NEVER_SENT, Kind.BUSY}:
            # Nothing was done this time, so what an earlier run may have done is as open as it was.
            error.next_step = f"{error.next_step} {SENT_BEFORE} Its answer can still settle that."
            raise bare(self._caller.with_origin(error, use.custody))
        # A refusal after an attempt that may have worked is what a used code gets: it proves nothing. The next one who
        # asks is sent a fresh code; what is known of this one stays.
        await self._records.forget(use.request_id)
        raise self._unknown(
            use,
            *((unknown[0].error.message, unknown[0].error) if unknown else (SENT_BEFORE, error)),
            attempts,
        )

    def _unless_sent(self, use: Use, state: CodeState, error: FavCRMError) -> FavCRMError:
        """Return an error that says that no workspace was made, unless an earlier code may have made one."""
        return self._unknown(use, SENT_BEFORE, error) if state.sent else error

    def _unknown(
        self, use: Use, what: str, error: FavCRMError, attempts: Attempts[Workspace] | None = None
    ) -> OutcomeUnknownError:
        self._tell(
            EventKind.OUTCOME_UNKNOWN,
            registration_id=use.request_id,
            error=type(error).__name__,
            attempt=len(attempts.outcomes) if attempts else None,
            x_request_id=error.request_id,
        )
        unknown = OutcomeUnknownError(
            f"{what} No key was received.", next_step=UNKNOWN_WORKSPACE, request_id=error.request_id
        )
        self._caller.with_origin(unknown, use.custody)
        return unknown
