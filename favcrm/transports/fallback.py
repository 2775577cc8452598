"""Several ways to reach the tools, tried in order."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from typing import TypeVar

from attrs import evolve

from favcrm._backends import run_sync
from favcrm._boundary import bare
from favcrm.errors import InvalidInputError, NotSentError, OutcomeUnknownError, Problem
from favcrm.models import Progress
from favcrm.secret import Secret
from favcrm.transport import AsyncTransport, Clock, Response, Transport
from favcrm.typing import JSON

__all__ = ["AsyncFallbackTransport", "FallbackTransport"]

T = TypeVar("T")

FEWEST = 2


class FallbackTransport:
    """Tries several transports in their order, blocking.

    The next one is tried only where the call certainly never reached the server through the one before. No answer and
    no unknown outcome leads to the next. The seconds of a call are for all of them together.

    Args:
        transports: Two or more transports, the preferred one first. `close` closes them.

    Attributes:
        clock: The clock of the first transport that has one; there is no such attribute if none has.

    Raises:
        InvalidInputError: There are fewer than two, or one of them is no blocking transport.

    Example:
        >>> from favcrm.sandbox import Sandbox
        >>> from favcrm.transports import HTTPTransport
        >>> nobody = HTTPTransport("http://127.0.0.1:9/mcp")
        >>> told = []
        >>> transport = FallbackTransport(nobody, Sandbox().transport())
        >>> with FavCRMProvisioner(transport=transport, on_event=told.append) as favcrm:
        ...     report = favcrm.diagnose()
        >>> {event.transport for event in told if event.kind is EventKind.ROUTE_TAKEN}
        {'SandboxTransport'}
        >>> transport.close()
    """

    clock: Clock

    def __init__(self, *transports: Transport) -> None:
        _check(transports, "close")
        self._transports = transports
        _take_clock(self, transports)
        self._open = ExitStack()
        for transport in _distinct(transports):
            self._open.callback(transport.close)

    def request(
        self,
        method: str,
        params: Mapping[str, JSON],
        *,
        api_key: Secret | None,
        timeout: float,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Response:
        """Send one request through the first transport that reaches the server; see `Transport.request`.

        Raises:
            NotSentError: None of them reached the server. The message has what each of them says.
            OutcomeUnknownError: The request may have been carried out; ``via`` says which transport took it.
        """

        async def ask(transport: Transport, left: float) -> Response:
            return transport.request(method, params, api_key=api_key, timeout=left, on_progress=on_progress)

        return run_sync(_first_reached(self._transports, ask, timeout, _now(self)))

    def close(self) -> None:
        """Close every transport, each once and the last first, also where one of them raises."""
        self._open.close()


class AsyncFallbackTransport:
    """Tries several transports in their order, asynchronous: `FallbackTransport` with ``aclose``.

    Args:
        transports: Two or more asynchronous transports, the preferred one first. `aclose` closes them.

    Attributes:
        clock: The clock of the first transport that has one; there is no such attribute if none has.

    Raises:
        InvalidInputError: There are fewer than two, or one of them is no asynchronous transport.
    """

    clock: Clock

    def __init__(self, *transports: AsyncTransport) -> None:
        _check(transports, "aclose")
        self._transports = transports
        _take_clock(self, transports)
        self._open = AsyncExitStack()
        for transport in _distinct(transports):
            self._open.push_async_callback(transport.aclose)

    async def request(
        self,
        method: str,
        params: Mapping[str, JSON],
        *,
        api_key: Secret | None,
        timeout: float,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Response:
        """Send one request through the first transport that reaches the server; see `FallbackTransport.request`.

        Raises:
            NotSentError: None of them reached the server. The message has what each of them says.
            OutcomeUnknownError: The request may have been carried out; ``via`` says which transport took it.
        """

        async def ask(transport: AsyncTransport, left: float) -> Response:
            return await transport.request(
                method, params, api_key=api_key, timeout=left, on_progress=on_progress
            )

        return await _first_reached(self._transports, ask, timeout, _now(self))

    async def aclose(self) -> None:
        """Close every transport, each once and the last first, also where one of them raises."""
        await self._open.aclose()


def _check(transports: Sequence[object], close: str) -> None:
    problems = [
        Problem(f"transports[{number}]", f"must have the methods request and {close}")
        for number, transport in enumerate(transports)
        if not all(callable(getattr(transport, name, None)) for name in ("request", close))
    ]
    if len(transports) < FEWEST:
        problems.append(Problem("transports", "must be two or more"))
    if problems:
        raise InvalidInputError(problems)


def _distinct(transports: Sequence[T]) -> Iterable[T]:
    """Return each transport once; a transport of a user's may not be hashable, or equal another."""
    return {id(transport): transport for transport in transports}.values()


def _take_clock(fallback: FallbackTransport | AsyncFallbackTransport, transports: Sequence[object]) -> None:
    """Give a transport the first clock among its members; without the attribute, the system's clock is used."""
    clocks: list[Clock] = [clock for member in transports if (clock := getattr(member, "clock", None))]
    if clocks:
        fallback.clock = clocks[0]


def _now(fallback: FallbackTransport | AsyncFallbackTransport) -> Callable[[], float]:
    clock: Clock | None = getattr(fallback, "clock", None)
    return time.monotonic if clock is None else clock.monotonic


async def _first_reached(
    transports: Sequence[T],
    ask: Callable[[T, float], Awaitable[Response]],
    timeout: float,
    now: Callable[[], float],
) -> Response:
    """Ask one transport after the other, until one does not say that it certainly sent nothing."""
    ends_at = now() + timeout
    failures: list[tuple[str, NotSentError]] = []
    for transport in transports:
        name, left = type(transport).__name__, ends_at - now()
        if failures and left <= 0:
            failures.append((name, NotSentError("No time was left to try it.")))
            continue
        try:
            response = await ask(transport, left)
        except NotSentError as error:
            failures.append((name, bare(error)))
        except OutcomeUnknownError as error:
            error.via = error.via or name
            raise
        else:
            return evolve(response, via=response.via or name)
    told = " ".join(f"{name}: {error.message}" for name, error in failures)
    raise NotSentError(
        f"No transport reached the server. {told}",
        permanent=all(error.permanent for _, error in failures),
        next_step=failures[-1][1].next_step,
    )
