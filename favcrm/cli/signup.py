"""``favcrm signup``: ask for a code by email, then confirm the code."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from favcrm._text import clean
from favcrm.cli.keys import other_address, receive
from favcrm.cli.options import Given, action, key_options
from favcrm.cli.output import Found, time_left
from favcrm.errors import PORTAL, StoreError
from favcrm.events import EventKind
from favcrm.ledger_file import FileLedger
from favcrm.settings import config_path
from favcrm.stores import MemoryStore

if TYPE_CHECKING:
    from favcrm import Event, PendingRegistration
    from favcrm.typing import JSON

__all__ = ["EMAIL_SENT", "asked", "need_a_place_for_the_key", "pending_ledger", "signup", "told"]

EMAIL_SENT = "An email with a code may have been sent."
SAVED = "This sign-up is confirmed already, and its key was saved."
WHOAMI = 'See with "favcrm whoami" which companies the key opens.'
SHOWN = (
    "This sign-up is confirmed already, and its key was shown and not saved.",
    f'If you do not have the key, sign in at {PORTAL}, create a key under Settings, MCP Keys, and run "favcrm login".',
)


@click.group()
def signup() -> None:
    """Sign up: ask for a code, then confirm it."""


@signup.command()
@click.option("--email", required=True, help="The address to which the code is sent.")
@click.option("--organisation-name", required=True, help="The name of the organisation, 2 to 80 characters.")
@click.option("--industry", help="The industry, such as fitness.")
@click.option("--country", help="The country, as two letters such as HK.")
@click.option("--timezone", help="The time zone, such as Asia/Hong_Kong.")
@click.option("--resend", is_flag=True, help="Ask for a new code, even if an earlier one is good.")
@action(stopped=EMAIL_SENT)
def request(
    given: Given,
    *,
    email: str,
    organisation_name: str,
    industry: str | None,
    country: str | None,
    timezone: str | None,
    resend: bool,
) -> Found:
    """Ask for a 6-digit code by email.

    While the code of an earlier request is good, no second email is sent.
    """
    ledger = pending_ledger()
    events: list[Event] = []
    with given.provisioner(ledger=ledger, on_event=events.append) as favcrm:
        pending = favcrm.initiate(
            email=email,
            organisation_name=organisation_name,
            industry=industry,
            country=country,
            timezone=timezone,
            resend=resend,
        )
    if ledger is None:
        given.warn("This request could not be remembered, so asking again sends another email.")
    reused = any(event.kind is EventKind.CODE_REUSED for event in events)
    confirmed = how_confirmed(given, pending.request_id, ledger) if reused else None
    payload = {"requestId": pending.request_id, **asked(pending), "reused": reused}
    payload["confirmed"] = confirmed is not None
    if confirmed is not None:
        return Found(payload, (f"{confirmed[0]} No email was sent.", confirmed[1]))
    then = f"Then: favcrm signup verify --request-id {clean(pending.request_id)} --code CODE"
    return Found(payload, (*told(pending, reused=reused), then))


@signup.command()
@click.option("--request-id", required=True, help='The request id that "favcrm signup request" printed.')
@click.option("--code", required=True, help="The 6 digits from the email.")
@key_options
@action()
def verify(given: Given, *, request_id: str, code: str, no_save: bool, show_key: bool) -> Found:
    """Confirm the code, and save the key in the config file."""
    need_a_place_for_the_key(given, no_save=no_save, show_key=show_key)
    ledger = pending_ledger()
    if (confirmed := how_confirmed(given, request_id, ledger)) is not None:
        raise StoreError(f"{confirmed[0]} The code was not used.", next_step=confirmed[1])
    return receive(
        given,
        lambda favcrm: favcrm.confirm(request_id, code),
        ledger=ledger,
        save=not no_save,
        show_key=show_key,
    )


def need_a_place_for_the_key(given: Given, *, no_save: bool, show_key: bool) -> None:
    """Refuse to receive a key that would be neither saved nor shown."""
    if no_save and not (show_key or given.as_json):
        raise click.UsageError(
            "With --no-save, give --show-key or --json too, because FavCRM shows the key only once."
        )


def how_confirmed(given: Given, request_id: str, ledger: FileLedger | None) -> tuple[str, str] | None:
    """Say that a registration is confirmed and what to do then, or return None where it is not confirmed."""
    ref = None
    if ledger is not None:
        # Without a ledger that can be read, the server says what became of the registration.
        with suppress(StoreError):
            ref = ledger.state(request_id).ref
    if ref is None:
        return None
    if ref.scheme == MemoryStore.scheme:
        return SHOWN
    # The key goes to the address that its file names, so that "whoami" may find no key here.
    elsewhere = " ".join(other_address(given))
    return SAVED, f"{elsewhere}. {WHOAMI}" if elsewhere else WHOAMI


def pending_ledger() -> FileLedger | None:
    """Return what remembers requests from one command to the next, or None where there is no place for a file."""
    path = config_path(os.environ, sys.platform)
    return None if path is None else FileLedger(path.with_name("pending.json"))


def asked(pending: PendingRegistration) -> dict[str, JSON]:
    """Return what was asked for, for machines."""
    return {
        "expiresAt": pending.expires_at.isoformat(),
        "maskedEmail": pending.masked_email,
        "instructions": pending.instructions,
    }


def told(pending: PendingRegistration, *, reused: bool = False) -> tuple[str, ...]:
    """Return what was asked for, for people."""
    time = time_left(pending)
    if reused:
        return (
            f"A code was sent by an earlier request, and is good for {time} more. No second email was sent.",
            "Give --resend to ask for a new code.",
        )
    place = f" to {pending.masked_email}" if pending.masked_email else ""
    return (f"A code was sent{place}, and is good for {time}.",)
