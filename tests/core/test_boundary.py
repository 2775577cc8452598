"""What a public method raises leaves without our frames; the frames of whoever wrote a callable stay."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest
from colours import Colour, client, own_transport, provisioner, transport_to

import favcrm
from favcrm import BearerAuth, Registration, Secret, SecretRef, errors
from favcrm._boundary import boundaries, boundary
from favcrm.sandbox import Sandbox
from favcrm.stores import MemoryStore
from favcrm.transport import Request

pytestmark = pytest.mark.anyio

EMAIL = "you@example.com"
KEY = "not-a-real-key-6789"
PACKAGE = str(Path(favcrm.__file__).parent)
FACADES = [
    favcrm.FavCRMProvisioner,
    favcrm.AsyncFavCRMProvisioner,
    favcrm.FavCRMClient,
    favcrm.AsyncFavCRMClient,
    BearerAuth,
]


def ours(error: BaseException) -> list[str]:
    """Return the names of our functions in a traceback."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return [frame.f_code.co_name for frame in frames if frame.f_code.co_filename.startswith(PACKAGE)]


def locals_of(error: BaseException) -> list[dict[str, Any]]:
    """Return the local variables of our functions in a traceback."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return [frame.f_locals for frame in frames if frame.f_code.co_filename.startswith(PACKAGE)]


@pytest.mark.parametrize("facade", FACADES)
def test_every_public_method_is_inside_the_boundary_and_looks_as_it_did(facade: type) -> None:
    public = {name: member for name, member in vars(facade).items() if inspect.isfunction(member)}
    named = {name: member for name, member in public.items() if not name.startswith("_")}
    for member in [*named.values(), vars(facade)["__init__"]]:
        assert member.__code__.co_name == "guarded"
        inner: Any = inspect.unwrap(member)
        assert (member.__name__, member.__doc__) == (inner.__name__, inner.__doc__)
        assert inspect.signature(member) == inspect.signature(inner)
        for kind in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
            assert kind(member) == kind(inner)


async def test_an_error_of_ours_leaves_alone(sandbox: Sandbox, colour: Colour) -> None:
    facade = provisioner(colour, transport=transport_to(sandbox, colour))
    pending = await facade.initiate(email=EMAIL, organisation_name="Acme")
    with pytest.raises(errors.InvalidInputError) as caught:
        await facade.confirm(pending, "27182")
    assert ours(caught.value) == ["guarded"]
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_the_users_own_context_is_kept(sandbox: Sandbox) -> None:
    facade = favcrm.FavCRMProvisioner(transport=sandbox.transport())
    with pytest.raises(errors.InvalidInputError) as caught:  # noqa: PT012
        try:
            int("no number")
        finally:
            facade.confirm("", "27182")
    assert isinstance(caught.value.__context__, ValueError)


def broken_reader(error: Callable[[], BaseException]) -> Any:
    def read(_: object) -> NoReturn:
        code = "271828"
        assert code
        raise error() from ValueError("a cause of mine")

    return read


@pytest.mark.parametrize("error", [LookupError, lambda: ExceptionGroup("two", [LookupError(), OSError()])])
async def test_an_error_of_a_reader_shows_where_it_was_raised_and_no_frame_of_ours(
    sandbox: Sandbox, colour: Colour, error: Callable[[], BaseException]
) -> None:
    facade = provisioner(colour, transport=transport_to(sandbox, colour))
    registration = Registration(email=EMAIL, organisation_name="Acme")
    with pytest.raises(type(error())) as caught:
        await facade.provision(registration, read_code=broken_reader(error))
    assert ours(caught.value) == ["guarded"]
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-1] == "read"
    assert str(caught.value.__cause__) == "a cause of mine"


def test_an_error_that_was_caught_in_here_and_stands_behind_another_has_no_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # This file stands for the package, and what is compiled here for the caller.
    monkeypatch.setattr("favcrm._boundary.OURS", (__file__, PACKAGE))
    scope: dict[str, Any] = {}
    exec("def read():\n    raise LookupError", scope)  # noqa: S102 - a frame of somebody else

    def refuse() -> NoReturn:
        raise errors.InvalidCodeError("It is wrong.") from ValueError("271828")

    @boundary
    def confirm() -> None:
        try:
            refuse()
        except errors.InvalidCodeError:
            scope["read"]()

    with pytest.raises(LookupError) as caught:
        confirm()
    behind = caught.value.__context__
    assert isinstance(behind, errors.InvalidCodeError)
    assert (behind.__traceback__, behind.__cause__, behind.__context__) == (None, None, None)


def test_an_error_that_the_caller_handles_keeps_its_frames(sandbox: Sandbox) -> None:
    facade = favcrm.FavCRMProvisioner(transport=sandbox.transport())
    registration = Registration(email=EMAIL, organisation_name="Acme")
    before: list[str] = []
    with pytest.raises(LookupError) as caught:  # noqa: PT012
        try:
            facade.confirm("", "27182")
        except errors.InvalidInputError as handled:
            before += traceback.format_exception(handled)
            facade.provision(registration, read_code=broken_reader(LookupError))
    behind = caught.value.__context__
    assert isinstance(behind, errors.InvalidInputError)
    assert traceback.format_exception(behind) == before


def test_errors_that_stand_behind_each_other_in_a_circle_end() -> None:
    @boundary
    def fail() -> NoReturn:
        first, second = LookupError(), LookupError()
        first.__cause__, second.__cause__ = second, first
        raise first

    with pytest.raises(LookupError):
        fail()


async def test_a_defect_of_ours_keeps_its_frames_emptied(
    sandbox: Sandbox, colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    facade = provisioner(colour, transport=transport_to(sandbox, colour))
    monkeypatch.setattr("favcrm._flows.engine.parse_code", None)
    with pytest.raises(TypeError) as caught:
        await facade.confirm("signup_req_1", "271828")
    assert ours(caught.value)[-1] == "confirm"
    assert "271828" not in repr(locals_of(caught.value))


async def test_what_ends_a_program_leaves_alone() -> None:
    @boundary
    async def fail(_: str) -> NoReturn:
        try:
            raise LookupError("behind")
        finally:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        await fail("a secret")
    assert caught.value.__context__ is None
    assert "fail" not in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


async def test_a_generator_goes_on_as_it_would_without_the_boundary() -> None:
    log: list[object] = []

    @boundary
    def count(start: int) -> Iterator[int]:
        try:
            log.append((yield start))
            yield start + 1
        finally:
            log.append("closed")

    @boundary
    async def count_async(start: int) -> AsyncIterator[int]:
        try:
            yield start
            yield start + 1
        finally:
            log.append("closed, async")

    counting: Any = count(1)
    assert next(counting) == 1
    assert counting.send("sent") == 2
    counting.close()
    assert list(count(3)) == [3, 4]
    waiting: Any = count_async(5)
    assert await anext(waiting) == 5
    await waiting.aclose()
    assert [each async for each in count_async(6)] == [6, 7]
    assert log == ["sent", "closed", None, "closed", "closed, async", "closed, async"]


async def test_a_generator_that_fails_leaves_no_frame() -> None:
    @boundary
    def count(_: str) -> Iterator[int]:
        yield 1
        raise errors.StoreError("It failed.")

    @boundary
    async def count_async(_: str) -> AsyncIterator[int]:
        yield 1
        raise errors.StoreError("It failed.")

    with pytest.raises(errors.StoreError) as caught:
        list(count("a secret"))
    assert "count" not in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    with pytest.raises(errors.StoreError) as caught:
        [each async for each in count_async("a secret")]
    assert "count_async" not in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


def test_a_class_keeps_what_is_not_public() -> None:
    @boundaries
    class Thing:
        size = 1

        def _inner(self) -> None: ...

        def __call__(self) -> None: ...

    assert Thing._inner.__code__.co_name == "_inner"
    assert Thing.__call__.__code__.co_name == "guarded"
    assert Thing.size == 1


@pytest.mark.parametrize(
    "fields",
    [{"email": f"{EMAIL} {EMAIL}", "organisation_name": "x"}, {"email": EMAIL, "organisation_name": "x"}],
)
def test_a_registration_that_is_refused_leaves_no_frame_with_its_email(fields: Any) -> None:
    with pytest.raises(errors.InvalidInputError) as caught:
        Registration(**fields)
    assert ours(caught.value) == ["guarded"]
    mistaken: Any = Registration
    with pytest.raises(TypeError) as refused:
        mistaken(**fields, emial=EMAIL)
    assert EMAIL not in repr(locals_of(refused.value))


# The words of whoever wrote a store or a transport


class Telling(MemoryStore):
    """A store whose error tells what it was given."""

    def put(
        self, name: str, secret: Secret, metadata: Mapping[str, str], *, if_absent: bool = True
    ) -> SecretRef:
        error = errors.StoreError(f"Cannot save {KEY}.", next_step=f"Save {KEY}.", request_id=KEY)
        error.add_note(f"It was {KEY}.")
        error.odd = KEY  # type: ignore[attr-defined]
        error.count = 1  # type: ignore[attr-defined]
        raise error


async def test_the_words_of_a_store_do_not_tell_the_key(sandbox: Sandbox, colour: Colour) -> None:
    facade = provisioner(colour, transport=transport_to(sandbox, colour), store=Telling())
    with pytest.raises(errors.StoreError) as caught:
        await facade.adopt(KEY)
    assert caught.value.message == "The key could not be saved: Cannot save [hidden]."
    assert KEY not in str(caught.value) + repr(caught.value.__dict__)


@pytest.mark.parametrize(
    "kind", [errors.NotSentError, errors.OutcomeUnknownError, errors.RefusedError, errors.ServerBusyError]
)
async def test_the_words_of_a_transport_do_not_tell_the_request(
    colour: Colour, kind: type[errors.FavCRMError]
) -> None:
    def speak(request: Request) -> NoReturn:
        key = request.api_key.reveal() if request.api_key else None
        error = kind(f"It failed with {request.params} and {key}.")
        error.add_note(f"It was {request.params}.")
        raise error

    transport = own_transport(colour, speak)
    retry = favcrm.RetryPolicy.never()
    crm = client(colour, transport=transport, api_key=KEY, retry=retry)
    facade = provisioner(colour, transport=transport, retry=retry)
    calls: list[tuple[Callable[[], Any], str]] = [
        (lambda: crm.call_tool("x", {"token": "not-a-real-token-6789"}), "not-a-real-token-6789"),
        (crm.list_tools, KEY),
        (lambda: facade.initiate(email=EMAIL, organisation_name="Acme"), EMAIL),
        (lambda: facade.confirm("signup_req_1", "271828"), "271828"),
    ]
    for call, secret in calls:
        with pytest.raises(errors.FavCRMError) as caught:
            await call()
        assert secret not in str(caught.value) + repr(caught.value.__dict__) + repr(caught.value.args)
