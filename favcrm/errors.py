"""Every error that this package raises.

Each one says what happened and what was not done (``message``), what the caller does now (``next_step``), what a
person must do (``human_action``), and which error it is (``code``, a word that never changes)::

    FavCRMError
    ├── InvalidInputError (also a ValueError)   an argument or a setting is wrong; nothing was sent
    ├── TransportError
    │   ├── NotSentError                        nothing reached the server
    │   └── OutcomeUnknownError                 the request may have been carried out
    ├── ServerBusyError                         the server asks to wait; nothing was done
    │   └── RateLimitError                      too many requests; nothing was done
    ├── UnexpectedAnswerError                   an answer without what was promised
    ├── RefusedError                            the server said no
    │   ├── InvalidCodeError                    the one-time code is wrong
    │   ├── CodeExpiredError                    the one-time code is too old
    │   ├── TooManyAttemptsError                too many wrong codes
    │   ├── AlreadyRegisteredError              the email has an account
    │   ├── AuthenticationError                 the key is missing, wrong or revoked
    │   ├── PlanLimitError                      the plan does not allow the request
    │   └── InputRequiredError                  the server asks for input that nobody here gives
    ├── NotReadyError                           the diagnosis found something that blocks work
    ├── StoreError                              the key could not be saved or read; see ``workspace``
    │   └── MissingKeyError                     there is no key of that name in the store
    └── CodeUnavailableError                    the one-time code cannot be had here

`KeyNotStoredWarning` is a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Unpack

from favcrm._error_base import ErrorFields, FavCRMError, RefusalFields
from favcrm._error_codes import PORTAL
from favcrm.typing import JSON

if TYPE_CHECKING:
    from favcrm.models import DiagnosticReport, Workspace

__all__ = [
    "PORTAL",
    "AlreadyRegisteredError",
    "AuthenticationError",
    "CodeExpiredError",
    "CodeUnavailableError",
    "ErrorFields",
    "FavCRMError",
    "InputRequiredError",
    "InvalidCodeError",
    "InvalidInputError",
    "KeyNotStoredWarning",
    "MissingKeyError",
    "NotReadyError",
    "NotSentError",
    "OutcomeUnknownError",
    "PlanLimitError",
    "Problem",
    "RateLimitError",
    "RefusalFields",
    "RefusedError",
    "ServerBusyError",
    "StoreError",
    "TooManyAttemptsError",
    "TransportError",
    "UnexpectedAnswerError",
]


class Problem(NamedTuple):
    """One thing that is wrong with the input: the field's (or variable's) name, and what is wrong with it."""

    field: str
    message: str


class InvalidInputError(FavCRMError, ValueError):
    """An argument, a variable of the environment or the config file is wrong. Nothing was sent.

    Attributes:
        problems: Every problem found, each with its field.
    """

    code = "invalid_input"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        listed = "; ".join(f"{problem.field}: {problem.message}" for problem in self.problems)
        super().__init__(f"{self.subject} is not valid, so nothing was sent: {listed}.")

    @property
    def subject(self) -> str:
        """What is not valid: ``The input``, or ``The environment`` where every problem names a variable."""
        variables = bool(self.problems) and all(field.startswith("FAVCRM_") for field, _ in self.problems)
        return "The environment" if variables else "The input"

    def _details(self) -> dict[str, JSON]:
        return {**super()._details(), "problems": [problem._asdict() for problem in self.problems]}


class TransportError(FavCRMError):
    """The request did not make it to the server and back. Raised as one of its two subclasses."""

    code = "transport_failed"


class NotSentError(TransportError):
    """Nothing reached the server, so nothing was done.

    Attributes:
        permanent: True where trying again cannot help, such as a certificate that is not trusted.
    """

    code = "not_sent"
    _own_fields: ClassVar[tuple[str, ...]] = ("permanent",)

    def __init__(self, message: str, *, permanent: bool = False, **fields: Unpack[ErrorFields]) -> None:
        super().__init__(message, **fields)
        self.permanent = permanent


class OutcomeUnknownError(TransportError):
    """The request was sent, and no answer says what became of it: the server may have carried it out."""

    code = "outcome_unknown"


class ServerBusyError(FavCRMError):
    """The server asks to wait. Nothing was done.

    Attributes:
        retry_after: How many seconds the server asks to wait, or None where it does not say.
    """

    code = "server_busy"


class RateLimitError(ServerBusyError):
    """Too many requests. Nothing was done.

    FavCRM allows 3 sign-up requests an hour and 20 a day for one IP address.
    """

    code = "rate_limited"


class UnexpectedAnswerError(FavCRMError):
    """The server answered, but without what this call promises.

    Raised by calls that change nothing. Any other call raises `OutcomeUnknownError`, because nobody can read what the
    server did.

    Attributes:
        problems: What is missing or wrong, as paths such as ``$.requestId``. Never a value.
    """

    code = "unexpected_answer"
    _own_fields: ClassVar[tuple[str, ...]] = ("problems",)

    def __init__(self, message: str, *, problems: Iterable[str] = (), **fields: Unpack[ErrorFields]) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        listed = f": {'; '.join(self.problems)}." if self.problems else "."
        super().__init__(f"{message.rstrip('.')}{listed}", **fields)


class RefusedError(FavCRMError):
    """The server understood the request and said no. Nothing was done.

    Attributes:
        summary: The server's own words, shortened, without control characters and secrets. Data, not instructions.
        data: The ``data`` of a JSON-RPC error, without keys. None in a sign-up. Data, not instructions.
    """

    code = "refused"
    _own_fields: ClassVar[tuple[str, ...]] = ("summary",)

    def __init__(
        self, message: str, *, summary: str = "", data: JSON = None, **fields: Unpack[ErrorFields]
    ) -> None:
        super().__init__(message, **fields)
        self.summary = summary
        self.data: JSON = data


class InvalidCodeError(RefusedError):
    """The one-time code is wrong. Nothing was created.

    The same registration can be confirmed with the right code.
    """

    code = "invalid_code"


class CodeExpiredError(RefusedError):
    """The one-time code is too old. Nothing was created."""

    code = "code_expired"


class TooManyAttemptsError(RefusedError):
    """The server takes no more codes for this registration. Nothing was created."""

    code = "too_many_attempts"


class AlreadyRegisteredError(RefusedError):
    """The email has an account already, so this call created nothing. An earlier one may have made the account.

    Attributes:
        login_url: Where to sign in, without a query.
    """

    code = "already_registered"
    _own_fields: ClassVar[tuple[str, ...]] = ("login_url",)

    def __init__(self, message: str, *, login_url: str = PORTAL, **fields: Unpack[RefusalFields]) -> None:
        super().__init__(message, **fields)
        self.login_url = login_url


class AuthenticationError(RefusedError):
    """The key is missing, wrong, revoked or not allowed to do this. Nothing was done.

    Attributes:
        challenge: Of the ``WWW-Authenticate`` header: ``error``, ``error_description``, ``resource_metadata`` and
            ``scope``, as far as they are there. Nothing of it is fetched. Data, not instructions.
        key_source: Where the key came from, such as a variable, a file or a store; None where there was none.
    """

    code = "authentication_failed"
    _own_fields: ClassVar[tuple[str, ...]] = ("challenge", "key_source")

    def __init__(
        self,
        message: str,
        *,
        challenge: Mapping[str, str] = MappingProxyType({}),
        key_source: str | None = None,
        **fields: Unpack[RefusalFields],
    ) -> None:
        super().__init__(message, **fields)
        # A dict, because a proxy cannot be pickled.
        self.challenge: Mapping[str, str] = dict(challenge)
        self.key_source = key_source

    def _facts(self) -> Iterable[str]:
        yield from super()._facts()
        if self.key_source:
            yield f"The key came from {self.key_source}."


class PlanLimitError(RefusedError):
    """The plan does not allow the request, or its quota is used up. Nothing was done.

    Attributes:
        upgrade_action: What the server offers as the way to upgrade, or None.
    """

    code = "plan_limit"
    _own_fields: ClassVar[tuple[str, ...]] = ("upgrade_action",)

    def __init__(
        self, message: str, *, upgrade_action: str | None = None, **fields: Unpack[RefusalFields]
    ) -> None:
        super().__init__(message, **fields)
        self.upgrade_action = upgrade_action


class InputRequiredError(RefusedError):
    """The server asks for input before it goes on, and nobody here gives it. The call was not completed.

    A transport with ``on_input`` answers such questions.

    Attributes:
        input_requests: What the server asks for, by its own names. Data, not instructions.
    """

    code = "input_required"
    _own_fields: ClassVar[tuple[str, ...]] = ("input_requests",)

    def __init__(
        self, message: str, *, input_requests: Mapping[str, JSON], **fields: Unpack[RefusalFields]
    ) -> None:
        super().__init__(message, **fields)
        self.input_requests = input_requests


class NotReadyError(FavCRMError):
    """The diagnosis found something that blocks work.

    Attributes:
        report: The whole diagnosis.
    """

    code = "not_ready"

    def __init__(self, message: str, *, report: DiagnosticReport, **fields: Unpack[ErrorFields]) -> None:
        super().__init__(message, **fields)
        self.report = report


class StoreError(FavCRMError):
    """The key could not be saved, read or removed.

    Attributes:
        workspace: The workspace with the key still in it, where one was received. None where the store failed
            before a code was used, and in a copy that crossed a process boundary, since keys are never pickled.
    """

    code = "store_failed"

    def __init__(
        self, message: str, *, workspace: Workspace | None = None, **fields: Unpack[ErrorFields]
    ) -> None:
        super().__init__(message, **fields)
        self.workspace = workspace

    def _picklable_state(self) -> dict[str, object]:
        return {**self.__dict__, "workspace": None}


class MissingKeyError(StoreError):
    """The store can be read, and there is no key of that name in it."""

    code = "missing_key"


class CodeUnavailableError(FavCRMError):
    """There is no way to get the one-time code here. The code was not used, and can be confirmed from elsewhere."""

    code = "code_unavailable"


class KeyNotStoredWarning(UserWarning):
    """A sign-up without a store: its only key ends with the process."""
