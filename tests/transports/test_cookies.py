"""Cookies of an endpoint: a balancer that has several servers knows a session's server by a cookie."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

import pytest
from servers import Peer, Request, answers, message, serve, whole
from transports.harness import reach
from transports.mcp_servers import (
    RESULT,
    SESSION_ID,
    TAKEN,
    call,
    many,
    page,
    refuses,
    requests_of,
    said,
    session,
    speaks,
)

if TYPE_CHECKING:
    from colours import Colour

pytestmark = pytest.mark.anyio


class Balanced:
    """Servers behind a balancer: each knows its own sessions only, and a request without the cookie goes to any.

    Attributes:
        strangers: How many requests came to a server that does not know their session.
    """

    def __init__(self) -> None:
        self._turns = itertools.count()
        self._lock = threading.Lock()
        self._server_of: dict[str, str] = {}
        self.strangers = 0

    def __call__(self, peer: Peer, request: Request) -> None:
        with self._lock:
            cookie = request.headers.get("cookie", "")
            server = cookie.removeprefix("AWSALB=") or f"server-{next(self._turns) % 4}"
            headers = {"set-cookie": f"AWSALB={server}; Path=/"}
            if said(request) == "initialize":
                session_id = f"session-{len(self._server_of)}"
                self._server_of[session_id] = server
                result = {"protocolVersion": "2025-11-25", "capabilities": {}}
                peer.send(whole(message(request, result), headers={**headers, SESSION_ID: session_id}))
                return
            known = self._server_of[request.headers[SESSION_ID]] == server
            self.strangers += not known
        if not known:
            refuses(-32001, "Session not found", 404, headers=headers)(peer, request)
        elif said(request) == "tools/call":
            peer.send(whole(message(request, RESULT), headers=headers))
        else:
            TAKEN(peer, request)


async def test_all_connections_go_to_the_server_of_the_session(colour: Colour) -> None:
    balanced = Balanced()
    with serve(balanced) as server:
        async with reach(colour, server.url, era="legacy") as wire:
            found = await many(colour, wire, 24, lambda: None)
            found += await many(colour, wire, 24, lambda: None)
    assert [response.result for response in found] == [RESULT] * 48
    assert len(requests_of(server, "initialize")) == 1
    assert balanced.strangers == 0


async def test_a_new_session_replaces_the_cookie_of_the_old_one(colour: Colour) -> None:
    def begins(number: int) -> Any:
        headers = {SESSION_ID: f"session-{number}", "set-cookie": f"server={number}"}
        return answers({"protocolVersion": "2025-11-25", "capabilities": {}}, headers=headers)

    scripts = session(initialize=[begins(1), begins(2)], tools_call=[page(404), answers(RESULT)])
    with serve(speaks(scripts)) as server:
        async with reach(colour, server.url, era="legacy") as wire:
            assert (await call(wire)).result == RESULT
    cookies = [request.headers.get("cookie") for request in server.requests]
    assert cookies == [None, *["server=1"] * 3, *["server=2"] * 3]
    assert [said(request) for request in server.requests][2:4] == ["tools/call", "initialize"]


@pytest.mark.parametrize(
    "cookie", ["a=1; Domain=elsewhere.example", "a=1; Path=/elsewhere", "a=1; Max-Age=0"]
)
async def test_a_cookie_that_is_not_for_the_endpoint_is_not_sent(colour: Colour, cookie: str) -> None:
    with serve(answers(headers={"set-cookie": cookie})) as server:
        async with reach(colour, server.url) as wire:
            await wire.request()
            await wire.request()
    assert [request.headers.get("cookie") for request in server.requests] == [None, None]


async def test_a_cookie_that_no_header_can_hold_is_not_sent(colour: Colour) -> None:
    def sets_it(peer: Peer, request: Request) -> None:
        answer = whole(message(request, RESULT))
        peer.send(answer.replace(b"\r\n", "\r\nset-cookie: lb=\xe9\r\n".encode("latin-1"), 1))

    with serve(sets_it) as server:
        async with reach(colour, server.url) as wire:
            await wire.request()
            assert (await wire.request()).result == RESULT
    assert [request.headers.get("cookie") for request in server.requests] == [None, None]


async def test_threads_of_one_client_get_many_cookies_at_once() -> None:
    numbers = itertools.count()

    def sets_another(peer: Peer, request: Request) -> None:
        cookie = {"set-cookie": f"cookie-{next(numbers)}=1; Path=/"}
        peer.send(whole(message(request, RESULT), headers=cookie))

    with serve(sets_another) as server:
        async with reach("blocking", server.url) as wire:
            for _ in range(3):
                found = await many("blocking", wire, 16, lambda: None)
                assert [response.result for response in found] == [RESULT] * 16
            await call(wire)
    assert server.requests[-1].headers["cookie"].count("=1") == 48
