"""What the stores have in common that keep keys in a service or a keyring."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import quote

from favcrm.errors import StoreError
from favcrm.secret import Secret

NOT_USABLE = "The store cannot be used"
NOT_SAVED = "The key was not saved"
NOT_CERTAIN = "It is not certain that the key was saved"
NOT_READ = "The key could not be read"
NOT_REMOVED = "The key could not be removed"


class Reason(NamedTuple):
    """Why a call failed, in words that hold nothing of what was sent or received."""

    text: str
    next_step: str | None = None
    certain: bool = True
    """Whether it is certain that nothing was done."""


@contextmanager
def wrap_service_errors(
    find_reason: Callable[[BaseException], Reason], *, failing: str, uncertain: str | None = None
) -> Generator[None]:
    """Raise a `StoreError` in place of whatever somebody else's package raises, and of its words.

    Args:
        find_reason: Tells why the call failed, from what was raised.
        failing: What the failure means.
        uncertain: What the failure means where something may have been done all the same.
    """
    try:
        yield
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001  # a foreign package may raise anything
        raise failure(find_reason(error), failing=failing, uncertain=uncertain) from None


def failure(reason: Reason, *, failing: str, uncertain: str | None = None) -> StoreError:
    """Make the error for a reason; the arguments are those of `wrap_service_errors`."""
    what = failing if reason.certain or uncertain is None else uncertain
    return StoreError(f"{what}: {reason.text}.", next_step=reason.next_step)


def reason_by_class(error: BaseException, reasons: Mapping[str, Reason]) -> Reason | None:
    """Return the reason that is listed for the error's class, or for the nearest of its base classes.

    Classes are listed by name, so that the packages which define them need not be imported.
    """
    names = (kind.__name__ for kind in type(error).__mro__)
    return next((reasons[name] for name in names if name in reasons), None)


def by_name(groups: Mapping[str, Reason]) -> Mapping[str, Reason]:
    """Return a table of reasons with each name by itself; the names of a group are separated by blanks."""
    return {name: reason for names, reason in groups.items() for name in names.split()}


def taken(ref: str) -> StoreError:
    """Make the error for a name that has another key."""
    return StoreError(
        f"Another key is stored as {ref}. It was not replaced.",
        next_step="Use the key that is there, or store this one with if_absent=False.",
    )


def check_read_back(found: Secret | None, secret: Secret, service: str) -> None:
    """Compare a key with what the service returns after it was saved.

    Raises:
        StoreError: They differ.
    """
    if found != secret:
        raise StoreError(f"{NOT_CERTAIN}: {service} gives back something else.")


def path_part(name: str) -> str:
    """Write a name with letters, digits and ``_.-=`` alone, so that two names never become the same."""
    if not name.strip("."):
        return name.replace(".", "=2E")
    return quote(name, safe="").replace("%", "=").replace("~", "=7E")
