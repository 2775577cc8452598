"""An `initiate` beside pending registrations in a process that stays: `python kept.py TASK URL NUMBER`.

TASK is ``blocking`` or ``asynchronous``: for each line, so many registrations are asked for and dropped again, so that
as many stay pending as there were. With ``memory`` it prints the bytes that they take, and the bytes once they expired.
"""

from __future__ import annotations

import asyncio
import sys
import tracemalloc
from datetime import UTC, datetime
from itertools import count
from time import perf_counter

from favcrm import AsyncFavCRMProvisioner, FavCRMProvisioner, MemoryLedger, PendingRegistration, Registration

NUMBERS = count(1)
LIFE = 600.0


def who() -> Registration:
    return Registration(email=f"user-{next(NUMBERS)}@example.com", organisation_name="Stretch + Breathe")


def filled(number: int) -> MemoryLedger:
    """Return a ledger in which so many registrations are pending for as long as this runs."""
    ledger = MemoryLedger()
    for index in range(number):
        ledger.keep(f"registration-{index:064}", kept(f"kept-{index}"))
    return ledger


def kept(request_id: str) -> PendingRegistration:
    return PendingRegistration(request_id=request_id, expires_at=datetime.max.replace(tzinfo=UTC))


def blocking(url: str, number: int) -> None:
    ledger = filled(number)
    with FavCRMProvisioner(url, ledger=ledger, era="bare") as provisioner:
        for line in sys.stdin:
            started = perf_counter()
            for _ in range(int(line)):
                ledger.forget(provisioner.initiate(who()).request_id)
            print(perf_counter() - started, flush=True)


async def asynchronous(url: str, number: int) -> None:
    ledger = filled(number)
    async with AsyncFavCRMProvisioner(url, ledger=ledger, era="bare") as provisioner:
        for line in sys.stdin:
            started = perf_counter()
            for _ in range(int(line)):
                ledger.forget((await provisioner.initiate(who())).request_id)
            print(perf_counter() - started, flush=True)


def memory(number: int) -> None:
    now = 0.0
    ledger = MemoryLedger(monotonic=lambda: now)
    tracemalloc.start()
    empty = tracemalloc.get_traced_memory()[0]
    for index in range(number):
        ledger.keep(
            f"registration-{index:064}",
            PendingRegistration(
                request_id=f"signup_req_{index}",
                expires_at=datetime(2026, 1, 1, tzinfo=UTC),
                masked_email="yo*@example.com",
                instructions="Ask the user for the code.",
                ends_at=LIFE,
                monotonic=lambda: now,
            ),
        )
    full = tracemalloc.get_traced_memory()[0] - empty
    now = LIFE
    ledger.keep("one more", kept("one-more"))
    print(full, tracemalloc.get_traced_memory()[0] - empty, flush=True)


if __name__ == "__main__":
    TASK, URL, NUMBER = sys.argv[1:]
    if TASK == "memory":
        memory(int(NUMBER))
    elif TASK == "blocking":
        blocking(URL, int(NUMBER))
    else:
        asyncio.run(asynchronous(URL, int(NUMBER)))
