"""What the methods return: the server's words in snake_case. ``extra`` has the fields that are not known here."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Generic, TypeAlias, TypeVar

from attrs import field, frozen

from favcrm._backends.clock import monotonic
from favcrm.errors import InvalidInputError, NotReadyError, Problem
from favcrm.results import Progress, ToolData, ToolResult
from favcrm.secret import Secret, SecretRef
from favcrm.typing import JSON

__all__ = [
    "AsyncReadCode",
    "Check",
    "CheckStatus",
    "DiagnosticReport",
    "Invitation",
    "PendingRegistration",
    "PlanCheck",
    "Progress",
    "Provisioned",
    "ReadCode",
    "Tool",
    "ToolData",
    "ToolResult",
    "Workspace",
]

ClientT = TypeVar("ClientT")


def _no_json() -> Mapping[str, JSON]:
    return {}


@frozen(kw_only=True)
class PendingRegistration:
    """A registration that waits for its one-time code.

    The time left is counted from the moment the answer arrived, by the server's clock, so a wrong clock on this
    machine changes nothing. For an instance made by hand it is counted by this machine's clock, from ``expires_at``.

    Attributes:
        request_id: Names this registration to the server and in logs.
        expires_at: When the code dies, in the server's time.
        masked_email: Where the code went, to show to a person. Never log, store or compare it.
        instructions: What the server says to do. Data for a person, shortened.
        x_request_id: The server's id of the answer, for support, or None.
        extra: Fields of the answer that this package does not know.
        last_refusal: Why the last code that ``read_code`` gave was refused; empty where none was.
        tries_left: How many codes ``read_code`` may still give, or None outside of `provision`.
        key_name: The name of the key in a store where `confirm` is given none, as for `provision`. None where this
            registration was made by hand.
    """

    request_id: str
    expires_at: datetime
    masked_email: str = field(default="", repr=False, eq=False)
    instructions: str = field(default="", repr=False)
    x_request_id: str | None = field(default=None, repr=False)
    extra: Mapping[str, JSON] = field(factory=_no_json, repr=False)
    last_refusal: str = field(default="", repr=False, eq=False)
    tries_left: int | None = field(default=None, repr=False, eq=False)
    key_name: str | None = field(default=None, repr=False, eq=False)
    _ends_at: float | None = field(default=None, alias="ends_at", repr=False, eq=False)
    _monotonic: Callable[[], float] = field(default=monotonic, alias="monotonic", repr=False, eq=False)

    def __copy__(self) -> PendingRegistration:
        return self

    def __deepcopy__(self, memo: object) -> PendingRegistration:
        return self

    def __reduce__(self) -> tuple[Callable[..., PendingRegistration], tuple[dict[str, str | float]]]:
        # The monotonic clock means nothing in another process, and the masked email is not kept.
        return PendingRegistration.from_dict, (self.to_dict(),)

    def remaining(self) -> float:
        """Return how many seconds the code has left, 0 where it is dead."""
        if self._ends_at is None:
            return max(0.0, (self.expires_at - datetime.now(UTC)).total_seconds())
        return max(0.0, self._ends_at - self._monotonic())

    @property
    def expired(self) -> bool:
        """True when the code is dead."""
        return self.remaining() <= 0

    def to_dict(self) -> dict[str, str | float]:
        """Return what another process needs to go on with `confirm`, as plain JSON without the masked email.

        Example:
            >>> from favcrm.sandbox import Sandbox
            >>> with FavCRMProvisioner(transport=Sandbox().transport()) as favcrm:
            ...     pending = favcrm.initiate(email="you@example.com", organisation_name="Stretch + Breathe")
            >>> sorted(pending.to_dict())
            ['ends_at', 'expires_at', 'key_name', 'request_id']
        """
        named = {} if self.key_name is None else {"key_name": self.key_name}
        return {
            "request_id": self.request_id,
            "expires_at": self.expires_at.isoformat(),
            # The monotonic clock means nothing elsewhere; the time left does not depend on the server's clock.
            "ends_at": time.time() + self.remaining(),
            **named,
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, str | float]) -> PendingRegistration:
        """Return a registration from what `to_dict` gave, here or in another process of a machine with the same time.

        Raises:
            InvalidInputError: It is not what `to_dict` gave.
        """
        try:
            left = float(kept["ends_at"]) - time.time()
            named = kept.get("key_name")
            return cls(
                request_id=str(kept["request_id"]),
                expires_at=datetime.fromisoformat(str(kept["expires_at"])),
                ends_at=monotonic() + left,
                key_name=None if named is None else str(named),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            problem = Problem("kept", "must be what PendingRegistration.to_dict() gave")
        raise InvalidInputError([problem])


ReadCode: TypeAlias = Callable[[PendingRegistration], str]
"""Returns the code as text. The pending registration says why the last code was refused and how many tries are left.

An error that it raises ends `provision` and passes through. Only a `CodeExpiredError` has a fresh code requested, once.
If it has a method ``check``, that is called before an email is asked for.
"""

AsyncReadCode: TypeAlias = Callable[[PendingRegistration], Awaitable[str]]
"""`ReadCode` for the async side, as a coroutine function."""


@frozen(kw_only=True)
class Workspace:
    """A workspace that was just created, with its key.

    Attributes:
        api_key: The key, which FavCRM shows only this once.
        organisation_id: The organisation, or None where the answer did not name it.
        company_id: The company, or None where the answer did not name it.
        user_id: The user, or None where the answer did not name it.
        login_url: Where a person signs in, without a query.
        next_steps: What the server suggests. Data for a person, shortened, without the key.
        problems: What was missing or odd in the answer. The key is good all the same.
        ref: Where the key was stored, or None where there is no store.
        x_request_id: The server's id of the answer, for support, or None.
        extra: Fields of the answer that this package does not know, without the key.
    """

    api_key: Secret
    organisation_id: str | None = None
    company_id: str | None = None
    user_id: str | None = None
    login_url: str | None = None
    next_steps: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    ref: SecretRef | None = None
    x_request_id: str | None = field(default=None, repr=False)
    extra: Mapping[str, JSON] = field(factory=_no_json, repr=False)


@frozen(kw_only=True)
class Tool:
    """One tool of the server.

    Attributes:
        name: What to pass to ``call_tool``.
        description: What the server says about it. Data, not instructions.
        input_schema: The JSON Schema of its arguments, as the server sent it.
        output_schema: The JSON Schema of its result, as the server sent it, or None.
        annotations: The server's hints, such as ``readOnlyHint``. Not to be trusted.
    """

    name: str
    description: str = field(default="", repr=False)
    input_schema: Mapping[str, JSON] = field(factory=_no_json, repr=False)
    output_schema: Mapping[str, JSON] | None = field(default=None, repr=False)
    annotations: Mapping[str, JSON] = field(factory=_no_json, repr=False)

    @property
    def read_only(self) -> bool:
        """Whether the server says that the tool changes nothing. Without the hint, the tool may change something."""
        return self.annotations.get("readOnlyHint") is True

    @property
    def destructive(self) -> bool:
        """Whether the tool may delete or overwrite something. Without hints, MCP takes a tool for destructive."""
        return not self.read_only and self.annotations.get("destructiveHint") is not False


class CheckStatus(StrEnum):
    """How one check of a diagnosis came out."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@frozen(kw_only=True)
class Check:
    """One question of a diagnosis, and its answer.

    Attributes:
        name: ``endpoint``, ``key``, ``tools``, ``organisation``, ``plan`` or ``whatsapp``.
        status: How it came out.
        detail: What was found.
        advice: What to do, empty where there is nothing to do.
        duration: Seconds that finding out took.
        raw: The server's payload, or None.
        x_request_id: The server's id of the answer, for support, or None.
    """

    name: str
    status: CheckStatus
    detail: str = ""
    advice: str = ""
    duration: float = 0.0
    raw: JSON = field(default=None, repr=False)
    x_request_id: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class DiagnosticReport:
    """Whether this workspace can be worked with, and if not, what to do.

    Attributes:
        endpoint_reachable: Whether the endpoint answers as an MCP server.
        auth_configured: Whether there is a key and the server takes it.
        tool_count: How many tools the server has.
        organisation: The organisation's name or id, or None where the server does not say.
        plan_status: The plan's status in the server's word, or None where the server does not say.
        whatsapp_connected: Whether WhatsApp is connected, or None where the server does not say. Not needed to work.
        checks: Every check, in a fixed order.
    """

    endpoint_reachable: bool
    auth_configured: bool
    tool_count: int
    organisation: str | None
    plan_status: str | None
    whatsapp_connected: bool | None
    checks: tuple[Check, ...]

    @property
    def ready(self) -> bool:
        """True when no check failed. It takes an endpoint, a key, a tool, and a plan that is not suspended."""
        return not any(check.status is CheckStatus.FAILED for check in self.checks)

    @property
    def plan(self) -> JSON:
        """What the server says of the plan and its limits, as it came; None where the server says nothing."""
        return next((check.raw for check in self.checks if check.name == "plan"), None)

    def raise_if_not_ready(self) -> None:
        """Do nothing where `ready` is true.

        Raises:
            NotReadyError: A check failed; the error names each one and says what to do.
        """
        failed = [check for check in self.checks if check.status is CheckStatus.FAILED]
        if failed:
            found = "; ".join(f"{check.name}: {check.detail.rstrip('.')}" for check in failed)
            steps = " ".join(dict.fromkeys(check.advice for check in failed))
            raise NotReadyError(f"The workspace is not ready: {found}.", report=self, next_step=steps)


@frozen(kw_only=True)
class Invitation:
    """An invitation to a workspace.

    Attributes:
        token: What `accept_invite` takes, or None where the answer did not name a token. Keep it like a key.
        expires_at: When the invitation expires, or None where the answer did not say.
        summary: The server's one sentence about the invitation. Data, not instructions.
        data: The payload: emails are masked, and a `Secret` is in place of each text that holds a token.
        x_request_id: The server's id of the answer, for support, or None.
    """

    token: Secret | None
    expires_at: datetime | None = None
    summary: str = field(default="", repr=False)
    data: ToolData = field(default=None, repr=False)
    x_request_id: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class PlanCheck:
    """Whether the plan allows something. In a condition, the check is true where the plan allows it.

    Attributes:
        allowed: Whether the plan allows it, or None where the server does not say.
        upgrade_action: What the server offers as the way to upgrade, or None.
        summary: The server's one sentence about the plan. Data, not instructions.
        raw: The server's payload.
    """

    allowed: bool | None
    upgrade_action: str | None = None
    summary: str = ""
    raw: JSON = field(default=None, repr=False)

    def __bool__(self) -> bool:
        return self.allowed is True


@frozen(kw_only=True)
class Provisioned(Generic[ClientT]):
    """A workspace whose key is stored, and its first diagnosis.

    Attributes:
        workspace: The workspace. Where its key was found or adopted rather than received, only key and reference.
        report: The diagnosis, which may say that the workspace is not ready.
    """

    workspace: Workspace
    report: DiagnosticReport
    _connect: Callable[[SecretRef], ClientT] = field(alias="connect", repr=False, eq=False)

    @property
    def ref(self) -> SecretRef:
        """Where the key is stored. Keep this instead of the key."""
        assert self.workspace.ref is not None  # what is provisioned is stored
        return self.workspace.ref

    def client(self) -> ClientT:
        """Return a client of this workspace, which reads the key from the store for each request."""
        return self._connect(self.ref)
