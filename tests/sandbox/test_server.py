"""The sandbox over real HTTP."""

from __future__ import annotations

import json
import sys
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from mcp import Client, MCPError
from sandbox.clients import EMAIL, HEADERS
from servers import PATIENCE

from favcrm._mcp.jsonrpc import encode_request
from favcrm.sandbox import AnswerForm, CallRecord, Fault, RefusalForm, Sandbox, SandboxClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

LIST = encode_request(1, "tools/list", {})


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=PATIENCE, headers=HEADERS) as http:
        yield http


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("favcrm")]


def test_a_served_sandbox_answers_until_closed(sandbox: Sandbox, http: httpx.Client) -> None:
    with sandbox.serve() as server:
        assert server.url == f"http://127.0.0.1:{server.port}/mcp"
        assert repr(server) == f"<Server: {server.url}>"
        assert http.post(server.url, content=LIST).status_code == 200
        assert threads() == ["favcrm-sandbox"]
    assert threads() == []
    with pytest.raises(httpx.ConnectError):
        http.post(server.url, content=LIST)


def test_a_chosen_port_is_free_again_after_close(sandbox: Sandbox, http: httpx.Client) -> None:
    with sandbox.serve() as first:
        port = first.port
        http.post(first.url, content=LIST)
        with pytest.raises(OSError, match="in use"):
            sandbox.serve(port=port)
    with sandbox.serve(port=port) as second:
        assert second.port == port
        assert http.post(second.url, content=LIST).status_code == 200


def test_close_ends_a_stalled_request(http: httpx.Client) -> None:
    arrived = threading.Event()

    class Noticing(Sandbox):
        def record(self, call: CallRecord) -> None:
            super().record(call)
            arrived.set()

    sandbox = Noticing()
    sandbox.fail_next("tools/list", Fault.STALL)
    failures: list[Exception] = []

    def post() -> None:
        try:
            http.post(server.url, content=LIST)
        except httpx.TransportError as error:
            failures.append(error)

    with sandbox.serve() as server:
        thread = threading.Thread(target=post)
        thread.start()
        assert arrived.wait(PATIENCE)
    thread.join(PATIENCE)
    assert len(failures) == 1
    assert not isinstance(failures[0], httpx.TimeoutException)


def test_a_failed_start_raises_its_error(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr("favcrm.sandbox.server._App", fail)
    with pytest.raises(RuntimeError, match="no"):
        sandbox.serve()
    assert threads() == []


def test_a_failed_stop_reaches_the_excepthook(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    server = sandbox.serve()

    def fail(_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr("favcrm.sandbox.server._abort_connections", fail)
    server.close()
    assert len(seen) == 1


def test_serve_without_the_extra_names_the_extra(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "favcrm.sandbox.server")
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "favcrm\[sandbox\]"'):
        sandbox.serve()


def test_latency_delays_the_answer(
    sandbox: Sandbox, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    with sandbox.serve(latency=0.05) as server:
        monkeypatch.setattr("favcrm.sandbox.server.asyncio.sleep", sleep)
        http.post(server.url, content=LIST)
        monkeypatch.undo()
    assert waits == [0.05]


@pytest.mark.parametrize(
    ("headers", "outcome"),
    [
        ({"authorization": "Bearer {key}"}, "done"),
        ({"authorization": "bearer  {key}"}, "done"),
        ({"authorization": "Basic {key}"}, "unauthorized"),
        ({"x-api-key": "Bearer {key}"}, "unauthorized"),
    ],
)
def test_the_key_is_read_from_a_bearer_header_only(
    sandbox: Sandbox, http: httpx.Client, headers: dict[str, str], outcome: str
) -> None:
    key = sandbox.add_organisation().reveal()
    shown = {name: value.format(key=key) for name, value in headers.items()}
    with sandbox.serve() as server:
        http.post(
            server.url, content=encode_request(1, "tools/call", {"name": "list_services"}), headers=shown
        )
    assert sandbox.calls[-1].outcome == outcome


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"[" * 100_000, b'{"id":1}'])
def test_a_body_that_is_no_request_is_answered_with_400(
    sandbox: Sandbox, http: httpx.Client, body: bytes
) -> None:
    with sandbox.serve() as server:
        assert http.post(server.url, content=body).status_code == 400
        assert http.post(server.url, content=LIST).status_code == 200
    assert sandbox.count("tools/list") == 1


def test_a_chunked_body_is_read_whole(sandbox: Sandbox, http: httpx.Client) -> None:
    with sandbox.serve() as server:
        answer = http.post(server.url, content=iter([LIST[:20], LIST[20:]]))
    assert answer.status_code == 200
    assert len(answer.json()["result"]["tools"]) == 14


def test_other_hosts_and_origins_are_refused(sandbox: Sandbox, http: httpx.Client) -> None:
    with sandbox.serve() as server:
        assert http.post(server.url, content=LIST, headers={"host": "evil.example"}).status_code == 421
        assert (
            http.post(server.url, content=LIST, headers={"origin": "http://evil.example"}).status_code == 403
        )
    assert not sandbox.calls


def test_served_faults_break_the_connection(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.fail_next("tools/list", Fault.RESET_BEFORE, Fault.TRUNCATED_SSE)
    with sandbox.serve() as server:
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            http.post(server.url, content=LIST)
        with pytest.raises(httpx.RemoteProtocolError, match="complete message body"):
            http.post(server.url, content=LIST)


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_older_protocol_versions_are_negotiated(sandbox: Sandbox, http: httpx.Client, version: str) -> None:
    hello: dict[str, Any] = {
        "protocolVersion": version,
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    }
    with sandbox.serve() as server:
        answer = http.post(server.url, content=encode_request(1, "initialize", hello))
        assert answer.json()["result"]["protocolVersion"] == version
        assert answer.json()["result"]["capabilities"]["tools"] is not None
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        headers = {"mcp-protocol-version": version}
        answer = http.post(server.url, content=json.dumps(ready), headers=headers)
        assert (answer.status_code, answer.content) == (202, b"")
        answer = http.post(server.url, content=LIST, headers=headers)
        assert len(answer.json()["result"]["tools"]) == 14


def test_other_methods_and_paths_are_answered_with_405_and_404(sandbox: Sandbox, http: httpx.Client) -> None:
    with sandbox.serve() as server:
        assert http.post(f"{server.url}/other", content=LIST).status_code == 404
        assert http.delete(server.url).status_code == 405


def test_close_ends_an_open_event_stream(sandbox: Sandbox, http: httpx.Client) -> None:
    with sandbox.serve() as server:
        opened = http.stream("GET", server.url, headers={"accept": "text/event-stream"})
        with opened as stream:
            assert stream.status_code == 200
            server.close()
            with pytest.raises(httpx.TransportError):
                stream.read()
    assert threads() == []


def test_a_fault_for_the_handshake_is_applied(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.fail_next("server/discover", Fault.server_error(500))
    with sandbox.serve() as server:
        assert http.post(server.url, content=encode_request(1, "server/discover", {})).status_code == 500


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_official_client_signs_up(mode: Literal["auto", "legacy"], sandbox: Sandbox) -> None:
    await sign_up_with_the_official_client(mode, sandbox)


# On trio the official http leaves async generators behind, and this test would be told so.
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_official_client_reads_event_streams(
    mode: Literal["auto", "legacy"], sandbox: Sandbox
) -> None:
    sandbox.answer_form = AnswerForm.SSE
    await sign_up_with_the_official_client(mode, sandbox)


async def sign_up_with_the_official_client(mode: Literal["auto", "legacy"], sandbox: Sandbox) -> None:
    with sandbox.serve() as server:
        async with Client(server.url, mode=mode) as http:
            expected = "2026-07-28" if mode == "auto" else "2025-11-25"
            assert http.protocol_version == expected
            tools = (await http.list_tools()).tools
            assert [tool.name for tool in tools] == list(sandbox.tools)
            assert tools[0].input_schema == sandbox.tools[tools[0].name].schema
            arguments = {"email": EMAIL, "organisationName": "Stretch"}
            result = await http.call_tool("register_organisation_request", arguments)
            assert not result.is_error
            pending: Any = result.structured_content
            code = sandbox.inbox.code_for(EMAIL)
            arguments = {"requestId": pending["data"]["requestId"], "code": code}
            result = await http.call_tool("register_organisation_verify", arguments)
            made: Any = result.structured_content
            assert made["data"]["apiKey"].startswith("fav_mcp_")
            refused = await http.call_tool("list_services", {})
            assert refused.is_error
    assert sandbox.count("register_organisation_request") == 1
    assert sandbox.count("tools/list") == 1


@pytest.mark.anyio
async def test_the_official_client_raises_on_a_json_rpc_error(sandbox: Sandbox) -> None:
    sandbox.refusal_form = RefusalForm.JSON_RPC_ERROR
    with sandbox.serve() as server:
        async with Client(server.url) as http:
            refused: MCPError | None = None
            try:
                await http.call_tool("list_services", {})
            except MCPError as error:
                refused = error
    assert refused is not None
    assert refused.code == -32001
    assert "Unauthorized" in refused.message


def test_a_sandbox_served_again_keeps_its_state() -> None:
    sandbox = Sandbox(clock=SandboxClock(running=True))
    key = sandbox.add_organisation()
    headers = {"authorization": f"Bearer {key.reveal()}", **HEADERS}
    create = encode_request(1, "tools/call", {"name": "create_member", "arguments": {"name": "Ada"}})
    search = encode_request(1, "tools/call", {"name": "search_members"})
    with httpx.Client(timeout=PATIENCE, headers=headers) as http:
        with sandbox.serve() as server:
            http.post(server.url, content=create)
        with sandbox.serve() as server:
            answer = http.post(server.url, content=search)
    assert answer.json()["result"]["structuredContent"]["data"]["total"] == 1
