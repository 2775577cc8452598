"""A user's own client, httpx or httpx2, whose settings do not break our rules; and `BearerAuth` for its other uses."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import colours
import httpx
import httpx2
import pytest
from servers import (
    answers,
    chunked,
    event,
    message,
    redirects,
    sends,
    serve,
    whole,
)
from transports.harness import MovedClock, client_of, endless, reach, stand_in, through

from favcrm import (
    AuthenticationError,
    InvalidInputError,
    OutcomeUnknownError,
    RefusedError,
    RetryPolicy,
    Secret,
)
from favcrm.transports import AsyncHTTPTransport, HTTPTransport
from favcrm.transports.http import BearerAuth
from favcrm.transports.http.limits import Limits
from favcrm.transports.http.send import USER_AGENT

if TYPE_CHECKING:
    from types import ModuleType

    from colours import Colour

    from favcrm.typing import Era

pytestmark = pytest.mark.anyio

ENDPOINT = "https://favcrm.example/mcp"
ONCE = RetryPolicy.never()


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "event stream"])
async def test_a_handed_over_client_shares_its_connection_and_stays_open(
    colour: Colour, library: ModuleType, key: Secret, stream: bool
) -> None:
    with serve(answers({"content": []}, stream=stream)) as server:
        async with client_of(library, colour) as client:
            for _ in range(2):
                crm = colours.client(colour, server.url, api_key=key, http_client=client)
                await crm.call_tool("any")
                await crm.call_tool("any")
                await crm.end()
                assert not client.is_closed
    assert [request.connection for request in server.requests] == [1] * 4
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {key.reveal()}"}


async def test_the_headers_of_a_client_do_not_replace_ours(colour: Colour, library: ModuleType) -> None:
    headers = {
        "ACCEPT": "text/html",
        "Content-Type": "text/plain",
        "User-Agent": "other",
        "Accept-Encoding": "br",
    }
    with serve(answers()) as server:
        async with through(library, colour, server.url, headers={**headers, "X-Team": "blue"}) as wire:
            await wire.request()
    (request,) = server.requests
    assert request.headers["accept"] == "application/json, text/event-stream"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "gzip"
    assert request.headers["user-agent"] == USER_AGENT
    assert request.headers["x-team"] == "blue"


@pytest.mark.parametrize("era", ["bare", "modern"])
async def test_headers_of_mcp_on_a_client_are_not_sent(colour: Colour, library: ModuleType, era: Era) -> None:
    headers = {"MCP-Protocol-Version": "1999-01-01", "Mcp-Session-Id": "theirs", "X-Team": "blue"}
    with serve(answers()) as server:
        async with (
            client_of(library, colour, headers=headers) as client,
            reach(colour, server.url, client, era=era) as wire,
        ):
            await wire.request()
    (request,) = server.requests
    told = {name for name in request.headers if name.startswith("mcp-")}
    assert told == (set() if era == "bare" else {"mcp-protocol-version", "mcp-method"})
    assert request.headers.get("mcp-protocol-version") != "1999-01-01"
    assert request.headers["x-team"] == "blue"


async def test_the_auth_of_a_client_is_not_used(colour: Colour, library: ModuleType, key: Secret) -> None:
    with serve(answers()) as server:
        async with through(library, colour, server.url, auth=("user", "word")) as wire:
            await wire.request()
            await wire.request(api_key=key)
    assert "authorization" not in server.requests[0].headers
    assert server.requests[1].headers["authorization"] == f"Bearer {key.reveal()}"


async def test_the_timeout_of_a_client_is_not_used(colour: Colour, library: ModuleType) -> None:
    given: list[object] = []

    def answer(request: Any) -> Any:
        given.append(request.extensions["timeout"]["read"])
        return library.Response(200, content=message(1, {}))

    options = {"timeout": 0.001, "clock": MovedClock(), **stand_in(library, colour, answer)}
    async with through(library, colour, ENDPOINT, **options) as wire:
        await wire.request(timeout=5.0)
    assert given == [5.0]


# What is no client


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_an_object_that_is_no_client_raises_invalid_input_error(library: ModuleType) -> None:
    unfit: list[Any] = [library.HTTPTransport(), library.Response(200), library.Client, object(), "client"]
    for candidate in unfit:
        for kind, name in ((HTTPTransport, "httpx.Client"), (AsyncHTTPTransport, "httpx.AsyncClient")):
            with pytest.raises(InvalidInputError) as raised:
                kind(ENDPOINT, http_client=candidate)
            ((field, told),) = raised.value.problems
            assert (field, told) == ("http_client", f"must be an {name} or its httpx2 twin")


async def test_a_client_of_the_other_colour_raises_invalid_input_error(
    colour: Colour, library: ModuleType
) -> None:
    other: Colour = "asynchronous" if colour == "blocking" else "blocking"
    async with client_of(library, other) as client:
        for facade in (colours.client, colours.provisioner):
            with pytest.raises(InvalidInputError, match="http_client"):
                facade(colour, ENDPOINT, http_client=client)


# Clients without a network, and hooks


async def test_an_answer_that_the_library_has_read_is_read(colour: Colour, library: ModuleType) -> None:
    """The library has read such an answer before anybody asks."""
    packed = {"content-encoding": "gzip"}
    told = [
        library.Response(200, json={"jsonrpc": "2.0", "id": 1, "result": {"found": True}}),
        library.Response(200, content=gzip.compress(message(2, {"found": True})), headers=packed),
        library.Response(
            200, content=event(message(3, {"found": True})), headers={"content-type": "text/event-stream"}
        ),
    ]
    async with through(library, colour, ENDPOINT, **stand_in(library, colour, lambda _: told.pop(0))) as wire:
        for _ in range(3):
            assert (await wire.request()).result == {"found": True}


def hook(colour: Colour, function: Callable[[Any], Any]) -> dict[str, Any]:
    """Return the option that calls a function with each answer, which may return something to await."""

    async def later(response: Any) -> None:
        result = function(response)
        if result is not None:
            await result

    return {"event_hooks": {"response": [function if colour == "blocking" else later]}}


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "event stream"])
async def test_a_hook_may_read_the_answer(colour: Colour, library: ModuleType, stream: bool) -> None:
    body = event(message(1, {"found": True})) if stream else message(1, {"found": True})
    headers = {
        "content-encoding": "gzip",
        "content-type": "text/event-stream" if stream else "application/json",
    }

    def read(response: Any) -> Any:
        return (
            None
            if colour == "blocking" and response.read()
            else colour == "asynchronous" and response.aread()
        )

    with serve(sends(*chunked([gzip.compress(body)], headers=headers))) as server:
        async with through(library, colour, server.url, **hook(colour, read)) as wire:
            response = await wire.request()
    assert (response.result, response.complete) == ({"found": True}, True)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (whole(b"", 401), AuthenticationError),
        (whole(b"", 500), OutcomeUnknownError),
        (redirects(ENDPOINT), RefusedError),
    ],
)
async def test_a_hook_may_raise_for_a_status(
    colour: Colour, library: ModuleType, answer: Any, error: type[Exception]
) -> None:
    def judge(response: Any) -> None:
        response.raise_for_status()

    with serve(sends(answer) if isinstance(answer, bytes) else answer) as server:
        async with client_of(library, colour, **hook(colour, judge)) as client:
            crm = colours.client(colour, server.url, http_client=client, retry=ONCE)
            with pytest.raises(error) as raised:
                await crm.call_tool("any")
    assert type(raised.value) is error
    assert raised.value.__context__ is None


async def test_a_hook_that_raises_after_reading_leaves_the_body(colour: Colour, library: ModuleType) -> None:
    answer = library.Response(400, json={"code": "PLAN_LIMIT", "message": "Upgrade."})

    def judge(response: Any) -> None:
        response.raise_for_status()

    options = {**stand_in(library, colour, lambda _: answer), **hook(colour, judge)}
    async with client_of(library, colour, **options) as client:
        crm = colours.client(colour, ENDPOINT, http_client=client)
        with pytest.raises(RefusedError) as raised:
            await crm.call_tool("any")
    assert (raised.value.server_code, raised.value.summary) == ("PLAN_LIMIT", "Upgrade.")


async def test_a_hook_that_uses_the_answer_up_raises_outcome_unknown_error(
    colour: Colour, library: ModuleType
) -> None:
    def use_up(response: Any) -> Any:
        if colour == "blocking":
            for _ in response.iter_raw():
                pass
            return None
        return use_up_later(response)

    async def use_up_later(response: Any) -> None:
        async for _ in response.aiter_raw():
            pass

    with serve(answers()) as server:
        async with client_of(library, colour, **hook(colour, use_up)) as client:
            crm = colours.client(colour, server.url, http_client=client, retry=ONCE)
            with pytest.raises(OutcomeUnknownError, match="The answer broke off"):
                await crm.call_tool("any")


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # trio sees that it does not end
@pytest.mark.parametrize("way", ["asyncio", "trio"], indirect=True)
async def test_an_endless_body_of_a_users_own_transport_is_left(library: ModuleType) -> None:
    async def answer(_: Any) -> Any:
        return library.Response(200, content=endless(b"x" * 2**20))

    stand_in = {"transport": library.MockTransport(answer)}
    async with through(
        library, "asynchronous", ENDPOINT, limits=Limits(grace=0.05, leaving=0.05), **stand_in
    ) as wire:
        assert (await wire.request()).defect == "is larger than this client reads"


# BearerAuth


async def test_the_key_is_read_at_each_request(colour: Colour, library: ModuleType) -> None:
    keys = iter(["first-key", "second-key"])
    with serve(answers()) as server:
        auth = BearerAuth(lambda: Secret(next(keys)), endpoint=server.url)
        async with client_of(library, colour, auth=auth) as client:
            caller = colours.Facade(client)
            for _ in range(2):
                await caller.post(server.url, json={"id": 1})
    sent = [request.headers["authorization"] for request in server.requests]
    assert sent == ["Bearer first-key", "Bearer second-key"]


async def test_the_key_goes_to_the_endpoint_only(colour: Colour, library: ModuleType, key: Secret) -> None:
    def refuse() -> Secret:
        raise AssertionError("the key was read for another origin")

    with serve(answers()) as server, serve(answers()) as other:
        async with client_of(library, colour, auth=BearerAuth(refuse, endpoint=server.url)) as client:
            await colours.Facade(client).post(other.url, json={"id": 1})
        async with client_of(library, colour, auth=BearerAuth(key, endpoint=server.url)) as client:
            await colours.Facade(client).post(other.url, json={"id": 1})
            await colours.Facade(client).post(server.url.replace("/mcp", "/any"), json={"id": 1})
    assert all("authorization" not in request.headers for request in other.requests)
    assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {key.reveal()}"]


def test_the_repr_of_the_auth_hides_the_key(key: Secret) -> None:
    auth = BearerAuth(f" {key.reveal()}\n", endpoint=ENDPOINT)
    assert key.reveal() not in repr(vars(auth))
    assert key.reveal() not in repr(auth)
    request = auth(httpx.Request("POST", ENDPOINT))
    assert request.headers["Authorization"] == f"Bearer {key.reveal()}"


def test_the_endpoint_of_an_auth_is_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, key: Secret
) -> None:
    monkeypatch.setenv("FAVCRM_MCP_URL", ENDPOINT)
    auth = BearerAuth(key)
    assert "Authorization" in auth(httpx2.Request("POST", ENDPOINT)).headers
    assert "Authorization" not in auth(httpx2.Request("POST", "https://api.favcrm.io/mcp")).headers
    with pytest.raises(InvalidInputError):
        BearerAuth(key, endpoint="http://favcrm.example/mcp")


async def test_a_key_replaced_meanwhile_is_tried_once(colour: Colour) -> None:
    keys = [Secret(value) for value in ("old-key", "new-key", "new-key", "new-key")]
    with serve(sends(whole(b"{}", status=401))) as server:
        auth = BearerAuth(lambda: keys.pop(0), endpoint=server.url)
        async with client_of(httpx, colour, auth=auth) as client:
            for _ in range(2):
                assert (await colours.Facade(client).post(server.url)).status_code == 401
    shown = [request.headers["authorization"] for request in server.requests]
    assert shown == ["Bearer old-key", "Bearer new-key", "Bearer new-key"]


async def test_one_handed_over_client_serves_many_calls_at_once(library: ModuleType) -> None:
    with serve(answers()) as server:
        async with through(library, "asynchronous", server.url) as wire, anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(wire.request)
    assert len(server.requests) == 5
