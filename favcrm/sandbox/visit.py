"""One request to the sandbox, from its arrival to the bytes of the reply.

The in-process transports and the server on loopback both go this way, so that both say the same.
"""

from __future__ import annotations

import secrets
from email.utils import formatdate
from typing import TYPE_CHECKING, cast

from attrs import define, field, frozen

from favcrm.sandbox.faults import Reply, distort
from favcrm.sandbox.forms import (
    Answered,
    AnswerForm,
    Page,
    Reason,
    RefusalForm,
    Refused,
    refuse,
    rpc_error,
    wrap,
)
from favcrm.sandbox.tool import Caller
from favcrm.sandbox.world import unauthorized

if TYPE_CHECKING:
    from collections.abc import Mapping

    from favcrm.sandbox.faults import Fault
    from favcrm.sandbox.forms import Message
    from favcrm.sandbox.sandbox import Sandbox
    from favcrm.typing import JSON

__all__ = ["Call"]

ACTED = "done"
NOT_ACTED = "not done"
OK = 200
HTTP_FORMS = {
    RefusalForm.HTTP_JSON,
    RefusalForm.HTTP_JSON_FLAT,
    RefusalForm.HTTP_HTML,
    RefusalForm.HTTP_EMPTY,
}


@frozen(kw_only=True)
class Call:
    """One call that reached the sandbox, without anything secret.

    Attributes:
        name: The tool, or ``tools/list``.
        outcome: ``done``; ``not done`` where a fault came first; or why it was refused: the name of a
            `Reason` in lower case, such as ``invalid_code``.
        fault: The name of the fault that was ordered for it, or None.
        request_id: What ``X-Request-Id`` said.
    """

    name: str
    outcome: str
    fault: str | None
    request_id: str


@define(kw_only=True)
class Visit:
    """One request.

    Attributes:
        sandbox: Where to.
        method: The JSON-RPC method.
        params: Its parameters.
        key: The key shown, or None.
        ip: Where from.
        fault: What goes wrong, or None.
        page: How the request was refused on HTTP, once it was.
        request_id: What ``X-Request-Id`` says.
    """

    sandbox: Sandbox
    method: str
    params: Mapping[str, JSON] = field(repr=False)
    key: str | None = field(repr=False)
    ip: str
    fault: Fault | None = None
    page: Page | None = field(default=None, init=False)
    request_id: str = field(factory=lambda: f"req_{secrets.token_hex(10)}", init=False)

    @property
    def target(self) -> str:
        """What is called: the tool, or the method."""
        return str(self.params.get("name")) if self.method == "tools/call" else self.method

    def early_reply(self) -> Reply | None:
        """Return the reply where a fault comes before acting, else None."""
        if self.fault is None or self.fault.acts:
            return None
        self._record(NOT_ACTED)
        return self.fault.damage(Reply(headers=self._headers("text/plain")))

    def act(self) -> Message:
        """Do what is asked and return what JSON-RPC says about it."""
        with self.sandbox.lock:
            try:
                message = self._result()
                outcome = ACTED
            except Refused as refused:
                message = self._refusal(refused)
                outcome = refused.reason.name.lower()
        self._record(outcome)
        return message

    def reply(self, answer: Page) -> Reply:
        """Return what goes back on the wire in place of the JSON-RPC answer as it was written."""
        framing = (self.fault and self.fault.framing) or self.sandbox.answer_form
        page = self.page or answer
        if framing is AnswerForm.SSE and self.page is None and answer.status == OK:
            page = Page(OK, AnswerForm.SSE.value, b"event: message\ndata: " + answer.body + b"\n\n")
        headers = {**self._headers(page.content_type), **page.headers}
        reply = Reply(status=page.status, headers=headers, body=page.body)
        return reply if self.fault is None else self.fault.damage(reply)

    def _result(self) -> Message:
        match self.method:
            case "tools/call":
                return wrap(self._call_tool(), self.sandbox.payload_form)
            case "tools/list":
                return {"result": self._list_tools()}
            case _:
                return {"error": {"code": -32601, "message": "Method not found"}}

    def _call_tool(self) -> Answered:
        tool = self.sandbox.tools.get(self.target)
        if tool is None:
            raise Refused(Reason.INVALID_INPUT, f"Unknown tool: {self.target}.")
        arguments = self.params.get("arguments") or {}
        if not isinstance(arguments, dict):
            raise Refused(Reason.INVALID_INPUT, "Invalid arguments: expected an object.")
        answer = tool.call(self._caller(), arguments)
        if self.fault is not None and self.fault.wrong_types:
            return Answered(distort(answer.data), answer.summary, answer.render_type)
        return answer

    def _list_tools(self) -> dict[str, JSON]:
        rules = self.sandbox.rules
        caller = self._caller()
        if rules.list_checks_key and caller.shows_key and caller.access is None:
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
            raise Refused(Reason.INVALID_INPUT, "Invalid cursor.")
        return int(cursor)

    def _caller(self) -> Caller:
        world = self.sandbox.world
        return Caller(
            world, self.ip, self.key is not None, world.keys.get(self.key or ""), len(self.sandbox.tools)
        )

    def _refusal(self, refused: Refused) -> Message:
        form = self.sandbox.refusal_form
        if self.method == "tools/list" and form not in HTTP_FORMS:
            # A listing has no content to put a refusal in.
            return rpc_error(refused)
        said = refuse(refused, form)
        if isinstance(said, Page):
            self.page = said
            return rpc_error(refused)
        return said

    def _headers(self, content_type: str) -> dict[str, str]:
        skew = 0.0 if self.fault is None else self.fault.skew
        date = formatdate(self.sandbox.clock.time() + skew, usegmt=True)
        return {"content-type": content_type, "date": date, "x-request-id": self.request_id}

    def _record(self, outcome: str) -> None:
        fault = None if self.fault is None else self.fault.name
        self.sandbox.record(Call(name=self.target, outcome=outcome, fault=fault, request_id=self.request_id))
