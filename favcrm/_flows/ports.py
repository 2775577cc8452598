"""Everything a flow may await or ask for. The flows touch nothing else of the outside."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from favcrm.transport import Clock, Request, Response

T = TypeVar("T")


class Port(Protocol):
    """One colour: blocking, where nothing ever suspends, or asynchronous."""

    clock: Clock

    @property
    def transport(self) -> object:
        """What requests go through."""
        ...

    async def request(self, request: Request) -> Response:
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
