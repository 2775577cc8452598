"""Who has the key: read from its store for each request, saved before it is returned, rescued if saving fails."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve, frozen

from favcrm._boundary import bare
from favcrm._core.text import mask_error
from favcrm.errors import MissingKeyError, StoreError
from favcrm.events import EventKind, Teller
from favcrm.secret import SecretRef

if TYPE_CHECKING:
    from collections.abc import Callable

    from favcrm._core.ports import Port, Store
    from favcrm.models import Workspace
    from favcrm.secret import Secret

T = TypeVar("T")

NAMELESS = "workspace"
SAVE_IT = "Save workspace.api_key of this error elsewhere now: FavCRM shows it only once."
MOVE_IT = "Move the key from the escrow to a store that works, and delete it there."


@frozen(kw_only=True)
class Saving:
    """How a key is saved.

    Attributes:
        name: Its name in the store; the organisation's id where it is None.
        replace: Whether it may take the place of another key.
        escrow: Where it goes if the store fails.
    """

    name: str | None = None
    replace: bool = False
    escrow: Store | None = None


class Custody:
    """The key of one engine, or where it is, and the store."""

    def __init__(
        self, port: Port, tell: Teller, *, key: Secret | SecretRef | None, store: Store | None
    ) -> None:
        self._port = port
        self._tell = tell
        self.key = key
        self.store = store
        self._last_read: Secret | None = None

    async def current(self) -> Secret | None:
        """Return the key, read from its store at this moment, so that a rotated key works at once."""
        key = self.key
        if isinstance(key, SecretRef):
            self._last_read = await self.ask(lambda store: store.get(key))
            return self._last_read
        return key

    async def was_rotated(self) -> bool:
        """Tell whether the store has another key now than when it was read last."""
        before = self._last_read
        return before is not None and await self.current() != before

    async def ask(
        self, question: Callable[[Store], T], store: Store | None = None, *, hide: Secret | None = None
    ) -> T:
        """Ask a store something, ours if none is given; whatever it raises becomes a `StoreError` without ``hide``."""
        asked = store or self.store
        assert asked is not None  # a reference comes with its store
        try:
            return await self._port.blocking(lambda: question(asked))
        except StoreError as error:
            failure = mask_error(error, hide=[hide.reveal()] if hide else [])
        except Exception as error:  # noqa: BLE001  # a store of the user's may raise anything
            failure = StoreError(f"The store failed with {type(error).__name__}.")
        raise bare(failure)

    async def make_sure_of_room(self, saving: Saving) -> None:
        """Find out, before a code is used, that the store can be written and that the place is free.

        Raises:
            StoreError: It cannot, or it is not.
        """
        await self.ask(lambda store: store.check())
        if saving.replace:
            return
        name = saving.name or NAMELESS
        try:
            await self.ask(lambda store: store.get(SecretRef.of(store.scheme, name)))
        except MissingKeyError:
            return
        if saving.name is not None:
            raise StoreError(f"Another key is stored under the name {name}. The code was not used.")

    async def save(
        self,
        workspace: Workspace,
        saving: Saving,
        request_id: str | None = None,
        received: Callable[[], None] | None = None,
    ) -> Workspace:
        """Put a key into the store, or else into the escrow, and return its workspace with the reference.

        Nobody is told anything before that: a listener takes its time, and may not come back.

        Args:
            workspace: The workspace with the key.
            saving: How to save it.
            request_id: The registration.
            received: Tells that the key was received.

        Raises:
            StoreError: The store did not take it. The workspace is in the error, with the escrow's reference.
        """
        tell = partial(self._tell, registration_id=request_id, organisation_id=workspace.organisation_id)
        fingerprint = workspace.api_key.fingerprint
        ref, failure = await self._try_to_put(workspace, saving)
        escrowed, second = None, None
        if failure is not None and saving.escrow is not None:
            escrowed, second = await self._try_to_put(workspace, saving, saving.escrow)
        if ref is not None:
            self.key = ref
        if received is not None:
            received()
        if failure is None:
            tell(EventKind.KEY_STORED, ref=ref, fingerprint=fingerprint)
            return evolve(workspace, ref=ref)
        tell(EventKind.STORE_FAILED, error=type(failure).__name__)
        what = f"The key could not be saved: {failure.message}"
        if escrowed is not None:
            tell(EventKind.ESCROWED, ref=escrowed, fingerprint=fingerprint)
            what = f"{what} It is in the escrow at {escrowed}."
            raise StoreError(what, workspace=evolve(workspace, ref=escrowed), next_step=MOVE_IT)
        if second is not None:
            what = f"{what} Neither could the escrow take it: {second.message}"
        raise StoreError(what, workspace=workspace, next_step=SAVE_IT)

    async def _try_to_put(
        self, workspace: Workspace, saving: Saving, store: Store | None = None
    ) -> tuple[SecretRef | None, StoreError | None]:
        try:
            return await self._put(workspace, saving, store), None
        except StoreError as error:
            return None, error

    async def _put(self, workspace: Workspace, saving: Saving, store: Store | None = None) -> SecretRef:
        name = saving.name or workspace.organisation_id or NAMELESS
        metadata = {"organisation_id": workspace.organisation_id or ""}
        return await self.ask(
            lambda asked: asked.put(name, workspace.api_key, metadata, if_absent=not saving.replace),
            store,
            hide=workspace.api_key,
        )
