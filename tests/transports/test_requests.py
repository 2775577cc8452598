"""What is sent: one POST for a call, these headers, one connection, and the key to its own origin only."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING

import colours
import pytest
from servers import Peer, Request, answers, redirects, sends, serve, unused_address, whole
from transports.harness import client_of, one_request, reach, transport

import favcrm
from favcrm import InvalidInputError, NotSentError, RefusedError
from favcrm.stores import MemoryStore
from favcrm.transport import Request as MCPRequest
from favcrm.transports import AsyncHTTPTransport, HTTPTransport

if TYPE_CHECKING:
    from types import ModuleType, TracebackType

    from colours import Colour

    from favcrm.secret import Secret

pytestmark = pytest.mark.anyio

TOO_LONG = f"/{'x' * 70_000}"
USER_AGENT = rf"favcrm-python/{re.escape(favcrm.__version__)} Python/3\.\d+\.\d+\S*"


async def test_a_call_is_one_post(colour: Colour) -> None:
    with serve(answers({"content": [{"type": "text", "text": "3"}]})) as server:
        crm = colours.client(colour, server.url)
        await crm.call_tool("count", {"of": ["a", 1, None], "名": "\u2028é"})
        await crm.end()
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/mcp")
    assert request.json == {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "count", "arguments": {"of": ["a", 1, None], "名": "\u2028é"}},
    }
    assert "\u2028é" in request.body.decode()


async def test_a_bare_request_has_these_headers_and_no_others(colour: Colour) -> None:
    with serve(answers()) as server:
        await one_request(colour, server.url)
    headers = dict(server.requests[0].headers)
    assert re.fullmatch(USER_AGENT, headers.pop("user-agent"))
    assert headers == {
        "accept": "application/json, text/event-stream",
        "accept-encoding": "gzip",
        "content-length": str(len(server.requests[0].body)),
        "content-type": "application/json",
        "host": server.url.removeprefix("http://").removesuffix("/mcp"),
    }


async def test_the_profile_is_sent_with_each_request_and_kept_by_the_client_of_a_workspace(
    colour: Colour, monkeypatch: pytest.MonkeyPatch, key: Secret
) -> None:
    monkeypatch.setenv("FAVCRM_MCP_PROFILE", "full")
    with serve(answers({"tools": []})) as server:
        facade = colours.provisioner(colour, server.url, profile="compact", store=MemoryStore())
        crm = colours.Facade((await facade.adopt(key)).client())
        at_hand_over = len(server.requests)
        await crm.list_tools()
        plain = colours.client(colour, server.url)
        await plain.list_tools()
        for each in (facade, crm, plain):
            await each.end()
    sent = [request.headers.get("x-favcrm-mcp-profile") for request in server.requests]
    assert sent == ["compact"] * (at_hand_over + 1) + ["full"]


def test_a_profile_that_does_not_exist_raises_invalid_input_error() -> None:
    for kind in (HTTPTransport, AsyncHTTPTransport):
        with pytest.raises(InvalidInputError, match="profile: must be one of compact, full"):
            kind("https://crm.example/mcp", profile="platform")  # type: ignore[arg-type]


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "event stream"])
async def test_calls_share_a_connection_also_after_a_refusal(colour: Colour, stream: bool) -> None:
    with serve(answers(stream=stream), sends(whole(b"<html>", 502)), answers(stream=stream)) as server:
        async with reach(colour, server.url) as wire:
            assert (await wire.request()).result == {}
            assert (await wire.request()).status == 502
            assert (await wire.request()).result == {}
    assert [request.connection for request in server.requests] == [1] * 3
    assert [request.json["id"] for request in server.requests] == [1, 2, 3]


async def test_ipv6_loopback_needs_no_tls(colour: Colour) -> None:
    try:
        with serve(answers(), host="::1") as server:
            assert (await one_request(colour, server.url)).result == {}
    except OSError:  # pragma: no cover
        pytest.skip("this machine has no IPv6")


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("target", ["absolute", "/other/?a=1"])
async def test_a_redirect_within_the_origin_is_followed(
    colour: Colour, key: Secret, status: int, target: str
) -> None:
    def redirect(peer: Peer, request: Request) -> None:
        location = server.url.replace("/mcp", "/other/?a=1") if target == "absolute" else target
        redirects(location, status)(peer, request)

    with serve(redirect, answers({"found": True})) as server:
        response = await one_request(colour, server.url, api_key=key)
    first, second = server.requests
    assert response.result == {"found": True}
    assert (second.method, second.path, second.body) == ("POST", "/other/?a=1", first.body)
    assert second.headers == first.headers
    assert second.headers["authorization"] == f"Bearer {key.reveal()}"
    assert second.connection == 1


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_a_redirect_that_changes_the_method_is_not_followed(colour: Colour, status: int) -> None:
    with serve(redirects("/other", status)) as server:
        response = await one_request(colour, server.url)
    assert (response.status, response.defect) == (status, "is a redirect to /other")
    assert len(server.requests) == 1


async def test_three_redirects_are_followed_and_no_more(colour: Colour) -> None:
    with serve(*[redirects(f"/{number}") for number in range(3)], answers()) as server:
        assert (await one_request(colour, server.url)).result == {}
    assert [request.path for request in server.requests] == ["/mcp", "/0", "/1", "/2"]
    with serve(redirects("/again")) as server:
        response = await one_request(colour, server.url)
    assert (response.status, response.defect) == (307, "is a redirect to /again")
    assert len(server.requests) == 4


@pytest.mark.parametrize("status", [301, 303, 307, 308])
async def test_a_redirect_elsewhere_gets_neither_key_nor_request(
    colour: Colour, library: ModuleType, key: Secret, status: int
) -> None:
    """Also with a client that would follow it."""
    with serve(answers()) as other:
        secret_target = other.url.replace("http://", "http://user:word@") + "?token=told#here"
        with serve(redirects(secret_target, status)) as server:
            async with client_of(library, colour, follow_redirects=True) as client:
                for options in ({}, {"http_client": client}):
                    crm = colours.client(colour, server.url, api_key=key, **options)
                    with pytest.raises(RefusedError) as raised:
                        await crm.list_tools()
                    await crm.end()
                    assert f"redirect to {other.url}" in raised.value.message
                    assert not re.search("user|word|token|told|here", raised.value.summary)
                    assert raised.value.server_code == status
                    assert "Set the endpoint" in raised.value.next_step
    assert (other.greeted, len(server.requests)) == ([], 2)


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("http://localhost.example/mcp", "http://localhost.example/mcp"),
        ("//elsewhere.example/mcp?a=b", "//elsewhere.example/mcp"),
        ("ftp://127.0.0.1/mcp", "ftp://127.0.0.1/mcp"),
        ("", "nowhere"),
        ("https://[::1/mcp", "an address that cannot be read"),
        ("/\x7f", "/"),
        (f"{TOO_LONG}?token", TOO_LONG[:497] + "..."),
    ],
)
async def test_a_redirect_that_leads_nowhere_is_an_answer(colour: Colour, target: str, named: str) -> None:
    with serve(redirects(target), answers()) as server:
        response = await one_request(colour, server.url)
    assert len(server.requests) == 1
    assert (response.status, response.defect) == (307, f"is a redirect to {named}")


async def test_plain_http_uses_no_proxy(colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    with unused_address() as nobody, serve(answers()) as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, nobody.removesuffix("/mcp"))
        assert (await one_request(colour, server.url)).result == {}


@pytest.mark.parametrize("kind", [HTTPTransport, AsyncHTTPTransport])
def test_plain_http_loads_no_certificates(
    kind: type[HTTPTransport | AsyncHTTPTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssl, "create_default_context", None)
    kind("http://127.0.0.1:9/mcp")
    with pytest.raises(TypeError):
        kind("https://favcrm.example/mcp")


async def test_a_key_that_no_header_can_carry_raises_invalid_input_error(colour: Colour) -> None:
    with serve(answers()) as server:
        for bad in ("two words", "line\nend", "\u200bunseen", "", "clé"):
            async with reach(colour, server.url) as wire:
                with pytest.raises(InvalidInputError) as raised:
                    await wire.request(api_key=favcrm.Secret(bad))
            assert [problem.field for problem in raised.value.problems] == ["api_key"]
            trace: TracebackType | None = raised.tb
            while trace is not None:
                shown = [repr(value) for value in trace.tb_frame.f_locals.values() if value is not bad]
                assert not any(
                    bad and bad in text for text in shown if "favcrm" in trace.tb_frame.f_code.co_filename
                )
                trace = trace.tb_next
    assert server.requests == []


@pytest.mark.parametrize("kind", [HTTPTransport, AsyncHTTPTransport])
@pytest.mark.parametrize(
    ("endpoint", "problem"),
    [
        ("http://api.favcrm.example/mcp", "must begin with https://"),
        ("http://10.0.0.1/mcp", "must begin with https://"),
        ("https://user@api.favcrm.example/mcp", "must not hold a user name"),
        ("https://user:word@api.favcrm.example/mcp", "must not hold a user name"),
        ("ftp://api.favcrm.example/mcp", "must be an address"),
        ("https://xn--/mcp", "must be an address"),
        ("http://[::1]elsewhere/mcp", "must be an address"),
        ("https://api.favcrm.example/" + "x" * 70_000, "must be an address"),
        ("https://api.favcrm.example/\x7f", "must be written in printable ASCII"),
    ],
)
def test_an_endpoint_that_cannot_be_used_raises_invalid_input_error(
    kind: type[HTTPTransport | AsyncHTTPTransport], endpoint: str, problem: str
) -> None:
    with pytest.raises(InvalidInputError) as raised:
        kind(endpoint)
    ((field, told),) = raised.value.problems
    assert field == "endpoint"
    assert problem in told
    assert raised.value.__context__ is None


async def test_a_transport_closes_at_the_end_of_its_block(colour: Colour) -> None:
    ask = MCPRequest("tools/list", {}, timeout=10.0)
    with serve(answers()) as server:
        made = transport(colour, server.url)
        if colour == "blocking":
            with made:
                assert made.request(ask).result == {}
        else:
            async with made:
                assert (await made.request(ask)).result == {}
        with pytest.raises(NotSentError, match="closed"):
            await colours.Facade(made).request(ask)
