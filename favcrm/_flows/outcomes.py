"""What became of one attempt, as a value."""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar, Generic, TypeAlias, TypeVar

from attrs import frozen

from favcrm._flows.refusal_rules import tells_of_a_fault
from favcrm._flows.refusals import SOMETHING, find_failure, to_error
from favcrm._flows.waits import retry_after
from favcrm._mcp.payloads import Answer
from favcrm.errors import OutcomeUnknownError, RefusedError, ServerBusyError, UnexpectedAnswerError

if TYPE_CHECKING:
    from favcrm._flows.calls import Call
    from favcrm._flows.reasons import Failure
    from favcrm.errors import FavCRMError
    from favcrm.transport import Clock, Response

R = TypeVar("R")

SERVER_ERRORS = range(HTTPStatus.INTERNAL_SERVER_ERROR, 600)


class Kind(StrEnum):
    """How an attempt ended without a value."""

    REFUSED = "refused"
    BUSY = "busy"
    NEVER_SENT = "never sent"
    UNKNOWN = "unknown"


@frozen(eq=False, repr=False)
class Answered(Generic[R]):
    """The server carried the call out and gave a value."""

    value: R
    x_request_id: str | None = None
    kind: ClassVar[str] = "answered"


@frozen(eq=False, repr=False)
class Failed:
    """The attempt brought no value, and the error says why."""

    kind: Kind
    error: FavCRMError

    @property
    def x_request_id(self) -> str | None:
        """The server's id of the answer, if there was one."""
        return self.error.request_id


Outcome: TypeAlias = Answered[R] | Failed


def judge(call: Call[R], response: Response, clock: Clock) -> Outcome[R]:
    """Return what an answer means for a call."""
    answer = Answer(response, None if call.promised == SOMETHING else call.promised)
    if call.rescue is not None and (rescued := call.rescue(answer)) is not None:
        return Answered(rescued, response.x_request_id)
    if not response.complete:
        return _unknown("The answer broke off", response)
    if response.status in SERVER_ERRORS:
        return _server_error(response, clock)
    failure = find_failure(answer, now=clock.time(), promised=call.promised)
    if failure is not None:
        return _failed(call, failure, response)
    try:
        return Answered(_read(call, answer), response.x_request_id)
    except UnexpectedAnswerError as error:
        # The server took the call, so it may have been carried out although its answer cannot be read.
        return _unknown(error.message, response) if call.acts else Failed(Kind.REFUSED, error)


def _failed(call: Call[R], failure: Failure, response: Response) -> Failed:
    error = to_error(failure, response, sign_up=call.sign_up, hide=call.hide)
    if call.acts and type(error) is RefusedError and tells_of_a_fault(failure):
        return _unknown(f'The server failed and says: "{error.summary or error.server_code}"', response)
    return Failed(Kind.BUSY if isinstance(error, ServerBusyError) else Kind.REFUSED, error)


def _read(call: Call[R], answer: Answer) -> R:
    response = answer.response
    if response.defect:
        raise UnexpectedAnswerError(f"The answer {response.defect}.", request_id=response.x_request_id)
    return call.read(answer)


def _server_error(response: Response, clock: Clock) -> Failed:
    """A server or proxy that says when to come back did nothing; any other 5xx leaves it open."""
    wait = retry_after(response, clock.time())
    if response.status == HTTPStatus.SERVICE_UNAVAILABLE and wait is not None:
        return Failed(
            Kind.BUSY,
            ServerBusyError(
                "The server is not available for now. Nothing was done.",
                retry_after=wait,
                request_id=response.x_request_id,
            ),
        )
    return _unknown(f"The server failed with HTTP {response.status}", response)


def _unknown(what: str, response: Response) -> Failed:
    return Failed(
        Kind.UNKNOWN,
        OutcomeUnknownError(
            f"{what.rstrip('.')}, so the request may have been carried out.", request_id=response.x_request_id
        ),
    )
