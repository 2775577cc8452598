"""The key of one sign-up: read from its store for each request, saved before it is returned, else put in the escrow."""

from __future__ import annotations

import hashlib
import inspect
import re
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

from attrs import evolve

from favcrm._flows.records import blocks
from favcrm._text import mask_error
from favcrm.errors import InvalidInputError, MissingKeyError, Problem, StoreError
from favcrm.events import Emitter, EventKind
from favcrm.secret import Secret, SecretRef

if TYPE_CHECKING:
    from collections.abc import Callable

    from favcrm._backends import Backend
    from favcrm.models import Workspace
    from favcrm.registration import Registration
    from favcrm.store import Store

T = TypeVar("T")

LONGEST_SLUG = 40

SAVE_IT = "Save the new key, which came with this error, elsewhere now: FavCRM shows a key only once."
WHAT_GET_RETURNS = "The get of a store must return a Secret, and raise MissingKeyError where there is no key."
WRITE_A_STORE = "Give a store of favcrm.stores, or an object with the methods of favcrm.Store."
METHODS: dict[str, tuple[object, ...]] = {
    "check": (),
    "put": ("name", "secret", {}),
    "get": ("ref",),
    "delete": ("ref",),
}
TAKEN = (
    "Use the key that is there, or confirm the code again with another store or another name for the new key."
)
MOVE_IT = "Move the key from the escrow to a store that works, and delete the copy in the escrow."


def key_name_of(registration: Registration) -> str:
    """Return the name of a registration's key in a store: the same in every run, without the email."""
    slug = re.sub(r"[^a-z0-9]+", "-", registration.organisation_name.lower())
    slug = slug.strip("-")[:LONGEST_SLUG] or "workspace"
    told_apart = f"{registration.email}\n{registration.organisation_name}".casefold()
    return f"{slug}-{_short_hash(told_apart)}"


def key_name_of_invitation(token: Secret) -> str:
    """Return the name of the key that an invitation brings, without its token."""
    return f"invite-{_short_hash(token.reveal())}"


class Saved(NamedTuple):
    """What became of a key that was to be saved.

    Attributes:
        workspace: The workspace, with the new reference if the key was saved.
        ref: Where the key was saved, in the store or else in the escrow; None where it was not.
        failure: Why the store did not take the key, or None.
        escrow_failure: Why the escrow did not take it either, or None.
    """

    workspace: Workspace
    ref: SecretRef | None = None
    failure: StoreError | None = None
    escrow_failure: StoreError | None = None


class KeyManager:
    """One key, or where it is, and the stores around it. Each sign-up has a manager of its own.

    Args:
        backend: Where stores are asked.
        emit: Emits events.
        key: The key or its reference, if there is one.
        store: Where the key is or goes.
        escrow: Where the key goes if the store fails.
        name: The name of the key in the store; the organisation's id where it stays None.
        replace: Whether the key may take the place of another one.
        source: Where the key came from, for people.

    Attributes:
        missing: Where there is no key, where it was looked for, for people.
    """

    def __init__(
        self,
        backend: Backend,
        emit: Emitter,
        *,
        key: Secret | SecretRef | None = None,
        store: Store | None = None,
        escrow: Store | None = None,
        name: str | None = None,
        replace: bool = False,
        source: str = "",
    ) -> None:
        self._backend = backend
        self._emit = emit
        self._source = source
        self.name = name
        self._replace = replace
        self.key = key
        self.store = store
        self.escrow = escrow
        self.missing = ""

    @property
    def source(self) -> str:
        """Where the key came from, for people; empty where there is none."""
        return f"the store, at {self.key}" if isinstance(self.key, SecretRef) else self._source

    async def current(self) -> Secret | None:
        """Return the key, read from its store at this moment, so that a rotated key works at once."""
        key = self.key
        return await self.get(key) if isinstance(key, SecretRef) else key

    async def get(self, ref: SecretRef, store: Store | None = None) -> Secret:
        """Return a key from a store, by default the one of this sign-up.

        Raises:
            MissingKeyError: There is no key at the reference.
            StoreError: The store raised something else, or returned what is no `Secret`.
        """
        return await self.ask(lambda asked: _as_key(asked.get(ref)), store)

    async def ask(
        self, question: Callable[[Store], T], store: Store | None = None, *, hide: Secret | None = None
    ) -> T:
        """Call a store, by default the one of this sign-up.

        Raises:
            StoreError: The store raised, whatever it was. No text of the error shows ``hide`` or a key.
        """
        asked = self.store if store is None else store
        assert asked is not None  # a reference comes with its store
        try:
            if blocks(asked):
                return await self._backend.run_blocking(lambda: question(asked))
            return question(asked)
        except StoreError as error:
            raise mask_error(error, hide=[hide.reveal()] if hide else [])  # noqa: B904  # the same error, masked
        except Exception as error:  # noqa: BLE001  # a store of the user's may raise anything
            raise StoreError(f"The store failed with {type(error).__name__}.") from None

    async def check_stores(self) -> None:
        """Check that the store and the escrow can be written, if there are any.

        Raises:
            StoreError: One of them cannot.
        """
        for store in (self.store, self.escrow):
            if store is not None:
                await self.ask(lambda asked: asked.check(), store)

    async def check_writable(self, registration_id: str) -> None:
        """Check, before a code is used, that the store can be written and that the place of the key is free.

        Raises:
            StoreError: The store cannot be written, or another key is in that place.
        """
        await self.check_stores()
        if self.store is not None:
            await self.check_place(registration_id)

    async def check_place(self, registration_id: str = "") -> None:
        """Find out whether the place is free, or has a key that may be replaced.

        A store with room for one key alone answers to any name where its key has none, and refuses to answer where
        its key is another workspace's, which is never replaced.

        Raises:
            StoreError: It is not, or the store cannot be read.
        """
        name = self._name_for(registration_id)

        def is_free(store: Store) -> bool:
            try:
                _as_key(store.get(SecretRef.of(store.scheme, name)))
            except MissingKeyError:
                # Caught here, because `ask` would mask the error, and most places are free.
                return True
            return False

        if not await self.ask(is_free) and not self._replace:
            what = (
                "The store holds another key already"
                if self.name is None
                else f"Another key is stored as {name}"
            )
            raise StoreError(f"{what}. The code was not used.", next_step=TAKEN)

    async def look_up(self, ref: SecretRef) -> tuple[Secret | None, Store | None]:
        """Return the key at a reference and the store that has it, where it is in the store or the escrow."""
        for store in (self.store, self.escrow):
            if store is not None and store.scheme == ref.scheme:
                with suppress(MissingKeyError):
                    return await self.get(ref, store), store
        return None, None

    async def save(self, workspace: Workspace, registration_id: str = "") -> Workspace:
        """Put a key into the store, or else into the escrow, emit that, and return its workspace with the reference.

        Raises:
            StoreError: The store did not take it. The workspace is in the error, with the escrow's reference.
        """
        return self.announce_or_raise(await self.put(workspace, registration_id), registration_id)

    async def put(self, workspace: Workspace, registration_id: str = "") -> Saved:
        """Put a key into the store, or else into the escrow. No event is emitted."""
        name = self._name_for(registration_id, workspace.organisation_id)
        try:
            ref, failure = await self._try_to_put(workspace, name, self.store)
        except BaseException:
            # Such as SystemExit: this may end the process, and the key is shown only once.
            if self.escrow is not None:
                await self._try_to_put(workspace, name, self.escrow)
            raise
        if ref is not None:
            self.key = ref
            return Saved(evolve(workspace, ref=ref), ref)
        if self.escrow is None:
            return Saved(workspace, None, failure)
        ref, escrow_failure = await self._try_to_put(workspace, name, self.escrow)
        return Saved(workspace if ref is None else evolve(workspace, ref=ref), ref, failure, escrow_failure)

    def announce_or_raise(self, saved: Saved, registration_id: str = "") -> Workspace:
        """Emit where a key was put, and return its workspace, or raise that the store did not take it.

        Raises:
            StoreError: The store did not take it. The workspace is in the error, with the escrow's reference.
        """
        workspace, ref, failure, escrow_failure = saved
        emit = partial(
            self._emit, registration_id=registration_id or None, organisation_id=workspace.organisation_id
        )
        fingerprint = workspace.api_key.fingerprint
        if failure is None:
            emit(EventKind.KEY_STORED, ref=ref, fingerprint=fingerprint)
            return workspace
        emit(EventKind.STORE_FAILED, error=type(failure).__name__)
        what = f"The key could not be saved: {failure.message}"
        if ref is not None:
            emit(EventKind.ESCROWED, ref=ref, fingerprint=fingerprint)
            raise StoreError(f"{what} It is in the escrow at {ref}.", workspace=workspace, next_step=MOVE_IT)
        if escrow_failure is not None:
            what = f"{what} Neither could the escrow take it: {escrow_failure.message}"
        raise StoreError(what, workspace=workspace, next_step=SAVE_IT)

    def _name_for(self, registration_id: str, organisation_id: str | None = None) -> str:
        """Return the name of the key of a registration, also where the answer does not name the organisation."""
        return self.name or organisation_id or f"workspace-{_short_hash(registration_id)}"

    async def _try_to_put(
        self, workspace: Workspace, name: str, store: Store | None
    ) -> tuple[SecretRef | None, StoreError | None]:
        def put(asked: Store) -> SecretRef:
            scheme, metadata = asked.scheme, {"organisation_id": workspace.organisation_id or ""}
            told = asked.put(name, workspace.api_key, metadata, if_absent=not self._replace)
            return _as_ref(told, scheme, name)

        try:
            return await self.ask(put, store, hide=workspace.api_key), None
        except StoreError as error:
            return None, error


def has_methods(value: object, *names: str) -> bool:
    """Tell whether an object has methods. A class has none, although it defines them."""
    return not isinstance(value, type) and all(callable(getattr(value, name, None)) for name in names)


def check_is_store(store: Store, field: str, *, signatures: bool = True) -> None:
    """Refuse an object that cannot be used as a store, before anything depends on it.

    Args:
        store: The object.
        field: The name of the argument that it was given as.
        signatures: Whether to read what the methods take, which takes as long as a call.

    Raises:
        InvalidInputError: It lacks a method, or one is a coroutine or takes other arguments.
    """
    problem = "" if isinstance(getattr(store, "scheme", None), str) else "scheme is missing"
    for name, arguments in METHODS.items():
        method: object = getattr(store, name, None)
        if not has_methods(store, name):
            problem = f"{name} is missing"
        elif signatures and inspect.iscoroutinefunction(method):
            problem = f"{name} is a coroutine, and must be a plain method"
        elif signatures and not takes(cast("Callable[..., object]", method), *arguments):
            problem = f"{name} takes other arguments than a store's"
        if problem:
            what = f"{type(store).__name__} cannot be used, because its {problem}. {WRITE_A_STORE}"
            raise InvalidInputError([Problem(field, what.rstrip("."))])


def takes(method: Callable[..., object], *arguments: object) -> bool:
    """Tell whether a function can be called with these arguments."""
    keywords = {"if_absent": True} if len(arguments) > 1 else {}
    with suppress(ValueError):  # some methods in C do not say what they take
        signature = inspect.signature(method)
        try:
            signature.bind(*arguments, **keywords)
        except TypeError:
            return False
    return True


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _as_key(told: object) -> Secret:
    """Return what a store's `get` gave, if that is a key: a store of the user's may return anything."""
    if isinstance(told, Secret):
        return told
    raise StoreError(
        f"The store returned {type(told).__name__} instead of a Secret.", next_step=WHAT_GET_RETURNS
    )


def _as_ref(told: object, scheme: str, name: str) -> SecretRef:
    """Return what a store's `put` gave as a reference: a store of the user's may give plain text, or nothing."""
    if isinstance(told, SecretRef):
        return told
    whole = isinstance(told, str) and all(told.partition("://"))
    return SecretRef(cast("str", told)) if whole else SecretRef.of(scheme, name)
