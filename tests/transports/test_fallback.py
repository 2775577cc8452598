"""Several transports in a row: when the next one is tried, and who is told which one was taken."""

from __future__ import annotations

import secrets
from typing import Any

import colours
import pytest
from colours import Colour, Facade
from servers import answers, resets, serve, stalls, unused_address
from transports.reach import SHORT

from favcrm import (
    AuthenticationError,
    EventKind,
    InvalidInputError,
    NotSentError,
    OutcomeUnknownError,
    RetryPolicy,
    Secret,
)
from favcrm.sandbox import Sandbox
from favcrm.transports import AsyncHTTPTransport, HTTPTransport, Response
from favcrm.transports.fallback import AsyncFallbackTransport, FallbackTransport

pytestmark = pytest.mark.anyio

ONCE = RetryPolicy.never()


def http(colour: Colour, url: str) -> Any:
    return (HTTPTransport if colour == "blocking" else AsyncHTTPTransport)(url, era="bare")


def fallback(colour: Colour, *transports: Any) -> Any:
    return (FallbackTransport if colour == "blocking" else AsyncFallbackTransport)(*transports)


async def ask(transport: Any, timeout: float = 10.0) -> Response:
    response: Response = await Facade(transport).request("tools/list", {}, api_key=None, timeout=timeout)
    return response


class Told:
    """A transport of a user's that fails as it is told, or answers; of both colours, as far as it goes."""

    def __init__(self, failure: Exception | None = None, *, takes: float = 0.0) -> None:
        self.failure = failure
        self.takes = takes
        self.timeouts: list[float] = []
        self.closed = 0

    def request(self, method: str, params: object, *, timeout: float, **_: object) -> Response:
        self.timeouts.append(timeout)
        if self.failure is not None:
            raise self.failure
        return Response(result={"tools": []})

    def close(self) -> None:
        self.closed += 1
        if self.failure is not None:
            raise self.failure


class AsyncTold(Told):
    async def request(self, method: str, params: object, **options: Any) -> Response:  # type: ignore[override]
        return super().request(method, params, **options)

    close = None  # type: ignore[assignment]

    async def aclose(self) -> None:
        super().close()


class Clocked(Told):
    """Has a clock of its own, which a test moves."""

    def __init__(self, now: list[float], **options: Any) -> None:
        super().__init__(**options)
        self.clock = self
        self.now = now

    def monotonic(self) -> float:
        return self.now[0]

    def request(self, method: str, params: object, **options: Any) -> Response:
        self.now[0] += self.takes
        return Told.request(self, method, params, **options)


class AsyncClocked(Clocked, AsyncTold):
    async def request(self, method: str, params: object, **options: Any) -> Response:  # type: ignore[override]
        return Clocked.request(self, method, params, **options)

    async def aclose(self) -> None:
        self.closed += 1


def told(colour: Colour, *arguments: Any) -> Any:
    return (Told if colour == "blocking" else AsyncTold)(*arguments)


async def test_who_reaches_nobody_hands_over_to_the_next(colour: Colour) -> None:
    sandbox = Sandbox()
    events: list[Any] = []
    with unused_address() as url, sandbox.serve() as server:
        transport = fallback(colour, http(colour, url), http(colour, server.url))
        favcrm = colours.provisioner(colour, transport=transport, on_event=events.append)
        pending = await favcrm.initiate(email="you@example.com", organisation_name="Stretch + Breathe")
        workspace = await favcrm.confirm(pending, code=sandbox.inbox[-1].code)
        (await favcrm.diagnose()).raise_if_not_ready()
        await Facade(transport).end()
    assert workspace.problems == ()
    routes = [event.transport for event in events if event.kind is EventKind.ROUTE_TAKEN]
    assert set(routes) == {type(http(colour, url)).__name__}


async def test_the_event_names_the_one_that_took_it(colour: Colour) -> None:
    events: list[Any] = []
    sandbox = Sandbox()
    with unused_address() as url:
        unreached = http(colour, url)
        transport = fallback(colour, unreached, colours.transport_to(sandbox, colour))
        favcrm = colours.provisioner(colour, transport=transport, on_event=events.append)
        await favcrm.initiate(email="you@example.com", organisation_name="Stretch + Breathe")
        await Facade(unreached).end()
    (taken,) = [event for event in events if event.kind is EventKind.ROUTE_TAKEN]
    assert taken.transport == type(colours.transport_to(sandbox, colour)).__name__
    assert taken.attempt == 1


async def test_an_unknown_outcome_never_leads_to_the_next(colour: Colour) -> None:
    second = told(colour)
    events: list[Any] = []
    with serve(resets) as server:
        first = http(colour, server.url)
        crm = colours.client(
            colour,
            transport=fallback(colour, first, second),
            api_key=secrets.token_urlsafe(),
            retry=ONCE,
            on_event=events.append,
        )
        with pytest.raises(OutcomeUnknownError) as caught:
            await crm.call_tool("create_member")
        await Facade(first).end()
    assert second.timeouts == []
    assert len(server.requests) == 1
    name = type(first).__name__
    assert caught.value.via == name
    assert [event.transport for event in events if event.kind is EventKind.ROUTE_TAKEN] == [name]


async def test_silence_never_leads_to_the_next(colour: Colour) -> None:
    second = told(colour)
    with serve(stalls) as server:
        first = http(colour, server.url)
        with pytest.raises(OutcomeUnknownError):
            await ask(fallback(colour, first, second), timeout=SHORT)
        await Facade(first).end()
    assert second.timeouts == []


async def test_a_refusal_never_leads_to_the_next(colour: Colour) -> None:
    second = told(colour)
    first = colours.transport_to(Sandbox(), colour)
    crm = colours.client(colour, transport=fallback(colour, first, second), api_key=secrets.token_urlsafe())
    with pytest.raises(AuthenticationError):
        await crm.call_tool("list_services")
    assert second.timeouts == []


async def test_another_error_never_leads_to_the_next(colour: Colour) -> None:
    second = told(colour)
    with pytest.raises(ZeroDivisionError):
        await ask(fallback(colour, told(colour, ZeroDivisionError()), second))
    assert second.timeouts == []


async def test_the_answer_says_who_gave_it_also_from_within_another(colour: Colour) -> None:
    nowhere = NotSentError("Nowhere.")
    inner = fallback(colour, told(colour, nowhere), told(colour))
    response = await ask(fallback(colour, told(colour, nowhere), inner))
    assert response.via == type(told(colour)).__name__
    inner = fallback(colour, told(colour, nowhere), told(colour, OutcomeUnknownError("Who knows.")))
    with pytest.raises(OutcomeUnknownError) as caught:
        await ask(fallback(colour, inner, told(colour)))
    assert caught.value.via == type(told(colour)).__name__


@pytest.mark.parametrize("permanent", [True, False])
async def test_where_nobody_is_reached_the_error_says_what_each_met(colour: Colour, permanent: bool) -> None:
    last = NotSentError("No such program.", permanent=permanent, next_step="Install it.")
    with unused_address() as url:
        first = http(colour, url)
        with pytest.raises(NotSentError) as caught:
            await ask(fallback(colour, first, told(colour, last)))
        await Facade(first).end()
    assert caught.value.message == (
        f"No transport reached the server. {type(first).__name__}: The endpoint cannot be reached. Nothing was sent. "
        f"{type(told(colour)).__name__}: No such program."
    )
    assert caught.value.next_step == "Install it."
    assert not caught.value.permanent
    assert caught.value.via == ""
    assert caught.value.__context__ is None


async def test_nobody_can_be_reached_for_good(colour: Colour) -> None:
    never = told(colour, NotSentError("Never.", permanent=True))
    with pytest.raises(NotSentError) as caught:
        await ask(fallback(colour, never, never))
    assert caught.value.permanent


async def test_the_time_is_for_all_of_them(colour: Colour) -> None:
    kind = Clocked if colour == "blocking" else AsyncClocked
    now = [100.0]
    nowhere = NotSentError("Nowhere.", permanent=True)
    first, second = kind(now, failure=nowhere, takes=4.0), kind(now, failure=nowhere, takes=6.0)
    third = told(colour)
    with pytest.raises(NotSentError, match=r"Told: No time was left to try it\.") as caught:
        await ask(fallback(colour, first, second, third), timeout=10.0)
    assert (first.timeouts, second.timeouts, third.timeouts) == ([10.0], [6.0], [])
    assert not caught.value.permanent


async def test_the_first_is_asked_however_little_time_there_is(colour: Colour) -> None:
    first = told(colour)
    await ask(fallback(colour, first, told(colour)), timeout=0.0)
    assert len(first.timeouts) == 1


async def test_the_clock_is_the_first_that_one_of_them_has(colour: Colour) -> None:
    sandboxes = Sandbox(), Sandbox()
    members = [colours.transport_to(sandbox, colour) for sandbox in sandboxes]
    assert fallback(colour, told(colour), *members).clock is sandboxes[0].clock
    assert not hasattr(fallback(colour, told(colour), told(colour)), "clock")


async def test_closing_closes_each_once_even_where_one_raises(colour: Colour) -> None:
    members = [told(colour), told(colour, ZeroDivisionError()), told(colour)]
    transport = fallback(colour, *members)
    with pytest.raises(ZeroDivisionError):
        await Facade(transport).end()
    await Facade(transport).end()
    assert [member.closed for member in members] == [1, 1, 1]


async def test_one_that_is_there_twice_is_closed_once(colour: Colour) -> None:
    member = told(colour)
    await Facade(fallback(colour, member, member)).end()
    assert member.closed == 1


async def test_the_key_and_the_progress_go_along(colour: Colour) -> None:
    key = Secret(secrets.token_urlsafe())
    with serve(answers({"tools": []})) as server:
        member = http(colour, server.url)
        transport = fallback(colour, told(colour, NotSentError("Nowhere.")), member)
        await Facade(transport).request("tools/list", {}, api_key=key, timeout=10, on_progress=print)
        await Facade(member).end()
    assert server.requests[0].headers["authorization"] == f"Bearer {key.reveal()}"


async def test_fewer_than_two_or_another_colour_is_refused(colour: Colour) -> None:
    other: Colour = "asynchronous" if colour == "blocking" else "blocking"
    with pytest.raises(InvalidInputError) as caught:
        fallback(colour, told(other))
    assert [problem.field for problem in caught.value.problems] == ["transports[0]", "transports"]
    close = "close" if colour == "blocking" else "aclose"
    assert caught.value.problems[0].message == f"must have the methods request and {close}"
    with pytest.raises(InvalidInputError):
        fallback(colour)
