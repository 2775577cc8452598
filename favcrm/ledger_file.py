"""A ledger in a file, so that other processes go on with a registration."""

from __future__ import annotations

import glob
import hashlib
import json
import math
import os
import time as clocks
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from attrs import Attribute, asdict, evolve, field, frozen
from attrs.validators import deep_iterable, instance_of, optional

from favcrm._atomic import acquire, read, release, updated, wrap_errors
from favcrm._backends.clock import monotonic
from favcrm._forks import at_fork
from favcrm.errors import StoreError
from favcrm.ledger import NOTHING_KNOWN, STATE_LIFE, CodeState
from favcrm.models import PendingRegistration
from favcrm.secret import SecretRef

__all__ = ["FileLedger"]

VERSION = 2
BUSY = "favcrm-busy"
"""What the lock files of reservations are called, behind the name of the ledger."""
TICK = 2.0
"""Seconds: longer than the time between two ticks of the clock of any file system in use."""


def _check_time(_: object, __: Attribute[float], seconds: float) -> None:
    if not math.isfinite(seconds):
        raise ValueError


def _check_date(_: object, __: Attribute[str], text: str) -> None:
    datetime.fromisoformat(text)


def _texts(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


@frozen(kw_only=True)
class Waiting:
    """One pending registration: when it was kept and when its code dies are seconds of this machine's clock."""

    request_id: str = field(validator=instance_of(str))
    expires_at: str = field(validator=_check_date)
    kept_at: float = field(validator=_check_time)
    ends_at: float = field(validator=_check_time)

    def left(self, now: float) -> float:
        """Return the seconds that the code has left; a clock that was set back does not give it more than it had."""
        return min(self.ends_at - now, self.ends_at - self.kept_at)


@frozen(kw_only=True)
class Code:
    """What is known of one code, and when that was written down."""

    kept_at: float = field(validator=_check_time)
    sent: bool = field(validator=instance_of(bool))
    refused: tuple[str, ...] = field(converter=_texts, validator=deep_iterable(instance_of(str)))
    ref: str | None = field(validator=optional(instance_of(str)))


@frozen(kw_only=True)
class Content:
    """What is in the file."""

    pending: Mapping[str, Waiting] = field(factory=dict[str, Waiting])
    codes: Mapping[str, Code] = field(factory=dict[str, Code])


class FileLedger:
    """Remembers registrations in a file, for every process of this machine that is given the same path.

    Each method raises `StoreError` where the file cannot be read or written, where it is no ledger, and where no lock
    file can be made or removed beside it.

    The file holds no key, no good code and no email, masked or not: a registration is found by a hash of what is
    registered and where. The file is replaced as a whole or not at all, by one process at a time, and only its owner
    can read it. The file is read again only after it was changed. Each change also drops registrations whose codes have
    expired, and what is known of a code for more than a day. A file that is no ledger is an error, and stays as it is.

    Of several threads and processes that ask for one registration, one asks the server, and the others wait for it
    and take what it got: one email, one workspace. While one of them asks or confirms, a lock file stands beside the
    ledger. The system gives the lock back where a process is killed.

    Args:
        path: The file. Missing directories are made.
        time: Returns the seconds since 1970 by this machine's clock. How long a code lives is kept as such a time,
            because other processes know no other clock of this one.
        monotonic: Returns seconds that only go forward. A registration that `find` returns counts its time left by
            them, so that a clock that is set meanwhile changes nothing.

    Example:
        >>> ledger = FileLedger("pending.json")
        >>> from favcrm import FavCRMProvisioner
        >>> with FavCRMProvisioner(ledger=ledger) as favcrm:
        ...     pass
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        time: Callable[[], float] = clocks.time,
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        # Whoever comes through a symbolic link finds the same lock files.
        self._path = Path(os.path.realpath(path))
        self._time = time
        self._monotonic = monotonic
        self._locks: dict[str, int] = {}
        self._read: tuple[tuple[int, ...], Content] = ((), Content())
        at_fork(self, FileLedger._let_go)

    def __repr__(self) -> str:
        return f"FileLedger({str(self._path)!r})"

    def find(self, name: str) -> PendingRegistration | None:
        """Return the pending registration of that name while its code lives, or None.

        Its ``masked_email`` and ``instructions`` are empty, since they are not kept.
        """
        waiting = self._content().pending.get(name)
        left = 0.0 if waiting is None else waiting.left(self._time())
        if waiting is None or left <= 0:
            return None
        return PendingRegistration(
            request_id=waiting.request_id,
            expires_at=datetime.fromisoformat(waiting.expires_at),
            ends_at=self._monotonic() + left,
            monotonic=self._monotonic,
        )

    def keep(self, name: str, pending: PendingRegistration) -> None:
        """Remember a pending registration, in place of an older one of that name."""
        now = self._time()
        waiting = Waiting(
            request_id=pending.request_id,
            expires_at=pending.expires_at.isoformat(),
            kept_at=now,
            ends_at=now + pending.remaining(),
        )
        self._change(lambda content: evolve(content, pending={**content.pending, name: waiting}))

    def forget(self, request_id: str) -> None:
        """Drop a pending registration; do nothing where it is not known."""
        if any(one.request_id == request_id for one in self._content().pending.values()):
            self._change(
                lambda content: evolve(
                    content,
                    pending={
                        name: one for name, one in content.pending.items() if one.request_id != request_id
                    },
                )
            )

    def state(self, subject: str) -> CodeState:
        """Return what is known of a name or a request id, whether or not it was ever kept here."""
        return _state(self._content(), subject)

    def mark_sent(
        self, subject: str, *, sent: bool, refused: str | None = None, ref: SecretRef | None = None
    ) -> None:
        """Remember what became of a name or a request id for a day, also of one that was never kept here."""

        def mark(content: Content) -> Content:
            state = _state(content, subject).after(sent=sent, refused=refused, ref=ref)
            code = Code(kept_at=self._time(), sent=state.sent, refused=sorted(state.refused), ref=state.ref)
            return evolve(content, codes={**content.codes, subject: code})

        self._change(mark)

    def reserve(self, subject: str) -> bool:
        """Keep other threads and processes from working on a subject until `release`; say whether that was possible."""
        with wrap_errors(f"The ledger {self._path} cannot be locked"):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = acquire(self._lock_of(subject))
        if descriptor is None:
            return False
        self._locks[subject] = descriptor
        return True

    def release(self, subject: str) -> None:
        """Let others work on a subject; do nothing where this process has not reserved it."""
        descriptor = self._locks.pop(subject, None)
        if descriptor is not None:
            with wrap_errors(f"The ledger {self._path} cannot be unlocked"):
                release(self._lock_of(subject), descriptor)

    def _let_go(self) -> None:
        """Close what a fork has copied, or the lock would outlive the parent that holds it."""
        while self._locks:
            os.close(self._locks.popitem()[1])

    def _lock_of(self, name: str) -> Path:
        mark = hashlib.sha256(name.encode()).hexdigest()[:16]
        return self._path.with_name(f".{self._path.name}.{BUSY}-{mark}")

    def _content(self) -> Content:
        with wrap_errors(f"The ledger {self._path} cannot be read"):
            return self._read_once()

    def _read_once(self) -> Content:
        """Return what is in the file, which is read again only where it was changed."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return Content()
        version = (found.st_ino, found.st_mtime_ns, found.st_size)
        known, content = self._read
        if known == version:
            return content
        content = _parse(self._path)
        # Two changes within one tick of the file system's clock may look the same, so a fresh file is read again.
        if clocks.time() - found.st_mtime > TICK:
            self._read = version, content
        return content

    def _change(self, change: Callable[[Content], Content]) -> None:
        with wrap_errors(f"The ledger {self._path} cannot be written"), updated(self._path) as draft:
            content = self._without_expired(change(_parse(self._path)))
            fields = {"favcrm_ledger": VERSION, **asdict(content)}
            draft.write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")
            self._remove_leftovers()

    def _remove_leftovers(self) -> None:
        """Remove the lock files of processes that were killed."""
        for lock in self._path.parent.glob(f"{glob.escape(f'.{self._path.name}.{BUSY}')}-*"):
            if (descriptor := acquire(lock)) is not None:
                release(lock, descriptor)

    def _without_expired(self, content: Content) -> Content:
        now = self._time()
        return Content(
            pending={name: one for name, one in content.pending.items() if one.left(now) > 0},
            codes={name: code for name, code in content.codes.items() if now - code.kept_at < STATE_LIFE},
        )


def _state(content: Content, request_id: str) -> CodeState:
    code = content.codes.get(request_id)
    if code is None:
        return NOTHING_KNOWN
    ref = None if code.ref is None else SecretRef(code.ref)
    return CodeState(sent=code.sent, refused=frozenset(code.refused), ref=ref)


def _parse(path: Path) -> Content:
    """Return what is in a file; nothing where there is no file or an empty one."""
    text = read(path)
    if not text:
        return Content()
    content = _parsed(text)
    if content is None:
        raise StoreError(
            f"{path} is not a ledger of this version, so it was left as it is.",
            next_step="Give the ledger another path, or remove the file if nobody needs it.",
        )
    return content


def _parsed(text: bytes) -> Content | None:
    """Return what a ledger holds, or None where it is something else."""
    try:
        document: Any = json.loads(text)
        if document["favcrm_ledger"] != VERSION:
            return None
        return Content(
            pending={str(name): Waiting(**fields) for name, fields in document["pending"].items()},
            codes={str(name): Code(**fields) for name, fields in document["codes"].items()},
        )
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None
