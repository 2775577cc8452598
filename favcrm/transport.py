"""What the flows need from the outside: a way to reach the tools, and a clock.

`Transport` and `AsyncTransport` are public (from `favcrm.transports`): whoever has another way to reach the
tools writes one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from attrs import field, frozen

from favcrm._text import clean
from favcrm.models import Progress
from favcrm.secret import Secret
from favcrm.typing import JSON

LONGEST_X_REQUEST_ID = 200


@frozen
class Request:
    """One MCP request. Its repr shows neither the parameters nor the key.

    Args:
        method: ``tools/call`` or ``tools/list``.
        params: The parameters of that method, as MCP defines them.
        api_key: The key to present, or None to present none.
        timeout: Seconds that the whole request may take.
        on_progress: Called with each report of progress, where the server sends any.

    Example:
        >>> Request("tools/call", {"name": "list_services", "arguments": {}}, timeout=30.0)
        Request(method='tools/call', timeout=30.0)
    """

    method: str
    params: Mapping[str, JSON] = field(repr=False)
    api_key: Secret | None = field(default=None, repr=False, kw_only=True)
    timeout: float = field(kw_only=True)
    on_progress: Callable[[Progress], None] | None = field(default=None, repr=False, kw_only=True)


@frozen
class JSONRPCError:
    """The ``error`` member of a JSON-RPC answer.

    Attributes:
        code: The JSON-RPC code.
        message: The server's words.
        data: Whatever else the server says.
    """

    code: int
    message: str = field(repr=False)
    data: JSON = field(default=None, repr=False)


@frozen(kw_only=True)
class Response:
    """What came back for one request, not yet judged.

    Attributes:
        result: The JSON-RPC ``result``, or None.
        error: The JSON-RPC ``error``, or None.
        status: The HTTP status, or None where there is no HTTP.
        headers: The HTTP headers, names in lower case.
        body: The text of an answer that was no JSON-RPC, or that broke off.
        defect: What is wrong with an answer that could not be read, such as "is empty"; empty where nothing is.
        complete: False where the answer broke off before its end.
    """

    result: JSON = field(default=None, repr=False)
    error: JSONRPCError | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(factory=dict[str, str], repr=False)
    body: str = field(default="", repr=False)
    defect: str = ""
    complete: bool = True

    @property
    def x_request_id(self) -> str | None:
        """The server's ``X-Request-Id``, as it can be shown, if it gave one."""
        told = self.headers.get("x-request-id")
        return clean(told, longest=LONGEST_X_REQUEST_ID) or None if told else None


class Transport(Protocol):
    """A way to reach the tools, blocking.

    A transport may also have an attribute ``clock``, a `Clock`; without one the system's clock is used.
    """

    def request(self, request: Request) -> Response:
        """Send one MCP request and return what came back.

        Args:
            request: The request, with the key and the timeout that hold for it.

        Raises:
            NotSentError: Certainly nothing reached the server.
            OutcomeUnknownError: The request may have been carried out.
        """
        ...

    def close(self) -> None:
        """Let go of what the transport holds open."""
        ...


class AsyncTransport(Protocol):
    """A way to reach the tools, asynchronous: `Transport` with ``async`` methods and ``aclose``."""

    async def request(self, request: Request) -> Response:
        """Send one MCP request and return what came back; see `Transport.request`."""
        ...

    async def aclose(self) -> None:
        """Let go of what the transport holds open."""
        ...


class HTTPClient(Protocol):
    """An ``httpx.Client`` or an ``httpx2.Client``."""

    @property
    def is_closed(self) -> bool:
        """Whether it is closed."""
        ...

    def close(self) -> None:
        """Close it. Never called here: whoever made a client closes it."""
        ...


class AsyncHTTPClient(Protocol):
    """An ``httpx.AsyncClient`` or an ``httpx2.AsyncClient``."""

    @property
    def is_closed(self) -> bool:
        """Whether it is closed."""
        ...

    async def aclose(self) -> None:
        """Close it. Never called here: whoever made a client closes it."""
        ...


class Clock(Protocol):
    """Where the flows read the time and wait, so that a test can move it."""

    def monotonic(self) -> float:
        """Return seconds that only go forward."""
        ...

    def time(self) -> float:
        """Return seconds since 1970, as this machine believes."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait, blocking."""
        ...

    async def sleep_async(self, seconds: float) -> None:
        """Wait, letting other tasks run."""
        ...
