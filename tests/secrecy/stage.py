"""Where a flow is played in front of everybody who listens."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from colours import Colour, Facade, client, provisioner, transport_to
from secrecy.search import Search, inside

from favcrm import Event, JsonlAuditLog, PendingRegistration, Registration, RetryPolicy, Secret, SecretRef
from favcrm.errors import StoreError
from favcrm.ledger_file import FileLedger
from favcrm.sandbox import Sandbox
from favcrm.stores import MemoryStore

EMAIL = "somebody.unlikely@example.com"
MASKED = "so*@example.com"
INVITED = "ada.improbable@example.org"
MASKED_INVITED = "ad*@example.org"
REGISTRATION = Registration(email=EMAIL, organisation_name="Stretch + Breathe")
QUICK = RetryPolicy(attempts=2, deadline=5, backoff_initial=0.001)
PATIENT, IMPATIENT = 10.0, 0.3


class Stage:
    """One sandbox, one colour, and one search."""

    def __init__(
        self,
        sandbox: Sandbox,
        colour: Colour,
        directory: Path,
        url: str | None = None,
        transport: Any = None,
    ) -> None:
        self.sandbox, self.directory, self.url = sandbox, directory, url
        self.transport = transport
        self.colour: Colour = colour
        self.timeout = PATIENT
        self.search = Search()
        self.search.hide("email", EMAIL)
        self.search.hide("masked", MASKED)
        self.events: list[Event] = []
        self.audit = JsonlAuditLog(directory / "audit.jsonl")
        self.ledger = directory / "ledger.json"
        self._facades: list[Facade] = []

    def on_event(self, event: Event) -> None:
        self.audit(event)
        self.search.take("event", event)
        # At the end there is nothing in it.
        with suppress(FileNotFoundError):
            self.search.add("the ledger on the way", self.ledger.read_bytes())

    def _reach(self) -> dict[str, Any]:
        if self.transport is not None:
            return {"transport": self.transport, "timeout": self.timeout}
        if self.url is None:
            return {"transport": transport_to(self.sandbox, self.colour)}
        return {"endpoint": self.url, "timeout": self.timeout}

    def provisioner(self, **options: Any) -> Facade:
        ledger = FileLedger(self.ledger)
        chosen = {**self._reach(), "ledger": ledger, "retry": QUICK, "on_event": self.on_event, **options}
        self._facades.append(provisioner(self.colour, **chosen))
        return self._facades[-1]

    def client(self, **options: Any) -> Facade:
        chosen = {**self._reach(), "retry": QUICK, "on_event": self.on_event, **options}
        self._facades.append(client(self.colour, **chosen))
        return self._facades[-1]

    async def play(self, result: Any, label: str = "result") -> Any:
        """Await something, and look at what it returns or raises from all sides."""
        try:
            value = await result if inspect.isawaitable(result) else result()
        except BaseException as error:  # noqa: BLE001  # an interrupt is looked at too
            self._know()
            self.search.take(type(error).__name__, error)
            return error
        self._know()
        self.search.take(label, value)
        return value

    async def invite(self) -> Secret:
        """Invite somebody to the owner's workspace, and return the token of the invitation."""
        self.hide_invited()
        key = self.sandbox.add_organisation("Stretch + Breathe", email=EMAIL)
        invitation = await self.play(self.client(api_key=key).invite(INVITED, name="Ada"), "invitation")
        assert isinstance(invitation.token, Secret)
        return invitation.token

    def hide_invited(self) -> None:
        self.search.hide("email", INVITED)
        self.search.hide("masked", MASKED_INVITED)

    def code(self, to: str = EMAIL) -> str:
        return self.sandbox.inbox.code_for(to)

    def _know(self) -> None:
        """Everything that the sandbox has given out so far is hidden."""
        for key in self.sandbox.state.keys:
            self.search.hide("key", key)
        for token in self.sandbox.state.invites:
            self.search.hide("token", token)
        for mail in self.sandbox.inbox:
            assert mail.code is not None
            self.search.hide("code", mail.code)

    def read_code(self, wrong: int = 0, to: str = EMAIL) -> Any:
        """Return a reader of codes of this stage's colour, whose first ones are wrong."""
        left = [wrong]

        def read(pending: PendingRegistration) -> str:
            self.search.take("pending", pending)
            left[0] -= 1
            code = self.code(to)
            if left[0] < 0:
                return code
            # Another one each time: a code that was refused is not sent again.
            other = f"{(int(code) + 1 + left[0]) % 1_000_000:06}"
            self.search.hide("code", other)
            return other

        async def read_async(pending: PendingRegistration) -> str:
            return read(pending)

        return read if self.colour == "blocking" else read_async

    async def end(self) -> None:
        """Close everything, and look at what is left in files and shown of the process."""
        for facade in self._facades:
            self.search.add("repr of a facade", repr(facade.inner))
            self.search.add("what is in a facade", repr(inside(vars(facade.inner))))
            await facade.end()
        self.audit.close()
        self.search.files(self.directory)
        self.search.process()
        self._know()


async def searched(stage: Stage, flow: Callable[[Stage], Awaitable[object]]) -> None:
    """Play a flow in front of everybody who listens, and look for secrets in all that came out."""
    with stage.search.listening():
        await flow(stage)
        await stage.end()
    assert stage.search.searched > 1000
    stage.search.check()


async def next_of(reports: Iterator[object] | AsyncIterator[object]) -> object:
    """Return the next report of a watch of either colour."""
    return await anext(reports) if isinstance(reports, AsyncIterator) else next(reports)


class Blabbing(MemoryStore):
    """A store whose errors show what it was given."""

    def put(
        self, name: str, secret: Secret, metadata: Mapping[str, str], *, if_absent: bool = True
    ) -> SecretRef:
        value = secret.reveal()
        raise RuntimeError(f"cannot write {value}", value)


class Full(MemoryStore):
    """A store that cannot be written, and whose error hangs on one that shows the key."""

    def put(
        self, name: str, secret: Secret, metadata: Mapping[str, str], *, if_absent: bool = True
    ) -> SecretRef:
        raise StoreError("The disk is full.") from ValueError(secret.reveal())
