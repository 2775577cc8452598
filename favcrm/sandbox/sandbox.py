"""`Sandbox`, the embedded FavCRM."""

from __future__ import annotations

import json
import threading
from collections import defaultdict, deque
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, cast

from favcrm.sandbox import registration, workspace
from favcrm.sandbox.clock import SandboxClock
from favcrm.sandbox.forms import AnswerForm, PayloadForm, RefusalForm, json_page
from favcrm.sandbox.inbox import Inbox
from favcrm.sandbox.rules import Rules
from favcrm.sandbox.transport import AsyncSandboxTransport, SandboxTransport
from favcrm.sandbox.visit import OK, Visit
from favcrm.sandbox.world import World
from favcrm.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from favcrm.sandbox.faults import Fault, Reply
    from favcrm.sandbox.inbox import Mail
    from favcrm.sandbox.server import Server
    from favcrm.sandbox.tool import Tool
    from favcrm.sandbox.visit import Call
    from favcrm.typing import JSON

__all__ = ["Sandbox"]

MISSING_EXTRA = (
    'Serving the sandbox needs the extra "sandbox". Install it with: pip install "favcrm[sandbox]"'
)


class Sandbox:
    """An embedded FavCRM, for tests and for trying things offline.

    It has the tools, envelopes, limits and failures that are publicly known of FavCRM. Nothing in it leaves
    the process: mails land in `inbox`, and keys open this sandbox only. Several threads may use it.

    Args:
        clock: Its time. By default a clock that stands still until it is moved; give
            ``SandboxClock(running=True)`` where people use the sandbox.
        rules: Its limits and decisions.
        doctor: Whether it has the tool ``favcrm_doctor``.
        refusal_form: The wire form in which it refuses.
        answer_form: How an answer is framed on HTTP.
        payload_form: How the payload of an answer is wrapped.
        on_mail: Called with each mail as it is sent.

    Attributes:
        clock: Its time, which tests move.
        rules: Its limits and decisions. They can be changed at any time.
        inbox: The mails it sent.
        refusal_form: The wire form in which it refuses from now on.
        answer_form: How an answer is framed on HTTP from now on.
        payload_form: How the payload of an answer is wrapped from now on.

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
        self.world: World = World(clock=self.clock, inbox=self.inbox, rules=self.rules)
        self.tools: Mapping[str, Tool] = {
            tool.name: tool
            for tool in (
                *registration.TOOLS,
                *workspace.TOOLS,
                *([workspace.favcrm_doctor] if doctor else []),
            )
        }
        self._calls: list[Call] = []
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)

    def __repr__(self) -> str:
        return f"<Sandbox: {len(self._calls)} calls, {len(self.inbox)} mails>"

    # Reaching it

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

    def handle(self, body: bytes, *, key: str | None, ip: str) -> Reply:
        """Answer the bytes of one JSON-RPC request, as the server on HTTP does."""
        message = cast("dict[str, JSON]", json.loads(body))
        visit = self.visit(message, key=key, ip=ip)
        early = visit.early_reply()
        if early is not None:
            return early
        answer = {"jsonrpc": "2.0", "id": message.get("id"), **visit.act()}
        return visit.reply(json_page(OK, answer))

    def visit(self, message: Mapping[str, JSON], *, key: str | None, ip: str) -> Visit:
        """Let one request in, and give it the fault that was ordered for it."""
        params = message.get("params")
        visit = Visit(
            sandbox=self,
            method=str(message.get("method")),
            params=params if isinstance(params, dict) else {},
            key=key,
            ip=ip,
        )
        with self.lock:
            waiting = self._faults.get(visit.target)
            visit.fault = waiting.popleft() if waiting else None
        return visit

    # Arranging things

    def fail_next(self, target: str, *faults: Fault) -> None:
        """Let the next calls go wrong.

        Args:
            target: The tool, or ``tools/list``.
            faults: What goes wrong, one call after the other. They queue behind faults ordered before.
        """
        with self.lock:
            self._faults[target].extend(faults)

    def add_account(self, email: str) -> None:
        """Make an email one that has an account already."""
        with self.lock:
            self.world.accounts.add(email.casefold())

    def add_organisation(
        self, name: str = "Stretch + Breathe", *, email: str | None = None, companies: tuple[str, ...] = ()
    ) -> Secret:
        """Make a workspace that is ready, as if its owner had made a key in the portal.

        Args:
            name: The name of the organisation and of its first company.
            email: The owner's address, which has an account from now on.
            companies: The names of more companies that the key opens.

        Returns:
            The key.
        """
        with self.lock:
            if email is not None:
                self.add_account(email)
            first = self.world.open_company(name=name)
            key, access = self.world.grant(first, role="owner")
            identifier = first.organisation_id
            access.companies += [
                self.world.open_company(name=more, organisation_id=identifier) for more in companies
            ]
            return Secret(key)

    def revoke(self, key: Secret) -> None:
        """Make a key open nothing any more, as the portal does."""
        with self.lock:
            self.world.keys.pop(key.reveal(), None)

    @property
    def plan_status(self) -> str:
        """The status of every plan, ``active`` or another word, with which nothing can be written."""
        return self.world.plan_status

    @plan_status.setter
    def plan_status(self, status: str) -> None:
        self.world.plan_status = status

    def suspend_plan(self) -> None:
        """Suspend every plan: nothing can be written any more."""
        self.plan_status = "suspended"

    @property
    def whatsapp_connected(self) -> bool:
        """Whether WhatsApp is connected."""
        return self.world.whatsapp_connected

    @whatsapp_connected.setter
    def whatsapp_connected(self, connected: bool) -> None:
        self.world.whatsapp_connected = connected

    @property
    def on_mail(self) -> Callable[[Mail], None] | None:
        """What is called with each mail as it is sent, or None."""
        return self.inbox.on_mail

    @on_mail.setter
    def on_mail(self, on_mail: Callable[[Mail], None] | None) -> None:
        self.inbox.on_mail = on_mail

    # Looking at it

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every call that reached the sandbox, in order, without anything secret."""
        with self.lock:
            return tuple(self._calls)

    def count(self, name: str, outcome: str | None = None) -> int:
        """Return how many calls reached the sandbox.

        Args:
            name: The tool, or ``tools/list``.
            outcome: Count only calls that ended so, such as ``done``; see `Call.outcome`.
        """
        return sum(call.name == name and outcome in {None, call.outcome} for call in self.calls)

    def record(self, call: Call) -> None:
        """Note a call."""
        with self.lock:
            self._calls.append(call)
