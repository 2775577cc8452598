"""What was asked for and not yet confirmed, so that asking twice sends one email."""

from __future__ import annotations

from threading import Lock
from typing import Protocol

from favcrm.inputs import Registration
from favcrm.models import PendingRegistration

__all__ = ["Ledger", "MemoryLedger"]


class Ledger(Protocol):
    """What was asked for and not yet confirmed, so that asking again sends no second email. It holds no secret."""

    def find(self, registration: Registration) -> PendingRegistration | None:
        """Return the pending registration of this email and organisation, if it lives."""
        ...

    def keep(self, registration: Registration, pending: PendingRegistration) -> None:
        """Remember a pending registration."""
        ...

    def mark_sent(self, request_id: str, *, sent: bool) -> None:
        """Remember that a code was sent for a registration, or that it turned out to be refused."""
        ...

    def was_sent(self, request_id: str) -> bool:
        """Tell whether a code was sent for a registration, so that a workspace may exist."""
        ...

    def forget(self, request_id: str) -> None:
        """Drop a registration that is over."""
        ...


class MemoryLedger:
    """Remembers pending registrations in this process, by email and organisation, while their codes live.

    Example:
        >>> ledger = MemoryLedger()
        >>> from favcrm import FavCRMProvisioner
        >>> with FavCRMProvisioner(ledger=ledger) as favcrm:  # several provisioners may share one
        ...     pass
    """

    def __init__(self) -> None:
        self._pending: dict[tuple[str, str], PendingRegistration] = {}
        self._sent: set[str] = set()
        self._lock = Lock()

    def find(self, registration: Registration) -> PendingRegistration | None:
        """Return the pending registration of this email and organisation, or None where there is none that lives."""
        with self._lock:
            self._pending = {name: pending for name, pending in self._pending.items() if not pending.expired}
            return self._pending.get(_name(registration))

    def keep(self, registration: Registration, pending: PendingRegistration) -> None:
        """Remember a pending registration, in place of an older one of the same email and organisation."""
        with self._lock:
            self._pending[_name(registration)] = pending

    def mark_sent(self, request_id: str, *, sent: bool) -> None:
        """Remember that a code was sent for a registration, or that it turned out to be refused."""
        with self._lock:
            (self._sent.add if sent else self._sent.discard)(request_id)

    def was_sent(self, request_id: str) -> bool:
        """Tell whether a code was sent for a registration, so that a workspace may exist."""
        return request_id in self._sent

    def forget(self, request_id: str) -> None:
        """Drop a registration that is over; do nothing where it is not known."""
        with self._lock:
            self._sent.discard(request_id)
            self._pending = {
                name: pending for name, pending in self._pending.items() if pending.request_id != request_id
            }


def _name(registration: Registration) -> tuple[str, str]:
    return registration.email.casefold(), registration.organisation_name.casefold()
