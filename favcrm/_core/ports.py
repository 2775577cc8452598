"""Everything a flow may await or ask for. The flows touch nothing else of the outside."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from favcrm.secret import Secret, SecretRef

if TYPE_CHECKING:
    from favcrm._core.transport import Clock, Response
    from favcrm.models import Progress
    from favcrm.typing import JSON

T = TypeVar("T")


class Port(Protocol):
    """One colour: blocking, where nothing ever suspends, or asynchronous."""

    clock: Clock

    @property
    def transport(self) -> object:
        """What requests go through."""
        ...

    async def request(
        self,
        method: str,
        params: Mapping[str, JSON],
        *,
        api_key: Secret | None,
        timeout: float,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Response:
        """Send one request through the transport."""
        ...

    def home(self) -> object:
        """Return the process and, on the asynchronous side, the event loop that the caller runs in."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    async def pause(self, seconds: float) -> None:
        """Wait for what others do, on the real clock, whatever the transport's clock says."""
        ...

    async def side_by_side(self, tasks: Sequence[Callable[[], Coroutine[None, None, T]]]) -> list[T]:
        """Run the tasks at the same time and return what they return, in their order."""
        ...

    async def uncancelled(self, task: Callable[[], Coroutine[None, None, T]]) -> T:
        """Run the task to its end even if the caller is cancelled meanwhile."""
        ...

    async def blocking(self, function: Callable[[], T]) -> T:
        """Run a function that may block, such as a store's."""
        ...


class Store(Protocol):
    """Where a key goes. Its methods may block; the async side calls them in a worker thread."""

    @property
    def scheme(self) -> str:
        """The first part of its references, such as ``memory``.

        With it and a name, anybody can build the reference of a key and look whether it is there.
        """
        ...

    def check(self) -> None:
        """Find out, without a secret and without asking anybody, whether `put` can work.

        Raises:
            StoreError: It cannot.
        """
        ...

    def put(
        self, name: str, secret: Secret, metadata: Mapping[str, str], *, if_absent: bool = True
    ) -> SecretRef:
        """Save a secret under a name.

        Args:
            name: The workspace's name.
            secret: What to save.
            metadata: What may be known to all, such as the organisation's id.
            if_absent: Whether to refuse to replace another secret of that name.

        Raises:
            StoreError: It was not saved.
        """
        ...

    def get(self, ref: SecretRef) -> Secret:
        """Return a saved secret.

        Raises:
            MissingKeyError: It is not there.
            StoreError: It cannot be read.
        """
        ...

    def delete(self, ref: SecretRef) -> None:
        """Remove a saved secret; do nothing where there is none.

        Raises:
            StoreError: It is there and cannot be removed.
        """
        ...
