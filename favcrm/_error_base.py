"""What every error is made of: its code and what goes with it, as text, as JSON, and from one process to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack

from favcrm._error_codes import ERROR_CODES
from favcrm._text import mask, masked, without_emails
from favcrm.typing import JSON

if TYPE_CHECKING:
    from collections.abc import Iterable


class ErrorFields(TypedDict, total=False):
    """What every error takes by name; each may be left out.

    Attributes:
        next_step: What the caller does now. By default the step of the error's code.
        human_action: What a person must do. By default the action of the error's code.
        retry_after: How many seconds the server asks to wait.
        request_id: The server's ``X-Request-Id``.
        server_code: What the server called the error.
        endpoint: The address that was asked, without user, password and query.
    """

    next_step: str | None
    human_action: str | None
    retry_after: float | None
    request_id: str | None
    server_code: int | str | None
    endpoint: str | None


class RefusalFields(ErrorFields, total=False):
    """What every refusal takes by name, beside the `ErrorFields`.

    Attributes:
        summary: The server's own words. Empty by default.
        data: The ``data`` of a JSON-RPC error. None by default.
    """

    summary: str
    data: JSON


class FavCRMError(Exception):
    """Base of every error of this package.

    Attributes:
        code: Which error it is, in one word that never changes, such as ``code_expired``.
        message: What happened, and what was not done.
        next_step: What the caller does now, in a sentence that an agent can follow.
        human_action: What a person must do, or None where no person is needed.
        retry_after: How many seconds the server asks to wait, or None where it asks for nothing.
        request_id: The server's ``X-Request-Id``, for support, or None.
        server_code: What the server called it (an HTTP status, a JSON-RPC code or a word), or None.
        endpoint: The address that was asked, without user, password and query; None where none was asked.
    """

    # Its own place is an implementation's; in a traceback and a pickle stands the public one.
    __module__ = "favcrm.errors"
    code: ClassVar[str] = "error"
    _own_fields: ClassVar[tuple[str, ...]] = ("endpoint",)

    def __init__(self, message: str, **fields: Unpack[ErrorFields]) -> None:
        super().__init__(message)
        # A class of a user's own may have a code of its own.
        row = ERROR_CODES.get(self.code, ERROR_CODES["error"])
        self.message = message
        self.next_step: str = fields.get("next_step") or row.next_step
        self.human_action: str | None = fields.get("human_action") or row.human_action
        self.retry_after: float | None = fields.get("retry_after")
        self.request_id: str | None = fields.get("request_id")
        self.server_code: int | str | None = fields.get("server_code")
        self.endpoint: str | None = fields.get("endpoint")

    def __str__(self) -> str:
        prefix = f"[{self.request_id}] " if self.request_id else ""
        return " ".join([f"{prefix}{self.message}", self.next_step, *self._facts()])

    def to_dict(self) -> dict[str, JSON]:
        """Return the error as JSON, the same on every surface, without a key and without an email.

        Returns:
            ``code``, ``message``, ``next_step``, ``human_action``, ``retry_after``, ``request_id`` and
            ``server_code`` always; and what only this error knows, such as ``problems`` or ``login_url``, where it
            is known.

        Example:
            >>> RateLimitError("The server takes no more requests for now.", retry_after=60).to_dict()["retry_after"]
            60
        """
        told: dict[str, JSON] = {
            "code": self.code,
            "message": self.message,
            "next_step": self.next_step,
            "human_action": self.human_action,
            "retry_after": self.retry_after,
            "request_id": self.request_id,
            "server_code": self.server_code,
        }
        told |= {name: value for name, value in self._details().items() if value not in (None, "", {})}
        # Each by itself: what the server nests too deep to be searched is left out alone.
        return {name: masked(value, _shown) for name, value in told.items()}

    def _details(self) -> dict[str, JSON]:
        """Return what only this kind of error knows."""
        names = [name for cls in reversed(type(self).__mro__) for name in vars(cls).get("_own_fields", ())]
        return {name: getattr(self, name) for name in names}

    def _facts(self) -> Iterable[str]:
        """Yield what a reader of the text needs besides the message and the step, in sentences."""
        if self.retry_after is not None:
            yield f"The server asks to wait {self.retry_after:.0f} seconds."
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


def _shown(text: str) -> str:
    return mask(without_emails(text))
