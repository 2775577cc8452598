"""Proxies of the environment: which one leads to an endpoint, what is wrong with it, and what it refuses."""

from __future__ import annotations

import logging
import ssl
import traceback
from typing import TYPE_CHECKING, Any

import colours
import pytest
import trustme
from servers import (
    Script,
    answers,
    hangs_up,
    resets,
    sends,
    serve,
    stalls,
    tunnels_to,
    unused_address,
    whole,
)
from transports.harness import SHORT, client_of, one_request, reach, server_side, stand_in

from favcrm import InvalidInputError, NotSentError, OutcomeUnknownError, RetryPolicy
from favcrm.transports import AsyncHTTPTransport, HTTPTransport
from favcrm.transports.http.proxies import find_proxy

if TYPE_CHECKING:
    from types import ModuleType

    from colours import Colour

pytestmark = pytest.mark.anyio

ENDPOINT = "https://favcrm.example/mcp"
PROXY = "http://proxy.example:3128"
QUICK = RetryPolicy(attempts=4, backoff_initial=0)
ONCE = RetryPolicy.never()


# On trio, httpx leaves a generator of a request behind whose writing failed, and trio warns of it.
NOT_TRIO = pytest.mark.parametrize("way", ["blocking", "asyncio"], indirect=True)

# Which proxy


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": PROXY}, PROXY),
        ({"https_proxy": PROXY}, PROXY),
        ({"ALL_PROXY": PROXY}, PROXY),
        ({"all_proxy": PROXY}, PROXY),
        ({"HTTP_PROXY": PROXY}, None),
        ({"HTTPS_PROXY": "proxy.example:3128"}, PROXY),
        ({"HTTPS_PROXY": PROXY, "ALL_PROXY": "socks5://no.example"}, PROXY),
        ({"HTTPS_PROXY": "http://no.example", "https_proxy": PROXY}, PROXY),
        ({"HTTPS_PROXY": "", "ALL_PROXY": PROXY}, PROXY),
        ({"HTTPS_PROXY": "http://user:p%40ss@[::1]:8080"}, "http://user:p%40ss@[::1]:8080"),
    ],
)
def test_an_https_endpoint_uses_the_proxy_for_https_or_for_all(
    variables: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find_proxy(ENDPOINT) == proxy


@pytest.mark.parametrize(
    ("endpoint", "no_proxy", "exempt"),
    [
        ("https://api.favcrm.example/mcp", "favcrm.example", True),
        ("https://api.favcrm.example/mcp", ".favcrm.example", True),
        ("https://api.favcrm.example/mcp", "*.favcrm.example", True),
        ("https://api.favcrm.example/mcp", "API.FAVCRM.EXAMPLE.", True),
        ("https://api.favcrm.example./mcp", "favcrm.example", True),
        ("https://api.favcrm.example/mcp", "crm.example", False),
        ("https://api.favcrm.example/mcp", "https://favcrm.example", True),
        ("https://api.favcrm.example/mcp", "http://favcrm.example", False),
        ("https://api.favcrm.example/mcp", "favcrm.example:443", True),
        ("https://api.favcrm.example/mcp", "favcrm.example:8443", False),
        ("https://api.favcrm.example:8443/mcp", "other.example, favcrm.example:8443", True),
        ("https://api.favcrm.example/mcp", "*", True),
        ("https://api.favcrm.example/mcp", " , ,", False),
        ("https://localhost/mcp", "localhost", True),
        ("https://10.1.2.3/mcp", "10.1.2.3", True),
        ("https://10.1.2.3/mcp", "10.0.0.0/8", True),
        ("https://10.1.2.3/mcp", "10.1.2.4/8", True),
        ("https://10.1.2.3/mcp", "192.168.0.0/16", False),
        ("https://10.1.2.3:8443/mcp", "10.1.2.3:8443", True),
        ("https://[::1]/mcp", "::1", True),
        ("https://[::1]/mcp", "[::1]", True),
        ("https://[::1]:8443/mcp", "[::1]:8443", True),
        ("https://[::1]/mcp", "[::1]:8443", False),
        ("https://[fd07:b51a:cc66:f0::7]/mcp", "fd07:b51a:cc66:f0::/64", True),
        ("https://[fd07:b51a:cc66:f0::7]/mcp", "[fd07:b51a:cc66:f0::]/64", True),
        ("https://[fd07:b51a:cc66:f1::7]/mcp", "fd07:b51a:cc66:f0::/64", False),
        ("https://10.1.2.3/mcp", "::/0", False),
        ("https://api.favcrm.example/mcp", "0.0.0.0/0", False),
    ],
)
def test_a_host_that_no_proxy_names_uses_no_proxy(
    endpoint: str, no_proxy: str, exempt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert find_proxy(endpoint) == (None if exempt else PROXY)


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize(
    "entry", ["[::1", "fd07::/200", "two words", "10.0.0.0/33", "b\u00fccher.example", "a..b"]
)
def test_an_entry_that_cannot_be_used_is_left_out_with_a_warning(
    name: str, entry: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "gopher://never.used")
    monkeypatch.setenv(name, f"localhost,{entry},favcrm.example")
    with caplog.at_level(logging.WARNING, "favcrm"):
        HTTPTransport(ENDPOINT)
    (record,) = caplog.records
    assert entry in record.getMessage()


# What is wrong with it

SECRET = "not-to-be-seen"


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "all_proxy"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (
            f"gopher://user:{SECRET}@proxy.example:1",
            "must begin with one of http://, https://, socks5://, socks5h://",
        ),
        (f"socks4://user:{SECRET}@proxy.example:1", "must begin with one of http://"),
        (f"socks5://user:{SECRET}@proxy.example:1", 'pip install "httpx[socks]"'),
        (f"http://user:{SECRET}@proxy.example:port", "a host or a port that cannot be read"),
        (f"http://user:{SECRET}@proxy.example:0", "a host or a port that cannot be read"),
        (f"http://user:{SECRET}/@proxy.example:3128", "a host or a port that cannot be read"),
        (f"http://user:{SECRET}@", "a host or a port that cannot be read"),
        (f"http://user:{SECRET}@two words:3128", "a host or a port that cannot be read"),
        (f"http://user:{SECRET}\x7f@proxy.example:3128", "a host or a port that cannot be read"),
        (f"http://user:{SECRET}@[::1", "a host or a port that cannot be read"),
        (f"user:{SECRET}@proxy.example:port", "a host or a port that cannot be read"),
    ],
)
def test_the_error_for_a_proxy_that_cannot_be_used_names_its_variable_alone(
    name: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("HTTP_PROXY", "gopher://another")
    with pytest.raises(InvalidInputError) as raised:
        HTTPTransport(ENDPOINT)
    ((field, told),) = raised.value.problems
    assert field == name
    assert reason in told
    assert SECRET not in str(raised.value)
    frames = [frame.f_locals for frame, _ in traceback.walk_tb(raised.tb)]
    assert SECRET not in repr([shown for shown in frames if shown.get("value") is not value])
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)
    AsyncHTTPTransport("http://127.0.0.1:9/mcp")
    with pytest.raises(InvalidInputError):
        AsyncHTTPTransport(ENDPOINT)


# What it refuses


@pytest.mark.parametrize(
    ("status", "message", "step", "permanent"),
    [
        (407, "asks for a user name and a password", "user:password@", True),
        (403, "does not allow a connection to the endpoint", "NO_PROXY", True),
        (429, "could not make a connection to the endpoint", "try again", False),
        (502, "could not make a connection to the endpoint", "try again", False),
    ],
)
async def test_the_error_names_a_proxy_that_refuses(
    colour: Colour, status: int, message: str, step: str, permanent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(sends(whole(b"", status))) as proxy:
        address = proxy.url.removesuffix("/mcp")
        monkeypatch.setenv("HTTPS_PROXY", address.replace("http://", f"http://user:{SECRET}@"))
        crm = colours.client(colour, ENDPOINT, retry=QUICK)
        with pytest.raises(NotSentError) as raised:
            await crm.call_tool("any")
        await crm.end()
    error = raised.value
    assert error.message.startswith(f"The proxy {address} {message}")
    assert error.message.endswith(f" (HTTP {status}). Nothing was sent.")
    assert step in error.next_step
    assert error.permanent is permanent
    assert len(proxy.requests) == (1 if permanent else 4)
    assert {request.method for request in proxy.requests} == {"CONNECT"}
    assert SECRET not in str(error)
    assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.parametrize(
    ("told", "message", "permanent"),
    [
        (
            "Requested USERNAME/PASSWORD from proxy server, but got NO ACCEPTABLE METHODS.",
            "asks for a user",
            True,
        ),
        ("Invalid username/password", "asks for a user name and a password", True),
        ("Proxy Server could not connect: Connection not allowed by ruleset.", "does not allow", True),
        ("Proxy Server could not connect: Host unreachable.", "could not make a connection", False),
        ("407 Proxy Authentication Required", "asks for a user name and a password", True),
    ],
)
async def test_the_refusal_of_a_proxy_that_is_not_known_is_told_without_its_name(
    colour: Colour, library: ModuleType, told: str, message: str, permanent: bool
) -> None:
    def fail(request: Any) -> Any:
        raise library.ProxyError(told, request=request)

    async with client_of(library, colour, **stand_in(library, colour, fail)) as client:
        crm = colours.client(colour, ENDPOINT, http_client=client, retry=ONCE)
        with pytest.raises(NotSentError, match=f"^The proxy {message}") as raised:
            await crm.call_tool("any")
    assert raised.value.permanent is permanent


async def test_the_error_names_a_proxy_that_cannot_be_reached(
    colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unused_address() as nobody:
        address = nobody.removesuffix("/mcp")
        monkeypatch.setenv("HTTPS_PROXY", address)
        with pytest.raises(
            NotSentError, match=f"cannot be reached through the proxy {address}. Nothing"
        ) as raised:
            await one_request(colour, ENDPOINT)
    assert not raised.value.permanent


@pytest.mark.parametrize("script", [stalls, resets, hangs_up, sends(b"SSH-2.0-proxy\r\n")])
async def test_a_failure_at_the_proxy_raises_not_sent_error(
    colour: Colour, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(script) as proxy:
        address = proxy.url.removesuffix("/mcp")
        monkeypatch.setenv("HTTPS_PROXY", address)
        with pytest.raises((NotSentError, OutcomeUnknownError)) as raised:
            await one_request(colour, ENDPOINT, timeout=SHORT)
    assert type(raised.value) is NotSentError
    assert raised.value.message == (
        f"The proxy {address} did not answer, or broke the connection. Nothing was sent."
    )
    assert not raised.value.permanent
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)


async def test_a_failure_at_the_proxy_of_a_handed_over_client_raises_not_sent_error(
    colour: Colour, library: ModuleType
) -> None:
    with serve(resets) as proxy:
        async with client_of(library, colour, proxy=proxy.url.removesuffix("/mcp")) as client:
            crm = colours.client(colour, ENDPOINT, http_client=client, retry=ONCE)
            with pytest.raises(NotSentError, match=r"^The proxy did not answer"):
                await crm.call_tool("any")


async def test_a_failure_at_a_socks_proxy_raises_not_sent_error(colour: Colour, library: ModuleType) -> None:
    """The library has no package for SOCKS here, so a transport tells what it would tell."""

    def tell_and_fail(request: Any) -> None:
        raise library.ReadTimeout("told by httpx", request=request)

    def blocking(request: Any) -> None:
        request.extensions["trace"]("socks.setup_socks5_connection.started", {})
        tell_and_fail(request)

    async def asynchronous(request: Any) -> None:
        await request.extensions["trace"]("socks.setup_socks5_connection.started", {})
        tell_and_fail(request)

    transport = library.MockTransport(blocking if colour == "blocking" else asynchronous)
    async with client_of(library, colour, transport=transport) as client:
        crm = colours.client(colour, ENDPOINT, http_client=client, retry=ONCE)
        with pytest.raises(NotSentError, match=r"^The proxy did not answer"):
            await crm.call_tool("any")


def secured(authority: trustme.CA) -> ssl.SSLContext:
    return server_side(authority.issue_cert("127.0.0.1", "localhost", "favcrm.example"))


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain proxy", "proxy with TLS"])
async def test_a_proxy_of_the_environment_carries_calls_and_their_failures(
    colour: Colour, trusted: trustme.CA, encrypted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = secured(trusted)
    with (
        serve(answers(), answers(), resets, tls=context) as server,
        serve(tunnels_to(server), tls=context if encrypted else None) as proxy,
    ):
        monkeypatch.setenv("ALL_PROXY", proxy.url.removesuffix("/mcp"))
        async with reach(colour, ENDPOINT) as wire:
            assert (await wire.request()).result == {}
            assert (await wire.request()).result == {}
            with pytest.raises(OutcomeUnknownError):
                await wire.request()
    assert [request.path for request in proxy.requests] == ["favcrm.example:443"]
    assert len(server.requests) == 3


# TLS where there is none, and the reverse


async def test_an_endpoint_without_tls_raises_not_sent_error(colour: Colour) -> None:
    with serve(sends(whole(b"{}"))) as server:
        crm = colours.client(colour, server.url.replace("http://", "https://"), retry=QUICK)
        with pytest.raises(NotSentError) as raised:
            await crm.call_tool("any")
        await crm.end()
    assert raised.value.message == (
        "The endpoint does not speak TLS, although the address begins with https://. Nothing was sent."
    )
    assert raised.value.permanent
    assert (server.tried, server.requests) == (1, [])


async def test_a_proxy_without_tls_raises_not_sent_error(
    colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(sends(whole(b""))) as proxy:
        address = proxy.url.removesuffix("/mcp").replace("http://", "https://")
        monkeypatch.setenv("HTTPS_PROXY", address)
        with pytest.raises(NotSentError) as raised:
            await one_request(colour, ENDPOINT)
    assert raised.value.message.startswith(
        f"The proxy {address}, or the endpoint behind it, does not speak TLS"
    )
    assert "most proxies take plain HTTP" in raised.value.next_step
    assert raised.value.permanent
    assert proxy.requests == []


async def test_a_proxy_with_an_unknown_certificate_raises_not_sent_error(
    colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(sends(whole(b"")), tls=secured(trustme.CA())) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.removesuffix("/mcp"))
        with pytest.raises(
            NotSentError, match=r"^The proxy's or the endpoint's TLS certificate is not"
        ) as raised:
            await one_request(colour, ENDPOINT)
    assert raised.value.permanent


async def test_a_handshake_that_the_server_ends_raises_not_sent_error(
    colour: Colour, trusted: trustme.CA
) -> None:
    context = secured(trusted)
    context.sni_callback = lambda *_: ssl.AlertDescription.ALERT_DESCRIPTION_HANDSHAKE_FAILURE
    with serve(answers(), tls=context) as server:
        port = server.url.rpartition(":")[2]
        with pytest.raises(NotSentError, match="The TLS handshake failed: SSLV3_ALERT_HAND") as raised:
            await one_request(colour, f"https://localhost:{port}")
    assert not raised.value.permanent
    assert server.requests == []


@NOT_TRIO
async def test_a_server_that_asks_for_a_certificate_raises_outcome_unknown_error(
    colour: Colour, trusted: trustme.CA
) -> None:
    """Since TLS 1.3 it is told after the request was sent."""
    context = secured(trusted)
    context.verify_mode = ssl.CERT_REQUIRED
    with serve(answers(), tls=context) as server, pytest.raises(OutcomeUnknownError) as raised:
        await one_request(colour, server.url)
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)
    assert server.requests == []


@NOT_TRIO
async def test_plain_http_to_a_port_of_tls_raises_an_error_with_a_hint(
    colour: Colour, library: ModuleType, trusted: trustme.CA
) -> None:
    with serve(answers(), tls=secured(trusted)) as server:
        async with client_of(library, colour) as client:
            for options in ({}, {"http_client": client}):
                crm = colours.client(colour, server.url.replace("https://", "http://"), retry=ONCE, **options)
                with pytest.raises(OutcomeUnknownError) as raised:
                    await crm.call_tool("any")
                await crm.end()
                assert "If the port takes TLS, nothing happened" in raised.value.next_step
    assert server.requests == []
