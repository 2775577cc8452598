"""How often a call is made. The only module that knows tenacity.

The first attempt is made plainly, and tenacity comes in when there is something to repeat: most calls are
answered at once, and do not pay for loading it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar, cast

from attrs import field, frozen

from favcrm._flows.outcomes import Answered, Failed, Kind
from favcrm.errors import NotSentError, RateLimitError, ServerBusyError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tenacity import RetryCallState

    from favcrm._flows.outcomes import Outcome
    from favcrm._flows.ports import Port
    from favcrm.retry import RetryPolicy
    from favcrm.secret import Secret

R = TypeVar("R")


@frozen(kw_only=True)
class Attempts(Generic[R]):
    """The attempts at one call.

    Attributes:
        attempt: Makes one attempt; told its number, from 1.
        remaining: How many seconds are left for everything, from the policy's deadline and the code's expiry.
        policy: How often and how long.
        unknown_repeats: How often the call may be sent again when its outcome is unknown.
        port: Where to wait.
        random: Returns a number between 0 and 1.
        presented: The key that each attempt presented, or None where it presented none.
        too_late: Says why no attempt may be made any more, or returns None where one may.
    """

    attempt: Callable[[int], Awaitable[Outcome[R]]]
    too_late: Callable[[], Failed | None]
    remaining: Callable[[], float]
    policy: RetryPolicy
    unknown_repeats: int
    port: Port
    random: Callable[[], float]
    presented: list[Secret | None]
    outcomes: list[Outcome[R]] = field(factory=list["Outcome[R]"], init=False)
    """What became of each attempt so far."""

    @property
    def unknown(self) -> list[Failed]:
        """Every attempt that may have been carried out."""
        return [made for made in self.outcomes if isinstance(made, Failed) and made.kind is Kind.UNKNOWN]

    async def settle(self) -> Outcome[R]:
        """Make attempts until one settles it or no further one is allowed; return the last outcome."""
        first = await self._attempt(1)
        if self.policy.attempts == 1 or not self._may_repeat(first):
            return first
        return await self._repeat(first)

    async def _repeat(self, first: Outcome[R]) -> Outcome[R]:
        from tenacity import AsyncRetrying, retry_if_result

        async def attempt() -> Outcome[R]:
            number = retrying.statistics["attempt_number"]
            return first if number == 1 else await self._attempt(number)

        # One for each call: shared by two tasks it would mix up their attempts.
        retrying = AsyncRetrying(
            sleep=self.port.sleep,
            retry=retry_if_result(self._may_repeat),
            wait=self._wait,
            stop=self._stop,
            retry_error_callback=_last_outcome,
        )
        outcome: Outcome[R] = await retrying(attempt)
        return outcome

    async def _attempt(self, number: int) -> Outcome[R]:
        outcome: Outcome[R] | None = self.too_late()
        if outcome is None:
            outcome = await self.attempt(number)
        self.outcomes.append(outcome)
        return outcome

    def _may_repeat(self, outcome: Outcome[R]) -> bool:
        """Decide by the outcome alone; the bounds come after."""
        if isinstance(outcome, Answered):
            return False
        match outcome.kind:
            case Kind.NEVER_SENT:
                return not (isinstance(outcome.error, NotSentError) and outcome.error.permanent)
            case Kind.BUSY:
                return self.policy.wait_on_rate_limit or not isinstance(outcome.error, RateLimitError)
            case Kind.UNKNOWN:
                return len(self.unknown) <= self.unknown_repeats
            case _:
                return False

    def _wait(self, state: RetryCallState) -> float:
        """Return the seconds before the next attempt: the server's wish, or a doubling wait with some chance in it."""
        outcome = _last_outcome(state)
        asked = outcome.error.retry_after if isinstance(outcome.error, ServerBusyError) else None
        if asked is not None:
            return asked
        policy = self.policy
        # The exponent is bounded so that no number of attempts overflows.
        doubled = policy.backoff_initial * 2.0 ** min(state.attempt_number - 1, 64)
        return min(doubled, policy.backoff_max) * (1 - policy.jitter * self.random())

    def _stop(self, state: RetryCallState) -> bool:
        # A wait that would end after the deadline or the code's expiry is not begun.
        return state.attempt_number >= self.policy.attempts or state.upcoming_sleep >= self.remaining()


def _last_outcome(state: RetryCallState) -> Failed:
    """Return the outcome that is about to be repeated or given up: it is never an answer."""
    assert state.outcome is not None
    return cast("Failed", state.outcome.result())
