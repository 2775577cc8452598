"""One request to the sandbox, from its arrival to the bytes of the answer.

The transports in process and the server on loopback both use it, so that both answer the same.
"""

from __future__ import annotations

import secrets
from email.utils import formatdate
from typing import TYPE_CHECKING, cast

from attrs import define, evolve, field, frozen

from favcrm.sandbox.faults import with_wrong_types
from favcrm.sandbox.forms import (
    AnswerForm,
    HTTPAnswer,
    Refusal,
    RefusalReason,
    ToolAnswer,
    refuse,
    rpc_error,
    text_page,
    wrap,
)
from favcrm.sandbox.state import unauthorized
from favcrm.sandbox.tools import CallContext

if TYPE_CHECKING:
    from collections.abc import Mapping

    from favcrm.sandbox.faults import Fault
    from favcrm.sandbox.forms import Message
    from favcrm.sandbox.sandbox import Sandbox
    from favcrm.typing import JSON

__all__ = ["CallRecord"]

DONE = "done"
NOT_DONE = "not done"
OK = 200


@frozen(kw_only=True)
class CallRecord:
    """One call that reached the sandbox, without anything secret.

    Attributes:
        name: The tool, or ``tools/list``.
        outcome: ``done``; ``not done`` where a fault came first; or why the call was refused: the name of a
            `RefusalReason` in lower case, such as ``invalid_code``.
        fault: The name of the fault that was ordered for the call, or None.
        request_id: The header ``X-Request-Id`` of the answer.
    """

    name: str
    outcome: str
    fault: str | None
    request_id: str


@define(kw_only=True)
class RequestHandler:
    """Handles one request.

    Attributes:
        sandbox: The sandbox that received the request.
        method: The JSON-RPC method.
        params: Its parameters.
        key: The key shown, or None.
        ip: The address of the caller.
        fault: The fault that was ordered for the request, or None.
        refusal_page: The HTTP answer that refuses the request, once there is one.
        request_id: The header ``X-Request-Id`` of the answer.
    """

    sandbox: Sandbox
    method: str
    params: Mapping[str, JSON] = field(repr=False)
    key: str | None = field(repr=False)
    ip: str
    fault: Fault | None = None
    refusal_page: HTTPAnswer | None = field(default=None, init=False)
    request_id: str = field(factory=lambda: f"req_{secrets.token_hex(10)}", init=False)

    @property
    def target(self) -> str:
        """The tool that is called, or the method."""
        return str(self.params.get("name")) if self.method == "tools/call" else self.method

    def fail_early(self) -> HTTPAnswer | None:
        """Return the answer where a fault comes before any work, else None."""
        if self.fault is None or self.fault.acts:
            return None
        self._record(NOT_DONE)
        return self.fault.apply(self._with_headers(text_page(OK)))

    def handle(self) -> Message:
        """Do the work, and return the result or the error of the JSON-RPC answer."""
        with self.sandbox.lock:
            try:
                message = self._result()
                outcome = DONE
            except Refusal as refusal:
                message = self._refuse(refusal)
                outcome = refusal.reason.name.lower()
        self._record(outcome)
        return message

    def finish(self, answer: HTTPAnswer) -> HTTPAnswer:
        """Return the HTTP answer to send: a refusal, a frame or a fault may change the JSON-RPC answer."""
        framing = (self.fault and self.fault.framing) or self.sandbox.answer_form
        if self.refusal_page is not None:
            answer = self.refusal_page
        elif framing is AnswerForm.SSE and answer.status == OK:
            headers = {**answer.headers, "content-type": AnswerForm.SSE.value}
            body = b"event: message\ndata: " + answer.body + b"\n\n"
            answer = evolve(answer, headers=headers, body=body)
        answer = self._with_headers(answer)
        return answer if self.fault is None else self.fault.apply(answer)

    def _result(self) -> Message:
        match self.method:
            case "tools/call":
                return wrap(self._call_tool(), self.sandbox.payload_form)
            case "tools/list":
                return {"result": self._list_tools()}
            case _:
                return {"error": {"code": -32601, "message": "Method not found"}}

    def _call_tool(self) -> ToolAnswer:
        tool = self.sandbox.tools.get(self.target)
        if tool is None:
            raise Refusal(RefusalReason.INVALID_INPUT, f"Unknown tool: {self.target}.")
        arguments = self.params.get("arguments") or {}
        if not isinstance(arguments, dict):
            raise Refusal(RefusalReason.INVALID_INPUT, "Invalid arguments: expected an object.")
        answer = tool.call(self._context(), arguments)
        if self.fault is not None and self.fault.wrong_types:
            return evolve(answer, data=with_wrong_types(answer.data))
        return answer

    def _list_tools(self) -> dict[str, JSON]:
        rules = self.sandbox.rules
        context = self._context()
        if rules.list_checks_key and context.shows_key and context.key_access is None:
            raise unauthorized()
        tools = [tool.entry for tool in self.sandbox.tools.values()]
        start = self._cursor()
        end = len(tools) if rules.page_size is None else start + rules.page_size
        more: dict[str, JSON] = {"nextCursor": str(end)} if end < len(tools) else {}
        return {"tools": cast("JSON", tools[start:end]), **more}

    def _cursor(self) -> int:
        cursor = self.params.get("cursor")
        if cursor is None:
            return 0
        if not (isinstance(cursor, str) and cursor.isascii() and cursor.isdigit()):
            raise Refusal(RefusalReason.INVALID_INPUT, "Invalid cursor.")
        return int(cursor)

    def _context(self) -> CallContext:
        state = self.sandbox.state
        access = state.keys.get(self.key or "")
        return CallContext(state, self.ip, self.key is not None, access, len(self.sandbox.tools))

    def _refuse(self, refusal: Refusal) -> Message:
        form = self.sandbox.refusal_form
        if self.method == "tools/list" and not form.name.startswith("HTTP"):
            # A listing has no content that could hold a refusal.
            return rpc_error(refusal)
        written = refuse(refusal, form)
        if isinstance(written, HTTPAnswer):
            self.refusal_page = written
            return rpc_error(refusal)
        return written

    def _with_headers(self, answer: HTTPAnswer) -> HTTPAnswer:
        skew = 0.0 if self.fault is None else self.fault.skew
        date = formatdate(self.sandbox.clock.time() + skew, usegmt=True)
        return evolve(answer, headers={**answer.headers, "date": date, "x-request-id": self.request_id})

    def _record(self, outcome: str) -> None:
        fault = None if self.fault is None else self.fault.name
        record = CallRecord(name=self.target, outcome=outcome, fault=fault, request_id=self.request_id)
        self.sandbox.record(record)
