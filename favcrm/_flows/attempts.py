"""Making one call: its attempts, what became of each, their bounds, and the one error of the call.

Only this module knows tenacity. The first attempt is made without tenacity, because most calls are answered at once and
loading tenacity takes longer.
"""

from __future__ import annotations

import random
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar, cast

from favcrm._flows.refusal_rules import tells_of_a_fault
from favcrm._flows.refusals import find_failure, say_that_no_key_was_sent, to_error
from favcrm._flows.waits import retry_after
from favcrm._mcp.negotiation import SERVER_ERRORS
from favcrm._mcp.payloads import Answer
from favcrm._text import mask_error
from favcrm.errors import (
    AuthenticationError,
    CodeExpiredError,
    FavCRMError,
    NotSentError,
    OutcomeUnknownError,
    RateLimitError,
    RefusedError,
    ServerBusyError,
    UnexpectedAnswerError,
)
from favcrm.events import log_attempt
from favcrm.transport import Request, Response

if TYPE_CHECKING:
    from tenacity import RetryCallState

    from favcrm._backends import Backend
    from favcrm._flows.calls import Call
    from favcrm._flows.keys import KeyManager
    from favcrm._flows.reasons import Failure
    from favcrm.models import PendingRegistration
    from favcrm.retry import RetryPolicy
    from favcrm.secret import Secret
    from favcrm.transport import Clock

R = TypeVar("R")

NOT_SENT_SINCE_LATE = "The time for the call was over before it was made. Nothing was sent."
NOT_SENT_SINCE_EXPIRED = "The code has expired, so it was not sent. Nothing was created."


class Kind(StrEnum):
    """How an attempt ended without a value."""

    REFUSED = "refused"
    BUSY = "busy"
    NEVER_SENT = "never sent"
    UNKNOWN = "unknown"


class Answered(Generic[R]):
    """The server carried the call out and gave a value."""

    kind = "answered"

    def __init__(self, value: R, x_request_id: str | None = None) -> None:
        self.value = value
        self.x_request_id = x_request_id


class Failed:
    """The attempt brought no value, and the error says why."""

    def __init__(self, kind: Kind, error: FavCRMError) -> None:
        self.kind = kind
        self.error = error
        self.x_request_id = error.request_id


Outcome: TypeAlias = Answered[R] | Failed


class Caller:
    """Makes calls over one backend.

    Args:
        backend: Sends, and waits.
        policy: How often and how long a call is tried.
        timeout: Seconds that one attempt may take.
    """

    def __init__(self, backend: Backend, *, policy: RetryPolicy, timeout: float) -> None:
        self.backend = backend
        self.policy = policy
        self.timeout = timeout
        self.random = random.random

    async def perform(self, call: Call[R], keys: KeyManager) -> R:
        """Make a call, as often as it may be made, and return its value or raise."""
        attempts = Attempts(self, call, keys)
        outcome = await attempts.settle()
        refused = isinstance(outcome, Failed) and isinstance(outcome.error, AuthenticationError)
        # Compared with the key that was refused: another call may have read the new one meanwhile.
        if refused and call.authenticated and await keys.current() != attempts.key:
            # The same attempts go on, so that one deadline holds for the whole call.
            outcome = await attempts.settle()
        if isinstance(outcome, Answered):
            return outcome.value
        # That the last attempt was never sent does not undo an earlier one that may have been carried out.
        if outcome.kind is Kind.NEVER_SENT and call.acts and attempts.unknown:
            outcome = attempts.unknown[0]
        raise self.with_origin(outcome.error, keys if call.authenticated else None)

    def with_origin(self, error: FavCRMError, keys: KeyManager | None = None) -> FavCRMError:
        """Name in an error the endpoint that was asked and, where a key was refused, where the key came from.

        Without ``keys``, the call presents no key.
        """
        error.endpoint = getattr(self.backend.transport, "endpoint", None)
        if isinstance(error, AuthenticationError):
            if keys is not None and keys.key is not None:
                error.key_source = keys.source or None
            else:
                say_that_no_key_was_sent(error, "" if keys is None else keys.missing)
        return error


class Attempts(Generic[R]):
    """The attempts at one call. No attempt and no wait goes past the policy's deadline or the code's expiry.

    Args:
        caller: Whose calls these are.
        call: The call.
        keys: The key, which is read again for each attempt.
        pending: The pending registration whose code is sent, or None.

    Attributes:
        outcomes: What became of each attempt so far.
        key: The key that the last attempt presented.
    """

    def __init__(
        self, caller: Caller, call: Call[R], keys: KeyManager, pending: PendingRegistration | None = None
    ) -> None:
        self._backend = caller.backend
        self._policy = caller.policy
        self._timeout = caller.timeout
        self._random = caller.random
        self._call = call
        self._keys = keys
        self._pending = pending
        self._ends_at = caller.backend.clock.monotonic() + caller.policy.deadline
        self.outcomes: list[Outcome[R]] = []
        self.key: Secret | None = None

    @property
    def unknown(self) -> list[Failed]:
        """Every attempt that may have been carried out."""
        return [made for made in self.outcomes if isinstance(made, Failed) and made.kind is Kind.UNKNOWN]

    async def settle(self) -> Outcome[R]:
        """Make attempts until one settles the call or no further one is allowed; return the last outcome."""
        first = await self._attempt()
        if len(self.outcomes) >= self._policy.attempts or not self._may_repeat(first):
            return first
        return await self._repeat(first)

    async def _repeat(self, first: Outcome[R]) -> Outcome[R]:
        from tenacity import AsyncRetrying, retry_if_result

        made = [first]

        async def attempt() -> Outcome[R]:
            return made.pop() if made else await self._attempt()

        # One for each call, because tasks that shared one would mix up their attempts.
        retrying = AsyncRetrying(
            sleep=self._backend.sleep,
            retry=retry_if_result(self._may_repeat),
            wait=self._wait,
            stop=self._stop,
            retry_error_callback=_last_outcome,
        )
        outcome: Outcome[R] = await retrying(attempt)
        return outcome

    async def _attempt(self) -> Outcome[R]:
        call, clock = self._call, self._backend.clock
        self.key = await self._keys.current() if call.authenticated else None
        # After the key, because its store may take a while.
        started = clock.monotonic()
        remaining = self._remaining(started)
        if remaining <= 0:
            outcome: Outcome[R] = self._too_late()
            self.outcomes.append(outcome)
            return outcome
        try:
            response = await self._backend.request(
                Request(
                    call.method,
                    call.params,
                    api_key=self.key,
                    timeout=min(self._timeout, remaining),
                    on_progress=call.on_progress,
                )
            )
        except FavCRMError as error:
            outcome = Failed(_kind_of(error), self._without_secrets(error))
        except Exception as error:  # noqa: BLE001  # a transport of the user's may raise anything
            what = f"The transport failed with {type(error).__name__}, and the request may have been carried out."
            outcome = Failed(Kind.UNKNOWN, OutcomeUnknownError(what))
        else:
            outcome = _no_response(response) or judge(call, response, clock)
        self.outcomes.append(outcome)
        log_attempt(
            phase=call.phase,
            tool=call.tool,
            attempt=len(self.outcomes),
            outcome=outcome.kind,
            duration=clock.monotonic() - started,
            request_id=outcome.x_request_id,
        )
        return outcome

    def _remaining(self, now: float) -> float:
        left = self._ends_at - now
        return left if self._pending is None else min(left, self._pending.remaining())

    def _too_late(self) -> Failed:
        if self._pending is not None and self._pending.expired:
            return Failed(Kind.REFUSED, CodeExpiredError(NOT_SENT_SINCE_EXPIRED))
        return Failed(Kind.NEVER_SENT, NotSentError(NOT_SENT_SINCE_LATE))

    def _without_secrets(self, error: FavCRMError) -> FavCRMError:
        """Return the error of a transport, which may be anybody's, without what the request had in it."""
        hide = self._call.hide if self.key is None else (*self._call.hide, self.key.reveal())
        return mask_error(error, hide=hide)

    def _may_repeat(self, outcome: Outcome[R]) -> bool:
        """Decide by the outcome alone; the bounds come after."""
        if isinstance(outcome, Answered):
            return False
        match outcome.kind:
            case Kind.NEVER_SENT:
                return not (isinstance(outcome.error, NotSentError) and outcome.error.permanent)
            case Kind.BUSY:
                return self._policy.wait_on_rate_limit or not isinstance(outcome.error, RateLimitError)
            case Kind.UNKNOWN:
                return len(self.unknown) <= self._call.unknown_repeats
            case _:
                return False

    def _wait(self, state: RetryCallState) -> float:
        """Return the seconds before the next attempt: the server's wish, or a doubling wait with jitter."""
        outcome = _last_outcome(state)
        asked = outcome.error.retry_after if isinstance(outcome.error, ServerBusyError) else None
        if asked is not None:
            return asked
        policy = self._policy
        # The exponent is bounded so that no number of attempts overflows.
        doubled = policy.backoff_initial * 2.0 ** min(state.attempt_number - 1, 64)
        return min(doubled, policy.backoff_max) * (1 - policy.jitter * self._random())

    def _stop(self, state: RetryCallState) -> bool:
        # A wait that would end after the deadline or the code's expiry is not begun.
        remaining = self._remaining(self._backend.clock.monotonic())
        return len(self.outcomes) >= self._policy.attempts or state.upcoming_sleep >= remaining


def _kind_of(error: FavCRMError) -> Kind:
    match error:
        case NotSentError():
            return Kind.NEVER_SENT
        case OutcomeUnknownError():
            return Kind.UNKNOWN
        case ServerBusyError():
            return Kind.BUSY
        case _:
            return Kind.REFUSED


def _last_outcome(state: RetryCallState) -> Failed:
    """Return the outcome that is about to be repeated or given up, which is never an answer."""
    assert state.outcome is not None
    return cast("Failed", state.outcome.result())


def judge(call: Call[R], response: Response, clock: Clock) -> Outcome[R]:
    """Return what an answer means for a call."""
    answer = Answer(response, call.promised)
    if call.find_anywhere is not None and (found := call.find_anywhere(answer)) is not None:
        return Answered(found, response.x_request_id)
    if not response.complete:
        return _unknown("The answer broke off", response)
    if response.status in SERVER_ERRORS:
        return _server_error(response, clock)
    failure = find_failure(answer, now=clock.time(), never_empty=call.never_empty)
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
    return call.read_good(answer)


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


def _no_response(value: object) -> Failed | None:
    if isinstance(value, Response):
        return None
    what = f"The transport returned {type(value).__name__} instead of a Response"
    return Failed(Kind.UNKNOWN, OutcomeUnknownError(f"{what}, and the request may have been carried out."))


def _unknown(what: str, response: Response) -> Failed:
    return Failed(
        Kind.UNKNOWN,
        OutcomeUnknownError(
            f"{what.rstrip('.')}, so the request may have been carried out.", request_id=response.x_request_id
        ),
    )
