"""What the ledger is asked and told. Of all that work on one registration, one goes on and the others wait for it."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from favcrm._backends.clock import monotonic
from favcrm._warn import warn
from favcrm.errors import NotSentError, StoreError
from favcrm.events import logger
from favcrm.ledger import NOTHING_KNOWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from favcrm._backends import Backend
    from favcrm.ledger import CodeState, Ledger
    from favcrm.models import PendingRegistration
    from favcrm.registration import Registration
    from favcrm.secret import Secret, SecretRef

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.1
ROUNDS = 50_000
"""How often a wrong code is hashed. One code takes some 15 milliseconds, and all the million codes take hours."""


def name_of_registration(registration: Registration, endpoint: str) -> str:
    """Return what a registration at an endpoint is found by: a hash, since a ledger holds no email."""
    email, organisation = registration.email.casefold(), registration.organisation_name.casefold()
    return _name("registration", endpoint, email, organisation)


def name_of_invitation(token: Secret, endpoint: str) -> str:
    """Return what an invitation is found by, without its token."""
    return _name("invitation", endpoint, token.reveal())


def _name(kind: str, *parts: str) -> str:
    # A list in JSON, so that no two lists of parts look the same.
    return f"{kind}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"


def id_of_invitation(token: Secret) -> str:
    """Return what stands for the request id of an invitation, which the server does not give."""
    return f"invite_{hashlib.sha256(token.reveal().encode()).hexdigest()[:12]}"


def code_fingerprint(registration_id: str, code: Secret) -> str:
    """Return the fingerprint of a wrong code. It is slow to make, because there are only a million codes to try."""
    return hashlib.pbkdf2_hmac("sha256", code.reveal().encode(), registration_id.encode(), ROUNDS).hex()[:16]


class WaitForOthers:
    """Waits on the real clock until others are done, until the time is up.

    Args:
        backend: Where to wait.
        seconds: How long.
        what: What the others do.
    """

    def __init__(self, backend: Backend, seconds: float, what: str) -> None:
        self._backend = backend
        self._ends_at = monotonic() + seconds
        self._pause = FIRST_PAUSE
        self._what = what

    async def wait(self) -> None:
        """Wait a little longer than the last time.

        Raises:
            NotSentError: The time is up.
        """
        if monotonic() >= self._ends_at:
            raise NotSentError(
                f"Another call {self._what}, and did not end in time. Nothing was sent.",
                next_step="Wait for the other call, or try again: a second try is safe.",
            )
        await self._backend.pause(self._pause)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)


class Records:
    """The ledger, as the flows use it.

    A ledger that fails may cost an email, or the knowledge that a code was sent, but no key.

    Args:
        backend: Where a ledger that blocks is asked.
        ledger: The ledger.
    """

    def __init__(self, backend: Backend, ledger: Ledger) -> None:
        self._backend = backend
        self._ledger = ledger
        self._blocks = blocks(ledger)

    async def find(self, name: str) -> PendingRegistration | None:
        """Return the pending registration of a name, if its code lives."""
        return await self.ask(lambda ledger: _alive(ledger.find(name)), None)

    async def keep(self, name: str, pending: PendingRegistration) -> None:
        """Remember a pending registration."""
        await self.ask(lambda ledger: ledger.keep(name, pending), None)

    async def forget(self, registration_id: str) -> None:
        """Drop a pending registration, so that the next one who asks is sent a fresh code."""
        await self.ask(lambda ledger: ledger.forget(registration_id), None)

    async def state(self, subject: str) -> CodeState:
        """Return what is known of a code, by its request id, or of asking for one, by the registration's name."""
        return await self.ask(lambda ledger: ledger.state(subject), NOTHING_KNOWN)

    async def mark_sent(
        self, subject: str, *, sent: bool, refused: str | None = None, ref: SecretRef | None = None
    ) -> None:
        """Remember what became of a code, by its request id, or of asking for one, by the registration's name."""
        await self.ask(lambda ledger: ledger.mark_sent(subject, sent=sent, refused=refused, ref=ref), None)

    def reservation(self, subject: str) -> Reservation:
        """Return a reservation of a name or of a request id, which is not made yet."""
        return Reservation(self, subject)

    async def ask(self, question: Callable[[Ledger], T], instead: T) -> T:
        """Ask the ledger something; where the ledger raises, return something instead."""
        try:
            if self._blocks:
                return await self._backend.run_blocking(lambda: question(self._ledger))
            return question(self._ledger)
        except Exception as error:  # noqa: BLE001  # a ledger of the user's may raise anything
            reason = error.message if isinstance(error, StoreError) else type(error).__name__
            with suppress(Exception):
                logger.warning("the ledger failed with %s", reason)
                warn(
                    f"The ledger cannot be used, so asking again may send another email: {reason}",
                    UserWarning,
                )
            return instead

    async def ask_uncancelled(self, question: Callable[[Ledger], T]) -> T | None:
        """Ask the ledger even if the caller is cancelled meanwhile, so that it is known what is reserved."""
        task = partial(self.ask, question, None)
        if not self._blocks:
            return await task()
        try:
            return await self._backend.uncancelled(task)
        except NotSentError:
            # While the process ends, or after an interrupt, nothing can be kept from being interrupted.
            return await task()


class Reservation:
    """A name or a request id that one call works on, to be given back whatever happens.

    A ledger that fails keeps nobody waiting, and what was not reserved here is not given back.

    Attributes:
        held_elsewhere: Whether another call works on it.
    """

    def __init__(self, records: Records, subject: str) -> None:
        self._records = records
        self._subject = subject
        self._held = False
        self.held_elsewhere = False

    async def take(self) -> bool:
        """Reserve, and say whether no other call works on it."""
        self.held_elsewhere = False
        await self._records.ask_uncancelled(self._reserve)
        return not self.held_elsewhere

    async def find_or_take(self, *, spent: PendingRegistration | None) -> PendingRegistration | None:
        """Return the pending registration of the name; reserve the name where there is none.

        Args:
            spent: A pending registration that must not be returned, because its code is spent.
        """

        def look(ledger: Ledger) -> PendingRegistration | None:
            pending = _alive(ledger.find(self._subject))
            return None if pending is None or (spent and _is_same(pending, spent)) else pending

        def look_and_reserve(ledger: Ledger) -> PendingRegistration | None:
            if (pending := look(ledger)) is not None:
                return pending
            self._reserve(ledger)
            # Another call may have asked and been answered between the look and the reservation.
            return look(ledger) if self._held else None

        self.held_elsewhere = False
        return await self._records.ask_uncancelled(look_and_reserve)

    async def give_back(self) -> None:
        """Let other calls work on it, if it is reserved here."""
        if self._held:
            await self._records.ask_uncancelled(lambda ledger: ledger.release(self._subject))
            self._held = False

    def _reserve(self, ledger: Ledger) -> None:
        self._held = ledger.reserve(self._subject)
        self.held_elsewhere = not self._held


def blocks(asked: object) -> bool:
    """Tell whether a ledger or store may wait for a disk or a network. Where its ``blocks`` is false, it never does."""
    return bool(getattr(asked, "blocks", True))


def _is_same(one: PendingRegistration, other: PendingRegistration) -> bool:
    """Tell whether two are of the same code. The id alone does not tell, because an invitation keeps its id."""
    return (one.request_id, one.expires_at) == (other.request_id, other.expires_at)


def _alive(pending: PendingRegistration | None) -> PendingRegistration | None:
    """Return a registration if its code lives, because a ledger of the user's may return an expired one."""
    return None if pending is None or pending.expired else pending
