"""Through objects that only have the two methods, and answer in whatever shape."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import anyio.lowlevel
import attrs
import pytest
from transports.harness import SHORT
from transports.session.official_clients import call, listed

from favcrm import AsyncFavCRMClient, InvalidInputError, NotSentError, OutcomeUnknownError, RefusedError
from favcrm.transport import Request
from favcrm.transports import JSON, Response
from favcrm.transports.session import Session, SessionTransport

pytestmark = pytest.mark.anyio

RESULT = {
    "content": [{"type": "text", "text": "three"}],
    "structuredContent": {"n": 3, "of": None},
    "isError": False,
}
PAGE = {"tools": [{"name": "count", "inputSchema": {"type": "object"}}]}


@dataclasses.dataclass
class Text:
    text: str
    type: str = "text"
    annotations: object = None


@dataclasses.dataclass(slots=True)
class Counted:
    content: list[Text]
    structured_content: dict[str, object]
    is_error: bool = False
    data: object = dataclasses.field(default_factory=object)
    meta: dict[str, object] | None = None


@attrs.frozen
class Listed:
    name: str
    input_schema: dict[str, object]
    _own: int = 0


class Own:
    """Answers with what a test gives, or raises it."""

    def __init__(self, called: object, listed: object = PAGE) -> None:
        self.called = called
        self.listed = listed

    def call_tool(self, name: str, arguments: dict[str, object]) -> object:
        return tell(self.called)

    def list_tools(self) -> object:
        return tell(self.listed)


class OwnAsync(Own):
    async def call_tool(self, name: str, arguments: dict[str, object]) -> object:
        return tell(self.called)

    async def list_tools(self) -> object:
        return tell(self.listed)


def tell(told: object) -> object:
    if isinstance(told, Exception):
        raise told
    return told


class Noting(OwnAsync):
    """Notes what it is asked."""

    def __init__(self, cursor: object = None) -> None:
        super().__init__(RESULT)
        self.cursor = cursor
        self.asked: list[object] = []

    async def call_tool(self, name: str, arguments: dict[str, object]) -> object:
        self.asked.append((name, arguments))
        return self.called

    async def list_tools(self, cursor: str | None = None) -> object:
        self.asked.append(cursor)
        return {**PAGE, "nextCursor": self.cursor}


@pytest.mark.parametrize("kind", [Own, OwnAsync])
@pytest.mark.parametrize(
    "told",
    [
        RESULT,
        Counted([Text("three")], {"n": 3, "of": None}),
        SimpleNamespace(**{**RESULT, "content": (Text("three"),), "_own": 1}),
    ],
    ids=["mapping", "dataclass", "attributes"],
)
async def test_a_mapping_or_an_object_is_read_as_a_result(told: object, kind: type[Own]) -> None:
    response = await call(SessionTransport(kind(told)), "count")
    assert response.result == RESULT


async def test_a_bare_list_is_the_content_or_the_tools() -> None:
    transport = SessionTransport(Own([Text("three")], [Listed("count", {"type": "object"})]))
    assert (await call(transport, "count")).result == {"content": [{"type": "text", "text": "three"}]}
    assert (await listed(transport)).result == PAGE


async def test_a_value_that_json_cannot_hold_becomes_text() -> None:
    told = {"structuredContent": {"at": complex(1, 2), 3: "three"}}
    response = await call(SessionTransport(Own(told)), "count")
    assert response.result == {"structuredContent": {"at": "(1+2j)", "3": "three"}}


async def test_a_session_that_takes_no_cursor_has_one_page() -> None:
    crm = AsyncFavCRMClient(
        transport=SessionTransport(Own({}, {**PAGE, "nextCursor": "2"})), api_key=secrets.token_urlsafe()
    )
    assert [tool.name for tool in await crm.list_tools()] == ["count"]


@pytest.mark.parametrize("given", [{}, {"arguments": None}], ids=["left out", "null"])
async def test_a_call_without_arguments_has_empty_arguments(given: dict[str, JSON]) -> None:
    session = Noting()
    params: dict[str, JSON] = {"name": "count", **given}
    response = await SessionTransport(session).request(Request("tools/call", params, timeout=10))
    assert response.result == RESULT
    assert session.asked[-1] == ("count", {})


@pytest.mark.parametrize("method", ["resources/list", "ping"])
async def test_another_method_raises_not_sent_error(method: str) -> None:
    session = Noting()
    with pytest.raises(NotSentError, match=f"nothing for {method}") as caught:
        await SessionTransport(session).request(Request(method, {}, timeout=10))
    assert caught.value.permanent
    assert session.asked == []


class ByParams:
    """Takes its cursor in an object, as its annotation says; a test sets the annotation."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    async def call_tool(self, name: str, arguments: dict[str, object]) -> object:
        raise AssertionError

    async def list_tools(self, *, params: Any = None) -> object:
        self.asked.append(params)
        return {"tools": [], "nextCursor": "again"}


class Positioned:
    async def call_tool(self, name: str, arguments: dict[str, object]) -> object:
        return {}

    list_tools = int


@pytest.mark.parametrize("hint", ["no_such_name", "'text' + 1", "Any"])
async def test_a_params_annotation_without_a_class_asks_for_no_page(
    hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ByParams.list_tools.__annotations__, "params", hint)
    session = ByParams()
    response = await listed(SessionTransport(session), "2")
    assert response.result == {"tools": []}
    assert session.asked == [None]


async def test_a_method_without_a_signature_is_called_without_options() -> None:
    # There is no signature of a type written in C.
    response = await listed(SessionTransport(Positioned()))
    assert response.result == {}


async def test_a_refusal_of_a_tool_is_an_answer_in_every_library() -> None:
    """A wrapper may take ``raise_on_error``, or raise fastmcp's ToolError."""

    class ToolError(Exception):
        pass

    class Wrapper(Own):
        async def call_tool(
            self, name: str, arguments: dict[str, object], *, raise_on_error: bool = True
        ) -> object:
            assert not raise_on_error
            return {"isError": True, "content": [{"type": "text", "text": "No such member"}]}

    for session in (Wrapper(None), OwnAsync(ToolError("No such member"))):
        crm = AsyncFavCRMClient(transport=SessionTransport(session), api_key=secrets.token_urlsafe())
        with pytest.raises(RefusedError, match="No such member"):
            await crm.call_tool("get_member")


async def test_a_session_without_progress_is_given_no_listener() -> None:
    transport = SessionTransport(Own(RESULT))
    params: dict[str, JSON] = {"name": "count", "arguments": {}}
    response = await transport.request(Request("tools/call", params, timeout=10, on_progress=print))
    assert response.result == RESULT


class MCPError(Exception):
    """As in some version of some library, its parts side by side."""

    def __init__(self, code: object, message: object, data: object = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


class NestedError(Exception):
    """As in others, its parts in one."""

    def __init__(self, code: object, message: object, data: object = None) -> None:
        super().__init__(message)
        self.error = SimpleNamespace(code=code, message=message, data=data)


@pytest.mark.parametrize("kind", [MCPError, NestedError])
async def test_a_json_rpc_error_of_the_server_is_an_answer(kind: Callable[..., Exception]) -> None:
    session = OwnAsync(kind(-32000, "Too many requests", {"retryAfter": 5}))
    error = (await call(SessionTransport(session), "count")).error
    assert error is not None
    assert (error.code, error.message, error.data) == (-32000, "Too many requests", {"retryAfter": 5})


@pytest.mark.parametrize("code", [-32600, 32600, -32001])
async def test_a_session_that_ended_at_the_server_raises_not_sent_error(code: int) -> None:
    with pytest.raises(NotSentError, match="has ended at the server") as caught:
        await call(SessionTransport(OwnAsync(MCPError(code, "Session terminated"))), "count")
    assert caught.value.permanent


SECRET = secrets.token_urlsafe()


@pytest.mark.parametrize("kind", [Own, OwnAsync])
@pytest.mark.parametrize(
    "error",
    [
        MCPError(-32001, f"Request timed out {SECRET}"),
        MCPError(-32603, "Server returned an error response"),
        MCPError("-1", f"An error of another kind {SECRET}"),
        NestedError(1, None),
        RuntimeError(f"Anything {SECRET}"),
        TimeoutError(SECRET),
    ],
    ids=["timed out", "status", "no code", "no words", "runtime", "timeout"],
)
async def test_any_other_error_raises_outcome_unknown_error(error: Exception, kind: type[Own]) -> None:
    with pytest.raises(OutcomeUnknownError, match="the request may have been carried out") as caught:
        await call(SessionTransport(kind(error)), "count")
    assert caught.value.__context__ is None
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [MCPError(-32000, "Connection closed"), RuntimeError("Client is not connected")],
    ids=["mcp", "fastmcp"],
)
async def test_a_call_that_blocked_may_have_been_sent_whatever_it_says(error: Exception) -> None:
    with pytest.raises(OutcomeUnknownError):
        await call(SessionTransport(Own(error)), "count")
    with pytest.raises(NotSentError):
        await call(SessionTransport(OwnAsync(error)), "count")


async def test_a_session_that_closes_midway_raises_outcome_unknown_error() -> None:
    class Midway(OwnAsync):
        async def call_tool(self, name: str, arguments: dict[str, object]) -> object:
            await anyio.lowlevel.checkpoint()
            raise MCPError(-32000, "Connection closed")

    with pytest.raises(OutcomeUnknownError):
        await call(SessionTransport(Midway(None)), "count")


@pytest.mark.parametrize("open_ends", [(True, False), (False, True)], ids=["sending", "receiving"])
async def test_a_session_whose_stream_is_closed_is_not_asked(open_ends: tuple[bool, bool]) -> None:
    """The ClientSession of mcp 1 is recognised by the stream that it writes to."""
    session: Any = OwnAsync(AssertionError())
    sending, receiving = anyio.create_memory_object_stream[object](0)
    session._write_stream = sending
    ends: tuple[Any, Any] = (sending, receiving)
    for keep, end in zip(open_ends, ends, strict=True):
        if not keep:
            end.close()
    with pytest.raises(NotSentError, match="The session is closed"):
        await listed(SessionTransport(session))
    sending.close()
    receiving.close()


async def test_a_session_whose_stream_is_open_is_asked() -> None:
    session: Any = OwnAsync(RESULT)
    sending, receiving = anyio.create_memory_object_stream[object](0)
    with sending, receiving:
        session._write_stream = sending
        assert (await listed(SessionTransport(session))).result == PAGE


class Silent(Own):
    """Never answers one of the two."""

    async def call_tool(self, name: str, arguments: dict[str, object]) -> object:
        await anyio.sleep_forever()
        raise AssertionError

    async def list_tools(self) -> object:
        if self.listed is None:
            await anyio.sleep_forever()
        return self.listed


async def test_a_silent_session_raises_by_whether_the_tool_was_called() -> None:
    with pytest.raises(OutcomeUnknownError, match=r"within [\d.]+ seconds"):
        await call(SessionTransport(Silent(None)), "count", timeout=SHORT)
    for session in (Silent(None, None), Own(RESULT, ValueError())):
        with pytest.raises(NotSentError, match="could not list its tools"):
            await call(SessionTransport(session), "count", timeout=SHORT)
    with anyio.move_on_after(SHORT) as scope:
        await call(SessionTransport(Silent(None)), "count")
    assert scope.cancelled_caught


async def test_a_list_of_another_shape_does_not_stop_a_call() -> None:
    response: Response = await call(SessionTransport(Own(RESULT, SimpleNamespace(model_dump=list))), "count")
    assert response.result == RESULT


@pytest.mark.parametrize(
    ("session", "problem"),
    [
        (object(), "has no call_tool and no list_tools"),
        (SimpleNamespace(call_tool=print), "has no list_tools"),
        (SimpleNamespace(call_tool=None, list_tools=print), "has no call_tool"),
    ],
)
def test_an_object_that_is_no_session_raises_invalid_input_error(session: Session, problem: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        SessionTransport(session)
    assert caught.value.problems == (("session", problem),)
