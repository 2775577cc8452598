"""`Sandbox`, the embedded FavCRM, and its transports in process: no sockets, no waiting, the bytes of HTTP."""

from __future__ import annotations

import itertools
import json
import threading
from collections import defaultdict, deque
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, cast

from favcrm._mcp.jsonrpc import AnswerReader, encode_request
from favcrm.errors import NotSentError, OutcomeUnknownError
from favcrm.sandbox import sign_up_tools, workspace_tools
from favcrm.sandbox.clock import SandboxClock
from favcrm.sandbox.forms import AnswerForm, Ending, PayloadForm, RefusalForm, json_page
from favcrm.sandbox.handler import OK, RequestHandler
from favcrm.sandbox.state import Company, Inbox, Rules, State
from favcrm.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from favcrm.sandbox.faults import Fault
    from favcrm.sandbox.forms import HTTPAnswer
    from favcrm.sandbox.handler import CallRecord
    from favcrm.sandbox.server import Server
    from favcrm.sandbox.state import Mail
    from favcrm.sandbox.tools import SandboxTool
    from favcrm.transport import Request, Response
    from favcrm.typing import JSON

__all__ = ["AsyncSandboxTransport", "Sandbox", "SandboxTransport"]

MISSING_EXTRA = (
    'Serving the sandbox needs the extra "sandbox". Install it with: pip install "favcrm[sandbox]"'
)


class Sandbox:
    """An embedded FavCRM, for tests and for trying things offline.

    The sandbox has the tools, envelopes, limits and failures that are publicly known of FavCRM. Nothing leaves the
    process: mails land in `inbox`, and keys open this sandbox only. Several threads may use one sandbox.

    Args:
        clock: The sandbox's time. By default a clock that stands still until it is moved; give
            ``SandboxClock(running=True)`` where people use the sandbox.
        rules: The limits and decisions.
        doctor: Whether there is the tool ``favcrm_doctor``.
        refusal_form: The wire form of a refusal.
        answer_form: How an answer is framed on HTTP.
        payload_form: How the payload of an answer is wrapped.
        on_mail: Called with each mail that is sent; later an attribute of ``inbox``.

    Attributes:
        clock, rules, refusal_form, answer_form, payload_form: As given. Each can be changed at any time.
        inbox: The mails that the sandbox sent.

    Example:
        >>> from favcrm.sandbox import Sandbox
        >>> from favcrm.transports import Request
        >>> sandbox = Sandbox()
        >>> transport = sandbox.transport()
        >>> arguments = {"email": "you@example.com", "organisationName": "Stretch + Breathe"}
        >>> params = {"name": "register_organisation_request", "arguments": arguments}
        >>> response = transport.request(Request("tools/call", params, timeout=30.0))
        >>> len(sandbox.inbox.code_for("you@example.com"))
        6
    """

    def __init__(
        self,
        *,
        clock: SandboxClock | None = None,
        rules: Rules | None = None,
        doctor: bool = False,
        refusal_form: RefusalForm = RefusalForm.IS_ERROR_TEXT,
        answer_form: AnswerForm = AnswerForm.JSON,
        payload_form: PayloadForm = PayloadForm.ENVELOPE,
        on_mail: Callable[[Mail], None] | None = None,
    ) -> None:
        self.clock: SandboxClock = SandboxClock() if clock is None else clock
        self.rules: Rules = Rules() if rules is None else rules
        self.inbox: Inbox = Inbox(on_mail)
        self.refusal_form = refusal_form
        self.answer_form = answer_form
        self.payload_form = payload_form
        self.lock: AbstractContextManager[bool] = threading.RLock()
        self.state: State = State(clock=self.clock, inbox=self.inbox, rules=self.rules)
        tools = [*sign_up_tools.TOOLS, *workspace_tools.TOOLS]
        if doctor:
            tools.append(workspace_tools.favcrm_doctor)
        self.tools: Mapping[str, SandboxTool] = {tool.name: tool for tool in tools}
        self._calls: list[CallRecord] = []
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)

    def __repr__(self) -> str:
        return f"<Sandbox: {len(self._calls)} calls, {len(self.inbox)} mails>"

    # Reaching the sandbox

    def transport(self, *, ip: str = "127.0.0.1") -> SandboxTransport:
        """Return a blocking transport to this sandbox, without sockets.

        Args:
            ip: The address that its calls seem to come from; sign-up requests are limited for each address.
        """
        return SandboxTransport(self, ip=ip)

    def async_transport(self, *, ip: str = "127.0.0.1") -> AsyncSandboxTransport:
        """Return an asynchronous transport to this sandbox, without sockets; see `transport`."""
        return AsyncSandboxTransport(self, ip=ip)

    def serve(self, *, port: int = 0, latency: float = 0.0) -> Server:
        """Serve this sandbox over HTTP on 127.0.0.1. Needs the extra ``sandbox``.

        Args:
            port: The port; 0 for a free one.
            latency: Seconds to wait before each answer, as on a long way.

        Returns:
            The server, which answers already. Use it as a context manager, or close it.

        Raises:
            ModuleNotFoundError: The extra is not installed.
            OSError: The port is taken.
        """
        try:
            from favcrm.sandbox.server import Server
        except ModuleNotFoundError as missing:
            raise ModuleNotFoundError(MISSING_EXTRA, name=missing.name) from None
        return Server(self, port=port, latency=latency)

    def handle(self, body: bytes, *, key: str | None, ip: str) -> HTTPAnswer:
        """Answer the bytes of one JSON-RPC request, as the server on loopback does."""
        message = cast("dict[str, JSON]", json.loads(body))
        handler = self.receive(message, key=key, ip=ip)
        failed = handler.fail_early()
        if failed is not None:
            return failed
        answer = {"jsonrpc": "2.0", "id": message.get("id"), **handler.handle()}
        return handler.finish(json_page(OK, answer))

    def receive(self, message: Mapping[str, JSON], *, key: str | None, ip: str) -> RequestHandler:
        """Return the handler of one request, with the fault that was ordered for it."""
        params = message.get("params")
        handler = RequestHandler(
            sandbox=self,
            method=str(message.get("method")),
            params=params if isinstance(params, dict) else {},
            key=key,
            ip=ip,
        )
        with self.lock:
            waiting = self._faults.get(handler.target)
            handler.fault = waiting.popleft() if waiting else None
        return handler

    # Preparing what a test needs

    def fail_next(self, target: str, *faults: Fault) -> None:
        """Order faults for the next calls.

        Args:
            target: The tool, or ``tools/list``.
            faults: The faults, one for each call. They queue behind faults ordered before.
        """
        with self.lock:
            self._faults[target].extend(faults)

    def add_account(self, email: str) -> None:
        """Give an email an account."""
        with self.lock:
            self.state.accounts.add(email.casefold())

    def add_organisation(self, name: str = "Stretch + Breathe", *, email: str | None = None) -> Secret:
        """Make a workspace that is ready, as if its owner had made a key in the portal.

        Args:
            name: The name of the organisation and of its first company.
            email: The owner's address, which has an account from now on.

        Returns:
            The key.
        """
        with self.lock:
            if email is not None:
                self.add_account(email)
            key, _ = self.state.create_key(Company(name=name), role="owner")
            return Secret(key)

    def revoke(self, key: Secret) -> None:
        """Make a key open nothing any more, as the portal does."""
        with self.lock:
            self.state.keys.pop(key.reveal(), None)

    # Reading the record

    @property
    def calls(self) -> tuple[CallRecord, ...]:
        """Every call that reached the sandbox, in order, without anything secret."""
        with self.lock:
            return tuple(self._calls)

    def count(self, name: str, outcome: str | None = None) -> int:
        """Return how many calls reached the sandbox.

        Args:
            name: The tool, or ``tools/list``.
            outcome: Count only calls that ended so, such as ``done``; see `CallRecord.outcome`.
        """
        return sum(call.name == name and outcome in {None, call.outcome} for call in self.calls)

    def record(self, call: CallRecord) -> None:
        """Add a call to the record."""
        with self.lock:
            self._calls.append(call)


class SandboxTransport:
    """Reaches a sandbox in the same process, blocking. Made by `Sandbox.transport`.

    Args:
        sandbox: The sandbox.
        ip: The address that calls seem to come from.

    Attributes:
        clock: The sandbox's clock, which the flows wait on too.
    """

    def __init__(self, sandbox: Sandbox, *, ip: str = "127.0.0.1") -> None:
        self.clock: SandboxClock = sandbox.clock
        self._sandbox = sandbox
        self._ip = ip
        self._ids = itertools.count(1)

    def request(self, request: Request) -> Response:
        """Send one MCP request and return the answer.

        Args:
            request: The request. Where no answer comes, the clock moves by its timeout. Its ``on_progress`` is never
                called, because the sandbox's tools answer at once.

        Raises:
            NotSentError: A fault refused the connection.
            OutcomeUnknownError: A fault broke the connection, or kept the answer back.
        """
        message_id = next(self._ids)
        body = encode_request(message_id, request.method, request.params)
        key = None if request.api_key is None else request.api_key.reveal()
        answer = self._sandbox.handle(body, key=key, ip=self._ip)
        match answer.ending:
            case Ending.REFUSED:
                raise NotSentError("The endpoint cannot be reached. Nothing was sent.")
            case Ending.BROKEN:
                raise OutcomeUnknownError(
                    "The connection broke before the answer came, and the request may have been carried out."
                )
            case Ending.STALLED:
                self.clock.advance(request.timeout)
                raise OutcomeUnknownError(
                    f"No answer came within {request.timeout:g} seconds, and the request may have been carried out."
                )
            case _:
                reader = AnswerReader(message_id, answer.status, answer.headers)
                reader.feed(answer.body)
                return reader.finish(cut=answer.ending is Ending.CUT)

    def close(self) -> None:
        """Do nothing, because nothing is held open."""


class AsyncSandboxTransport:
    """Reaches a sandbox in the same process, asynchronously. Made by `Sandbox.async_transport`.

    The arguments and attributes are those of `SandboxTransport`.
    """

    def __init__(self, sandbox: Sandbox, *, ip: str = "127.0.0.1") -> None:
        self.clock: SandboxClock = sandbox.clock
        self._blocking = SandboxTransport(sandbox, ip=ip)

    async def request(self, request: Request) -> Response:
        """Send one MCP request and return the answer; see `SandboxTransport.request`."""
        # Imported here, because sync users need no anyio.
        from anyio.lowlevel import checkpoint

        # As on a network, other tasks run before the request arrives and before the answer does.
        await checkpoint()
        response = self._blocking.request(request)
        await checkpoint()
        return response

    async def aclose(self) -> None:
        """Do nothing, because nothing is held open."""
