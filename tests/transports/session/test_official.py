"""Through sessions of the official library, over real HTTP or to a server of its own in the same process."""

from __future__ import annotations

import secrets
from typing import Any

import anyio
import mcp_types
import pytest
from mcp import Client, MCPError
from mcp.server.lowlevel import Server
from servers import unused_address
from transports.harness import SHORT
from transports.session.official_clients import KINDS, Opener, call, listed, server_of

from favcrm import (
    AsyncFavCRMClient,
    AsyncFavCRMProvisioner,
    AuthenticationError,
    CheckStatus,
    InvalidCodeError,
    NotSentError,
    OutcomeUnknownError,
    RefusedError,
    RetryPolicy,
)
from favcrm.sandbox import Fault, RefusalForm, Sandbox
from favcrm.transport import Request
from favcrm.transports import JSON, Progress
from favcrm.transports.session import SessionTransport

pytestmark = pytest.mark.anyio

# On trio the library leaves generators behind where an answer breaks off, and trio warns of them; what this package
# does then is in test_objects.py, on both.
ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])

SCHEMA = {"type": "object", "properties": {"x": {"default": None}}, "x-own": {"a": None}}


async def no_tools(_: object, __: object) -> mcp_types.ListToolsResult:
    return mcp_types.ListToolsResult(tools=[])


async def test_an_agent_signs_up_and_works(opened: Opener, sandbox: Sandbox) -> None:
    with sandbox.serve() as server:
        async with opened(server.url) as session:
            favcrm = AsyncFavCRMProvisioner(transport=SessionTransport(session))
            pending = await favcrm.initiate(email="you@example.com", organisation_name="Stretch + Breathe")
            with pytest.raises(InvalidCodeError):
                await favcrm.confirm(pending, code="000000")
            workspace = await favcrm.confirm(pending, code=sandbox.inbox[-1].code or "")
            assert workspace.problems == ()
            report = await favcrm.diagnose()
            assert report.endpoint_reachable
            # The session was opened before there was a key, and presents none.
            assert {check.name: check.status for check in report.checks}["key"] is CheckStatus.FAILED
        async with opened(server.url, workspace.api_key) as session:
            favcrm = AsyncFavCRMProvisioner(transport=SessionTransport(session), api_key=workspace.api_key)
            report = await favcrm.diagnose()
            report.raise_if_not_ready()
            assert report.organisation == "Stretch + Breathe"
            crm = AsyncFavCRMClient(transport=SessionTransport(session), api_key=workspace.api_key)
            assert (await crm.call_tool("list_services")).data == {"services": []}
            with pytest.raises(RefusedError, match="Unknown tool"):
                await crm.call_tool("no_such_tool")
            tools = {tool.name: tool for tool in await crm.list_tools()}
    assert tools.keys() == sandbox.tools.keys()
    for name, tool in tools.items():
        assert tool.input_schema == sandbox.tools[name].schema


async def test_the_key_of_a_request_is_not_sent(opened: Opener, sandbox: Sandbox) -> None:
    key = sandbox.add_organisation()
    with sandbox.serve() as server:
        async with opened(server.url) as session:
            crm = AsyncFavCRMClient(transport=SessionTransport(session), api_key=key)
            with pytest.raises(AuthenticationError) as caught:
                await crm.call_tool("list_services")
    assert key.reveal() not in f"{caught.value}{caught.value.__dict__}"


@pytest.mark.parametrize("form", list(RefusalForm))
async def test_a_refusal_in_any_form_is_an_answer(form: RefusalForm) -> None:
    if form.name.startswith("HTTP_"):
        # The library keeps back an HTTP body that is no JSON-RPC, so nobody can say what it means.
        expected: type[Exception] = OutcomeUnknownError
    else:
        expected = InvalidCodeError
    sandbox = Sandbox(refusal_form=form)
    with sandbox.serve() as server:
        async with KINDS["Client"](server.url) as session:
            favcrm = AsyncFavCRMProvisioner(transport=SessionTransport(session), retry=RetryPolicy.never())
            pending = await favcrm.initiate(email="you@example.com", organisation_name="Stretch + Breathe")
            with pytest.raises(expected):
                await favcrm.confirm(pending, code="000000")


async def test_closing_leaves_the_session_open(opened: Opener, sandbox: Sandbox) -> None:
    with sandbox.serve() as server:
        async with opened(server.url) as session:
            async with SessionTransport(session) as transport:
                assert (await listed(transport)).error is None
            assert (await listed(SessionTransport(session))).error is None


async def test_a_closed_session_raises_not_sent_error(opened: Opener, sandbox: Sandbox) -> None:
    with sandbox.serve() as server:
        async with opened(server.url) as session:
            used = SessionTransport(session)
            await call(used, "list_services")
        for transport in (used, SessionTransport(session)):
            for ask in (call(transport, "list_services"), listed(transport)):
                with pytest.raises(NotSentError, match="The session is closed") as caught:
                    await ask
                assert caught.value.permanent
                assert caught.value.__context__ is None


async def test_a_client_that_was_never_opened_raises_not_sent_error() -> None:
    with unused_address() as url, pytest.raises(NotSentError, match="The session is closed"):
        await listed(SessionTransport(Client(url)))


@ASYNCIO
@pytest.mark.parametrize(
    "fault", [Fault.server_error(502), Fault.TRUNCATED_SSE], ids=lambda fault: fault.name
)
async def test_an_error_of_the_library_itself_raises_outcome_unknown_error(
    fault: Fault, opened: Opener, sandbox: Sandbox
) -> None:
    with sandbox.serve() as server:
        async with opened(server.url) as session:
            transport = SessionTransport(session)
            await listed(transport)
            sandbox.fail_next("list_services", fault)
            with pytest.raises(OutcomeUnknownError, match="got no answer"):
                await call(transport, "list_services")


async def test_the_tools_are_listed_once_before_the_first_call(opened: Opener, sandbox: Sandbox) -> None:
    with sandbox.serve() as server:
        async with opened(server.url) as session:
            transport = SessionTransport(session)
            await call(transport, "list_services")
            await call(transport, "list_services")
    assert [seen.name for seen in sandbox.calls] == ["tools/list", "list_services", "list_services"]


async def test_a_refused_list_is_the_answer_to_the_call(opened: Opener) -> None:
    asked: list[str] = []

    async def refuse(_: object, __: object) -> Any:
        asked.append("list")
        raise MCPError(-32050, "Not for you", {"code": "FORBIDDEN"})

    async def never(_: object, __: object) -> Any:
        asked.append("call")

    async with Client(server_of(on_list_tools=refuse, on_call_tool=never)) as session:
        response = await call(SessionTransport(session), "any")
    assert response.error is not None
    assert (response.error.code, response.error.data) == (-32050, {"code": "FORBIDDEN"})
    assert asked == ["list"]


def pages() -> Server[Any]:
    """Return a server with two pages of tools; the cursor of the second is an empty text."""

    async def on_list_tools(_: object, params: Any) -> mcp_types.ListToolsResult:
        second = params is not None and params.cursor is not None
        tool = mcp_types.Tool(name="second" if second else "first", input_schema=SCHEMA)
        return mcp_types.ListToolsResult(tools=[tool], next_cursor=None if second else "")

    async def on_call_tool(_: object, params: Any) -> mcp_types.CallToolResult:
        text = mcp_types.TextContent(type="text", text=params.name)
        return mcp_types.CallToolResult(
            content=[text], structured_content={"a": None, "b": [1.5]}, _meta={"m": 1}
        )

    return server_of(on_list_tools=on_list_tools, on_call_tool=on_call_tool)


@pytest.mark.parametrize("kind", KINDS)
async def test_every_page_is_listed_as_the_server_sent_it(kind: str) -> None:
    async with Client(pages()) as whole:
        session = whole if kind == "Client" else whole.session
        crm = AsyncFavCRMClient(transport=SessionTransport(session), api_key=secrets.token_urlsafe())
        tools = await crm.list_tools()
        result = await crm.call_tool("second")
    assert [tool.name for tool in tools] == ["first", "second"]
    assert [tool.input_schema for tool in tools] == [SCHEMA, SCHEMA]
    assert isinstance(result.raw, dict)
    assert result.raw["structuredContent"] == {"a": None, "b": [1.5]}
    assert result.raw["content"] == [{"type": "text", "text": "second"}]
    meta = result.raw["_meta"]
    assert isinstance(meta, dict)
    assert meta["m"] == 1


async def test_progress_reaches_the_listener() -> None:
    async def on_call_tool(context: Any, _: object) -> mcp_types.CallToolResult:
        await context.session.report_progress(1, 2, "half\x07")
        return mcp_types.CallToolResult(content=[])

    told: list[Progress] = []
    async with Client(server_of(on_list_tools=no_tools, on_call_tool=on_call_tool)) as session:
        params: dict[str, JSON] = {"name": "any", "arguments": {}}
        transport = SessionTransport(session)
        await transport.request(Request("tools/call", params, timeout=10, on_progress=told.append))
    assert [(p.progress, p.total, p.message) for p in told] == [(1, 2, "half")]


async def test_an_answer_that_the_library_refuses_raises_an_error_without_its_values() -> None:
    key = secrets.token_urlsafe()

    async def on_list_tools(_: object, __: object) -> mcp_types.ListToolsResult:
        promised = {"type": "object", "properties": {"apiKey": {"type": "integer"}}}
        tool = mcp_types.Tool(name="verify", input_schema={"type": "object"}, output_schema=promised)
        return mcp_types.ListToolsResult(tools=[tool])

    async def on_call_tool(_: object, __: object) -> mcp_types.CallToolResult:
        return mcp_types.CallToolResult(content=[], structured_content={"apiKey": key})

    async with Client(server_of(on_list_tools=on_list_tools, on_call_tool=on_call_tool)) as session:
        with pytest.raises(OutcomeUnknownError, match="failed with RuntimeError") as caught:
            await call(SessionTransport(session), "verify")
    assert caught.value.__context__ is None
    assert key not in str(caught.value)


async def silent(_: object, __: object) -> Any:
    await anyio.sleep_forever()


async def test_a_time_limit_of_the_library_raises_outcome_unknown_error() -> None:
    server = server_of(on_list_tools=no_tools, on_call_tool=silent)
    async with Client(server, read_timeout_seconds=SHORT) as session:
        with pytest.raises(OutcomeUnknownError, match="got no answer"):
            await call(SessionTransport(session), "any")
