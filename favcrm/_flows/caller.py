"""Making one call: its attempts, their bounds, and the error that is raised once."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from favcrm._boundary import bare
from favcrm._flows.attempts import Attempts
from favcrm._flows.outcomes import Failed, Kind, judge
from favcrm._text import mask_error
from favcrm.errors import (
    AuthenticationError,
    CodeExpiredError,
    FavCRMError,
    NotSentError,
    OutcomeUnknownError,
    ServerBusyError,
)
from favcrm.events import log_attempt
from favcrm.transport import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from favcrm._flows.calls import Call
    from favcrm._flows.custody import Custody
    from favcrm._flows.outcomes import Outcome
    from favcrm._flows.ports import Port
    from favcrm.models import PendingRegistration
    from favcrm.retry import RetryPolicy
    from favcrm.secret import Secret

E = TypeVar("E", bound=FavCRMError)
R = TypeVar("R")

NOT_SENT_SINCE_LATE = "The time for the call was over before it was made. Nothing was sent."
NOT_SENT_SINCE_EXPIRED = "The code has expired, so it was not sent. No workspace was created."


class Caller:
    """Makes calls over one port, each with the key that its custody has at the moment of each attempt."""

    def __init__(self, port: Port, *, policy: RetryPolicy, timeout: float) -> None:
        self._port = port
        self._policy = policy
        self._timeout = timeout

    async def perform(self, call: Call[R], keys: Custody) -> R:
        """Make a call, as often as it may be made, and return its value or raise."""
        attempts = self.attempts(call, keys)
        outcome = await attempts.settle()
        refused = isinstance(outcome, Failed) and isinstance(outcome.error, AuthenticationError)
        # Compared with the key of the attempt that was refused: another call may have read the new one meanwhile.
        if refused and call.authenticated and await keys.current() != attempts.presented[-1]:
            attempts = self.attempts(call, keys)
            outcome = await attempts.settle()
        if isinstance(outcome, Failed):
            # That the last attempt was never sent does not undo an earlier one that may have been carried out.
            undecided = outcome.kind is Kind.NEVER_SENT and call.acts
            failed = attempts.unknown[0] if undecided and attempts.unknown else outcome
            raise bare(self.with_origin(failed.error, keys))
        return outcome.value

    def with_origin(self, error: FavCRMError, keys: Custody) -> FavCRMError:
        """Name in an error the endpoint that was asked and, where a key was refused, where that came from."""
        error.endpoint = getattr(self._port.transport, "endpoint", None)
        if isinstance(error, AuthenticationError):
            error.key_source = keys.source or None
        return error

    def attempts(
        self, call: Call[R], keys: Custody, window: PendingRegistration | None = None
    ) -> Attempts[R]:
        """Plan the attempts at a call; none of them, and no wait, goes past the deadline or the code's expiry."""
        clock = self._port.clock
        ends_at = clock.monotonic() + self._policy.deadline

        def remaining() -> float:
            left = ends_at - clock.monotonic()
            return min(left, window.remaining()) if window else left

        def too_late() -> Failed | None:
            if window and window.expired:
                return Failed(Kind.REFUSED, CodeExpiredError(NOT_SENT_SINCE_EXPIRED))
            if remaining() <= 0:
                return Failed(Kind.NEVER_SENT, NotSentError(NOT_SENT_SINCE_LATE))
            return None

        presented: list[Secret | None] = []
        return Attempts(
            attempt=partial(self._attempt, call, keys, remaining, presented),
            too_late=too_late,
            presented=presented,
            remaining=remaining,
            policy=self._policy,
            unknown_repeats=call.unknown_repeats,
            port=self._port,
            random=random.random,
        )

    async def _attempt(
        self,
        call: Call[R],
        keys: Custody,
        remaining: Callable[[], float],
        presented: list[Secret | None],
        number: int,
    ) -> Outcome[R]:
        clock = self._port.clock
        key = await keys.current() if call.authenticated else None
        presented.append(key)
        started = clock.monotonic()
        outcome: Outcome[R]
        try:
            timeout = min(self._timeout, remaining())
            request = Request(
                call.method, call.params, api_key=key, timeout=timeout, on_progress=call.on_progress
            )
            response = await self._port.request(request)
        except NotSentError as error:
            outcome = Failed(Kind.NEVER_SENT, _without_secrets(error, call, key))
        except OutcomeUnknownError as error:
            outcome = Failed(Kind.UNKNOWN, _without_secrets(error, call, key))
        except FavCRMError as error:
            kind = Kind.BUSY if isinstance(error, ServerBusyError) else Kind.REFUSED
            outcome = Failed(kind, _without_secrets(error, call, key))
        except Exception as error:  # noqa: BLE001  # a transport of the user's may raise anything
            what = f"The transport failed with {type(error).__name__}, and it may have been carried out."
            outcome = Failed(Kind.UNKNOWN, OutcomeUnknownError(what))
        except BaseException as error:  # noqa: BLE001  # raised again
            # Ctrl-C and cancellation: the frames that they came through hold the key and the request.
            raise bare(error)  # noqa: B904
        else:
            outcome = judge(call, response, clock)
        log_attempt(
            phase=call.phase,
            tool=call.tool,
            attempt=number,
            outcome=outcome.kind,
            duration=clock.monotonic() - started,
            request_id=outcome.x_request_id,
        )
        return outcome


def _without_secrets(error: E, call: Call[R], key: Secret | None) -> E:
    """Return the error of a transport, which may be anybody's, without what the request had in it."""
    return mask_error(error, hide=(*call.hide, *([key.reveal()] if key else [])))
