"""Arguments of another kind than a type checker allows: each is named before anything is sent, in both colours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from colours import Colour, client, own_transport, provisioner, transport_to
from core.flows import REGISTRATION, REQUEST, WHO, sign_up

from favcrm import PendingRegistration, RetryPolicy, errors
from favcrm.sandbox import Sandbox
from favcrm.stores import MemoryStore

pytestmark = pytest.mark.anyio

HALF = "Acme \ud800"


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("endpoint", 5, "must be text"),
        ("api_key", 5, "must be text or a Secret"),
        ("api_key", b"key", "must be text or a Secret"),
        ("store", "file", "str cannot be used, because its check is missing"),
        ("escrow", MemoryStore, "type cannot be used, because its check is missing"),
        ("ledger", "pending.json", "a path is given as FileLedger"),
        ("retry", 3, "must be a RetryPolicy"),
        ("timeout", "30", "must be a number of seconds above 0"),
        ("on_event", "print", "must be a function"),
        ("era", ["bare"], "must be text"),
        ("profile", ["full"], "must be text"),
    ],
)
def test_a_wrong_argument_of_a_constructor_is_named(
    colour: Colour, name: str, value: Any, problem: str
) -> None:
    with pytest.raises(errors.InvalidInputError, match=problem) as caught:
        provisioner(colour, **{name: value})
    assert [each.field for each in caught.value.problems] == [name]


@pytest.mark.parametrize(
    ("name", "method", "arguments"),
    [
        ("organisation_name", "initiate", {**WHO, "organisation_name": HALF}),
        ("key_name", "confirm", {"pending": "signup_req_1", "code": "123456", "key_name": HALF}),
        ("request_id", "confirm", {"pending": HALF, "code": "123456"}),
        ("token", "request_invite_code", {"token": HALF}),
    ],
)
async def test_half_a_character_is_no_text(
    sandbox: Sandbox, colour: Colour, name: str, method: str, arguments: dict[str, str]
) -> None:
    with pytest.raises(errors.InvalidInputError) as caught:
        await getattr(sign_up(sandbox, colour), method)(**arguments)
    assert [each.field for each in caught.value.problems] == [name]
    assert sandbox.calls == ()


class TakesNothing:
    """What can be called with nothing alone."""

    def __call__(self) -> str:
        raise AssertionError


class WithoutRequest:
    """What can only be closed."""

    def close(self) -> None:
        raise AssertionError

    async def aclose(self) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("transport", "problem"),
    [
        (Sandbox(), r"transport: is a Sandbox: give its transport\(\)"),
        (WithoutRequest(), "transport: must have the methods request and a?close"),
        ("https://a.example/mcp", "transport: must have the methods request and a?close"),
    ],
    ids=["sandbox", "without request", "address"],
)
def test_what_is_no_transport_is_refused(colour: Colour, transport: Any, problem: str) -> None:
    with pytest.raises(errors.InvalidInputError, match=problem):
        provisioner(colour, transport=transport)


@pytest.mark.parametrize(
    ("method", "positional", "named", "field"),
    [
        ("initiate", ["you@example.com"], {}, "registration"),
        ("provision", ["you@example.com"], {"read_code": lambda _: "123456"}, "registration"),
        ("provision", [REGISTRATION], {"read_code": "123456"}, "read_code"),
        ("provision", [REGISTRATION], {"read_code": PendingRegistration}, "read_code"),
        ("provision", [REGISTRATION], {"read_code": TakesNothing()}, "read_code"),
        ("provision", [REGISTRATION], {"read_code": lambda _: "123456", "key_name": 5}, "key_name"),
        ("confirm", ["signup_req_1"], {"code": None}, "code"),
        ("confirm", [{"request_id": "signup_req_1"}], {"code": "123456"}, "request_id"),
        ("request_invite_code", [None], {}, "token"),
        ("confirm_invite", [5, "123456"], {}, "token"),
        ("confirm_invite", ["invite_1", "123456"], {"pending": "invite_1"}, "pending"),
        ("confirm_invite", ["invite_1", "123456"], {"person": 5}, "person"),
        ("accept_invite", [None], {"read_code": lambda _: "123456"}, "token"),
        ("adopt", [None], {}, "api_key"),
        ("watch", [], {"interval": "30"}, "interval"),
    ],
)
async def test_a_wrong_argument_of_a_method_is_named_before_anything_is_sent(
    sandbox: Sandbox, colour: Colour, method: str, positional: list[Any], named: dict[str, Any], field: str
) -> None:
    favcrm = sign_up(sandbox, colour, store=MemoryStore())
    with pytest.raises(errors.InvalidInputError) as caught:
        await getattr(favcrm, method)(*positional, **named)
    assert [each.field for each in caught.value.problems] == [field]
    assert sandbox.calls == ()


@pytest.mark.parametrize(
    ("code", "problem"),
    [(None, "code: must be text."), (123456, "code: must be text: a number would lose its leading zeros.")],
)
async def test_only_a_number_is_told_of_leading_zeros(colour: Colour, code: Any, problem: str) -> None:
    favcrm = provisioner(colour, transport=transport_to(Sandbox(), colour))
    with pytest.raises(errors.InvalidInputError) as caught:
        await favcrm.confirm("signup_req_1", code)
    assert problem in str(caught.value)


async def test_a_reader_that_returns_nothing_is_told_that_the_code_is_text(
    sandbox: Sandbox, colour: Colour
) -> None:
    favcrm = sign_up(sandbox, colour, store=MemoryStore())
    with pytest.raises(errors.InvalidInputError, match="code: must be text"):
        await favcrm.provision(REGISTRATION, read_code=lambda _: None)
    assert sandbox.count(REQUEST) == len(sandbox.calls) == 1


async def test_a_plain_function_is_no_reader_of_the_async_side(sandbox: Sandbox) -> None:
    class Reader:
        def __call__(self, _: PendingRegistration) -> str:
            return "123456"

    favcrm = sign_up(sandbox, "asynchronous", store=MemoryStore())
    with pytest.raises(errors.InvalidInputError, match="read_code: must be a coroutine function"):
        await favcrm.provision(REGISTRATION, read_code=Reader())


@pytest.mark.parametrize("answer", [None, {"result": {}}], ids=["nothing", "dictionary"])
async def test_a_transport_that_returns_no_response_leaves_the_outcome_unknown(
    colour: Colour, answer: Any
) -> None:
    def respond(_: object) -> Any:
        return answer

    favcrm = provisioner(colour, transport=own_transport(colour, respond), retry=RetryPolicy.never())
    what = f"The transport returned {type(answer).__name__} instead of a Response"
    with pytest.raises(errors.OutcomeUnknownError, match=what):
        await favcrm.initiate(**WHO)
    crm = client(colour, transport=own_transport(colour, respond), api_key="not-a-real-key-6789")
    with pytest.raises(errors.OutcomeUnknownError, match=what):
        await crm.call_tool("list_services")


@pytest.mark.parametrize("fields", [{"name": 5}, {"role": ["staff"]}, {"expires_in_hours": "3"}])
async def test_a_wrong_argument_of_an_invitation_is_named(
    sandbox: Sandbox, colour: Colour, fields: dict[str, Any]
) -> None:
    crm = client(colour, transport=transport_to(sandbox, colour), api_key=sandbox.add_organisation())
    with pytest.raises(errors.InvalidInputError) as caught:
        await crm.invite("ada@example.com", **fields)
    assert [each.field for each in caught.value.problems] == list(fields)


@pytest.mark.parametrize("field", ["attempts", "deadline", "backoff_initial", "backoff_max", "jitter"])
def test_a_retry_policy_of_texts_is_refused(field: str) -> None:
    fields: dict[str, Any] = {field: "3"}
    make: Callable[..., RetryPolicy] = RetryPolicy
    with pytest.raises(errors.InvalidInputError) as caught:
        make(**fields)
    assert [each.field for each in caught.value.problems] == [field]
