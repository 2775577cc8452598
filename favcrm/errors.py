"""Every error that this package raises.

Each one says what happened and what was not done (``message``), what to do next (``next_step``), and,
where the server gave one, which request it was (``request_id``, the ``X-Request-Id`` header)::

    FavCRMError
    ├── InvalidInputError (also a ValueError)   an argument or a setting is wrong; nothing was called
    ├── TransportError
    │   ├── NotSentError                        nothing reached the server
    │   └── OutcomeUnknownError                 it may have happened
    ├── ServerBusyError                         the server asks to wait; nothing was done
    │   └── RateLimitError                      too many requests; nothing was done
    ├── UnexpectedAnswerError                   an answer without what was promised
    ├── RefusedError                            the server said no
    │   ├── InvalidCodeError                    the one-time code is wrong
    │   ├── CodeExpiredError                    the one-time code is too old
    │   ├── TooManyAttemptsError                too many wrong codes
    │   ├── AlreadyRegisteredError              the email has an account
    │   ├── AuthenticationError                 the key is missing, wrong or revoked
    │   ├── PlanLimitError                      the plan does not allow it
    │   └── InputRequiredError                  the server asks for input that nobody here gives
    ├── NotReadyError                           the diagnosis found something that blocks work
    ├── StoreError                              the key could not be saved or read; see ``workspace``
    │   └── MissingKeyError                     there is no key of that name in the store
    └── NoCodeError                             the one-time code cannot be had here

`KeyNotStoredWarning` is a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from favcrm.typing import JSON

if TYPE_CHECKING:
    from favcrm.models import DiagnosticReport, Workspace

__all__ = [
    "AlreadyRegisteredError",
    "AuthenticationError",
    "CodeExpiredError",
    "FavCRMError",
    "InputRequiredError",
    "InvalidCodeError",
    "InvalidInputError",
    "KeyNotStoredWarning",
    "MissingKeyError",
    "NoCodeError",
    "NotReadyError",
    "NotSentError",
    "OutcomeUnknownError",
    "PlanLimitError",
    "Problem",
    "RateLimitError",
    "RefusedError",
    "ServerBusyError",
    "StoreError",
    "TooManyAttemptsError",
    "TransportError",
    "UnexpectedAnswerError",
]

PORTAL = "https://app.favcrm.io"


class Problem(NamedTuple):
    """One thing that is wrong with the input: the field's (or variable's) name, and what is wrong with it."""

    field: str
    message: str


class FavCRMError(Exception):
    """Base of every error of this package.

    Attributes:
        message: What happened, and what was not done.
        next_step: What to do now, in a sentence that an agent can follow.
        request_id: The server's ``X-Request-Id``, for support, or None.
        endpoint: The address that was asked, without user, password and query; None where none was asked.
    """

    endpoint: str | None = None
    default_next_step: ClassVar[str] = "Report this with the request id, if there is one."

    def __init__(self, message: str, *, next_step: str | None = None, request_id: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.next_step: str = next_step or self.default_next_step
        self.request_id = request_id

    def __str__(self) -> str:
        prefix = f"[{self.request_id}] " if self.request_id else ""
        return " ".join([f"{prefix}{self.message}", self.next_step, *self._origin()])

    def _origin(self) -> Iterable[str]:
        """Yield where the error came from, in sentences."""
        if self.endpoint:
            yield f"The endpoint was {self.endpoint}."

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions with keyword-only arguments cannot be unpickled by calling the class, and worker
        # pools do pickle them.
        return _rebuild, (type(self), self.args, self._picklable_state())

    def _picklable_state(self) -> dict[str, object]:
        return dict(self.__dict__)


def _rebuild(cls: type[FavCRMError], args: tuple[object, ...], state: dict[str, object]) -> FavCRMError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


class InvalidInputError(FavCRMError, ValueError):
    """An argument, a variable of the environment or the config file is wrong. Nothing was called.

    Attributes:
        problems: Every problem found, each with its field.
    """

    default_next_step = "Correct what is named and call again."

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        listed = "; ".join(f"{problem.field}: {problem.message}" for problem in self.problems)
        super().__init__(f"The input is not valid, so nothing was called: {listed}.")


class TransportError(FavCRMError):
    """The request did not make it to the server and back. Raised as one of its two subclasses."""


class NotSentError(TransportError):
    """Nothing reached the server, so nothing was done.

    Attributes:
        permanent: True where trying again cannot help, such as a certificate that is not trusted.
    """

    default_next_step = "Check the endpoint and the network, then call again: it is safe."

    def __init__(
        self,
        message: str,
        *,
        permanent: bool = False,
        next_step: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, next_step=next_step, request_id=request_id)
        self.permanent = permanent


class OutcomeUnknownError(TransportError):
    """The request was sent and no answer settled it: it may have been carried out."""

    default_next_step = "Look whether it happened before you call again."


class ServerBusyError(FavCRMError):
    """The server asks to wait. Nothing was done.

    Attributes:
        retry_after: How many seconds the server asks to wait, or None where it does not say.
    """

    default_next_step = "Wait as long as retry_after says, then call again."

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        next_step: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, next_step=next_step, request_id=request_id)
        self.retry_after = retry_after


class RateLimitError(ServerBusyError):
    """Too many requests. Nothing was done.

    FavCRM allows 3 sign-up requests an hour and 20 a day for one IP address.
    """

    default_next_step = "Tell the user, and wait as long as retry_after says. Do not loop."


class UnexpectedAnswerError(FavCRMError):
    """The server answered, but without what this call promises.

    Only of calls that change nothing: after any other call it is an `OutcomeUnknownError`, since nobody can read what
    the server did.

    Attributes:
        problems: What is missing or wrong, as paths such as ``$.requestId``. Never a value.
    """

    default_next_step = (
        "Check that the endpoint is a FavCRM MCP endpoint, and that this package is up to date."
    )

    def __init__(
        self,
        message: str,
        *,
        problems: Iterable[str] = (),
        next_step: str | None = None,
        request_id: str | None = None,
    ) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        listed = f": {'; '.join(self.problems)}." if self.problems else "."
        super().__init__(f"{message.rstrip('.')}{listed}", next_step=next_step, request_id=request_id)


class RefusedError(FavCRMError):
    """The server understood the request and said no. Nothing was done.

    Attributes:
        code: The server's own code (an HTTP status, a JSON-RPC code or a word), or None.
        summary: The server's own words, shortened, without control characters and secrets. Data, not instructions.
        data: The ``data`` of a JSON-RPC error, without keys. None in a sign-up. Data, not instructions.
    """

    default_next_step = "Read the summary and decide with the user."
    data: JSON = None

    def __init__(
        self,
        message: str,
        *,
        code: int | str | None = None,
        summary: str = "",
        next_step: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, next_step=next_step, request_id=request_id)
        self.code = code
        self.summary = summary


class InvalidCodeError(RefusedError):
    """The one-time code is wrong. No workspace was created.

    The same registration can be confirmed with the right code.
    """

    default_next_step = "Ask the user to read the newest email again, and confirm with that code."


class CodeExpiredError(RefusedError):
    """The one-time code is too old. No workspace was created."""

    default_next_step = "Call initiate again for a fresh code."


class TooManyAttemptsError(RefusedError):
    """The server takes no more codes for this registration. No workspace was created."""

    default_next_step = "Call initiate again for a fresh code, and check each digit before confirming."


class AlreadyRegisteredError(RefusedError):
    """The email has an account already, so this call created nothing. An earlier one may have made the account.

    Attributes:
        login_url: Where to sign in, without a query.
    """

    default_next_step: ClassVar[str] = (
        f"Ask the user to sign in at {PORTAL}, to create a key under Settings, MCP Keys, "
        "and to hand it over as api_key."
    )
    login_url: str = PORTAL


class AuthenticationError(RefusedError):
    """The key is missing, wrong, revoked or not allowed to do this. Nothing was done.

    Attributes:
        challenge: Of the ``WWW-Authenticate`` header: ``error``, ``error_description``, ``resource_metadata`` and
            ``scope``, as far as they are there. Nothing of it is fetched. Data, not instructions.
        key_source: Where the key came from, such as a variable, a file or a store; None where there was none.
    """

    default_next_step: ClassVar[str] = (
        f"Check the key; a new one is made at {PORTAL} under Settings, MCP Keys."
    )
    challenge: Mapping[str, str] = MappingProxyType({})
    key_source: str | None = None

    def _origin(self) -> Iterable[str]:
        yield from super()._origin()
        if self.key_source:
            yield f"The key came from {self.key_source}."


class PlanLimitError(RefusedError):
    """The plan does not allow it, or its quota is used up. Nothing was done.

    Attributes:
        upgrade_action: What the server offers as the way to upgrade, or None.
    """

    default_next_step = "Tell the user which limit was reached; list_plan_options shows the plans."
    upgrade_action: str | None = None


class InputRequiredError(RefusedError):
    """The server asks for input before it goes on, and nobody here gives it. The call was not completed.

    Attributes:
        input_requests: What the server asks for, by its own names. Data, not instructions.
    """

    default_next_step = "Call with a transport whose on_input answers what input_requests asks for."

    def __init__(
        self,
        message: str,
        *,
        input_requests: Mapping[str, JSON],
        next_step: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, next_step=next_step, request_id=request_id)
        self.input_requests = input_requests


class NotReadyError(FavCRMError):
    """The diagnosis found something that blocks work.

    Attributes:
        report: The whole diagnosis.
    """

    def __init__(self, message: str, *, report: DiagnosticReport, next_step: str | None = None) -> None:
        super().__init__(message, next_step=next_step)
        self.report = report


class StoreError(FavCRMError):
    """The key could not be saved, or not be read.

    Attributes:
        workspace: The workspace with the key still in it, where one was received. None where the store failed
            before a code was used, and in a copy that crossed a process boundary, since keys are never pickled.
    """

    default_next_step = "Check the store, and try again."

    def __init__(
        self,
        message: str,
        *,
        workspace: Workspace | None = None,
        next_step: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, next_step=next_step, request_id=request_id)
        self.workspace = workspace

    def _picklable_state(self) -> dict[str, object]:
        return {**self.__dict__, "workspace": None}


class MissingKeyError(StoreError):
    """The store can be read, and there is no key of that name in it."""

    default_next_step = "Check the reference, or store the key again."


class NoCodeError(FavCRMError):
    """There is no way to get the code here. It was not used, and can be confirmed from elsewhere."""

    default_next_step = (
        "Read the code in the email, and pass it as code= to confirm, or pass another read_code."
    )


class KeyNotStoredWarning(UserWarning):
    """A sign-up without a store: its only key ends with the process."""
