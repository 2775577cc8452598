"""What was asked for and what became of its code, so that asking twice sends one email and no code is used twice."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from threading import Lock
from typing import Protocol

from attrs import frozen

from favcrm._backends.clock import monotonic
from favcrm._forks import at_fork
from favcrm.models import PendingRegistration
from favcrm.secret import SecretRef

__all__ = ["CodeState", "Ledger", "MemoryLedger"]

STATE_LIFE = 86_400.0
"""Seconds for which the state of a code is remembered: long after the code itself is dead."""


@frozen(kw_only=True)
class CodeState:
    """What is known of the code of one registration. Nothing in it is secret.

    Attributes:
        sent: Whether what was sent is not settled: no answer says what became of it, so a workspace may exist.
        refused: Fingerprints of the codes that were wrong: hashes that take long to make, because there are only a
            million codes.
        ref: Where the key was stored, once the registration is confirmed.
    """

    sent: bool = False
    refused: frozenset[str] = frozenset()
    ref: SecretRef | None = None

    def after(self, *, sent: bool, refused: str | None, ref: SecretRef | None) -> CodeState:
        """Return the state after `Ledger.mark_sent`."""
        return CodeState(
            sent=sent,
            refused=self.refused if refused is None else self.refused | {refused},
            ref=self.ref if ref is None else ref,
        )


NOTHING_KNOWN: CodeState = CodeState()
"""The state of a code that nobody has used."""


class Ledger(Protocol):
    """What was asked for, and what became of its code. It holds no secret, no good code and no email.

    Its methods may block, and the async side calls them in a worker thread. A ledger whose methods never wait for
    a disk or a network says so with an attribute ``blocks`` that is false, and is called directly.

    A registration goes by its name, a hash of what is registered and where; its code goes by the server's request id.
    A ``subject`` is the one or the other: the name while a code is asked for, the request id while one is used. No
    name looks like a request id.
    """

    def find(self, name: str) -> PendingRegistration | None:
        """Return the pending registration of that name while its code lives, or None."""
        ...

    def keep(self, name: str, pending: PendingRegistration) -> None:
        """Remember a pending registration, in place of an older one of that name."""
        ...

    def forget(self, request_id: str) -> None:
        """Drop a pending registration, so that it is not found any more; do nothing where it is not known."""
        ...

    def state(self, subject: str) -> CodeState:
        """Return what is known of a subject, whether or not it was ever kept here."""
        ...

    def mark_sent(
        self, subject: str, *, sent: bool, refused: str | None = None, ref: SecretRef | None = None
    ) -> None:
        """Mark a subject as sent, or as settled, for a day; also one that was never kept here.

        Args:
            subject: The request id of a code that was sent, or the name of a registration for which a code was asked.
            sent: True right before a code is sent, or where asking for one had no answer: from then on a workspace, or
                an email, may exist. False once an answer settled that.
            refused: The fingerprint of a code that was wrong.
            ref: Where the key is, once there is one.
        """
        ...

    def reserve(self, subject: str) -> bool:
        """Keep others from working on a subject until `release`, and say whether that was possible.

        It is atomic and does not wait. The reservation ends with the process, however that ends.
        """
        ...

    def release(self, subject: str) -> None:
        """Let others work on a subject; do nothing where it is not reserved here."""
        ...


class MemoryLedger:
    """Remembers registrations in this process. No operation looks at all that are pending.

    Args:
        monotonic: Returns seconds that only go forward, by which entries end.

    Example:
        >>> ledger = MemoryLedger()
        >>> from favcrm import FavCRMProvisioner
        >>> with FavCRMProvisioner(ledger=ledger) as favcrm:  # several provisioners may share one
        ...     pass
    """

    blocks: bool = False

    def __init__(self, *, monotonic: Callable[[], float] = monotonic) -> None:
        self._monotonic = monotonic
        self._pending: dict[str, PendingRegistration] = {}
        self._names: dict[str, str] = {}
        self._states: dict[str, CodeState] = {}
        self._endings: list[tuple[float, int, str, PendingRegistration | CodeState]] = []
        self._numbers = itertools.count()
        self._begin()
        at_fork(self, MemoryLedger._begin)

    def _begin(self) -> None:
        """Begin without what threads of the parent's would never give back in a forked child."""
        self._lock = Lock()
        self._reserved: set[str] = set()

    def find(self, name: str) -> PendingRegistration | None:
        """Return the pending registration of that name while its code lives, or None."""
        pending = self._pending.get(name)
        return None if pending is None or pending.expired else pending

    def keep(self, name: str, pending: PendingRegistration) -> None:
        """Remember a pending registration, in place of an older one of that name."""
        with self._lock:
            if (before := self._pending.get(name)) is not None:
                self._names.pop(before.request_id, None)
            self._pending[name] = pending
            self._names[pending.request_id] = name
            self._end_after(pending.remaining(), name, pending)

    def forget(self, request_id: str) -> None:
        """Drop a pending registration; do nothing where it is not known."""
        with self._lock:
            name = self._names.pop(request_id, "")
            if (pending := self._pending.get(name)) is not None and pending.request_id == request_id:
                del self._pending[name]

    def state(self, subject: str) -> CodeState:
        """Return what is known of a name or a request id."""
        return self._states.get(subject, NOTHING_KNOWN)

    def mark_sent(
        self, subject: str, *, sent: bool, refused: str | None = None, ref: SecretRef | None = None
    ) -> None:
        """Remember what became of a name or a request id for a day."""
        with self._lock:
            state = self.state(subject).after(sent=sent, refused=refused, ref=ref)
            self._states[subject] = state
            self._end_after(STATE_LIFE, subject, state)

    def reserve(self, subject: str) -> bool:
        """Keep others from working on a name or a request id until `release`, and say whether that was possible."""
        with self._lock:
            free = subject not in self._reserved
            self._reserved.add(subject)
            return free

    def release(self, subject: str) -> None:
        """Let others work on a name or a request id; do nothing where it is not reserved."""
        with self._lock:
            self._reserved.discard(subject)

    def _end_after(self, seconds: float, name: str, entry: PendingRegistration | CodeState) -> None:
        """Note when an entry is over, and drop those that are over now."""
        now = self._monotonic()
        heapq.heappush(self._endings, (now + seconds, next(self._numbers), name, entry))
        while self._endings and self._endings[0][0] <= now:
            *_, name, ended = heapq.heappop(self._endings)
            # An entry that was replaced has an ending of its own.
            if self._states.get(name) is ended:
                del self._states[name]
            if self._pending.get(name) is ended:
                self._names.pop(self._pending.pop(name).request_id, None)
