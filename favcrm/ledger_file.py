"""A ledger in a file, so that another process can go on with a registration."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time as clocks
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from attrs import asdict, evolve, frozen

from favcrm._atomic import attempted, read, updated
from favcrm.errors import StoreError
from favcrm.inputs import Registration
from favcrm.models import PendingRegistration

__all__ = ["FileLedger"]

VERSION = 1


@frozen(kw_only=True)
class Entry:
    """One pending registration: when it was kept and when its code dies are seconds of this machine's clock."""

    request_id: str
    expires_at: str
    kept_at: float
    ends_at: float
    sent: bool = False


class FileLedger:
    """Remembers pending registrations in a file, by email and organisation, while their codes live.

    Another process of this machine, or the same notebook tomorrow, goes on with ``confirm``. The file holds no key,
    no code and no email, masked or not: a registration is found by a hash of the email and the organisation. It is
    replaced as a whole or not at all, one process at a time, and only its owner can read it. Entries whose codes
    have died are dropped whenever it is written. A file that is no ledger is left as it is, and is an error.

    Args:
        path: The file. Missing directories are made.
        time: Seconds since 1970, as this machine believes. The code's life is counted on it from process to process.
        monotonic: Seconds that only go forward. What was found counts its life on it.

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
        monotonic: Callable[[], float] = clocks.monotonic,
    ) -> None:
        self._path = Path(path).absolute()
        self._time = time
        self._monotonic = monotonic

    def __repr__(self) -> str:
        return f"FileLedger({str(self._path)!r})"

    def find(self, registration: Registration) -> PendingRegistration | None:
        """Return the pending registration of this email and organisation, or None where there is none that lives.

        Its ``masked_email`` and ``instructions`` are empty, since they are not kept.

        Raises:
            StoreError: The file cannot be read, or is no ledger.
        """
        entry = self._entries().get(_name(registration))
        left = 0.0 if entry is None else self._left(entry)
        if entry is None or left <= 0:
            return None
        return PendingRegistration(
            request_id=entry.request_id,
            expires_at=datetime.fromisoformat(entry.expires_at),
            ends_at=self._monotonic() + left,
            monotonic=self._monotonic,
        )

    def keep(self, registration: Registration, pending: PendingRegistration) -> None:
        """Remember a pending registration, in place of an older one of the same email and organisation.

        Raises:
            StoreError: The file cannot be written, or is no ledger.
        """
        now = self._time()
        entry = Entry(
            request_id=pending.request_id,
            expires_at=pending.expires_at.isoformat(),
            kept_at=now,
            ends_at=now + pending.remaining(),
        )
        name = _name(registration)

        def change(entries: dict[str, Entry]) -> dict[str, Entry]:
            sent = any(old.sent for old in entries.values() if old.request_id == entry.request_id)
            return {**entries, name: evolve(entry, sent=sent)}

        self._change(change)

    def forget(self, request_id: str) -> None:
        """Drop a registration that is over; do nothing where it is not known.

        Raises:
            StoreError: The file cannot be written, or is no ledger.
        """
        if self._knows(request_id):
            self._change(
                lambda entries: {
                    name: entry for name, entry in entries.items() if entry.request_id != request_id
                }
            )

    def mark_sent(self, request_id: str, *, sent: bool) -> None:
        """Remember that a code was sent for a registration, or that it turned out to be refused.

        It does nothing for a registration that is not kept here: nobody could tell when to drop the mark.

        Raises:
            StoreError: The file cannot be written, or is no ledger.
        """
        if self._knows(request_id):
            self._change(
                lambda entries: {
                    name: evolve(entry, sent=sent) if entry.request_id == request_id else entry
                    for name, entry in entries.items()
                }
            )

    def was_sent(self, request_id: str) -> bool:
        """Tell whether a code was sent for a registration that is still kept, so that a workspace may exist.

        Raises:
            StoreError: The file cannot be read, or is no ledger.
        """
        return any(entry.sent for entry in self._entries().values() if entry.request_id == request_id)

    def _left(self, entry: Entry) -> float:
        """Return the seconds that a code has left; a clock that was set back does not give it more than it had."""
        return min(entry.ends_at - self._time(), entry.ends_at - entry.kept_at)

    def _knows(self, request_id: str) -> bool:
        return any(entry.request_id == request_id for entry in self._entries().values())

    def _entries(self) -> dict[str, Entry]:
        return attempted(lambda: _read(self._path), f"The ledger {self._path} cannot be read")

    def _change(self, change: Callable[[dict[str, Entry]], dict[str, Entry]]) -> None:
        def write() -> None:
            with updated(self._path) as draft:
                entries = {
                    name: asdict(entry)
                    for name, entry in change(_read(self._path)).items()
                    if self._left(entry) > 0
                }
                content = {"favcrm_ledger": VERSION, "pending": entries}
                draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

        attempted(write, f"The ledger {self._path} cannot be written")


def _name(registration: Registration) -> str:
    """Return what an entry is found by; a list in JSON, so that no two pairs look the same."""
    pair = [registration.email.casefold(), registration.organisation_name.casefold()]
    return hashlib.sha256(json.dumps(pair).encode()).hexdigest()


def _read(path: Path) -> dict[str, Entry]:
    """Return the entries; none where there is no file or an empty one."""
    content = read(path)
    if not content:
        return {}
    entries = _parsed(content)
    if entries is None:
        raise StoreError(
            f"{path} is not a ledger of this version, so it was left as it is.",
            next_step="Give the ledger another path, or remove the file if nobody needs it.",
        )
    return entries


def _parsed(content: bytes) -> dict[str, Entry] | None:
    """Return the entries in a ledger, or None where it is something else."""
    try:
        ledger: Any = json.loads(content)
        if ledger["favcrm_ledger"] != VERSION:
            return None
        return {str(name): _entry(fields) for name, fields in ledger["pending"].items()}
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None


def _entry(fields: Any) -> Entry:
    """Return an entry whose every field can be used; raise where one cannot."""
    entry = Entry(**fields)
    datetime.fromisoformat(entry.expires_at)
    texts = isinstance(fields["request_id"], str) and isinstance(fields["sent"], bool)
    if texts and math.isfinite(entry.kept_at) and math.isfinite(entry.ends_at):
        return entry
    raise ValueError
