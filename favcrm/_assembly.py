"""From a constructor's arguments to an engine: the same for the provisioner and the client, sync and async."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from favcrm._backends.asynchronous import AsyncBackend
from favcrm._backends.blocking import BlockingBackend
from favcrm._flows.engine import Engine
from favcrm.errors import InvalidInputError, Problem
from favcrm.retry import RetryPolicy
from favcrm.secret import Secret, SecretRef
from favcrm.settings import Settings, as_secret
from favcrm.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from favcrm._backends import Backend
    from favcrm.events import Event
    from favcrm.ledger import Ledger
    from favcrm.store import Store
    from favcrm.transport import AsyncHTTPClient, AsyncTransport, HTTPClient, Transport
    from favcrm.typing import Era


def _as_key(key: str | Secret | SecretRef | None) -> Secret | SecretRef | None:
    """Return a key as a secret from the start, and a reference as one, also where it was kept as plain text."""
    if key is None or isinstance(key, Secret):
        return key
    return SecretRef(key) if "://" in key else as_secret(key)


@frozen(kw_only=True, eq=False, repr=False)
class Options:
    """The arguments that every provisioner and every client takes."""

    endpoint: str | None
    api_key: Secret | SecretRef | None = field(converter=_as_key)
    store: Store | None
    escrow: Store | None = None
    ledger: Ledger | None
    retry: RetryPolicy | None
    timeout: float | None
    on_event: Callable[[Event], None] | None

    def settings(self, transport: object = None) -> Settings:
        """Read the settings that the arguments leave open. The config file is not read where a transport is given."""
        if self.reference is not None and self.store is None:
            raise InvalidInputError([Problem("api_key", "is a reference, so the store must be given too")])
        key = self.api_key if isinstance(self.api_key, Secret) else None
        needed = {"endpoint"} if self.reference is not None else {"endpoint", "api_key"}
        return Settings.load(
            endpoint=self.endpoint,
            api_key=key,
            timeout=self.timeout,
            from_file=needed if transport is None else (),
        )

    @property
    def reference(self) -> SecretRef | None:
        """The key's reference, also where it was kept as plain text and read back; no key looks like an address."""
        return self.api_key if isinstance(self.api_key, SecretRef) else None

    def engine(self, backend: Backend, settings: Settings) -> Engine:
        """Return an engine over a backend."""
        return Engine(
            backend,
            policy=RetryPolicy() if self.retry is None else self.retry,
            timeout=settings.timeout,
            key=self.reference or settings.api_key,
            key_source=settings.key_source,
            store=self.store,
            escrow=self.escrow,
            ledger=self.ledger,
            on_event=self.on_event,
        )

    def check_transport(self, transport: object, http_client: object, era: object, close: str) -> None:
        """Refuse a sync transport in an async object or the reverse, and arguments that a given transport ignores."""
        if transport is None:
            return
        if not hasattr(transport, close):
            raise InvalidInputError([Problem("transport", f"must be of this colour, with a method {close}")])
        if not (self.endpoint is None and http_client is None and era is None):
            raise InvalidInputError([Problem("transport", "goes with none of endpoint, http_client and era")])


def store_for_provisioning(engine: Engine, store: Store | None) -> Store:
    """Return the store of one sign-up: the one given for it, the usual one, or one in this process."""
    store = engine.store if store is None else store
    if store is not None:
        return store
    engine.warn_that_key_is_not_kept()
    return MemoryStore()


def blocking_engine(
    options: Options,
    settings: Settings,
    transport: Transport | None,
    http_client: HTTPClient | None,
    era: Era | None,
) -> tuple[Engine, Callable[[], None]]:
    """Return a blocking engine, and what closes the transport that was made for it."""
    options.check_transport(transport, http_client, era, "close")
    if transport is not None:
        return options.engine(BlockingBackend(transport), settings), _leave_open
    from favcrm.transports.http import HTTPTransport

    own = HTTPTransport(settings.endpoint, http_client=http_client, era=era)
    return options.engine(BlockingBackend(own), settings), own.close


def async_engine(
    options: Options,
    settings: Settings,
    transport: AsyncTransport | None,
    http_client: AsyncHTTPClient | None,
    era: Era | None,
) -> tuple[Engine, Callable[[], Awaitable[None]]]:
    """Return an asynchronous engine, and what closes the transport that was made for it."""
    options.check_transport(transport, http_client, era, "aclose")
    if transport is not None:
        return options.engine(AsyncBackend(transport), settings), _leave_open_async
    from favcrm.transports.http import AsyncHTTPTransport

    own = AsyncHTTPTransport(settings.endpoint, http_client=http_client, era=era)
    return options.engine(AsyncBackend(own), settings), own.aclose


def _leave_open() -> None:
    """Whoever made a transport closes it."""


async def _leave_open_async() -> None:
    """Whoever made a transport closes it."""
