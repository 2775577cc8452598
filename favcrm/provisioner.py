"""Signing up, blocking: ask for a code, confirm it, diagnose, or all of it in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Self

from favcrm._assembly import Options, SharedOptions, blocking_engine
from favcrm._backends import AsyncFunction, as_coroutine, run_sync
from favcrm._boundary import boundaries, boundary
from favcrm._flows.provision import Provisioning, check_reader, joining, signing_up
from favcrm._flows.watch import Watch
from favcrm.client import FavCRMClient
from favcrm.events import Event
from favcrm.ledger import Ledger
from favcrm.models import DiagnosticReport, PendingRegistration, Provisioned, ReadCode, Workspace
from favcrm.registration import Industry, Registration, registration_of
from favcrm.retry import RetryPolicy
from favcrm.secret import Secret, SecretRef
from favcrm.store import Store
from favcrm.transport import HTTPClient, Transport
from favcrm.typing import Era, Profile

__all__ = ["FavCRMProvisioner"]


@boundaries
class FavCRMProvisioner:
    """Signs an agent up for FavCRM, blocking. The asynchronous twin is `AsyncFavCRMProvisioner`.

    One object serves any number of calls at once, from threads, tasks and event loops, and on both sides of a fork.

    Args:
        endpoint: The address of the tools. By default from the environment, then the config file, then FavCRM's own.
        api_key: The key to begin with, or its reference in ``store``. By default from the environment or config file.
        transport: Another way to reach the tools than HTTP. It stays open at `close`.
        store: Where keys are saved. By default nowhere, with a `KeyNotStoredWarning`.
        escrow: Where a new key goes if ``store`` fails after the code was used, such as an `EscrowStore`.
        ledger: Where pending registrations are remembered. By default in this object.
        retry: How often and how long a call is tried.
        timeout: Seconds that one attempt may take. By default from the environment, then 30.
        on_event: Called with each `favcrm.Event`, in the thread or task that causes it.
        http_client: An ``httpx.Client`` or its httpx2 twin to use. It stays open at `close`.
        era: How the server is spoken to, a `favcrm.typing.Era`. By default ``bare`` for FavCRM; others are asked.
        profile: Which tools FavCRM offers, a `favcrm.typing.Profile`. By default from the environment, then all.

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
        profile: Profile | None = None,
    ) -> None:
        shared = SharedOptions(retry=retry, timeout=timeout, on_event=on_event, era=era, profile=profile)
        options = Options(endpoint, api_key, store=store, escrow=escrow, ledger=ledger, **shared)
        self._engine, self._close = blocking_engine(options, transport, http_client)
        self._client = partial(FavCRMClient, endpoint, transport=transport, http_client=http_client, **shared)

    @property
    def workspace(self) -> Workspace | None:
        """The last workspace that was received, also if an interrupt kept `confirm` from returning it."""
        return self._engine.confirmation.received.last

    def initiate(
        self,
        registration: Registration | None = None,
        /,
        *,
        email: str | None = None,
        organisation_name: str | None = None,
        industry: Industry | str | None = None,
        country: str | None = None,
        timezone: str | None = None,
        resend: bool = False,
    ) -> PendingRegistration:
        """Ask FavCRM to email a 6-digit code. While the code lives, asking again sends no second email.

        Args:
            registration: What to register, in place of the fields below.
            email: Where the code goes.
            organisation_name: 2 to 80 characters.
            industry: A `favcrm.Industry` or its text. An unknown one is sent as ``other``, with a warning.
            country: An ISO 3166-1 alpha-2 code such as ``HK``.
            timezone: An IANA name such as ``Asia/Hong_Kong``.
            resend: Whether to ask for a new code even if one is pending.

        Returns:
            The pending registration, with what to show to the user and how long the code lives.

        Raises:
            InvalidInputError: A field is wrong; nothing was sent.
            AlreadyRegisteredError: The email has an account.
            RateLimitError: FavCRM allows 3 requests an hour and 20 a day for one IP address.
            RefusedError: The server refused for another reason.
            NotSentError: Nothing reached the server.
            OutcomeUnknownError: An email may have been sent.
            CodeExpiredError: An email was sent, and its code had expired when the answer came.
            ServerBusyError: The server asks to wait.
        """
        asked = registration_of(registration, email, organisation_name, industry, country, timezone)
        return run_sync(self._engine.initiate(asked, resend=resend))

    def confirm(
        self,
        pending: PendingRegistration | str,
        code: str,
        *,
        store: Store | None = None,
        key_name: str | None = None,
    ) -> Workspace:
        """Create the workspace with the code from the email, and receive its key, which FavCRM shows only once.

        The store is asked first whether it can be written. No cancellation comes between the code and the saved key.

        Args:
            pending: What `initiate` returned, or its ``request_id``.
            code: The six digits, as text. Blanks and hyphens do not matter.
            store: Where the key goes this time. By default the store of this object.
            key_name: The name of the key in the store. By default ``pending.key_name``, else the organisation's id.

        Returns:
            The workspace, with its key. A second call returns the same one, and sends nothing.

        Raises:
            InvalidInputError: The code is not six digits of text, or there is no request id; nothing was sent.
            InvalidCodeError: The code is wrong. The registration can be confirmed with the right one.
            CodeExpiredError: The code is too old. A code that is known to be too old is not sent.
            TooManyAttemptsError: Too many wrong codes.
            AlreadyRegisteredError: The email has an account.
            RefusedError: The server refused for another reason.
            OutcomeUnknownError: The workspace may exist, but no key was received.
            NotSentError: Nothing reached the server.
            ServerBusyError: The server asks to wait.
            StoreError: The store cannot be written, and no code was used; or the key is in the error's ``workspace``.
        """
        keys = self._engine.keys_for(store=store, name=key_name)
        return run_sync(self._engine.confirm(pending, code, keys=keys))

    def provision(
        self,
        registration: Registration | None = None,
        /,
        *,
        read_code: ReadCode,
        email: str | None = None,
        organisation_name: str | None = None,
        industry: Industry | str | None = None,
        country: str | None = None,
        timezone: str | None = None,
        store: Store | None = None,
        key_name: str | None = None,
        replace: bool = False,
    ) -> Provisioned[FavCRMClient]:
        """Sign up in one call: check the store, ask for a code, confirm the code, store the key, diagnose.

        Call it again after any failure: it goes on with the key in the store, or the registration in the ledger.

        Args:
            registration: What to register, in place of the fields below.
            read_code: Given the pending registration, returns the code as text; see `favcrm.codes.ReadCode`.
            email: As for `initiate`, and so the four that follow.
            organisation_name: 2 to 80 characters.
            industry: A `favcrm.Industry` or its text.
            country: An ISO 3166-1 alpha-2 code.
            timezone: An IANA name.
            store: Where the key goes this time. By default the store of this object, or one in memory.
            key_name: The name of the key in the store. By default made from the registration, alike in every run.
            replace: Whether to sign up although the store has a key of this name, and to replace that key.

        Returns:
            The workspace, its diagnosis, which may say that it is not ready, its key's reference, and a client.

        Raises:
            AlreadyRegisteredError: The email has an account: create a key in the portal, then `adopt` it.
            FavCRMError: As `initiate` and `confirm`, when no try or fresh code is left; or what ``read_code`` raised.
        """
        asked = registration_of(registration, email, organisation_name, industry, country, timezone)
        route = signing_up(self._engine, asked, AsyncFunction(check_reader(read_code)))
        run = Provisioning(self._engine, key_name or route.key_name, store=store, replace=replace)
        return self._hand_over(run.store, *run_sync(run.provision(route)))

    def request_invite_code(self, token: str | Secret, *, resend: bool = False) -> PendingRegistration:
        """Ask FavCRM to email the 6-digit code of an invitation. While that code lives, no second email is sent.

        Args:
            token: What the invitation says.
            resend: Whether to ask for a new code even if one is pending.

        Returns:
            The pending acceptance, with what to show to the user and how long the code lives.

        Raises:
            FavCRMError: As `initiate`.
        """
        return run_sync(self._engine.request_invite(token, resend=resend))

    def confirm_invite(
        self,
        token: str | Secret,
        code: str,
        *,
        pending: PendingRegistration | None = None,
        person: str | None = None,
        store: Store | None = None,
        key_name: str | None = None,
    ) -> Workspace:
        """Join a workspace with the code of an invitation, with the care of `confirm`.

        Args:
            token: What the invitation says.
            code: The six digits, as text.
            pending: What `request_invite_code` returned. By default looked up in the ledger.
            person: The name of who joins.
            store: Where the key goes this time. By default the store of this object.
            key_name: The name of the key in the store. By default made from the token.

        Returns:
            The workspace, with the key of who joins.

        Raises:
            FavCRMError: As `confirm`.
        """
        keys = self._engine.keys_for(store=store, name=key_name)
        return run_sync(self._engine.confirm_invite(token, code, pending=pending, person=person, keys=keys))

    def accept_invite(
        self,
        token: str | Secret,
        *,
        read_code: ReadCode,
        person: str | None = None,
        store: Store | None = None,
        key_name: str | None = None,
        replace: bool = False,
    ) -> Provisioned[FavCRMClient]:
        """Join a workspace by an invitation, with the care, the steps and the errors of `provision`.

        Args:
            token: What the invitation says.
            read_code: Brings the code, as for `provision`.
            person: The name of who joins.
            store: As for `provision`, and so the three that follow.
            key_name: The name of the key in the store. By default made from the token.
            replace: Whether to replace a key of this name.

        Returns:
            The workspace, its diagnosis, the reference of its key, and a client.

        Raises:
            FavCRMError: As `provision`.
        """
        route = joining(self._engine, token, person, AsyncFunction(check_reader(read_code)))
        run = Provisioning(self._engine, key_name or route.key_name, store=store, replace=replace)
        return self._hand_over(run.store, *run_sync(run.provision(route)))

    def adopt(
        self,
        api_key: str | Secret,
        *,
        store: Store | None = None,
        key_name: str = "workspace",
        replace: bool = False,
    ) -> Provisioned[FavCRMClient]:
        """Take a key that was made in the portal through the same check, store and diagnosis.

        Args:
            api_key: The key.
            store: Where the key goes this time. By default the store of this object, or one in memory.
            key_name: The name of the key in the store.
            replace: Whether it may take the place of another key of that name.

        Returns:
            The workspace with only its key and reference, a client, and the diagnosis. It says where the server refuses
            the key, which is stored all the same.

        Raises:
            InvalidInputError: The key is empty, or holds characters that no key has; nothing was stored.
            StoreError: The store cannot be written, or has another key of that name.
        """
        run = Provisioning(self._engine, key_name, store=store, replace=replace)
        return self._hand_over(run.store, *run_sync(run.adopt(api_key)))

    def diagnose(self) -> DiagnosticReport:
        """Find out whether the workspace can be worked with: the endpoint, the key, the tools, the plan.

        Returns:
            The report on questions that are asked side by side. A question that fails is in the report, not raised.
        """
        return run_sync(self._engine.diagnose())

    def watch(self, *, interval: float | None = None) -> Iterator[DiagnosticReport]:
        """Diagnose again and again, less often while the endpoint is down. Leave the loop to stop.

        Args:
            interval: Seconds between two diagnoses. By default from the environment, then 30.

        Returns:
            An endless iterator over the first report, and each later one that differs from the one before.

        Raises:
            InvalidInputError: The interval is not above 0.
        """
        return self._reports(Watch(self._engine, interval))

    @boundary
    def _reports(self, watch: Watch) -> Iterator[DiagnosticReport]:
        while True:
            yield run_sync(watch.next())

    def _hand_over(
        self, store: Store, workspace: Workspace, report: DiagnosticReport
    ) -> Provisioned[FavCRMClient]:
        connect = partial(self._client, store=store)
        return Provisioned(workspace=workspace, report=report, connect=lambda ref: connect(api_key=ref))

    def close(self) -> None:
        """Close the connections that were opened here. Where a code is being used, they close once its key has come."""
        run_sync(self._engine.close(as_coroutine(self._close)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
