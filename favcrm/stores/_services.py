"""What the stores that ask somebody else have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar
from urllib.parse import quote

from favcrm._core.bare import bare
from favcrm.errors import StoreError

T = TypeVar("T")

NOT_USABLE = "The store cannot be used"
NOT_SAVED = "The key was not saved"
NOT_CERTAIN = "It is not certain that the key was saved"
NOT_READ = "The key could not be read"
NOT_REMOVED = "The key could not be removed"


class Reason(NamedTuple):
    """Why something failed, in words that hold nothing of what was sent or received."""

    text: str
    next_step: str | None = None
    certain: bool = True
    """Whether it is certain that nothing was done."""


def ask(
    call: Callable[[], T],
    why: Callable[[BaseException], Reason],
    *,
    failing: str,
    doubtful: str | None = None,
) -> T:
    """Make a call into somebody else's package; whatever it raises becomes a `StoreError`.

    The error is made from the reason alone, and is raised where nothing else is being handled: what was caught,
    and the frames that it came through, may have seen the key.
    """
    failure: BaseException
    try:
        return call()
    except StoreError as error:
        failure = bare(error)
    except Exception as error:  # noqa: BLE001  # anything may be raised there
        failure = told(why(error), failing=failing, doubtful=doubtful)
    except BaseException as error:  # noqa: BLE001  # Ctrl-C too
        failure = bare(error)
    raise failure


def told(reason: Reason, *, failing: str, doubtful: str | None = None) -> StoreError:
    """Make an error of a reason. ``doubtful`` says it where something may have been done."""
    what = failing if reason.certain or doubtful is None else doubtful
    return StoreError(f"{what}: {reason.text}.", next_step=reason.next_step)


def reason_of(error: BaseException, reasons: Mapping[str, Reason]) -> Reason | None:
    """Return the reason that is listed for the error's class, or for the nearest class that it is made from.

    Classes are told by their names, so that the packages they come from need not be imported.
    """
    names = (kind.__name__ for kind in type(error).__mro__)
    return next((reasons[name] for name in names if name in reasons), None)


def another(ref: str) -> StoreError:
    """Make the error for a name that is taken."""
    return StoreError(
        f"Another key is stored as {ref}. It was not replaced.",
        next_step="Use the key that is there, or store this one with if_absent=False.",
    )


def path_part(name: str) -> str:
    """Write a name with letters, digits and ``_.-=`` alone; two names are never written alike."""
    if not name.strip("."):
        return name.replace(".", "=2E")
    return quote(name, safe="").replace("%", "=").replace("~", "=7E")
