"""Whatever ends a call in its middle leaves without the frames that saw a key, a code, an email or a token."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from colours import Colour
from secrecy.stage import EMAIL, INVITED, Stage, searched

from favcrm import Event, EventKind, Registration, Secret, SecretRef, _boundary
from favcrm.stores import MemoryStore

pytestmark = pytest.mark.anyio

# What ends a call comes from the user's side, and so passes no frame of HTTP.
in_process = pytest.mark.parametrize("stage", ["in process"], indirect=True)

NAME = "Stretch + Breathe"


class EndedError(BaseException):
    """What is no Exception, such as the end of a greenlet."""


ENDS: dict[str, Callable[[], BaseException]] = {
    "Ctrl-C": KeyboardInterrupt,
    "exit": lambda: SystemExit(1),
    "cancelled": asyncio.CancelledError,
    "ended": EndedError,
}


class Interrupted(MemoryStore):
    """A store in which something ends the call."""

    def __init__(self, method: str, end: Callable[[], BaseException]) -> None:
        super().__init__()
        self._method, self._end = method, end

    def check(self) -> None:
        self._end_in("check")

    def get(self, ref: SecretRef) -> Secret:
        self._end_in("get")
        return super().get(ref)

    def put(
        self, name: str, secret: Secret, metadata: Mapping[str, str], *, if_absent: bool = True
    ) -> SecretRef:
        self._end_in("put")
        return super().put(name, secret, metadata, if_absent=if_absent)

    def _end_in(self, method: str) -> None:
        if method == self._method:
            raise self._end()


def ending_at(stage: Stage, kind: EventKind, end: Callable[[], BaseException]) -> dict[str, Any]:
    """Return the options of a listener in which something ends the call."""

    def listen(event: Event) -> None:
        stage.on_event(event)
        if event.kind is kind:
            raise end()

    return {"on_event": listen}


def ending_reader(stage: Stage, end: Callable[[], BaseException]) -> Any:
    def read(_: object) -> str:
        raise end()

    async def read_async(_: object) -> str:
        raise end()

    return read if stage.colour == "blocking" else read_async


# Each flow is given what ends it, and is called with its secrets as plain text.
Flow = Callable[[Stage, Callable[[], BaseException]], Awaitable[object]]


async def in_a_listener_at_initiate(stage: Stage, end: Callable[[], BaseException]) -> object:
    favcrm = stage.provisioner(**ending_at(stage, EventKind.CODE_REQUESTED, end))
    return await stage.play(favcrm.initiate(email=EMAIL, organisation_name=NAME))


def in_a_listener_at(kind: EventKind) -> Flow:
    async def flow(stage: Stage, end: Callable[[], BaseException]) -> object:
        favcrm = stage.provisioner(store=MemoryStore(), **ending_at(stage, kind, end))
        pending = await stage.play(favcrm.initiate(email=EMAIL, organisation_name=NAME))
        return await stage.play(favcrm.confirm(pending.request_id, stage.code()))

    return flow


def in_a_store_of_confirm(method: str) -> Flow:
    async def flow(stage: Stage, end: Callable[[], BaseException]) -> object:
        favcrm = stage.provisioner(store=Interrupted(method, end))
        pending = await stage.play(favcrm.initiate(email=EMAIL, organisation_name=NAME))
        return await stage.play(favcrm.confirm(pending.request_id, stage.code()))

    return flow


def in_a_store_of_adopt(method: str) -> Flow:
    async def flow(stage: Stage, end: Callable[[], BaseException]) -> object:
        key = stage.sandbox.add_organisation("One").reveal()
        return await stage.play(stage.provisioner().adopt(key, store=Interrupted(method, end)))

    return flow


async def in_a_store_of_a_call(stage: Stage, end: Callable[[], BaseException]) -> object:
    crm = stage.client(api_key=SecretRef.of("memory", "acme"), store=Interrupted("get", end))
    stage.search.hide("token", "invite_not_a_real_token_6789")
    return await stage.play(crm.call_tool("x", {"token": "invite_not_a_real_token_6789"}))


async def in_a_store_of_invite(stage: Stage, end: Callable[[], BaseException]) -> object:
    stage.hide_invited()
    crm = stage.client(api_key=SecretRef.of("memory", "acme"), store=Interrupted("get", end))
    return await stage.play(crm.invite(INVITED))


async def in_read_code_of_provision(stage: Stage, end: Callable[[], BaseException]) -> object:
    registration = Registration(email=EMAIL, organisation_name=NAME)
    return await stage.play(
        stage.provisioner().provision(registration, read_code=ending_reader(stage, end), store=MemoryStore())
    )


async def in_read_code_of_accept_invite(stage: Stage, end: Callable[[], BaseException]) -> object:
    token = (await stage.invite()).reveal()
    return await stage.play(
        stage.provisioner().accept_invite(token, read_code=ending_reader(stage, end), store=MemoryStore())
    )


FLOWS: dict[str, Flow] = {
    "a listener at initiate": in_a_listener_at_initiate,
    "a store's check at confirm": in_a_store_of_confirm("check"),
    "a store's check at adopt": in_a_store_of_adopt("check"),
    "a store's put at adopt": in_a_store_of_adopt("put"),
    "a store's get at a call": in_a_store_of_a_call,
    "a store's get at invite": in_a_store_of_invite,
    "read_code of provision": in_read_code_of_provision,
    "read_code of accept_invite": in_read_code_of_accept_invite,
}
# Here a task of its own goes on behind the code. Python ends the event loop with an interrupt or an exit in there.
BEHIND_THE_CODE: dict[str, Flow] = {
    "a listener at verify": in_a_listener_at(EventKind.VERIFY_SENT),
    "a listener behind the key": in_a_listener_at(EventKind.KEY_RECEIVED),
    "a listener behind the store": in_a_listener_at(EventKind.KEY_STORED),
    "a store's put at confirm": in_a_store_of_confirm("put"),
}
CASES = [
    pytest.param(colour, end, flow, id=f"{colour}-{ended}-{place}")
    for colour in ("blocking", "asynchronous")
    for ended, end in ENDS.items()
    for place, flow in (FLOWS | BEHIND_THE_CODE).items()
    if colour == "blocking" or place in FLOWS or ended in {"cancelled", "ended"}
]


@in_process
@pytest.mark.parametrize(("colour", "end", "flow"), CASES)
async def test_nothing_is_in_the_frames_of_what_ends_a_call(
    stage: Stage, end: Callable[[], BaseException], flow: Flow
) -> None:
    async def played(stage: Stage) -> None:
        ended = await flow(stage, end)
        assert type(ended) is type(end())

    await searched(stage, played)


@in_process
@pytest.mark.parametrize("colour", ["blocking", "asynchronous"])
@pytest.mark.parametrize("flow", [*FLOWS.values(), *BEHIND_THE_CODE.values()], ids=[*FLOWS, *BEHIND_THE_CODE])
async def test_nothing_is_in_the_frames_of_an_error_of_the_users(stage: Stage, flow: Flow) -> None:
    class OwnError(Exception):
        pass

    async def played(stage: Stage) -> None:
        await flow(stage, OwnError)

    await searched(stage, played)


@in_process
@pytest.mark.parametrize("colour", ["blocking", "asynchronous"])
async def test_without_the_boundary_it_would_be_seen(
    stage: Stage, colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept(error: BaseException) -> BaseException:
        return error

    monkeypatch.setattr(_boundary, "_stripped", kept)

    async def played(stage: Stage) -> None:
        await in_a_listener_at(EventKind.VERIFY_SENT)(stage, EndedError)

    with pytest.raises(AssertionError, match=r"code in (rich's local|locals of)"):
        await searched(stage, played)
