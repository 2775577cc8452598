"""From a constructor's arguments to an engine: the same for provisioners and clients, sync and async."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypedDict

from attrs import field, frozen

from favcrm._flows.engine import Engine
from favcrm._flows.keys import check_is_store, has_methods
from favcrm.errors import InvalidInputError, Problem, raise_problems
from favcrm.retry import RetryPolicy
from favcrm.secret import Secret, SecretRef
from favcrm.settings import Settings, as_secret
from favcrm.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from favcrm._backends import Backend
    from favcrm.events import Event
    from favcrm.ledger import Ledger
    from favcrm.store import Store
    from favcrm.transport import AsyncHTTPClient, AsyncTransport, HTTPClient, Transport
    from favcrm.typing import Era, Profile


def _as_key(key: str | Secret | SecretRef | None) -> Secret | SecretRef | None:
    """Return a key as a secret, and a reference as one, also where either was given as plain text."""
    if isinstance(key, str) and "://" in key:
        return SecretRef(key)
    return None if key is None else as_secret(key)


LEDGER_METHODS = ("find", "keep", "forget", "state", "mark_sent", "reserve", "release")


def _problem(value: object, kind: type, what: str) -> str | None:
    return None if value is None or isinstance(value, kind) else what


class SharedOptions(TypedDict):
    """What a provisioner hands on to its clients as it was given, besides the endpoint and the transport."""

    retry: RetryPolicy | None
    timeout: float | None
    on_event: Callable[[Event], None] | None
    era: Era | None
    profile: Profile | None


@frozen(eq=False, repr=False)
class Options:
    """What provisioners and clients take, sync and async alike."""

    endpoint: str | None
    api_key: Secret | SecretRef | None = field(converter=_as_key)
    store: Store | None = field(kw_only=True)
    escrow: Store | None = field(default=None, kw_only=True)
    ledger: Ledger | None = field(default=None, kw_only=True)
    retry: RetryPolicy | None = field(kw_only=True)
    timeout: float | None = field(kw_only=True)
    on_event: Callable[[Event], None] | None = field(kw_only=True)
    era: Era | None = field(kw_only=True)
    profile: Profile | None = field(kw_only=True)

    def __attrs_post_init__(self) -> None:
        raise_problems(
            {
                "endpoint": _problem(self.endpoint, str, "must be text"),
                "retry": _problem(self.retry, RetryPolicy, "must be a RetryPolicy"),
                "on_event": None
                if self.on_event is None or has_methods(self.on_event, "__call__")
                else "must be a function that takes an Event",
                "era": _problem(self.era, str, "must be text"),
                "profile": _problem(self.profile, str, "must be text"),
                "ledger": None
                if self.ledger is None or has_methods(self.ledger, *LEDGER_METHODS)
                else "must have the methods of favcrm.Ledger; a path is given as FileLedger(path)",
            }
        )
        for name, store in {"store": self.store, "escrow": self.escrow}.items():
            if store is not None:
                check_is_store(store, name, signatures=False)

    def settings(self, transport: object) -> Settings:
        """Read the settings that the arguments leave open; beside a transport, nothing of the config file."""
        if self.reference is not None and self.store is None:
            raise InvalidInputError([Problem("api_key", "is a reference, so the store must be given too")])
        key = self.api_key if isinstance(self.api_key, Secret) else None
        needed = {"endpoint"} if self.reference is not None else {"endpoint", "api_key"}
        return Settings.load(
            endpoint=self.endpoint,
            api_key=key,
            timeout=self.timeout,
            profile=self.profile,
            from_file=needed if transport is None else (),
        )

    @property
    def reference(self) -> SecretRef | None:
        """The reference, where one was given in place of a key."""
        return self.api_key if isinstance(self.api_key, SecretRef) else None

    def engine(self, backend: Backend, settings: Settings) -> Engine:
        """Return an engine over a backend."""
        return Engine(
            backend,
            policy=RetryPolicy() if self.retry is None else self.retry,
            timeout=settings.timeout,
            key=self.reference or settings.api_key,
            key_source=settings.key_source,
            missing_key=settings.missing_key,
            store=self.store,
            escrow=self.escrow,
            ledger=self.ledger,
            on_event=self.on_event,
            diagnosis_interval=settings.diagnosis_interval,
            new_store=MemoryStore,
        )

    def check_transport(self, transport: object, http_client: object, close: str) -> None:
        """Refuse an async transport in a sync object and the reverse, and arguments that a transport would ignore."""
        if transport is None:
            return
        if not has_methods(transport, "request", close):
            problem = f"must have the methods request and {close}: sync objects take sync transports, async ones async"
            if has_methods(transport, "transport"):
                problem = "is a Sandbox: give its transport(), and to async objects its async_transport()"
            raise InvalidInputError([Problem("transport", problem)])
        if any(each is not None for each in (self.endpoint, http_client, self.era, self.profile)):
            problem = "goes with none of endpoint, http_client, era and profile"
            raise InvalidInputError([Problem("transport", problem)])


def blocking_engine(
    options: Options,
    transport: Transport | None,
    http_client: HTTPClient | None,
) -> tuple[Engine, Callable[[], None]]:
    """Return a blocking engine, and what closes the transport that was made for it."""
    from favcrm._backends.blocking import BlockingBackend

    options.check_transport(transport, http_client, "close")
    settings = options.settings(transport)
    if transport is not None:
        return options.engine(BlockingBackend(transport), settings), _leave_open
    from favcrm.transports.http import BlockingEndpoint

    own = BlockingEndpoint(settings.endpoint, http_client, era=options.era, profile=settings.profile)
    return options.engine(BlockingBackend(own, own.request), settings), own.close


def async_engine(
    options: Options,
    transport: AsyncTransport | None,
    http_client: AsyncHTTPClient | None,
) -> tuple[Engine, Callable[[], Awaitable[None]]]:
    """Return an asynchronous engine, and what closes the transport that was made for it."""
    from favcrm._backends.asynchronous import AsyncBackend

    options.check_transport(transport, http_client, "aclose")
    settings = options.settings(transport)
    if transport is not None:
        return options.engine(AsyncBackend(transport), settings), _leave_open_async
    from favcrm.transports.http import AsyncEndpoint

    own = AsyncEndpoint(settings.endpoint, http_client, era=options.era, profile=settings.profile)
    return options.engine(AsyncBackend(own), settings), own.aclose


def _leave_open() -> None:
    """Whoever made a transport closes it."""


async def _leave_open_async() -> None:
    """Whoever made a transport closes it."""
