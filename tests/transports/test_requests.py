"""What is sent: one POST for a call, these headers, one connection, and the key to its own origin only."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING

import colours
import httpx
import pytest
from servers import Peer, Request, answers, redirects, sends, serve, unused_address, whole
from transports.reach import one_request, reach

import favcrm
from favcrm import InvalidInputError, NotSentError, RefusedError
from favcrm.stores import MemoryStore
from favcrm.transports import AsyncHTTPTransport, HTTPTransport

if TYPE_CHECKING:
    from types import TracebackType

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


async def test_the_headers_are_these(colour: Colour) -> None:
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


def test_a_transport_refuses_a_profile_that_there_is_not() -> None:
    for transport in (HTTPTransport, AsyncHTTPTransport):
        with pytest.raises(InvalidInputError, match="profile: must be one of compact, full"):
            transport("https://crm.example/mcp", profile="platform")  # type: ignore[arg-type]


async def test_the_key_is_sent_only_where_there_is_one(colour: Colour, key: Secret) -> None:
    with serve(answers()) as server:
        async with reach(colour, server.url) as wire:
            await wire.request(api_key=key)
            await wire.request()
    assert server.requests[0].headers["authorization"] == f"Bearer {key.reveal()}"
    assert "authorization" not in server.requests[1].headers


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "event stream"])
async def test_calls_share_a_connection(colour: Colour, stream: bool) -> None:
    with serve(answers(stream=stream)) as server:
        async with reach(colour, server.url) as wire:
            for _ in range(5):
                assert (await wire.request()).result == {}
    assert [request.connection for request in server.requests] == [1] * 5
    assert [request.json["id"] for request in server.requests] == [1, 2, 3, 4, 5]


async def test_a_call_after_a_refusal_shares_the_connection(colour: Colour) -> None:
    with serve(sends(whole(b"<html>", 502)), answers()) as server:
        async with reach(colour, server.url) as wire:
            assert (await wire.request()).status == 502
            assert (await wire.request()).result == {}
    assert server.greeted == [1]


async def test_the_facades_send_one_request_each(colour: Colour) -> None:
    with serve(answers({"tools": []})) as server:
        favourite = colours.provisioner(colour, server.url)
        report = await favourite.diagnose()
        await favourite.end()
    assert report.endpoint_reachable
    assert [body["method"] for body in server.bodies] == ["tools/list"]


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


async def test_three_redirects_are_followed_and_no_more(colour: Colour) -> None:
    with serve(*[redirects(f"/{number}") for number in range(3)], answers()) as server:
        assert (await one_request(colour, server.url)).result == {}
    assert [request.path for request in server.requests] == ["/mcp", "/0", "/1", "/2"]
    with serve(redirects("/again")) as server:
        response = await one_request(colour, server.url)
    assert (response.status, response.defect) == (307, "is a redirect to /again")
    assert len(server.requests) == 4


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("follow", [False, True], ids=["our client", "a client that follows"])
async def test_a_redirect_elsewhere_gets_neither_key_nor_request(
    colour: Colour, key: Secret, status: int, follow: bool
) -> None:
    with serve(answers()) as other:
        secret_target = other.url.replace("http://", "http://user:word@") + "?token=told#here"
        with serve(redirects(secret_target, status), answers()) as server:
            if follow:
                kind = httpx.Client if colour == "blocking" else httpx.AsyncClient
                handed = kind(follow_redirects=True)
                crm = colours.client(colour, server.url, api_key=key, http_client=handed)
            else:
                handed = None
                crm = colours.client(colour, server.url, api_key=key)
            with pytest.raises(RefusedError) as raised:
                await crm.list_tools()
            await crm.end()
            if isinstance(handed, httpx.Client):
                handed.close()
            elif handed:
                await handed.aclose()
    assert other.requests == []
    assert other.greeted == []
    assert len(server.requests) == 1
    assert f"redirect to {other.url}" in raised.value.message
    assert not re.search("user|word|token|told|here", raised.value.summary)
    assert raised.value.server_code == status
    assert "Set the endpoint" in raised.value.next_step


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


async def test_tls_uses_the_proxy_of_the_environment(colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(sends(whole(b"", 403))) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.removesuffix("/mcp"))
        with pytest.raises(NotSentError, match="does not allow a connection to the endpoint"):
            await one_request(colour, "https://favcrm.example/mcp")
    assert [(request.method, request.path) for request in proxy.requests] == [
        ("CONNECT", "favcrm.example:443")
    ]


async def test_a_key_that_no_header_can_carry_is_refused(colour: Colour) -> None:
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
def test_an_endpoint_that_cannot_be_used_is_refused(
    kind: type[HTTPTransport | AsyncHTTPTransport], endpoint: str, problem: str
) -> None:
    with pytest.raises(InvalidInputError) as raised:
        kind(endpoint)
    ((field, told),) = raised.value.problems
    assert field == "endpoint"
    assert problem in told
    assert raised.value.__context__ is None
