"""The sandbox over real HTTP."""

from __future__ import annotations

import json
import sys
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from mcp import Client, MCPError
from sandbox.wires import EMAIL, HEADERS, SHORT
from servers import PATIENCE

from favcrm._mcp.jsonrpc import encode_request
from favcrm.sandbox import AnswerForm, Fault, RefusalForm, Sandbox, SandboxClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

LIST = encode_request(1, "tools/list", {})


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=PATIENCE, headers=HEADERS) as client:
        yield client


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("favcrm")]


def test_answers_at_once_on_loopback(sandbox: Sandbox, client: httpx.Client) -> None:
    with sandbox.serve() as server:
        assert server.url == f"http://127.0.0.1:{server.port}/mcp"
        assert repr(server) == f"<Server: {server.url}>"
        assert client.post(server.url, content=LIST).status_code == 200
        assert threads() == ["favcrm-sandbox"]
    assert threads() == []
    with pytest.raises(httpx.ConnectError):
        client.post(server.url, content=LIST)


def test_the_port_can_be_chosen_and_is_free_again_afterwards(sandbox: Sandbox, client: httpx.Client) -> None:
    with sandbox.serve() as first:
        port = first.port
        client.post(first.url, content=LIST)
        with pytest.raises(OSError, match="in use"):
            sandbox.serve(port=port)
    with sandbox.serve(port=port) as second:
        assert second.port == port
        assert client.post(second.url, content=LIST).status_code == 200


def test_closing_twice_is_fine(sandbox: Sandbox) -> None:
    server = sandbox.serve()
    server.close()
    server.close()
    assert threads() == []


def test_waiting_ends_when_it_is_closed(sandbox: Sandbox) -> None:
    server = sandbox.serve()
    waiting = threading.Thread(target=server.wait)
    waiting.start()
    assert waiting.is_alive()
    server.close()
    waiting.join(PATIENCE)
    assert not waiting.is_alive()


def test_closing_does_not_wait_for_a_stalled_request(sandbox: Sandbox, client: httpx.Client) -> None:
    arrived = threading.Event()
    visit = sandbox.visit

    def notice(*args: Any, **kwargs: Any) -> Any:
        arrived.set()
        return visit(*args, **kwargs)

    sandbox.visit = notice  # type: ignore[method-assign]
    sandbox.fail_next("tools/list", Fault.STALL)
    failures: list[Exception] = []

    def post() -> None:
        try:
            client.post(server.url, content=LIST)
        except httpx.TransportError as error:
            failures.append(error)

    with sandbox.serve() as server:
        thread = threading.Thread(target=post)
        thread.start()
        assert arrived.wait(PATIENCE)
    thread.join(PATIENCE)
    assert len(failures) == 1
    assert not isinstance(failures[0], httpx.TimeoutException)


def test_a_server_that_cannot_start_says_why(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr("favcrm.sandbox.server._Front", fail)
    with pytest.raises(RuntimeError, match="no"):
        sandbox.serve()
    assert threads() == []


def test_a_server_that_breaks_later_is_not_silent(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    server = sandbox.serve()
    stop = server._stop_listening

    async def fail() -> None:
        await stop()
        raise RuntimeError("no")

    monkeypatch.setattr(server, "_stop_listening", fail)
    server.close()
    assert len(seen) == 1


def test_connections_are_refused_for_a_while(sandbox: Sandbox, client: httpx.Client) -> None:
    with sandbox.serve() as server:
        assert client.post(server.url, content=LIST).status_code == 200
        with server.refusing(), pytest.raises(httpx.ConnectError):
            client.post(server.url, content=LIST)
        assert client.post(server.url, content=LIST).status_code == 200
    assert sandbox.count("tools/list") == 2


def test_without_the_extra_it_says_what_to_install(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "favcrm.sandbox.server")
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "favcrm\[sandbox\]"'):
        sandbox.serve()


def test_latency_comes_before_the_answer(
    sandbox: Sandbox, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    with sandbox.serve(latency=0.05) as server:
        monkeypatch.setattr("favcrm.sandbox.server.asyncio.sleep", sleep)
        client.post(server.url, content=LIST)
        monkeypatch.undo()
    assert waits == [0.05]


def test_the_card_names_the_tools(sandbox: Sandbox, client: httpx.Client) -> None:
    with sandbox.serve() as server:
        url = server.url.removesuffix("/mcp") + "/.well-known/mcp/server-card.json"
        card = client.get(url).json()
        assert client.get(server.url + "/other").status_code == 404
    assert set(card) == {"serverInfo", "tools", "resources", "prompts"}
    assert card["serverInfo"]["name"] == "favcrm-sandbox"
    assert [tool["name"] for tool in card["tools"]] == list(sandbox.tools)


@pytest.mark.parametrize(
    ("headers", "outcome"),
    [
        ({"authorization": "Bearer {key}"}, "done"),
        ({"authorization": "bearer  {key}"}, "done"),
        ({"authorization": "Basic {key}"}, "unauthorized"),
        ({"x-api-key": "Bearer {key}"}, "unauthorized"),
    ],
)
def test_the_key_is_read_from_the_request(
    sandbox: Sandbox, client: httpx.Client, headers: dict[str, str], outcome: str
) -> None:
    key = sandbox.add_organisation().reveal()
    shown = {name: value.format(key=key) for name, value in headers.items()}
    with sandbox.serve() as server:
        client.post(
            server.url, content=encode_request(1, "tools/call", {"name": "list_services"}), headers=shown
        )
    assert sandbox.calls[-1].outcome == outcome


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"[" * 100_000, b'{"id":1}'])
def test_what_is_no_request_is_refused_and_harmless(
    sandbox: Sandbox, client: httpx.Client, body: bytes
) -> None:
    with sandbox.serve() as server:
        assert client.post(server.url, content=body).status_code == 400
        assert client.post(server.url, content=LIST).status_code == 200
    assert sandbox.count("tools/list") == 1


def test_a_body_may_come_in_pieces(sandbox: Sandbox, client: httpx.Client) -> None:
    with sandbox.serve() as server:
        answer = client.post(server.url, content=iter([LIST[:20], LIST[20:]]))
    assert answer.status_code == 200
    assert len(answer.json()["result"]["tools"]) == 18


def test_other_sites_pages_are_kept_out(sandbox: Sandbox, client: httpx.Client) -> None:
    with sandbox.serve() as server:
        assert client.post(server.url, content=LIST, headers={"host": "evil.example"}).status_code == 421
        assert (
            client.post(server.url, content=LIST, headers={"origin": "http://evil.example"}).status_code
            == 403
        )
    assert not sandbox.calls


def test_a_reset_is_a_reset_and_a_cut_an_early_end(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.fail_next("tools/list", Fault.RESET_BEFORE, Fault.TRUNCATED_SSE)
    with sandbox.serve() as server:
        with pytest.raises(httpx.ReadError, match="reset"):
            client.post(server.url, content=LIST)
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            client.post(server.url, content=LIST)


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_the_handshake_of_older_clients(sandbox: Sandbox, client: httpx.Client, version: str) -> None:
    hello: dict[str, Any] = {
        "protocolVersion": version,
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    }
    with sandbox.serve() as server:
        answer = client.post(server.url, content=encode_request(1, "initialize", hello))
        assert answer.json()["result"]["protocolVersion"] == version
        assert answer.json()["result"]["capabilities"]["tools"] is not None
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        headers = {"mcp-protocol-version": version}
        answer = client.post(server.url, content=json.dumps(ready), headers=headers)
        assert (answer.status_code, answer.content) == (202, b"")
        answer = client.post(server.url, content=LIST, headers=headers)
        assert len(answer.json()["result"]["tools"]) == 18


def test_there_are_no_sessions_to_end(sandbox: Sandbox, client: httpx.Client) -> None:
    with sandbox.serve() as server:
        assert client.delete(server.url).status_code == 405


def test_closing_ends_a_stream_that_a_client_listens_to(sandbox: Sandbox, client: httpx.Client) -> None:
    with sandbox.serve() as server:
        opened = client.stream("GET", server.url, headers={"accept": "text/event-stream"})
        with opened as stream:
            assert stream.status_code == 200
            server.close()
            with pytest.raises(httpx.TransportError):
                stream.read()
    assert threads() == []


def test_faults_can_be_ordered_for_the_handshake_too(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.fail_next("server/discover", Fault.server_error(500))
    with sandbox.serve() as server:
        assert client.post(server.url, content=encode_request(1, "server/discover", {})).status_code == 500


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_official_client(mode: Literal["auto", "legacy"], sandbox: Sandbox) -> None:
    await sign_up_with_the_official_client(mode, sandbox)


# On trio the official client leaves async generators behind, and this test would be told so.
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_official_client_reads_events(mode: Literal["auto", "legacy"], sandbox: Sandbox) -> None:
    sandbox.answer_form = AnswerForm.SSE
    await sign_up_with_the_official_client(mode, sandbox)


async def sign_up_with_the_official_client(mode: Literal["auto", "legacy"], sandbox: Sandbox) -> None:
    with sandbox.serve() as server:
        async with Client(server.url, mode=mode) as client:
            expected = "2026-07-28" if mode == "auto" else "2025-11-25"
            assert client.protocol_version == expected
            tools = (await client.list_tools()).tools
            assert [tool.name for tool in tools] == list(sandbox.tools)
            assert tools[0].input_schema == sandbox.tools[tools[0].name].schema
            arguments = {"email": EMAIL, "organisationName": "Stretch"}
            result = await client.call_tool("register_organisation_request", arguments)
            assert not result.is_error
            pending: Any = result.structured_content
            code = sandbox.inbox.code_for(EMAIL)
            arguments = {"requestId": pending["data"]["requestId"], "code": code}
            result = await client.call_tool("register_organisation_verify", arguments)
            made: Any = result.structured_content
            assert made["data"]["apiKey"].startswith("fav_mcp_")
            refused = await client.call_tool("list_services", {})
            assert refused.is_error
    assert sandbox.count("register_organisation_request") == 1
    assert sandbox.count("tools/list") == 1


@pytest.mark.anyio
async def test_the_official_client_hears_a_json_rpc_error(sandbox: Sandbox) -> None:
    sandbox.refusal_form = RefusalForm.JSON_RPC_ERROR
    with sandbox.serve() as server:
        async with Client(server.url) as client:
            refused: MCPError | None = None
            try:
                await client.call_tool("list_services", {})
            except MCPError as error:
                refused = error
    assert refused is not None
    assert refused.code == -32001
    assert "Unauthorized" in refused.message


def test_a_served_sandbox_keeps_its_state() -> None:
    sandbox = Sandbox(clock=SandboxClock(running=True))
    key = sandbox.add_organisation()
    headers = {"authorization": f"Bearer {key.reveal()}", **HEADERS}
    create = encode_request(1, "tools/call", {"name": "create_member", "arguments": {"name": "Ada"}})
    search = encode_request(1, "tools/call", {"name": "search_members"})
    with httpx.Client(timeout=PATIENCE, headers=headers) as client:
        with sandbox.serve() as server:
            client.post(server.url, content=create)
        with sandbox.serve() as server:
            answer = client.post(server.url, content=search)
    assert answer.json()["result"]["structuredContent"]["data"]["total"] == 1


def test_a_client_that_goes_away_while_it_drips(sandbox: Sandbox) -> None:
    sandbox.fail_next("tools/list", Fault.SLOW_DRIP)
    with sandbox.serve() as server:
        with httpx.stream("POST", server.url, content=LIST, headers=HEADERS, timeout=SHORT) as answer:
            assert next(answer.iter_raw()) == b"{"
        assert httpx.post(server.url, content=LIST, headers=HEADERS).status_code == 200
