"""One provisioning with a real ledger and store in files, which can be hit by a signal at any named step.

Imported by the tests, and run by them as ``python flow.py``: that process imports everything once, and then forks
one for each line of settings that it reads. It answers with two lines: the process id, and how the process ended.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from attrs import frozen

from favcrm import (
    AsyncFavCRMProvisioner,
    Event,
    EventKind,
    FavCRMProvisioner,
    PendingRegistration,
    Provisioned,
    Registration,
    RetryPolicy,
    Secret,
    SecretRef,
)
from favcrm.errors import StoreError
from favcrm.ledger_file import FileLedger
from favcrm.stores.config_file import ConfigFileStore
from favcrm.stores.escrow import EscrowStore
from favcrm.transport import Request
from favcrm.transports.http import AsyncHTTPTransport, HTTPTransport

EMAIL = "you@example.com"
REGISTRATION = Registration(email=EMAIL, organisation_name="Stretch + Breathe")
VERIFY = "register_organisation_verify"
PATIENT = 10.0
STATUS = 3


@frozen(kw_only=True)
class Settings:
    """One run.

    Attributes:
        colour: ``blocking``, ``asyncio`` or ``trio``.
        url: The endpoint.
        directory: Where the ledger, the store, the escrow and the mailed code are.
        hit_at: The step at which the signal comes; empty for none.
        signal: The signal.
        full: Whether the store fails when it is written.
        escrow: Whether there is an escrow.
        timeout: Seconds that one attempt may take.
        handler: What handles the signal, one of `HANDLERS`; empty for nothing but what does by default.
        host: Who runs it, one of `HOSTS`.
    """

    colour: str
    url: str
    directory: str
    hit_at: str = ""
    signal: int = 0
    full: bool = False
    escrow: bool = False
    timeout: float = PATIENT
    handler: str = ""
    host: str = "main"

    @property
    def place(self) -> Path:
        return Path(self.directory)

    def reach(self, step: str) -> None:
        """Come to a step; the signal is taken before this returns, or soon after in another thread."""
        if step == self.hit_at:
            # To the main thread, which Ctrl-C mostly finds.
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, self.signal)

    def on_event(self, event: Event) -> None:
        self.reach(f"state {event.state}" if event.kind is EventKind.STATE_CHANGED else f"event {event.kind}")

    def read_code(self, _: PendingRegistration) -> str:
        self.reach("asked for the code")
        return (self.place / "code").read_text(encoding="ascii")

    async def read_code_async(self, pending: PendingRegistration) -> str:
        return self.read_code(pending)


class Ledger(FileLedger):
    """The file ledger, with its steps."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.place / "ledger.json")
        self._settings = settings

    def keep(self, name: str, pending: PendingRegistration) -> None:
        self._settings.reach("before the ledger keeps")
        super().keep(name, pending)
        self._settings.reach("after the ledger kept")

    def mark_sent(self, *args: Any, **keywords: Any) -> None:
        what = "marks" if keywords["sent"] else "settles"
        self._settings.reach(f"before the ledger {what}")
        super().mark_sent(*args, **keywords)
        self._settings.reach(f"after the ledger {what}")


class Store(ConfigFileStore):
    """The store in the vendor's config file, with its steps."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.place / "config.toml")
        self._settings = settings

    def check(self) -> None:
        self._settings.reach("before the store is checked")
        super().check()

    def put(
        self, name: str, secret: Secret, metadata: Mapping[str, str], *, if_absent: bool = True
    ) -> SecretRef:
        self._settings.reach("before the store puts")
        if self._settings.full:
            raise StoreError("The disk is full.")
        ref = super().put(name, secret, metadata, if_absent=if_absent)
        self._settings.reach("after the store put")
        return ref


class Wire(HTTPTransport):
    """HTTP, with a step where the answer to the code has arrived and nobody has looked at it."""

    settings: Settings

    def request(self, request: Request) -> Any:
        response = super().request(request)
        if request.params.get("name") == VERIFY:
            self.settings.reach("the answer has arrived")
        return response


class AsyncWire(AsyncHTTPTransport):
    """The same, asynchronous."""

    settings: Settings

    async def request(self, request: Request) -> Any:
        response = await super().request(request)
        if request.params.get("name") == VERIFY:
            self.settings.reach("the answer has arrived")
        return response


def provision(settings: Settings) -> Provisioned[Any]:
    """Go all the way, in any colour."""
    if settings.colour == "blocking":
        return _provision(settings)
    if settings.colour == "asyncio":
        return asyncio.run(_provision_async(settings))
    import trio

    return trio.run(_provision_async, settings)


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "store": Store(settings),
        "escrow": EscrowStore(settings.place / "escrow") if settings.escrow else None,
        "ledger": Ledger(settings),
        "timeout": settings.timeout,
        "on_event": settings.on_event,
        "retry": RetryPolicy(backoff_initial=0.01),
    }


def _provision(settings: Settings) -> Provisioned[Any]:
    wire = Wire(settings.url)
    wire.settings = settings
    try:
        with FavCRMProvisioner(transport=wire, **_options(settings)) as favcrm:
            return favcrm.provision(REGISTRATION, read_code=settings.read_code)
    finally:
        wire.close()


async def _provision_async(settings: Settings) -> Provisioned[Any]:
    wire = AsyncWire(settings.url)
    wire.settings = settings
    try:
        async with AsyncFavCRMProvisioner(transport=wire, **_options(settings)) as favcrm:
            return await favcrm.provision(REGISTRATION, read_code=settings.read_code_async)
    finally:
        await wire.aclose()


# What handles a signal


def _exit(*_: object) -> None:
    sys.exit(STATUS)


def _raise(*_: object) -> None:
    raise TimeoutError


HANDLERS = {"exits": _exit, "raises": _raise}


# Who runs a sign-up, and leaves it when the signal comes


def _in_daemon_thread(settings: Settings) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {settings.signal})
    threading.Thread(target=provision, args=(settings,), daemon=True).start()
    signal.sigwait({settings.signal})
    sys.exit(STATUS)


def _in_joined_thread(settings: Settings) -> None:
    thread = threading.Thread(target=provision, args=(settings,))
    thread.start()
    thread.join()


def _in_pool(settings: Settings) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(provision, settings).result()


async def _strike(settings: Settings) -> None:
    """Wait for the signal."""
    struck = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(settings.signal, struck.set)
    await struck.wait()


async def _until_struck(settings: Settings) -> asyncio.Task[Any]:
    """Begin a sign-up, and return its task when the signal has come."""
    task = asyncio.create_task(_provision_async(settings))
    await _strike(settings)
    return task


def _asyncio_run_ends(settings: Settings) -> None:
    asyncio.run(_until_struck(settings))
    sys.exit(STATUS)


def _loop_is_closed(settings: Settings) -> None:
    """As it was done before there was `asyncio.run`."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(_until_struck(settings))
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.close()
    sys.exit(STATUS)


def _handler_of_the_loop_exits(settings: Settings) -> None:
    async def main() -> None:
        asyncio.get_running_loop().add_signal_handler(settings.signal, _exit)
        await _provision_async(settings)

    asyncio.run(main())


def _task_is_cancelled_again_and_again(settings: Settings) -> None:
    async def main() -> None:
        task = await _until_struck(settings)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)

    asyncio.run(main())
    sys.exit(STATUS)


def _sibling_fails(settings: Settings) -> None:
    async def sibling() -> None:
        await _strike(settings)
        raise LookupError

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_provision_async(settings))
            group.create_task(sibling())

    with suppress(ExceptionGroup):
        asyncio.run(main())
    sys.exit(STATUS)


def _nursery_is_cancelled(settings: Settings) -> None:
    import trio

    async def main() -> None:
        with trio.open_signal_receiver(settings.signal) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_provision_async, settings)
                await anext(signals)
                nursery.cancel_scope.cancel()

    trio.run(main)
    sys.exit(STATUS)


HOSTS = {
    "main": provision,
    "daemon thread": _in_daemon_thread,
    "joined thread": _in_joined_thread,
    "pool": _in_pool,
    "asyncio.run ends": _asyncio_run_ends,
    "loop is closed": _loop_is_closed,
    "handler of the loop exits": _handler_of_the_loop_exits,
    "task is cancelled again and again": _task_is_cancelled_again_and_again,
    "sibling fails": _sibling_fails,
    "nursery is cancelled": _nursery_is_cancelled,
}


def _wait_for_settings() -> Settings:
    """Return in a new process for each settings that come; the old one ends when no more come."""
    for line in sys.stdin:
        if not (pid := os.fork()):
            return Settings(**json.loads(line))
        print(pid, flush=True)  # noqa: T201 - this is how the test learns it
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 - as above
    sys.exit()


def _redirect(directory: Path) -> None:
    for stream in (sys.stdout, sys.stderr):
        with (directory / stream.name.strip("<>")).open("ab") as file:
            os.dup2(file.fileno(), stream.fileno())


if __name__ == "__main__":
    # What is imported on use is imported before the fork.
    for module in (
        "anyio.to_thread",
        "anyio._backends._asyncio",
        "anyio._backends._trio",
        "trio",
        "tenacity",
    ):
        import_module(module)
    chosen = _wait_for_settings()
    _redirect(chosen.place)
    # One that does not end tells where it is.
    faulthandler.enable()
    # As in a terminal, whatever the starting process made of it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if chosen.handler:
        signal.signal(chosen.signal, HANDLERS[chosen.handler])
    HOSTS[chosen.host](chosen)
