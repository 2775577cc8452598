"""Where a key goes and what stores of all kinds may do, in both colours."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from colours import Colour, client, own_transport, provisioner, transport_to
from core.flows import EMAIL, REGISTRATION, VERIFY, WHO, Full, confirmed, provisioned, sign_up

from favcrm import FileLedger, KeyNotStoredWarning, PendingRegistration, Secret, SecretRef, errors
from favcrm._flows.keys import key_name_of
from favcrm.sandbox import Sandbox
from favcrm.stores import ConfigFileStore, MemoryStore
from favcrm.transports import Response

pytestmark = pytest.mark.anyio


class Mapped(dict[str, Secret]):
    """A store of a user's: a mapping, which is false while it is empty."""

    scheme = "mapped"

    def check(self) -> None:
        """Nothing can go wrong."""

    def put(
        self, name: str, secret: Secret, metadata: Mapping[str, str], *, if_absent: bool = True
    ) -> SecretRef:
        ref = SecretRef.of(self.scheme, name)
        self[ref] = secret
        return ref

    def get(self, ref: str) -> Secret:  # type: ignore[override]  # a store's contract, not a mapping's
        if ref not in self:
            raise errors.MissingKeyError(f"There is no key at {ref}.")
        return self[ref]

    def delete(self, ref: SecretRef) -> None:
        self.pop(ref, None)


@pytest.mark.parametrize("given", ["constructor", "call"])
async def test_a_store_that_is_empty_and_so_false_gets_the_key(
    sandbox: Sandbox, colour: Colour, given: str
) -> None:
    store = Mapped()
    if given == "constructor":
        workspace = await confirmed(sign_up(sandbox, colour, store=store), sandbox)
    else:
        workspace = (await provisioned(sign_up(sandbox, colour), sandbox, store=store)).workspace
    assert list(store) == [workspace.ref]


@pytest.mark.parametrize("method", ["provision", "confirm"])
async def test_an_escrow_that_is_empty_and_so_false_gets_the_key(
    sandbox: Sandbox, colour: Colour, method: str
) -> None:
    stores = {"store": Full(), "escrow": (escrow := Mapped())}
    if method == "provision":
        flow = provisioned(sign_up(sandbox, colour, **stores), sandbox)
    else:
        flow = confirmed(sign_up(sandbox, colour, **stores), sandbox)
    with pytest.raises(errors.StoreError, match="It is in the escrow") as caught:
        await flow
    assert caught.value.workspace is not None
    assert list(escrow) == [caught.value.workspace.ref]


@pytest.mark.parametrize("with_escrow", [True, False])
async def test_a_store_that_ends_the_process_lets_the_escrow_have_the_key_first(
    sandbox: Sandbox, colour: Colour, with_escrow: bool
) -> None:
    class End(BaseException):
        """As SystemExit, which asyncio would raise through its loop."""

    class Ending(MemoryStore):
        def put(self, *_: object, **__: object) -> SecretRef:
            raise End

    escrow = Mapped()
    favcrm = sign_up(sandbox, colour, store=Ending(), escrow=escrow if with_escrow else None)
    with pytest.raises(End):
        await provisioned(favcrm, sandbox)
    assert len(escrow) == with_escrow
    if with_escrow:
        kept = MemoryStore()
        again = sign_up(sandbox, colour, store=kept, escrow=escrow)
        assert (await provisioned(again, sandbox)).report.ready
        assert (len(escrow), sandbox.count(VERIFY)) == (0, 1)


async def test_an_adopted_key_goes_to_the_escrow_too(sandbox: Sandbox, colour: Colour) -> None:
    escrow = Mapped()
    with pytest.raises(errors.StoreError, match="It is in the escrow"):
        await sign_up(sandbox, colour, store=Full(), escrow=escrow).adopt("k" * 20)
    assert len(escrow) == 1


async def test_a_store_with_another_key_keeps_it_and_the_adopted_key_is_not_called_new(
    sandbox: Sandbox, colour: Colour
) -> None:
    store = MemoryStore()
    ref = store.put("workspace", Secret("not-a-real-key-6789"), {})
    with pytest.raises(errors.StoreError, match="Another key is stored") as caught:
        await sign_up(sandbox, colour, store=store).adopt("not-a-real-key-1234")
    assert "new key" not in str(caught.value)
    assert caught.value.next_step.startswith("The key that you gave is as good as before.")
    assert store.get(ref) == Secret("not-a-real-key-6789")


# What a store's `put` returns


@pytest.mark.parametrize(
    "told",
    [str, lambda _: "ok", lambda _: "://", lambda _: None],
    ids=["text", "word", "no reference", "nothing"],
)
async def test_a_store_that_returns_no_reference_is_read_at_its_own(
    sandbox: Sandbox, colour: Colour, told: Callable[[SecretRef], Any]
) -> None:
    class Odd(Mapped):
        def put(self, name: str, secret: Secret, *_: object, **__: object) -> Any:
            return told(super().put(name, secret, {}))

    store = Odd()
    done = await provisioned(sign_up(sandbox, colour), sandbox, store=store)
    assert isinstance(done.ref, SecretRef)
    assert store.get(done.ref) == done.workspace.api_key
    assert done.report.ready


# What a store's `get` returns


@pytest.mark.parametrize("told", [None, "not-a-real-key-6789"], ids=["nothing", "text"])
async def test_a_store_that_returns_no_secret_raises_store_error_and_uses_no_code(
    sandbox: Sandbox, colour: Colour, told: Any
) -> None:
    class Odd(Mapped):
        def get(self, ref: str) -> Any:  # type: ignore[override]  # a store's contract, not a mapping's
            return told

    favcrm = sign_up(sandbox, colour, store=Odd())
    what = rf"The store returned {type(told).__name__} instead of a Secret\. The get of a store must return"
    with pytest.raises(errors.StoreError, match=what) as caught:
        await confirmed(favcrm, sandbox)
    assert caught.value.workspace is None
    with pytest.raises(errors.StoreError, match=what):
        await provisioned(favcrm, sandbox)
    crm = client(colour, transport=transport_to(sandbox, colour), store=Odd(), api_key="mapped://favcrm/acme")
    with pytest.raises(errors.StoreError, match=what):
        await crm.call_tool("list_services")
    assert sandbox.count(VERIFY) == 0


# What is no store


class Coroutines(Mapped):
    """A store whose `put` is a coroutine, so that calling it stores nothing."""

    async def put(self, *_: object, **__: object) -> SecretRef:  # type: ignore[override]
        raise AssertionError


class Older(Mapped):
    """A store that does not know every argument."""

    def put(self, name: str, secret: Secret, metadata: Mapping[str, str]) -> SecretRef:  # type: ignore[override]
        raise AssertionError


@pytest.mark.parametrize(
    ("store", "problem"),
    [
        (Coroutines(), "Coroutines cannot be used, because its put is a coroutine"),
        (Older(), "Older cannot be used, because its put takes other arguments"),
        ("config.toml", "str cannot be used, because its check is missing"),
        (MemoryStore, "check is missing"),
    ],
    ids=["coroutine", "older", "path", "class"],
)
@pytest.mark.parametrize("given", ["constructor", "call"])
async def test_what_is_no_store_is_refused_before_the_code_is_used(
    sandbox: Sandbox, colour: Colour, store: Any, problem: str, given: str
) -> None:
    at_call = {"store": store} if given == "call" else {}
    with pytest.raises(errors.InvalidInputError, match=f"store: .*{problem}"):
        await provisioned(
            sign_up(sandbox, colour, **({} if at_call else {"store": store})), sandbox, **at_call
        )
    assert sandbox.calls == ()


async def test_an_escrow_that_cannot_be_written_is_found_before_the_code_is_used(
    sandbox: Sandbox, colour: Colour
) -> None:
    class Closed(Mapped):
        def check(self) -> None:
            raise errors.StoreError("It is locked.")

    with pytest.raises(errors.StoreError, match="It is locked"):
        await confirmed(sign_up(sandbox, colour, store=Mapped(), escrow=Closed()), sandbox)
    assert sandbox.count(VERIFY) == 0


# The name of a key


async def test_provisioning_after_a_sign_up_in_two_steps_finds_its_key(
    sandbox: Sandbox, colour: Colour, tmp_path: Path
) -> None:
    store = ConfigFileStore(tmp_path / "config.toml")
    workspace = await confirmed(sign_up(sandbox, colour, store=store), sandbox)
    done = await provisioned(sign_up(sandbox, colour, store=store), sandbox)
    assert (done.ref, done.workspace.api_key) == (workspace.ref, workspace.api_key)
    assert done.report.ready
    assert sandbox.count(VERIFY) == 1


async def test_accepting_an_invitation_after_joining_in_two_steps_finds_its_key(
    sandbox: Sandbox, colour: Colour, tmp_path: Path
) -> None:
    store = ConfigFileStore(tmp_path / "config.toml")
    owner = client(colour, transport=transport_to(sandbox, colour), api_key=sandbox.add_organisation())
    token = (await owner.invite(EMAIL)).token
    favcrm = sign_up(sandbox, colour, store=store)
    pending = await favcrm.request_invite_code(token)
    workspace = await favcrm.confirm_invite(token, sandbox.inbox.code_for(EMAIL))
    assert workspace.ref == SecretRef.of("config", pending.key_name)
    done = await sign_up(sandbox, colour, store=store).accept_invite(token, read_code=no_code)
    assert (done.ref, done.workspace.api_key) == (workspace.ref, workspace.api_key)


def no_code(_: PendingRegistration) -> str:
    raise AssertionError


async def test_a_registration_in_a_file_keeps_the_name_of_its_key(
    sandbox: Sandbox, colour: Colour, tmp_path: Path
) -> None:
    ledger = FileLedger(tmp_path / "pending.json")
    first = await sign_up(sandbox, colour, ledger=ledger).initiate(**WHO)
    again = await sign_up(sandbox, colour, ledger=ledger).initiate(**WHO)
    assert again.key_name == first.key_name == key_name_of(REGISTRATION)


async def test_with_a_request_id_alone_the_key_has_the_name_of_its_organisation(
    sandbox: Sandbox, colour: Colour
) -> None:
    favcrm = sign_up(sandbox, colour, store=MemoryStore())
    pending = await favcrm.initiate(**WHO)
    workspace = await favcrm.confirm(pending.request_id, sandbox.inbox.code_for(EMAIL))
    assert workspace.ref == SecretRef.of("memory", workspace.organisation_id)


# A place that is taken


@pytest.mark.parametrize("by_id", [False, True], ids=["object", "request id"])
@pytest.mark.parametrize("login", ["", "acme"])
async def test_a_file_that_has_a_key_already_is_found_before_the_code_is_used(
    sandbox: Sandbox, tmp_path: Path, login: str, by_id: bool
) -> None:
    path = tmp_path / "config.toml"
    name = f'\napi_key_name = "{login}"' if login else ""
    path.write_text(f'api_key = "not-a-real-key-6789"{name}\n', encoding="utf-8")
    favcrm = sign_up(sandbox, "blocking", store=ConfigFileStore(path))
    pending = await favcrm.initiate(**WHO)
    given = pending.request_id if by_id else pending
    with pytest.raises(errors.StoreError, match=r"has the name acme|nother key") as caught:
        await favcrm.confirm(given, sandbox.inbox.code_for(EMAIL))
    assert caught.value.workspace is None
    assert sandbox.count(VERIFY) == 0
    assert "not-a-real-key-6789" in path.read_text(encoding="utf-8")


async def test_replacing_a_key_replaces_no_other_workspaces_key(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('api_key = "not-a-real-key-6789"\napi_key_name = "acme"\n', encoding="utf-8")
    favcrm = sign_up(sandbox, "blocking", store=ConfigFileStore(path))
    with pytest.raises(errors.StoreError, match="has the name acme"):
        await provisioned(favcrm, sandbox, replace=True)
    with pytest.raises(errors.StoreError, match="has the name acme"):
        await favcrm.adopt("not-a-real-key-1234", key_name="other", replace=True)
    assert sandbox.count(VERIFY) == 0
    await favcrm.adopt("not-a-real-key-1234", key_name="acme", replace=True)
    assert "not-a-real-key-1234" in path.read_text(encoding="utf-8")


async def test_a_key_in_the_environment_is_in_the_way_of_none(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAVCRM_API_KEY", "not-a-real-key-6789")
    store = ConfigFileStore(tmp_path / "config.toml")
    workspace = await confirmed(sign_up(sandbox, "blocking", store=store), sandbox)
    assert workspace.ref is not None
    assert store.get(workspace.ref) == workspace.api_key


# No store


async def test_without_a_store_a_warning_says_once_that_the_key_is_not_kept(
    sandbox: Sandbox, colour: Colour
) -> None:
    favcrm = sign_up(sandbox, colour)
    pending = await favcrm.initiate(**WHO)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await favcrm.confirm(pending, sandbox.inbox.code_for(EMAIL))
        await favcrm.confirm(pending, sandbox.inbox.code_for(EMAIL))
    assert [warning.category for warning in caught] == [KeyNotStoredWarning]
    assert "Give a store" in str(caught[0].message)
    # It names the line of the user's, who may be far from this package.
    assert caught[0].filename.endswith("colours.py")


async def test_a_warning_that_is_an_error_comes_before_the_code_is_used(
    sandbox: Sandbox, colour: Colour
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KeyNotStoredWarning):
            await confirmed(sign_up(sandbox, colour), sandbox)
        with pytest.raises(KeyNotStoredWarning):
            await provisioned(sign_up(sandbox, colour), sandbox)
    assert sandbox.count(VERIFY) == 0


async def test_a_store_in_memory_that_is_given_is_meant(sandbox: Sandbox, colour: Colour) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await confirmed(sign_up(sandbox, colour, store=MemoryStore()), sandbox)
        another = Sandbox()
        await provisioned(sign_up(another, colour), another, store=MemoryStore())


# A key that is replaced meanwhile


async def test_a_late_refusal_of_the_old_key_is_met_with_the_new_one(
    sandbox: Sandbox, colour: Colour
) -> None:
    store = MemoryStore()
    ref = store.put("acme", Secret("not-a-real-key-6789"), {})
    good = sandbox.add_organisation()

    class Rotating(MemoryStore):
        """The key is replaced, and read by another call, while a request with the old one is under way."""

        reads = 0

        def get(self, ref: SecretRef) -> Secret:
            self.reads += 1
            if self.reads == 2:
                self.put("acme", good, {}, if_absent=False)
            return super().get(ref)

    rotating = Rotating()
    rotating.put("acme", store.get(ref), {})
    crm = client(colour, transport=transport_to(sandbox, colour), store=rotating, api_key=ref)
    assert (await crm.call_tool("list_services")).data == {"services": []}


# Where a refused key came from, and who refused it


async def test_a_refused_key_names_where_it_came_from(sandbox: Sandbox, colour: Colour) -> None:
    store = MemoryStore()
    ref = store.put("acme", Secret("not-a-real-key-6789"), {})
    crm = client(colour, transport=transport_to(sandbox, colour), store=store, api_key=ref)
    with pytest.raises(errors.AuthenticationError) as caught:
        await crm.call_tool("list_services")
    assert caught.value.key_source == f"the store, at {ref}"
    assert f"The key came from the store, at {ref}." in str(caught.value)
    crm = client(colour, transport=transport_to(sandbox, colour), api_key="not-a-real-key-6789")
    with pytest.raises(errors.AuthenticationError, match="The key came from the argument api_key"):
        await crm.call_tool("list_services")


async def test_a_call_without_a_key_says_that_none_was_sent_and_where_keys_are_looked_for(
    sandbox: Sandbox, colour: Colour
) -> None:
    with pytest.raises(errors.AuthenticationError) as caught:
        await client(colour, transport=transport_to(sandbox, colour)).call_tool("list_services")
    assert caught.value.message.startswith("The server asks for a key, and none was sent. Nothing was done.")
    assert caught.value.summary in caught.value.message
    assert caught.value.key_source is None
    assert caught.value.next_step == (
        "Give a key: it is looked for in the argument api_key, the variable FAVCRM_API_KEY and the variable "
        "FAVCRM_MCP_TOKEN."
    )


async def test_a_sign_up_that_asks_for_a_key_is_none_of_favcrm(colour: Colour) -> None:
    refuse = own_transport(colour, lambda _: Response(status=401))
    favcrm = provisioner(colour, transport=refuse, api_key="not-a-real-key-6789")
    with pytest.raises(errors.AuthenticationError) as caught:
        await favcrm.initiate(**WHO)
    assert caught.value.message == "The server asks for a key, and none was sent. Nothing was done."
    assert caught.value.next_step.startswith("Check the endpoint")


async def test_an_error_names_the_endpoint_without_what_is_secret_in_it(colour: Colour) -> None:
    url = "http://127.0.0.1:9/mcp"
    favcrm = provisioner(colour, f"{url}?token=hidden")
    with pytest.raises(errors.NotSentError) as caught:
        await favcrm.initiate(**WHO)
    await favcrm.end()
    assert caught.value.endpoint == url
    assert str(caught.value).endswith(f"The endpoint was {url}.")
    assert "hidden" not in str(caught.value)
