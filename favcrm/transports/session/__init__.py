"""Reaching the tools through somebody's open MCP session.

No library of MCP is imported: a session is whatever has the two methods, and what differs between the libraries is
found in their signatures, once.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import suppress
from typing import Any, Protocol, Self, get_args, get_type_hints

from favcrm._boundary import boundaries
from favcrm._mcp.jsonrpc import PROGRESS, report_progress
from favcrm._mcp.requests import next_cursor, page_params, read_pages
from favcrm.errors import InvalidInputError, NotSentError, OutcomeUnknownError, Problem, TransportError
from favcrm.models import Progress
from favcrm.transport import Request, Response
from favcrm.transports.binding import Home, check_home, this_event_loop
from favcrm.transports.session.answers import closed_error, judge_error, read_result
from favcrm.typing import JSON

__all__ = ["Session", "SessionTransport"]

CALL = "tools/call"
LIST = "tools/list"
PROGRESS_PARAMETERS = ("progress_callback", "progress_handler")


class Session(Protocol):
    """An open MCP client of any library."""

    @property
    def call_tool(self) -> Callable[..., object]:
        """Takes a tool's name and its arguments, and returns its result, which may have to be awaited."""
        ...

    @property
    def list_tools(self) -> Callable[..., object]:
        """Returns the tools, or a page of them, which may have to be awaited."""
        ...


@boundaries
class SessionTransport:
    """Reaches the tools through an MCP session that is open already, asynchronous.

    The session presents the key that it was opened with, so the key of a request is not used. The tools are listed once
    before the first call, because the libraries look into that list when an answer has come, and would lose the answer
    if listing failed then.

    A session belongs to the event loop in which the transport is made, or else to the first in which it is used. A
    request in any other event loop is refused.

    Args:
        session: An open ``Client`` or ``ClientSession`` of ``mcp``, a ``Client`` of ``fastmcp``, or any object with
            ``call_tool(name, arguments)`` and ``list_tools()``. It stays open at `aclose`.

    Raises:
        InvalidInputError: The session lacks one of the two methods.

    Example:
        >>> import asyncio
        >>> class Own:
        ...     async def call_tool(self, name, arguments):
        ...         return {"structuredContent": {"data": arguments, "summary": "Done."}}
        ...     async def list_tools(self):
        ...         return {"tools": [{"name": "echo"}]}
        >>> async def main():
        ...     async with AsyncFavCRMClient(transport=SessionTransport(Own()), api_key="made up") as crm:
        ...         return await crm.call_tool("echo", {"a": 1})
        >>> asyncio.run(main()).data
        {'a': 1}
    """

    def __init__(self, session: Session) -> None:
        # fastmcp's own call_tool checks an answer once more, and logs what does not fit, values included.
        call = getattr(session, "call_tool_mcp", None) or getattr(session, "call_tool", None)
        listing = getattr(session, "list_tools_mcp", None) or getattr(session, "list_tools", None)
        if not (callable(call) and callable(listing)):
            found = {"call_tool": call, "list_tools": listing}
            missing = " and no ".join(name for name, method in found.items() if not callable(method))
            raise InvalidInputError([Problem("session", f"has no {missing}")])
        accepted = _parameters(call)
        self._call: Callable[..., object] = call
        self._call_options = {"raise_on_error": False} if "raise_on_error" in accepted else {}
        self._progress = next((name for name in PROGRESS_PARAMETERS if name in accepted), None)
        self._list: Callable[..., object] = listing
        self._cursor = _cursor_argument(listing)
        self._stream: object = getattr(session, "_write_stream", None)
        self._listed = False
        self._home: Home | None = None
        # An object of a user's own may be made before any event loop runs.
        with suppress(RuntimeError):
            self._home = this_event_loop()

    async def request(self, request: Request) -> Response:
        """Send one request and return what came back; see `favcrm.transports.Transport.request`.

        Raises:
            NotSentError: The session is closed, or has ended at the server, or cannot list its tools, or has nothing
                for the method, or belongs to another event loop or process.
            OutcomeUnknownError: There was no answer in time, or the session failed midway.
        """
        import anyio

        if request.method not in {CALL, LIST}:
            raise NotSentError(
                f"A session has nothing for {request.method}. Nothing was sent.",
                permanent=True,
                next_step="Use another transport for it.",
            )
        home = this_event_loop()
        self._home = self._home or home
        check_home("session", self._home, home)
        ends_at = anyio.current_time() + request.timeout
        if request.method == CALL and not self._listed:
            refused = await self._list_tools(ends_at)
            if refused is not None:
                return refused
        return await self._send(request.method, request.params, ends_at, request.on_progress)

    async def aclose(self) -> None:
        """Do nothing, because whoever opened the session closes it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _list_tools(self, ends_at: float) -> Response | None:
        """List every page, and return the answer that refused a page, if one did."""
        refused: Response | None = None

        async def ask(cursor: str | None) -> str | None:
            nonlocal refused
            page = await self._send(LIST, page_params(cursor), ends_at)
            refused = page if page.error else None
            return next_cursor(page.result)

        try:
            await read_pages(ask)
        except OutcomeUnknownError:
            raise NotSentError("The session could not list its tools, so the tool was not called.") from None
        self._listed = refused is None
        return refused

    async def _send(
        self,
        method: str,
        params: Mapping[str, JSON],
        ends_at: float,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Response:
        """Make one call of the session's, and return its answer."""
        import anyio

        seconds = max(0.0, ends_at - anyio.current_time())
        outcome: Response | TransportError = OutcomeUnknownError(
            f"No answer came through the session within {round(seconds, 1):g} seconds, "
            "and the request may have been carried out."
        )
        with anyio.move_on_after(seconds):
            outcome = await self._ask(method, params, on_progress)
        if isinstance(outcome, Response):
            return outcome
        raise outcome

    async def _ask(
        self, method: str, params: Mapping[str, JSON], on_progress: Callable[[Progress], None] | None
    ) -> Response | TransportError:
        if _is_closed(self._stream):
            return closed_error()
        steps: _Steps | None = None
        try:
            result = self._start(method, params, on_progress)
            if inspect.isawaitable(result):
                steps = _Steps(result)
                result = await steps
            answer = read_result(result, "content" if method == CALL else "tools")
        except Exception as error:  # noqa: BLE001  # every library has errors of its own
            return judge_error(error, waited=steps is None or steps.suspended)
        if self._cursor is None and isinstance(answer, dict):
            # This session cannot ask for another page.
            answer.pop("nextCursor", None)
        return Response(result=answer)

    def _start(
        self, method: str, params: Mapping[str, JSON], on_progress: Callable[[Progress], None] | None
    ) -> object:
        """Call the session's method, whose result may have to be awaited."""
        if method == LIST:
            cursor = params.get("cursor")
            return self._list(**self._cursor(cursor) if self._cursor and isinstance(cursor, str) else {})
        options: dict[str, object] = {**self._call_options}
        if on_progress is not None and self._progress is not None:
            options[self._progress] = _progress_listener(on_progress)
        return self._call(params["name"], params.get("arguments") or {}, **options)


class _Steps(Generator[Any, Any, object]):
    """Awaits something, and notices whether it suspended. Without that, it cannot have used a network."""

    def __init__(self, awaitable: Awaitable[object]) -> None:
        self._steps = _delegate(awaitable)
        self.suspended = False

    def __await__(self) -> Generator[Any, Any, object]:
        return self

    def send(self, value: object) -> object:
        step = self._steps.send(value)
        self.suspended = True
        return step

    def throw(self, *error: Any) -> object:
        return self._steps.throw(*error)


def _delegate(awaitable: Awaitable[object]) -> Generator[Any, Any, object]:
    return (yield from awaitable.__await__())


def _is_closed(stream: object) -> bool:
    """Tell whether a stream takes no messages. The ClientSession of mcp 1 finds out too late for `_Steps`."""
    from anyio.streams.memory import MemoryObjectSendStream

    if not isinstance(stream, MemoryObjectSendStream):
        return False
    counts = stream.statistics()
    return not (counts.open_send_streams and counts.open_receive_streams)


def _parameters(method: Callable[..., object]) -> Mapping[str, object]:
    try:
        return inspect.signature(method).parameters
    except (TypeError, ValueError):
        # A function that is written in C may have no signature.
        return {}


def _cursor_argument(method: Callable[..., object]) -> Callable[[str], dict[str, object]] | None:
    """Return what makes a cursor the argument that a listing method takes, or None where it takes none."""
    accepted = _parameters(method)
    if "cursor" in accepted:
        return lambda cursor: {"cursor": cursor}
    if "params" not in accepted:
        return None
    # The official ClientSession takes an object of its own library, whose class its annotation names.
    try:
        hint: object = get_type_hints(method).get("params")
    except Exception:  # noqa: BLE001  # an annotation may be any expression
        return None
    named = (kind for kind in (*get_args(hint), hint) if kind is not Any and kind is not type(None))
    kinds = [kind for kind in named if isinstance(kind, type)]
    return (lambda cursor: {"params": kinds[0](cursor=cursor)}) if kinds else None


def _progress_listener(on_progress: Callable[[Progress], None]) -> Callable[..., Awaitable[None]]:
    """Return what the libraries call with a report of progress."""

    async def listen(progress: float, total: float | None = None, message: str | None = None) -> None:
        report: dict[str, JSON] = {"progress": progress, "total": total, "message": message}
        report_progress({"method": PROGRESS, "params": {"progressToken": 0, **report}}, 0, on_progress)

    return listen
