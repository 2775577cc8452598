"""Working with a workspace, blocking: any tool, after the hand-over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self

from favcrm._assembly import Options, blocking_engine
from favcrm._backends import run_sync
from favcrm._boundary import boundaries
from favcrm._flows.membership import check_plan, invite
from favcrm.events import Event
from favcrm.models import Invitation, PlanCheck, Progress, Tool, ToolResult
from favcrm.retry import RetryPolicy
from favcrm.secret import Secret, SecretRef
from favcrm.store import Store
from favcrm.transport import HTTPClient, Transport
from favcrm.typing import JSON, Era, Profile

__all__ = ["FavCRMClient"]


@boundaries
class FavCRMClient:
    """Calls the tools of a workspace, blocking.

    The asynchronous twin is `AsyncFavCRMClient`.
    One object serves any number of calls at once, from threads, tasks and event loops, and on both sides of a fork.

    Args:
        endpoint: The address of the tools. By default from the environment, then from the vendor's config file,
            then FavCRM's own.
        api_key: The key, or its reference in ``store``. By default from the environment or the config file.
        transport: Another way to reach the tools than HTTP. It stays open at `close`.
        store: Where the key is read, for each request, if ``api_key`` is a reference.
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
        >>> with FavCRMClient(transport=sandbox.transport(), api_key=sandbox.add_organisation()) as crm:
        ...     crm.call_tool("create_member", {"name": "Ada", "email": "ada@example.com"}).summary
        ...     crm.call_tool("list_services").data
        'Ada is a member now.'
        {'services': []}
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        api_key: str | Secret | SecretRef | None = None,
        transport: Transport | None = None,
        store: Store | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        on_event: Callable[[Event], None] | None = None,
        http_client: HTTPClient | None = None,
        era: Era | None = None,
        profile: Profile | None = None,
    ) -> None:
        options = Options(
            endpoint,
            api_key,
            store=store,
            retry=retry,
            timeout=timeout,
            on_event=on_event,
            era=era,
            profile=profile,
        )
        self._engine, self._close = blocking_engine(options, transport, http_client)

    def call_tool(
        self,
        name: str,
        arguments: Mapping[str, JSON] | None = None,
        *,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> ToolResult:
        """Call a tool.

        A call that never reached the server is made again; one that may have been carried out is not.

        Args:
            name: The tool's name, as `list_tools` gives it.
            arguments: The tool's arguments.
            on_progress: Called with each report of progress, where the tool gives any.

        Returns:
            What the tool answered. Empty data is an answer like any other. A key or a one-time token in it is a
            `Secret`.

        Raises:
            InvalidInputError: The name is empty, the arguments are not JSON, or the tool has a method of its own;
                nothing was sent.
            AuthenticationError: The key is missing, wrong, revoked or not allowed to do this.
            PlanLimitError: The plan does not allow it.
            RefusedError: The tool said no for another reason.
            RateLimitError: Too many requests.
            ServerBusyError: The server asks to wait.
            NotSentError: Nothing reached the server.
            OutcomeUnknownError: The call may have been carried out.
            StoreError: The key cannot be read from its store.
        """
        return run_sync(
            self._engine.call_tool(name, {} if arguments is None else arguments, on_progress=on_progress)
        )

    def list_tools(self) -> tuple[Tool, ...]:
        """List the tools, every page of them. No key is needed.

        Returns:
            The tools, their schemas as the server sent them.

        Raises:
            AuthenticationError: The key is wrong or revoked.
            RefusedError: The server said no for another reason.
            RateLimitError: Too many requests.
            ServerBusyError: The server asks to wait.
            NotSentError: Nothing reached the server.
            OutcomeUnknownError: No answer came.
            UnexpectedAnswerError: The answer is no list of tools, or the list does not end.
            StoreError: The key cannot be read from its store.
        """
        return run_sync(self._engine.list_tools())

    def invite(
        self,
        email: str,
        *,
        name: str | None = None,
        role: str | None = None,
        expires_in_hours: int | None = None,
    ) -> Invitation:
        """Invite somebody to this workspace, who joins with `accept_invite` of a provisioner.

        Args:
            email: Whom to invite.
            name: Their name, 1 to 120 characters.
            role: ``manager`` or ``staff``; the server's default is ``staff``.
            expires_in_hours: How long the invitation lives, 1 to 336 hours; the server's default is 72.

        Returns:
            The invitation, with its token.

        Raises:
            InvalidInputError: An argument is wrong; nothing was sent.
            FavCRMError: As `call_tool`.
        """
        return run_sync(invite(self._engine, email, name=name, role=role, expires_in_hours=expires_in_hours))

    def check_plan(
        self,
        *,
        tool: str | None = None,
        quota: str | None = None,
        module: str | None = None,
        delta: int | None = None,
    ) -> PlanCheck:
        """Ask whether the plan allows something.

        Args:
            tool: The name of a tool.
            quota: The code of a quota, such as ``customers``.
            module: The code of a module.
            delta: How many more there would be; the server's default is 1.

        Returns:
            Whether the plan allows it, and the way to upgrade where the server names one.

        Raises:
            InvalidInputError: No tool, quota or module is named; nothing was sent.
            FavCRMError: As `call_tool`, except `PlanLimitError`, which is an answer here.
        """
        return run_sync(check_plan(self._engine, tool=tool, quota=quota, module=module, delta=delta))

    def close(self) -> None:
        """Close the connections that were opened here."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
