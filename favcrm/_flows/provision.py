"""One registration, all of it: from nothing, or from where an earlier run stopped, to a diagnosed workspace."""

from __future__ import annotations

import hashlib
import re
from functools import partial
from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from favcrm.errors import (
    AlreadyRegisteredError,
    CodeExpiredError,
    InvalidCodeError,
    InvalidInputError,
    MissingKeyError,
    OutcomeUnknownError,
    StoreError,
    TooManyAttemptsError,
)
from favcrm.events import EventKind, State
from favcrm.inputs import check_plan
from favcrm.models import Workspace
from favcrm.secret import SecretRef
from favcrm.settings import check_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from favcrm._flows.engine import Engine
    from favcrm._flows.keys import KeyManager
    from favcrm.inputs import Registration
    from favcrm.models import DiagnosticReport, PendingRegistration
    from favcrm.secret import Secret
    from favcrm.store import Store

LONGEST_SLUG = 40


@frozen(kw_only=True, eq=False, repr=False)
class Plan:
    """How a registration is to be carried out.

    Attributes:
        store: Where the key goes.
        name: The name of the key in the store.
        read_code: Brings the code from the email; not needed to adopt a key.
        resume: A registration that is pending already.
        code_attempts: How many codes may be wrong.
        fresh_codes: How many fresh codes are asked for when one has expired.
        use_existing: Whether to stop at a key that the store has under this name.
        escrow: Where the key goes if the store fails after all; the engine's where it is None.
    """

    store: Store
    name: str
    read_code: Callable[[PendingRegistration], Awaitable[str]] | None = None
    resume: PendingRegistration | None = None
    code_attempts: int = 1
    fresh_codes: int = 0
    use_existing: bool = True
    escrow: Store | None = None


def name_of(registration: Registration) -> str:
    """Return the name that a registration's key has in a store: the same in every run, without the email."""
    slug = re.sub(r"[^a-z0-9]+", "-", registration.organisation_name.lower()).strip("-")[:LONGEST_SLUG]
    told_apart = f"{registration.email}\n{registration.organisation_name}".casefold()
    return f"{slug or 'workspace'}-{hashlib.sha256(told_apart.encode()).hexdigest()[:8]}"


def name_of_invite(token: Secret) -> str:
    """Return the name that the key of an invitation has in a store, without the token."""
    return f"invite-{hashlib.sha256(token.reveal().encode()).hexdigest()[:8]}"


class Route(Protocol):
    """A way to a key: signing up, or joining by an invitation."""

    async def request(self, engine: Engine, *, besides: PendingRegistration | None) -> PendingRegistration:
        """Ask for a code, unless one is pending besides one that does not count."""
        ...

    def confirm(
        self,
        engine: Engine,
        pending: PendingRegistration,
        code: str,
        keys: KeyManager,
        before_sending: Callable[[], None],
    ) -> Coroutine[None, None, Workspace]:
        """Use a code."""
        ...


@frozen(eq=False, repr=False)
class SigningUp:
    """Registering a new organisation."""

    registration: Registration

    async def request(self, engine: Engine, *, besides: PendingRegistration | None) -> PendingRegistration:
        """Ask for a code, unless one is pending."""
        return await engine.initiate(self.registration, resend=besides is not None, besides=besides)

    def confirm(
        self,
        engine: Engine,
        pending: PendingRegistration,
        code: str,
        keys: KeyManager,
        before_sending: Callable[[], None],
    ) -> Coroutine[None, None, Workspace]:
        """Use a code."""
        return engine.confirm(pending, code, keys=keys, before_sending=before_sending)


@frozen(eq=False, repr=False)
class Joining:
    """Joining a workspace by an invitation.

    Attributes:
        token: What the invitation says.
        person: The name of who joins, or None.
    """

    token: Secret
    person: str | None

    async def request(self, engine: Engine, *, besides: PendingRegistration | None) -> PendingRegistration:
        """Ask for a code, unless one is pending."""
        return await engine.request_invite(self.token, resend=besides is not None, besides=besides)

    def confirm(
        self,
        engine: Engine,
        pending: PendingRegistration,
        code: str,
        keys: KeyManager,
        before_sending: Callable[[], None],
    ) -> Coroutine[None, None, Workspace]:
        """Use a code."""
        return engine.confirm_invite(
            self.token,
            pending,
            code,
            person=self.person,
            keys=keys,
            before_sending=before_sending,
        )


class Provisioning:
    """One run of a registration over an engine.

    Args:
        engine: Makes the calls.
        plan: How it is carried out.

    Raises:
        InvalidInputError: The plan has numbers that cannot be meant.
    """

    def __init__(self, engine: Engine, plan: Plan) -> None:
        check_plan(code_attempts=plan.code_attempts, fresh_codes=plan.fresh_codes)
        self._engine = engine
        self._plan = plan
        self._escrow = engine.escrow if plan.escrow is None else plan.escrow
        self._keys = engine.keys_for(
            store=plan.store, escrow=self._escrow, name=plan.name, replace=not plan.use_existing
        )

    def _reach(self, state: State) -> None:
        """Tell that a state is reached."""
        self._engine.emit(EventKind.STATE_CHANGED, state=state.value)

    async def provision(self, route: Route) -> tuple[Workspace, DiagnosticReport]:
        """Go all the way."""
        existing = await self._existing_key() if self._plan.use_existing else None
        if existing is not None:
            # The store is not checked, because nothing is going to be written.
            return await self._finish(existing)
        await self._check_store()
        await self._check_reader()
        if self._plan.use_existing and (rescued := await self._out_of_escrow()) is not None:
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

    async def adopt(self, api_key: Secret) -> tuple[Workspace, DiagnosticReport]:
        """Take a key that was made in the portal through the same check, store and diagnosis."""
        check_key(api_key)
        await self._check_store()
        if not self._plan.use_existing:
            await self._keys.check_place()
        return await self._finish(await self._keys.save(Workspace(api_key=api_key)))

    async def _check_store(self) -> None:
        await self._keys.check_stores()
        self._reach(State.STORE_CHECKED)

    async def _check_reader(self) -> None:
        """Let what reads the code find out whether it can, before an email is spent."""
        check: Callable[[], Awaitable[None]] | None = getattr(self._plan.read_code, "check", None)
        if check is not None:
            await check()

    async def _existing_key(self) -> Workspace | None:
        def look(store: Store) -> tuple[SecretRef, Secret]:
            ref = SecretRef.of(store.scheme, self._plan.name)
            return ref, store.get(ref)

        try:
            ref, key = await self._keys.ask(look)
        except MissingKeyError:
            return None
        self._keys.key = ref
        return Workspace(api_key=key, ref=ref)

    async def _out_of_escrow(self) -> Workspace | None:
        """Bring a key that an earlier run left in the escrow to the store."""
        if (escrow := self._escrow) is None:
            return None
        ref = SecretRef.of(escrow.scheme, self._plan.name)
        try:
            key = await self._keys.ask(lambda store: store.get(ref), escrow)
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
        pending = self._plan.resume or await self._request(route, besides=None)
        if pending is self._plan.resume:
            self._reach(State.CODE_REQUESTED)
        if not self._plan.use_existing and await self._engine.confirmation.knows(pending.request_id):
            pending = await self._request(route, besides=pending)
        wrong_codes_left, fresh_codes_left = self._plan.code_attempts, self._plan.fresh_codes
        while True:
            try:
                return await self._confirm(route, pending)
            except (InvalidCodeError, InvalidInputError):
                wrong_codes_left -= 1
                if not wrong_codes_left:
                    raise
                self._reach(State.CODE_REQUESTED)
            except (CodeExpiredError, TooManyAttemptsError):
                fresh_codes_left -= 1
                if fresh_codes_left < 0:
                    raise
                pending = await self._request(route, besides=pending)

    async def _request(self, route: Route, *, besides: PendingRegistration | None) -> PendingRegistration:
        pending = await route.request(self._engine, besides=besides)
        self._reach(State.CODE_REQUESTED)
        return pending

    async def _confirm(self, route: Route, pending: PendingRegistration) -> Workspace:
        """Read one code and use it, unless the registration is confirmed already."""
        known = await self._engine.confirmation.find(pending.request_id, self._keys)
        if known is not None:
            return known
        try:
            code = await self._read_code(pending)
            sent = partial(self._reach, State.VERIFY_SENT)
            return await route.confirm(self._engine, pending, code, self._keys, sent)
        except OutcomeUnknownError:
            self._reach(State.OUTCOME_UNKNOWN)
            raise

    async def _read_code(self, pending: PendingRegistration) -> str:
        if pending.expired:
            raise await self._engine.confirmation.expired(
                pending.request_id, self._keys, "The code has expired, so it was not asked for."
            )
        assert self._plan.read_code is not None  # every sign-up has one
        code = await self._plan.read_code(pending)
        self._reach(State.CODE_READ)
        return code
