"""Signing up, blocking: ask for a code, confirm it, diagnose, or all of it in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Self, overload

from favcrm._assembly import Options, blocking_engine, store_for_provisioning
from favcrm._backends import Awaitable, as_coroutine, run_sync
from favcrm._boundary import boundaries, boundary
from favcrm._flows.provision import Joining, Plan, Provisioning, SigningUp, name_of, name_of_invite
from favcrm._flows.watch import DEFAULT_INTERVAL, Watch
from favcrm.client import FavCRMClient
from favcrm.events import Event
from favcrm.inputs import Industry, Registration, check_interval, registration_of
from favcrm.ledger import Ledger
from favcrm.models import DiagnosticReport, PendingRegistration, Provisioned, Workspace
from favcrm.retry import RetryPolicy
from favcrm.secret import Secret, SecretRef
from favcrm.settings import as_secret
from favcrm.store import Store
from favcrm.transport import HTTPClient, Transport
from favcrm.typing import Era

__all__ = ["FavCRMProvisioner"]


@boundaries
class FavCRMProvisioner:
    """Signs an agent up for FavCRM, blocking.

    The asynchronous twin is `AsyncFavCRMProvisioner`.
    One object serves any number of calls at once, from threads, tasks and event loops, and on both sides of a fork.

    Args:
        endpoint: The address of the tools. By default from the environment, then from the vendor's config file,
            then FavCRM's own.
        api_key: The key to diagnose with, until `confirm` brings one; or its reference in ``store``. By default
            from the environment or the config file.
        transport: Another way to reach the tools than HTTP. It stays open at `close`.
        store: Where `confirm` saves the key before it returns. By default nowhere: the key is in the workspace, and a
            `KeyNotStoredWarning` says so once.
        escrow: A store for the key if the first one fails after all, such as an escrow file.
        ledger: Where pending registrations are remembered. By default in this object.
        retry: How often and how long a call is tried.
        timeout: Seconds that one attempt may take. By default from the environment, then 30.
        on_event: Called with each `favcrm.Event`, in the thread or task that causes it.
        http_client: An ``httpx.Client`` or its httpx2 twin to use. It stays open at `close`.
        era: How the server is spoken to, a `favcrm.transports.Era`. By default ``bare`` for FavCRM's own hosts, and
            found out elsewhere.

    Raises:
        InvalidInputError: An argument, a variable of the environment or the config file is wrong.

    Example:
        >>> from favcrm.sandbox import Sandbox
        >>> sandbox = Sandbox()
        >>> with FavCRMProvisioner(transport=sandbox.transport()) as favcrm:
        ...     pending = favcrm.initiate(email="you@example.com", organisation_name="Stretch + Breathe")
        ...     workspace = favcrm.confirm(pending, code=sandbox.inbox.code_for("you@example.com"))
        ...     favcrm.diagnose().ready
        True
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        api_key: str | Secret | SecretRef | None = None,
        transport: Transport | None = None,
        store: Store | None = None,
        escrow: Store | None = None,
        ledger: Ledger | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        on_event: Callable[[Event], None] | None = None,
        http_client: HTTPClient | None = None,
        era: Era | None = None,
    ) -> None:
        options = Options(
            endpoint=endpoint,
            api_key=api_key,
            store=store,
            escrow=escrow,
            ledger=ledger,
            retry=retry,
            timeout=timeout,
            on_event=on_event,
        )
        # No frame of this package that an error passes through holds the key.
        del api_key
        settings = options.settings(transport)
        self._engine, self._close = blocking_engine(options, settings, transport, http_client, era)
        self._interval = settings.diagnosis_interval or DEFAULT_INTERVAL
        self._client = partial(
            FavCRMClient,
            endpoint if transport is None else None,
            transport=transport,
            retry=retry,
            timeout=timeout,
            on_event=on_event,
            http_client=http_client,
            era=era,
        )

    @property
    def workspace(self) -> Workspace | None:
        """The last workspace that was received, also if an interrupt kept `confirm` from returning it."""
        return self._engine.confirmation.received.last

    @overload
    def initiate(self, registration: Registration, *, resend: bool = False) -> PendingRegistration: ...

    @overload
    def initiate(
        self,
        *,
        email: str,
        organisation_name: str,
        industry: Industry | str | None = None,
        country: str | None = None,
        timezone: str | None = None,
        resend: bool = False,
    ) -> PendingRegistration: ...

    def initiate(
        self,
        registration: Registration | None = None,
        *,
        email: str | None = None,
        organisation_name: str | None = None,
        industry: Industry | str | None = None,
        country: str | None = None,
        timezone: str | None = None,
        resend: bool = False,
    ) -> PendingRegistration:
        """Ask FavCRM to email a 6-digit code.

        Asking again for the same email and organisation returns the registration that is pending, and sends no
        second email, while its code lives.

        Args:
            registration: What to register, in place of the fields below.
            email: Where the code goes.
            organisation_name: 2 to 80 characters.
            industry: One of `favcrm.Industry`, or its text. An unknown one is sent as ``other``, with a warning.
            country: An ISO 3166-1 alpha-2 code such as ``HK``.
            timezone: An IANA name such as ``Asia/Hong_Kong``.
            resend: Whether to ask for a new code even if one is pending.

        Returns:
            The pending registration, with what to show to the user and how long the code lives.

        Raises:
            InvalidInputError: A field is wrong; nothing was sent.
            AlreadyRegisteredError: The email has an account.
            RateLimitError: Too many requests: 3 an hour and 20 a day are allowed for one IP address.
            RefusedError: The server said no for another reason.
            NotSentError: The call was not sent.
            OutcomeUnknownError: An email may have been sent.
            CodeExpiredError: An email was sent, and its code had expired when the answer came.
            ServerBusyError: The server asks to wait.
        """
        given = {
            "email": email,
            "organisation_name": organisation_name,
            "industry": industry,
            "country": country,
            "timezone": timezone,
        }
        # No frame of this package that an error passes through shows the email.
        del email
        return run_sync(self._engine.initiate(registration_of(registration, given), resend=resend))

    def confirm(self, pending: PendingRegistration | str, code: str) -> Workspace:
        """Create the workspace with the code from the email, and receive its key.

        FavCRM shows the key exactly once. If there is a store, it is asked first whether it can be written, and the
        key is saved before this returns. Cancelling an asynchronous `confirm` takes effect after that.

        Args:
            pending: What `initiate` returned, or its ``request_id``.
            code: The six digits, as text. Blanks and hyphens in it do not matter.

        Returns:
            The workspace, with its key.

        Raises:
            InvalidInputError: The code is not six digits of text, or there is no request id; nothing was sent.
            InvalidCodeError: The code is wrong. The registration can be confirmed with the right one.
            CodeExpiredError: The code is too old. Where this is known beforehand, it is not sent.
            TooManyAttemptsError: Too many wrong codes.
            AlreadyRegisteredError: The email has an account.
            RefusedError: The server said no for another reason.
            OutcomeUnknownError: The workspace may exist, but no key was received.
            NotSentError: Nothing reached the server.
            ServerBusyError: The server asks to wait.
            StoreError: The store cannot be written, and the code was not used; or the key could not be saved, and
                is in the error's ``workspace``.
        """
        flow = self._engine.confirm(pending, code)
        # No frame of this package that an error passes through holds the code.
        del code
        return run_sync(flow)

    def provision(
        self,
        registration: Registration,
        *,
        read_code: Callable[[PendingRegistration], str],
        store: Store | None = None,
        name: str | None = None,
        resume: PendingRegistration | None = None,
        code_attempts: int = 3,
        fresh_codes: int = 1,
        use_existing: bool = True,
        escrow: Store | None = None,
    ) -> Provisioned[FavCRMClient]:
        """Do all of it: check the store, ask for a code, confirm it, store the key, diagnose.

        It may be called again after anything that went wrong, a killed process included: a key that is stored
        already is used, and a registration that is pending in the ledger is taken up.

        Args:
            registration: What to register.
            read_code: Brings the code: is called with the pending registration and returns the code as text. An
                error that it raises passes through. If it has a method ``check``, that is called before an email
                is asked for.
            store: Where the key goes this time. By default the store of this object, or one in memory.
            name: The name of the key in the store. By default made from the registration, the same in every run.
            resume: A registration that is pending already, to take up.
            code_attempts: How many codes may be wrong before the error is raised, 1 or more.
            fresh_codes: How many fresh codes are asked for when one has expired, 0 or more.
            use_existing: Whether to stop, with a diagnosis, if the store has a key of this name; otherwise a new
                workspace is signed up for, and its key takes the place of that one.
            escrow: A store for the key if the first one fails after all. By default that of this object.

        Returns:
            The workspace, its diagnosis, the reference of its key, and a client. The report may tell that the
            workspace is not ready.

        Raises:
            AlreadyRegisteredError: The email has an account: create a key in the portal, then `adopt` it.
            StoreError: The store cannot be written, and nothing was called; or the key could not be saved, and is
                in the error's ``workspace``.
            InvalidCodeError: Every code was wrong.
            CodeExpiredError: The last code was too old.
            TooManyAttemptsError: Too many wrong codes.
            RateLimitError: Too many requests.
            RefusedError: The server said no for another reason.
            OutcomeUnknownError: The workspace may exist, but no key was received.
            NotSentError: Nothing reached the server.
            ServerBusyError: The server asks to wait.
        """
        plan = Plan(
            store=store_for_provisioning(self._engine, store),
            name=name or name_of(registration),
            read_code=Awaitable(read_code),
            resume=resume,
            code_attempts=code_attempts,
            fresh_codes=fresh_codes,
            use_existing=use_existing,
            escrow=escrow,
        )
        workspace, report = run_sync(Provisioning(self._engine, plan).provision(SigningUp(registration)))
        return Provisioned(workspace=workspace, report=report, connect=self._connector(plan.store))

    def accept_invite(
        self,
        token: str | Secret,
        *,
        read_code: Callable[[PendingRegistration], str],
        name: str | None = None,
        store: Store | None = None,
        key_name: str | None = None,
        resume: PendingRegistration | None = None,
        code_attempts: int = 3,
        fresh_codes: int = 1,
        use_existing: bool = True,
        escrow: Store | None = None,
    ) -> Provisioned[FavCRMClient]:
        """Join a workspace by an invitation, with the care, the steps and the errors of `provision`.

        Args:
            token: What the invitation says.
            read_code: Brings the code: is called with the pending acceptance and returns the code as text.
            name: The name of who joins.
            store: Where the key goes this time. By default the store of this object, or one in memory.
            key_name: The name of the key in the store. By default made from the token, the same in every run.
            resume: An acceptance that is pending already, to take up.
            code_attempts: How many codes may be wrong before the error is raised, 1 or more.
            fresh_codes: How many fresh codes are asked for when one has expired, 0 or more.
            use_existing: Whether to stop, with a diagnosis, if the store has a key of this name.
            escrow: A store for the key if the first one fails after all. By default that of this object.

        Returns:
            The workspace, its diagnosis, the reference of its key, and a client.

        Raises:
            FavCRMError: As `provision`.
        """
        secret = as_secret(token)
        del token
        plan = Plan(
            store=store_for_provisioning(self._engine, store),
            name=key_name or name_of_invite(secret),
            read_code=Awaitable(read_code),
            resume=resume,
            code_attempts=code_attempts,
            fresh_codes=fresh_codes,
            use_existing=use_existing,
            escrow=escrow,
        )
        workspace, report = run_sync(Provisioning(self._engine, plan).provision(Joining(secret, name)))
        return Provisioned(workspace=workspace, report=report, connect=self._connector(plan.store))

    def adopt(
        self,
        api_key: str | Secret,
        *,
        store: Store | None = None,
        name: str | None = None,
        replace: bool = False,
    ) -> Provisioned[FavCRMClient]:
        """Take a key that was made in the portal through the same check, store and diagnosis.

        Args:
            api_key: The key.
            store: Where the key goes this time. By default the store of this object, or one in memory.
            name: The name of the key in the store.
            replace: Whether it may take the place of another key of that name.

        Returns:
            The workspace with only its key and reference, its diagnosis, and a client.

        Raises:
            InvalidInputError: The key is empty, or holds characters that no key has; nothing was stored.
            StoreError: The store cannot be written, or has another key of that name. The key is in the error's
                ``workspace`` if it was to be saved.
        """
        key = as_secret(api_key)
        del api_key
        plan = Plan(
            store=store_for_provisioning(self._engine, store),
            name=name or "workspace",
            use_existing=not replace,
        )
        workspace, report = run_sync(Provisioning(self._engine, plan).adopt(key))
        return Provisioned(workspace=workspace, report=report, connect=self._connector(plan.store))

    def diagnose(self) -> DiagnosticReport:
        """Find out whether the workspace can be worked with: the endpoint, the key, the tools, the plan.

        The questions are asked side by side. What goes wrong is told in the report, not raised.

        Returns:
            The report.
        """
        return run_sync(self._engine.diagnose())

    def watch(self, *, interval: float | None = None) -> Iterator[DiagnosticReport]:
        """Diagnose again and again, and report what changed.

        The first report comes at once; from then on only those that differ from the one before. While the endpoint
        is down, the questions are asked less often. Leave the loop to stop.

        Args:
            interval: Seconds between two diagnoses. By default from the environment, then 30.

        Returns:
            An iterator over each report that differs from the one before. It never ends by itself.

        Raises:
            InvalidInputError: The interval is no time that can be waited.
        """
        seconds = check_interval(self._interval if interval is None else interval)
        return self._reports(Watch(self._engine, seconds))

    @boundary
    def _reports(self, watch: Watch) -> Iterator[DiagnosticReport]:
        while True:
            yield run_sync(watch.next())

    def _connector(self, store: Store) -> Callable[[SecretRef], FavCRMClient]:
        return lambda ref: self._client(api_key=ref, store=store)

    def close(self) -> None:
        """Close the connections that were opened here; where a code is on its way, once its key has come."""
        run_sync(self._engine.confirmation.close(as_coroutine(self._close)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
