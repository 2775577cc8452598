"""One registration, all of it: from nothing, or from where an earlier run stopped, to a diagnosed workspace."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from attrs import evolve

from favcrm._flows.keys import has_methods, key_name_of, key_name_of_invitation, takes
from favcrm.errors import (
    AlreadyRegisteredError,
    CodeExpiredError,
    InvalidCodeError,
    InvalidInputError,
    MissingKeyError,
    OutcomeUnknownError,
    Problem,
    StoreError,
    TooManyAttemptsError,
    raise_problems,
)
from favcrm.events import EventKind, State
from favcrm.models import PendingRegistration, Workspace
from favcrm.secret import SecretRef
from favcrm.settings import as_secret, check_key
from favcrm.store import Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from favcrm._flows.engine import Engine
    from favcrm._flows.keys import KeyManager
    from favcrm.errors import FavCRMError
    from favcrm.models import DiagnosticReport
    from favcrm.registration import Registration
    from favcrm.secret import Secret

    ReadCode: TypeAlias = Callable[[PendingRegistration], Awaitable[str]]

R = TypeVar("R")

CODE_TRIES = 3
# Each code is one more email, of three that FavCRM sends in an hour.
CODES = 2
NOT_ASKED_FOR = "The code has expired, so it was not asked for."
ADOPT_ELSEWHERE = (
    "The key that you gave is as good as before. Adopt it into another store or under another name; replace a key that "
    "is there only if nobody needs that key, because FavCRM shows a key only once."
)


class Route(NamedTuple):
    """A way to a key: signing up, or joining by an invitation.

    Attributes:
        key_name: The name of the key in a store, where none is given.
        read_code: Brings the code from the email.
        request: Asks for a code, or returns the pending registration. It never returns the one it is given, because
            the code of that one is spent.
        confirm: Uses a code.
    """

    key_name: str
    read_code: ReadCode
    request: Callable[[PendingRegistration | None], Coroutine[None, None, PendingRegistration]]
    confirm: Callable[
        [PendingRegistration, str, KeyManager, Callable[[], None]], Coroutine[None, None, Workspace]
    ]


def signing_up(engine: Engine, registration: Registration, read_code: ReadCode) -> Route:
    """Return the way of registering a new organisation."""

    def request(spent: PendingRegistration | None) -> Coroutine[None, None, PendingRegistration]:
        return engine.initiate(registration, spent=spent)

    def confirm(
        pending: PendingRegistration, code: str, keys: KeyManager, sent: Callable[[], None]
    ) -> Coroutine[None, None, Workspace]:
        return engine.confirm(pending, code, keys=keys, before_sending=sent)

    return Route(key_name_of(registration), read_code, request, confirm)


def joining(engine: Engine, token: str | Secret, person: str | None, read_code: ReadCode) -> Route:
    """Return the way of joining a workspace by an invitation.

    Args:
        engine: Makes the calls.
        token: What the invitation says.
        person: The name of who joins, or None.
        read_code: Brings the code.
    """

    def request(spent: PendingRegistration | None) -> Coroutine[None, None, PendingRegistration]:
        return engine.request_invite(token, spent=spent)

    def confirm(
        pending: PendingRegistration, code: str, keys: KeyManager, sent: Callable[[], None]
    ) -> Coroutine[None, None, Workspace]:
        return engine.confirm_invite(
            token, code, pending=pending, person=person, keys=keys, before_sending=sent
        )

    return Route(key_name_of_invitation(as_secret(token, "token")), read_code, request, confirm)


def check_reader(read_code: Callable[..., R]) -> Callable[..., R]:
    """Return what brings a code, if it can be called with a pending registration.

    Raises:
        InvalidInputError: It cannot.
    """
    fine = has_methods(read_code, "__call__") and takes(read_code, None)
    what = "must be a function that takes the pending registration and returns the code"
    raise_problems({"read_code": None if fine else what})
    return read_code


class Provisioning:
    """One run of a sign-up over an engine.

    Args:
        engine: Makes the calls.
        name: The name of the key in the store.
        store: Where the key goes. By default the engine's store, or one in this process.
        replace: Whether a key of this name is replaced. Otherwise it ends the run, with a diagnosis.

    Attributes:
        store: Where the key goes: without any store, to one in this process.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        *,
        store: Store | None = None,
        replace: bool = False,
    ) -> None:
        self.store: Store = engine.store_or_new(store)
        self._engine = engine
        self._name = name
        self._replace = replace
        self._registration_id: str | None = None
        self._keys = engine.keys_for(store=self.store, name=self._name, replace=replace)

    def _reach(self, state: State) -> None:
        """Tell that a state is reached."""
        self._engine.emit(EventKind.STATE_CHANGED, state=state.value, registration_id=self._registration_id)

    async def provision(self, route: Route) -> tuple[Workspace, DiagnosticReport]:
        """Go all the way."""
        existing = None if self._replace else await self._existing_key()
        if existing is not None:
            # The store is not checked, because nothing is going to be written.
            return await self._finish(existing)
        await self._check_store()
        # What reads the code finds out whether it can, before an email is spent.
        check: Callable[[], Awaitable[None]] | None = getattr(route.read_code, "check", None)
        if check is not None:
            await check()
        if not self._replace and (rescued := await self._out_of_escrow()) is not None:
            return await self._finish(rescued)
        try:
            workspace = await self._receive(route)
        except AlreadyRegisteredError:
            self._reach(State.ALREADY_REGISTERED)
            raise
        except StoreError as error:
            if error.workspace is not None:
                self._reach(State.KEY_RECEIVED)
                self._reach(State.NOT_STORED if error.workspace.ref is None else State.ESCROWED)
            raise
        self._reach(State.KEY_RECEIVED)
        return await self._finish(workspace)

    async def adopt(self, api_key: str | Secret) -> tuple[Workspace, DiagnosticReport]:
        """Take a key that was made in the portal through the same check, store and diagnosis."""
        api_key = as_secret(api_key)
        check_key(api_key)
        await self._check_store()
        if self._replace:
            await self._keys.check_place()
        try:
            workspace = await self._keys.save(Workspace(api_key=api_key))
        except StoreError as error:
            if error.workspace is not None and error.workspace.ref is None:
                error.next_step = ADOPT_ELSEWHERE
            raise
        return await self._finish(workspace)

    async def _check_store(self) -> None:
        await self._keys.check_stores()
        self._reach(State.STORE_CHECKED)

    async def _existing_key(self) -> Workspace | None:
        ref = SecretRef.of(self.store.scheme, self._name)
        try:
            key = await self._keys.get(ref)
        except MissingKeyError:
            return None
        self._keys.key = ref
        return Workspace(api_key=key, ref=ref)

    async def _out_of_escrow(self) -> Workspace | None:
        """Bring a key that an earlier run left in the escrow to the store."""
        if (escrow := self._engine.escrow) is None:
            return None
        ref = SecretRef.of(escrow.scheme, self._name)
        try:
            key = await self._keys.get(ref, escrow)
        except MissingKeyError:
            return None
        workspace = await self._keys.save(Workspace(api_key=key, ref=ref))
        await self._keys.ask(lambda store: store.delete(ref), escrow)
        return workspace

    async def _finish(self, workspace: Workspace) -> tuple[Workspace, DiagnosticReport]:
        self._reach(State.STORED)
        self._engine.keys = self._keys
        report = await self._engine.diagnose(self._keys)
        self._reach(State.DIAGNOSED)
        return workspace, report

    async def _receive(self, route: Route) -> Workspace:
        pending = await self._request(route, spent=None)
        if self._replace and await self._engine.confirmation.knows(pending.request_id):
            pending = await self._request(route, spent=pending)
        tries_left, codes_left = CODE_TRIES, CODES
        refusal = ""
        while True:
            known = await self._engine.confirmation.restore(pending.request_id, self._keys)
            if known is not None:
                return known
            pending = evolve(pending, last_refusal=refusal, tries_left=tries_left)
            died: FavCRMError
            try:
                code = await self._read_code(route, pending)
            except CodeExpiredError as error:
                died = error
            else:
                # Apart from the reading, because any other error of a reader is no refusal of a code.
                try:
                    return await self._use(route, pending, code)
                except (InvalidCodeError, InvalidInputError) as error:
                    tries_left -= 1
                    if not tries_left:
                        raise
                    refusal = _for_readers(error)
                    self._reach(State.CODE_REFUSED)
                    continue
                except (CodeExpiredError, TooManyAttemptsError) as error:
                    died = error
            codes_left -= 1
            if not codes_left:
                raise died
            refusal = _for_readers(died)
            pending = await self._request(route, spent=pending)

    async def _request(self, route: Route, *, spent: PendingRegistration | None) -> PendingRegistration:
        pending = await route.request(spent)
        self._registration_id = pending.request_id
        self._reach(State.CODE_REQUESTED)
        return pending

    async def _use(self, route: Route, pending: PendingRegistration, code: str) -> Workspace:
        try:
            return await route.confirm(pending, code, self._keys, partial(self._reach, State.VERIFY_SENT))
        except OutcomeUnknownError:
            self._reach(State.OUTCOME_UNKNOWN)
            raise

    async def _read_code(self, route: Route, pending: PendingRegistration) -> str:
        if pending.expired:
            raise await self._engine.confirmation.expired_error(pending.request_id, NOT_ASKED_FOR)
        reading = route.read_code(pending)
        if not hasattr(reading, "__await__"):
            raise InvalidInputError([Problem("read_code", "must be a coroutine function on the async side")])
        code = await reading
        self._reach(State.CODE_READ)
        return code


def _for_readers(error: FavCRMError) -> str:
    """Return why a code was not accepted, as the next reader shows it to a person."""
    if isinstance(error, InvalidInputError):
        return " ".join(f"The {problem.field} {problem.message}." for problem in error.problems)
    return error.message
