"""Never seen: every flow is played before everybody who listens, and every byte that comes out is searched."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from attrs import evolve, frozen
from secrecy.stage import (
    EMAIL,
    IMPATIENT,
    INVITED,
    MASKED,
    MASKED_INVITED,
    REGISTRATION,
    Blabbing,
    Full,
    Stage,
    next_of,
    searched,
)

from favcrm import BearerAuth, EventKind, Registration, Secret, _boundary, errors
from favcrm._flows import engine
from favcrm.events import Emitter
from favcrm.sandbox import AccountCheck, AnswerForm, Fault, PayloadForm, RefusalForm
from favcrm.stores import MemoryStore
from favcrm.transport import Request, Response

pytestmark = pytest.mark.anyio
in_process = pytest.mark.parametrize("stage", ["in process"], indirect=True)
one_side = pytest.mark.parametrize("colour", ["blocking"])

REQUEST, VERIFY = "register_organisation_request", "register_organisation_verify"
INVITE, JOIN = "create_team_member_invite", "accept_team_invite_request"
ACCEPT = "accept_team_invite_verify"
Flow = Callable[[Stage], Awaitable[None]]


# The flows


async def sign_up(stage: Stage, *faults: Fault, tool: str = VERIFY) -> Any:
    stage.sandbox.fail_next(tool, *faults)
    favcrm = stage.provisioner()
    pending = await stage.play(favcrm.initiate(REGISTRATION))
    if isinstance(pending, BaseException):
        return pending
    workspace = await stage.play(favcrm.confirm(pending, stage.code()))
    await stage.play(favcrm.diagnose())
    return workspace


async def with_plain_arguments(stage: Stage) -> None:
    favcrm = stage.provisioner()
    pending = await stage.play(favcrm.initiate(email=EMAIL, organisation_name="Stretch + Breathe"))
    again = await stage.play(favcrm.initiate(email=EMAIL, organisation_name="Stretch + Breathe"))
    assert again.request_id == pending.request_id
    code = stage.code()
    await stage.play(favcrm.confirm(pending.request_id, f"{code[:3]} {code[3:]}"))


async def wrong_codes(stage: Stage) -> None:
    favcrm = stage.provisioner()
    pending = await stage.play(favcrm.initiate(REGISTRATION))
    read, code = stage.read_code(wrong=9), stage.code()
    for _ in range(7):
        wrong = read(pending)
        refused = await stage.play(favcrm.confirm(pending, wrong if isinstance(wrong, str) else await wrong))
        assert isinstance(refused, errors.RefusedError)
    assert isinstance(await stage.play(favcrm.confirm(pending, code)), errors.TooManyAttemptsError)


async def expired(stage: Stage) -> None:
    favcrm = stage.provisioner()
    pending = await stage.play(favcrm.initiate(REGISTRATION))
    stage.sandbox.clock.advance(stage.sandbox.rules.code_ttl)
    assert isinstance(await stage.play(favcrm.confirm(pending, stage.code())), errors.CodeExpiredError)
    refused = await stage.play(favcrm.confirm(pending.request_id, stage.code()))
    assert isinstance(refused, errors.CodeExpiredError)


async def provisioned(stage: Stage) -> None:
    favcrm, store = stage.provisioner(), MemoryStore()
    done = await stage.play(favcrm.provision(REGISTRATION, read_code=stage.read_code(wrong=1), store=store))
    assert done.report.ready
    await stage.play(favcrm.provision(REGISTRATION, read_code=stage.read_code(), store=store))
    stage.search.take("store", store)
    crm = stage.client(api_key=done.ref, store=store)
    await stage.play(crm.call_tool("list_services"))
    await stage.play(crm.list_tools())


async def provisioned_with(stage: Stage, **options: Any) -> None:
    favcrm = stage.provisioner(**options)
    refused = await stage.play(favcrm.provision(REGISTRATION, read_code=stage.read_code()))
    assert isinstance(refused, errors.StoreError)
    assert refused.workspace is not None
    stage.search.take("workspace", refused.workspace)
    stage.search.take("workspace", favcrm.inner.workspace)


async def with_an_account(stage: Stage) -> None:
    stage.sandbox.add_account(EMAIL)
    favcrm = stage.provisioner()
    refused = await stage.play(favcrm.provision(REGISTRATION, read_code=stage.read_code()))
    assert isinstance(refused, errors.AlreadyRegisteredError)


async def adopted(stage: Stage) -> None:
    favcrm, store = stage.provisioner(store=MemoryStore()), MemoryStore()
    await stage.play(favcrm.adopt(stage.sandbox.add_organisation("One").reveal(), store=store))
    await stage.play(favcrm.adopt(stage.sandbox.add_organisation("Two"), store=store))
    await stage.play(favcrm.adopt(stage.sandbox.add_organisation("Three").reveal(), store=Blabbing()))


async def refused_keys(stage: Stage) -> None:
    key = stage.sandbox.add_organisation("One")
    stage.sandbox.revoke(key)
    stage.search.hide("key", key.reveal())
    await stage.play(stage.provisioner(api_key=key.reveal()).diagnose())
    crm = stage.client(api_key=key.reveal())
    # Where a server tells of it in words alone, any tool may be meant to.
    await stage.play(crm.call_tool("list_services"))
    odd = f"{key.reveal()} \n"[:-1] + "é"
    report = await stage.play(stage.provisioner(api_key=odd).diagnose())
    assert report is not None


async def refused_calls(stage: Stage) -> None:
    key = stage.sandbox.add_organisation("One")
    crm = stage.client(api_key=key)
    assert isinstance(await stage.play(crm.call_tool("no_such_tool")), errors.RefusedError)
    stage.sandbox.rules.calls_per_month = 0
    assert isinstance(await stage.play(crm.call_tool("list_services")), errors.PlanLimitError)
    for fault in (Fault.RESET_AFTER, Fault.RESET_BEFORE, Fault.server_error(500, body="json"), Fault.HTML):
        stage.sandbox.fail_next("list_services", fault)
        await stage.play(crm.call_tool("list_services"))
    assert isinstance(await stage.play(crm.call_tool("x", {"code": object()})), errors.InvalidInputError)


async def rate_limited(stage: Stage) -> None:
    favcrm = stage.provisioner()
    for _ in range(3):
        await stage.play(favcrm.initiate(REGISTRATION, resend=True))
    assert isinstance(await stage.play(favcrm.initiate(REGISTRATION, resend=True)), errors.RateLimitError)


async def bad_input(stage: Stage) -> None:
    favcrm = stage.provisioner()
    name = "Stretch + Breathe"
    for wrong in ({"industry": "fitnes"}, {"country": "ZZ"}, {"timezone": "Nowhere"}):
        refused = await stage.play(favcrm.initiate(email=EMAIL, organisation_name=name, **wrong))
        assert isinstance(refused, errors.InvalidInputError)
        await stage.play(lambda wrong=wrong: Registration(email=EMAIL, organisation_name=name, **wrong))
    await stage.play(favcrm.initiate(email=f"{EMAIL} {EMAIL}", organisation_name=name))
    await stage.play(favcrm.initiate(REGISTRATION, email=EMAIL))
    pending = await stage.play(favcrm.initiate(REGISTRATION))
    code = stage.code()
    for wrong_code in (int(code), f"{code}.", f"x{code}", None, [code]):
        await stage.play(favcrm.confirm(pending, wrong_code))
    await stage.play(favcrm.confirm("", code))


async def bad_settings(stage: Stage) -> None:
    key = stage.sandbox.add_organisation().reveal()
    stage.search.hide("key", key)
    from colours import client, provisioner

    for make in (provisioner, client):
        for options in (
            {"endpoint": "http://example.com/mcp"},
            {"timeout": -1},
            {"endpoint": "https://example.com/mcp", "http_client": object()},
            {"transport": object()},
        ):
            refused = await stage.play(
                lambda make=make, options=options: make(stage.colour, api_key=key, **options)
            )
            assert isinstance(refused, errors.InvalidInputError)
    await stage.play(lambda: BearerAuth(key, endpoint="nowhere"))


async def interrupted(stage: Stage) -> None:
    """Ctrl-C comes while a request with the key is under way."""
    key = stage.sandbox.add_organisation()

    def interrupt(_: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    wire = httpx.MockTransport(interrupt)
    inner: Any = httpx.Client if stage.colour == "blocking" else httpx.AsyncClient
    http_client = inner(transport=wire)
    from colours import client

    crm = client(stage.colour, "https://example.com/mcp", api_key=key, http_client=http_client)
    assert isinstance(await stage.play(crm.call_tool("list_services")), KeyboardInterrupt)
    closed = http_client.close() if stage.colour == "blocking" else http_client.aclose()
    if closed is not None:
        await closed


async def accepted(stage: Stage) -> None:
    token, store = await stage.invite(), MemoryStore()
    favcrm = stage.provisioner()
    read = stage.read_code(wrong=1, to=INVITED)
    done = await stage.play(favcrm.accept_invite(token, read_code=read, person="Ada", store=store))
    assert done.report.ready
    stage.search.take("workspace", done.workspace)
    again = await stage.play(favcrm.accept_invite(token.reveal(), read_code=read, store=store))
    assert again.ref == done.ref
    other = await stage.play(favcrm.accept_invite(token.reveal(), read_code=read, key_name="another"))
    assert other.workspace.api_key == done.workspace.api_key
    used = await stage.play(stage.provisioner().accept_invite(token.reveal(), read_code=read))
    assert isinstance(used, errors.MissingKeyError)


async def not_accepted(stage: Stage) -> None:
    token, favcrm = await stage.invite(), stage.provisioner()

    async def refused(**options: Any) -> Any:
        read = stage.read_code(wrong=options.pop("wrong", 0), to=INVITED)
        return await stage.play(favcrm.accept_invite(token.reveal(), read_code=read, **options))

    stage.sandbox.rules.code_attempts = 1
    assert isinstance(await refused(wrong=9), errors.TooManyAttemptsError)
    stage.sandbox.fail_next(JOIN, Fault.RESET_AFTER, Fault.RESET_AFTER)
    assert isinstance(await refused(), errors.OutcomeUnknownError)
    stage.sandbox.fail_next(ACCEPT, Fault.RESET_AFTER)
    assert isinstance(await refused(), errors.OutcomeUnknownError)


async def accepted_with(stage: Stage, **options: Any) -> None:
    token, favcrm = await stage.invite(), stage.provisioner(**options)
    read = stage.read_code(to=INVITED)
    refused = await stage.play(favcrm.accept_invite(token, read_code=read))
    assert isinstance(refused, errors.StoreError)
    stage.search.take("workspace", refused.workspace)
    stage.search.take("workspace", favcrm.inner.workspace)


async def inviting(stage: Stage) -> None:
    stage.hide_invited()
    crm = stage.client(api_key=stage.sandbox.add_organisation("One", email=EMAIL))
    await stage.play(crm.invite(INVITED, name="Ada", role="manager", expires_in_hours=24), "invitation")
    for wrong in ({"role": "king"}, {"expires_in_hours": 0}, {"email": f"{INVITED} {INVITED}"}):
        refused = await stage.play(crm.invite(**{"email": INVITED, **wrong}))
        assert isinstance(refused, errors.InvalidInputError)
    for fault in (Fault.RESET_AFTER, Fault.server_error(500, body="json", acts=True), Fault.HTML):
        stage.sandbox.fail_next(INVITE, fault)
        assert isinstance(await stage.play(crm.invite(INVITED)), errors.FavCRMError)
    stage.sandbox.rules.calls_per_month = 0
    assert isinstance(await stage.play(crm.invite(INVITED)), errors.PlanLimitError)


async def asking_and_watching(stage: Stage) -> None:
    key = stage.sandbox.add_organisation("One", email=EMAIL)
    crm = stage.client(api_key=key)
    assert await stage.play(crm.check_plan(tool="create_member"), "allowance")
    stage.sandbox.rules.customers = 0
    assert not await stage.play(crm.check_plan(quota="customers", delta=5), "allowance")
    stage.sandbox.fail_next("check_plan_operation", *[Fault.RESET_AFTER] * 4)
    assert isinstance(await stage.play(crm.check_plan(module="bookings")), errors.OutcomeUnknownError)
    reports = stage.provisioner(api_key=key.reveal()).inner.watch(interval=0.01)
    assert (await stage.play(next_of(reports), "report")).ready
    stage.sandbox.revoke(key)
    stage.search.hide("key", key.reveal())
    assert not (await stage.play(next_of(reports), "report")).ready
    stage.search.add("repr of a watch", repr(reports))
    closed = reports.close() if stage.colour == "blocking" else reports.aclose()
    if closed is not None:
        await closed


async def kept_in_files(stage: Stage) -> None:
    favcrm = stage.provisioner()
    pending = await stage.play(favcrm.initiate(REGISTRATION))
    stage.search.files(stage.directory)
    assert pending.request_id in stage.ledger.read_text(encoding="utf-8")
    # Another process goes on with what is in the file.
    again = await stage.play(stage.provisioner().initiate(REGISTRATION))
    assert again.request_id == pending.request_id
    await stage.play(favcrm.confirm(again, "000000" if stage.code() != "000000" else "000001"))
    await stage.play(favcrm.confirm(again, stage.code()))
    audited = (stage.directory / "audit.jsonl").read_text(encoding="utf-8")
    assert audited.count(pending.request_id) > 3
    stage.ledger.write_text(f'["{EMAIL}"]', encoding="utf-8")
    await stage.play(stage.provisioner().initiate(REGISTRATION, resend=True))
    stage.ledger.unlink()


FAULTS = [
    Fault.REFUSE_CONNECTION,
    Fault.RESET_BEFORE,
    Fault.RESET_AFTER,
    Fault.STALL,
    Fault.STALL_AFTER,
    Fault.SERVER_ERROR,
    Fault.HTML,
    Fault.TRUNCATED_SSE,
    Fault.TRUNCATED_SSE_AFTER_KEY,
    Fault.WRONG_TYPES,
    Fault.server_error(500, body="json", acts=True),
]

FLOWS: dict[str, Flow] = {
    "sign up": sign_up,
    "with plain arguments": with_plain_arguments,
    "wrong codes": wrong_codes,
    "expired": expired,
    "provisioned": provisioned,
    "a store that fails": lambda stage: provisioned_with(stage, store=Full()),
    "a store whose error shows the key": lambda stage: provisioned_with(stage, store=Blabbing()),
    "an escrow": lambda stage: provisioned_with(stage, store=Full(), escrow=MemoryStore()),
    "an escrow that fails": lambda stage: provisioned_with(stage, store=Full(), escrow=Blabbing()),
    "an account": with_an_account,
    "adopted": adopted,
    "refused keys": refused_keys,
    "refused calls": refused_calls,
    "rate limited": rate_limited,
    "bad input": bad_input,
    "bad settings": bad_settings,
    "interrupted": interrupted,
    "accepted": accepted,
    "not accepted": not_accepted,
    "accepted, and a store whose error shows the key": lambda stage: accepted_with(
        stage, store=Full(), escrow=Blabbing()
    ),
    "inviting": inviting,
    "asking and watching": asking_and_watching,
    "kept in files": kept_in_files,
}


@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)
async def test_never_seen(stage: Stage, flow: Flow) -> None:
    await searched(stage, flow)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.name}, {fault.acts}")
@pytest.mark.parametrize("tool", [REQUEST, VERIFY])
async def test_never_seen_when_it_goes_wrong(stage: Stage, tool: str, fault: Fault) -> None:
    if fault in [Fault.STALL, Fault.STALL_AFTER]:
        stage.timeout = IMPATIENT

    async def flow(stage: Stage) -> None:
        await sign_up(stage, fault, fault, tool=tool)

    await searched(stage, flow)


@in_process
@pytest.mark.parametrize("form", RefusalForm)
async def test_never_seen_in_a_refusal(stage: Stage, form: RefusalForm) -> None:
    stage.sandbox.refusal_form = form

    async def flow(stage: Stage) -> None:
        await wrong_codes(stage)
        stage.sandbox.rules.account_check = AccountCheck.AT_VERIFY
        await with_an_account(stage)
        await refused_keys(stage)

    await searched(stage, flow)


@in_process
@pytest.mark.parametrize("answers", AnswerForm)
@pytest.mark.parametrize("payloads", PayloadForm)
async def test_never_seen_in_any_form(stage: Stage, answers: AnswerForm, payloads: PayloadForm) -> None:
    stage.sandbox.answer_form, stage.sandbox.payload_form = answers, payloads

    async def flow(stage: Stage) -> None:
        await sign_up(stage)

    await searched(stage, flow)


@in_process
@pytest.mark.parametrize("variable", ["FAVCRM_API_KEY", "FAVCRM_MCP_TOKEN", None])
async def test_never_seen_in_settings(
    stage: Stage, variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = stage.sandbox.add_organisation().reveal()
    monkeypatch.setenv("FAVCRM_TIMEOUT_MS", "soon")
    if variable is None:
        config = stage.directory / ".config" / "favcrm" / "config.toml"
        config.parent.mkdir(parents=True)
        config.write_text(f'api_key = "{key}"\n', encoding="utf-8")
    else:
        monkeypatch.setenv(variable, key)
    from colours import provisioner

    with stage.search.listening():
        assert isinstance(await stage.play(lambda: provisioner(stage.colour)), errors.InvalidInputError)
    stage.search.check()


# A server that says too much


class Indiscreet:
    """A transport to a server that puts everything it knows into everything it says."""

    def __init__(self, stage: Stage, *, refuses: bool, account: bool = False) -> None:
        self._inner, self._stage, self._refuses = stage.sandbox.transport(), stage, refuses
        self._account = account

    def request(self, request: Request) -> Response:
        response = self._inner.request(request)
        params: Any = request.params
        if params.get("name") not in {REQUEST, VERIFY, INVITE, JOIN, ACCEPT}:
            # What a diagnosis finds is shown as the server sent it.
            return response
        said = f"{EMAIL} {MASKED} {INVITED} {MASKED_INVITED}"
        said += f" {params['arguments'].get('token', '')} {quote(EMAIL, safe='')}"
        if params.get("name") == VERIFY:
            said += f" {self._stage.code()} {' '.join(self._stage.sandbox.state.keys)}"
        if params.get("name") == ACCEPT:
            said += f" {self._stage.code(INVITED)} {' '.join(self._stage.sandbox.state.keys)}"
        if self._refuses:
            words = f"It already exists for {said}." if self._account else f"Invalid code for {said}."
            reason: Any = {"message": words, "loginUrl": f"https://app.favcrm.io/?for={quote(said)}"}
            return evolve(response, result={"isError": True, "structuredContent": reason})
        answered: Any = response.result
        payload = answered["structuredContent"]
        data: Any = payload.get("data", payload)
        payload["summary"] = f"{said} {data.get('token', '')}"
        address = f"https://app.favcrm.io/{quote(said)}?for={said}#{quote(said)}"
        data |= {"instructions": said, "nextSteps": [said], "loginUrl": address, "to": said}
        return response

    def close(self) -> None:
        """Close nothing."""


class AsyncIndiscreet(Indiscreet):
    """The same, asynchronous."""

    async def request(self, request: Request) -> Response:  # type: ignore[override]
        return super().request(request)

    async def aclose(self) -> None:
        """Close nothing."""


# Planting a leak makes it fail


def _keys(stage: Stage) -> str:
    return " ".join(stage.sandbox.state.keys)


@frozen
class Planted:
    """The flow as it is, with one leak."""

    stage: Stage
    patch: pytest.MonkeyPatch

    def at(self, kind: EventKind, leak: Callable[[], object]) -> None:
        """Do something more when an event is told."""
        tell = Emitter.__call__

        def told(it: Any, what: EventKind, **details: Any) -> None:
            if what is kind:
                leak()
            tell(it, what, **details)

        self.patch.setattr(Emitter, "__call__", told)

    def in_errors(self, spoil: Callable[[Any], object]) -> None:
        """Do something to each error at the boundary, in place of what is done there."""

        def spoiled(error: Any) -> Any:
            spoil(error)
            return error

        self.patch.setattr(_boundary, "_stripped", spoiled)


def _context(error: BaseException, text: str) -> None:
    error.__context__ = ValueError(text)


def _local(planted: Planted) -> None:
    class PlantedError(RuntimeError):
        pass

    source = "async def call_tool(self, name, arguments, **options):\n    api_key = key()\n    raise PlantedError\n"
    scope: dict[str, Any] = {"key": lambda: _keys(planted.stage), "PlantedError": PlantedError}
    exec(compile(source, engine.__file__, "exec"), scope)  # noqa: S102 - a frame of the package
    planted.patch.setattr(engine.Engine, "call_tool", scope["call_tool"])
    planted.in_errors(lambda _: None)


def _shown(workspace: Any) -> str:
    return f"Workspace({workspace.api_key.reveal()})"


def _reduced(secret: Any, _protocol: object) -> Any:
    return Secret, (secret.reveal(),)


def _repr(planted: Planted) -> None:
    from favcrm import Workspace

    planted.patch.setattr(Workspace, "__repr__", _shown)


def _pickle(planted: Planted) -> None:
    planted.patch.setattr(Secret, "__reduce_ex__", _reduced)


def _in_ledger(planted: Planted) -> None:
    path = planted.stage.directory / "ledger.json"
    planted.at(EventKind.KEY_STORED, lambda: path.write_text(_keys(planted.stage), encoding="utf-8"))


def _in_event(planted: Planted, text: Callable[[], str]) -> None:
    tell = Emitter.__call__

    def told(it: Any, what: EventKind, **details: Any) -> None:
        details["error"] = text()
        tell(it, what, **details)

    planted.patch.setattr(Emitter, "__call__", told)


LOG = logging.getLogger("favcrm")
LEAKS: dict[str, Callable[[Planted], object]] = {
    "the key in a log message": lambda it: it.at(
        EventKind.KEY_STORED, lambda: LOG.debug("%s", _keys(it.stage))
    ),
    "the key in a log extra": lambda it: it.at(
        EventKind.KEY_STORED, lambda: LOG.debug("stored", extra={"it": _keys(it.stage)})
    ),
    "the key in an event": lambda it: _in_event(it, lambda: _keys(it.stage)),
    "the key on stdout": lambda it: it.at(EventKind.KEY_STORED, lambda: sys.stdout.write(_keys(it.stage))),
    "the key on stderr": lambda it: it.at(EventKind.KEY_STORED, lambda: sys.stderr.write(_keys(it.stage))),
    "the key in a warning": lambda it: it.at(
        EventKind.KEY_STORED, lambda: warnings.warn(_keys(it.stage), stacklevel=2)
    ),
    "the key in an error's message": lambda it: it.in_errors(
        lambda error: setattr(error, "message", _keys(it.stage))
    ),
    "the key in an error's args": lambda it: it.in_errors(
        lambda error: setattr(error, "args", (_keys(it.stage),))
    ),
    "the key in an error's notes": lambda it: it.in_errors(lambda error: error.add_note(_keys(it.stage))),
    "the key in an error's context": lambda it: it.in_errors(lambda error: _context(error, _keys(it.stage))),
    "the key in a local variable": _local,
    "the key in a repr": _repr,
    "the key in a pickle": _pickle,
    "the key in the ledger": _in_ledger,
    "the code in an error": lambda it: it.in_errors(
        lambda error: setattr(error, "summary", " ".join(str(mail.code) for mail in it.stage.sandbox.inbox))
    ),
    "the email in the log": lambda it: it.at(EventKind.CODE_REQUESTED, lambda: LOG.info("mailed %s", EMAIL)),
    "the masked email in an event": lambda it: _in_event(it, lambda: MASKED),
    "half the key in the log": lambda it: it.at(
        EventKind.KEY_STORED, lambda: LOG.debug("%s", _keys(it.stage)[:24])
    ),
}


async def good_and_bad(stage: Stage) -> None:
    favcrm = stage.provisioner()
    done = await stage.play(
        favcrm.provision(REGISTRATION, read_code=stage.read_code(wrong=1), store=MemoryStore())
    )
    stage.search.take("workspace", getattr(done, "workspace", None))
    stage.search.take("key", getattr(done.workspace, "api_key", None))
    await stage.play(stage.client(api_key=done.workspace.api_key).call_tool("no_such_tool"))


async def test_nothing_is_found_where_nothing_is_planted(stage: Stage) -> None:
    await searched(stage, good_and_bad)


@in_process
@one_side
@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS)
async def test_planting_a_leak_makes_it_fail(
    stage: Stage, leak: Callable[[Planted], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    leak(Planted(stage, monkeypatch))
    with pytest.raises(AssertionError, match=r"(key|code|email|masked) in "):
        await searched(stage, good_and_bad)


@in_process
@one_side
@pytest.mark.parametrize("what", ["token", "masked"])
async def test_planting_a_leak_of_an_invitation_makes_it_fail(
    stage: Stage, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = Planted(stage, monkeypatch)
    if what == "token":
        planted.at(EventKind.VERIFY_SENT, lambda: LOG.debug("%s", [*stage.sandbox.state.invites]))
    else:
        # Beside the ledger, which would not be one any more.
        beside = stage.ledger.with_name("ledger.json.old")
        planted.at(EventKind.VERIFY_SENT, lambda: beside.write_text(MASKED_INVITED, encoding="utf-8"))
    with pytest.raises(AssertionError, match=rf"{what} in (log|the ledger|file ledger)"):
        await searched(stage, accepted)


@in_process
@pytest.mark.parametrize(
    ("refuses", "account"),
    [(True, False), (True, True), (False, False)],
    ids=["refusing", "known", "answering"],
)
async def test_never_seen_where_the_server_says_too_much(stage: Stage, refuses: bool, account: bool) -> None:
    kind = Indiscreet if stage.colour == "blocking" else AsyncIndiscreet
    transport = kind(stage, refuses=refuses, account=account)

    async def flow(stage: Stage) -> None:
        favcrm = stage.provisioner(endpoint=None, timeout=None, transport=transport)
        pending = await stage.play(favcrm.initiate(REGISTRATION))
        request_id = getattr(pending, "request_id", None) or "a"
        await stage.play(favcrm.confirm(request_id, stage.code()))

    await searched(stage, flow)


@in_process
@pytest.mark.parametrize("refuses", [True, False], ids=["refusing", "answering"])
async def test_never_seen_where_the_server_says_too_much_of_an_invitation(
    stage: Stage, refuses: bool
) -> None:
    kind = Indiscreet if stage.colour == "blocking" else AsyncIndiscreet
    options: Any = {"endpoint": None, "timeout": None, "transport": kind(stage, refuses=refuses)}

    async def flow(stage: Stage) -> None:
        stage.hide_invited()
        key = stage.sandbox.add_organisation("One", email=EMAIL)
        invitation = await stage.play(stage.client(**options, api_key=key).invite(f" {INVITED} "))
        token = getattr(invitation, "token", None) or await stage.invite()
        read = stage.read_code(to=INVITED)
        done = await stage.play(stage.provisioner(**options).accept_invite(token, read_code=read))
        assert isinstance(done, errors.RefusedError) is refuses

    await searched(stage, flow)
