"""How often and how long a call is tried."""

from __future__ import annotations

import math

from attrs import field, frozen

from favcrm.errors import InvalidInputError, Problem

__all__ = ["RetryPolicy"]


@frozen(kw_only=True)
class RetryPolicy:
    """How often and how long a call is tried. All times are in seconds.

    Whether a call is repeated at all depends on the call and on what became of the attempt: see "What is retried, and
    why" in the documentation. This policy only sets the bounds.

    Args:
        attempts: How many times a call is made at the most, 1 or more.
        deadline: How long one call may take, with all its attempts and waits. A method that makes several calls, as
            `provision` does, has a deadline for each of them.
        backoff_initial: How long to wait before the second attempt; it doubles from then on.
        backoff_max: The longest wait between two attempts, unless the server asks for more.
        jitter: How much of a wait is left to chance, from 0 (nothing) to 1 (all of it).
        wait_on_rate_limit: Whether to wait when the server says that there were too many requests, as long as
            the deadline allows. Otherwise `RateLimitError` is raised at once.

    Raises:
        InvalidInputError: A value is out of its range.

    Example:
        >>> RetryPolicy(attempts=2, deadline=20).backoff_initial
        0.5
    """

    attempts: int = 4
    deadline: float = 60.0
    backoff_initial: float = 0.5
    backoff_max: float = 8.0
    jitter: float = 0.5
    wait_on_rate_limit: bool = field(default=False)

    def __attrs_post_init__(self) -> None:
        problems = [
            Problem("attempts", "must be 1 or more") if self.attempts < 1 else None,
            Problem("deadline", "must be a number of seconds above 0")
            if not (self.deadline > 0 and math.isfinite(self.deadline))
            else None,
            Problem("backoff_initial", "must be 0 or more") if not self.backoff_initial >= 0 else None,
            Problem("backoff_max", "must be 0 or more") if not self.backoff_max >= 0 else None,
            Problem("jitter", "must be between 0 and 1") if not 0 <= self.jitter <= 1 else None,
        ]
        if found := [problem for problem in problems if problem]:
            raise InvalidInputError(found)

    @classmethod
    def never(cls) -> RetryPolicy:
        """Return a policy under which every call is made exactly once."""
        return cls(attempts=1)
