"""How often and how long a call is tried."""

from __future__ import annotations

from attrs import field, frozen

from favcrm._patterns import is_number
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
        checks = {
            "attempts": (is_number(self.attempts, least=1), "must be 1 or more"),
            "deadline": (is_number(self.deadline, above=0), "must be a number of seconds above 0"),
            "backoff_initial": (is_number(self.backoff_initial), "must be 0 or more"),
            "backoff_max": (is_number(self.backoff_max), "must be 0 or more"),
            "jitter": (is_number(self.jitter, most=1), "must be between 0 and 1"),
        }
        if found := [Problem(name, message) for name, (fine, message) in checks.items() if not fine]:
            raise InvalidInputError(found)

    @classmethod
    def never(cls) -> RetryPolicy:
        """Return a policy under which every call is made exactly once."""
        return cls(attempts=1)
