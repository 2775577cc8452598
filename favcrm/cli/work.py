"""What the commands do that use FavCRM. Each call is made once, because the user decides what comes next."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from favcrm import FavCRMClient, FavCRMError, FavCRMProvisioner, InvalidInputError, RetryPolicy, Secret
from favcrm._text import clean
from favcrm.cli import stop
from favcrm.cli.keys import key_of_another_endpoint
from favcrm.cli.output import Found
from favcrm.cli.receipt import Receipt, keep_aside, received, was_shown
from favcrm.errors import PORTAL, AuthenticationError, StoreError
from favcrm.events import EventKind
from favcrm.ledger_file import FileLedger
from favcrm.models import PendingRegistration
from favcrm.results import plain
from favcrm.settings import Settings, config_path

if TYPE_CHECKING:
    from favcrm.cli.options import Given
    from favcrm.events import Event
    from favcrm.models import Invitation, ToolResult
    from favcrm.secret import SecretRef
    from favcrm.typing import JSON

ONCE = RetryPolicy.never()
NOTHING_CHANGED = "Nothing was changed."
SAVED = (
    "This sign-up is confirmed already, and its key was saved. No email was sent.",
    'See with "favcrm whoami" which companies the key opens.',
)
SHOWN = (
    "This sign-up is confirmed already, and its key was shown and not saved.",
    f'If you do not have the key, sign in at {PORTAL}, create one under Settings, MCP Keys, and run "favcrm login".',
)
FAILED, WRONG_USE = 1, 2
MINUTE = 60
HASH_LENGTH = 12


def perform(given: Given, act: Callable[[], Found], *, stopped: str = NOTHING_CHANGED) -> None:
    """Run a command and show its result; where it fails, say why and exit with the status of a failure.

    Args:
        given: What was said to every command.
        act: What the command does.
        stopped: What was and was not done where Ctrl-C ends the command.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = act()
        for words in dict.fromkeys(str(warning.message) for warning in caught):
            warn(given, words)
        show(given, found)
        if found.report is not None:
            found.report.raise_if_not_ready()
    except KeyboardInterrupt:
        stop(stopped)
    except FavCRMError as error:
        if isinstance(error, StoreError) and error.workspace is not None:
            # A key that could not be saved is shown, because the server shows it only once.
            show(given, received(error.workspace, None, show_key=True, given=given))
        if isinstance(error, AuthenticationError) and (elsewhere := key_of_another_endpoint(given)):
            warn(given, f"{elsewhere[0].upper()}{elsewhere[1:]}.")
        given.output.error(error)
        sys.exit(WRONG_USE if isinstance(error, InvalidInputError) else FAILED)


def show(given: Given, found: Found) -> None:
    """Write a result. A key in it that is saved nowhere is kept aside where it cannot be written."""
    try:
        write(given, found)
    except (OSError, KeyboardInterrupt):
        if found.unsaved is not None:
            warn(given, keep_aside(found.unsaved))
        raise


def write(given: Given, found: Found) -> None:
    """Write a result."""
    if given.as_json:
        click.echo(json.dumps(found.payload, indent=2))
    elif found.report is None:
        click.echo("\n".join(found.lines))
    else:
        output = given.output
        output.report = found.report
        output.finish()


def answered(result: ToolResult | Invitation, *, show_key: bool) -> Found:
    """Return the answer of a tool, its keys and one-time tokens masked unless the user asked for them."""
    data = plain(result.data, Secret.reveal) if show_key else plain(result.data)
    return Found(data, (*([result.summary] if result.summary else []), json.dumps(data, indent=2)))


# Signing up


def request_code(
    given: Given,
    *,
    resend: bool,
    email: str,
    organisation_name: str,
    industry: str | None,
    country: str | None,
    timezone: str | None,
) -> Found:
    """Ask for a code, unless the code of an earlier request is still good or was confirmed."""
    ledger = pending_ledger(given)
    events: list[Event] = []
    with FavCRMProvisioner(given.url, retry=ONCE, ledger=ledger, on_event=events.append) as favcrm:
        pending = favcrm.initiate(
            email=email,
            organisation_name=organisation_name,
            industry=industry,
            country=country,
            timezone=timezone,
            resend=resend,
        )
    if ledger is None:
        warn(given, "This request could not be remembered, so asking again sends another email.")
    reused = any(event.kind is EventKind.CODE_REUSED for event in events)
    key_ref = key_of(pending.request_id, ledger) if reused else None
    payload = {"requestId": pending.request_id, **asked(pending), "reused": reused}
    payload["confirmed"] = key_ref is not None
    if key_ref is not None:
        return Found(payload, SHOWN if was_shown(key_ref) else SAVED)
    then = f"Then: favcrm signup verify --request-id {clean(pending.request_id)} --code CODE"
    return Found(payload, (*told(pending, reused=reused), then))


def verify_code(given: Given, request_id: str, code: str, *, save: bool, show_key: bool) -> Found:
    """Confirm a code."""
    receipt = Receipt(save=save)
    ledger = pending_ledger(given)
    key_ref = key_of(request_id, ledger)
    if key_ref is not None and was_shown(key_ref):
        raise StoreError(f"{SHOWN[0]} The code was not used.", next_step=SHOWN[1])
    try:
        with FavCRMProvisioner(
            given.url, retry=ONCE, store=receipt.store, ledger=ledger, on_event=receipt.note
        ) as favcrm:
            workspace = favcrm.confirm(request_id, code)
    except KeyboardInterrupt:
        stop(receipt.stopped())
    return received(workspace, receipt.path, show_key=show_key, given=given)


def key_of(request_id: str, ledger: FileLedger | None) -> SecretRef | None:
    """Return where the key of a confirmed registration is, or None where the registration is not confirmed."""
    if ledger is not None:
        # Without a ledger that can be read, the server says what became of the registration.
        with suppress(StoreError):
            return ledger.state(request_id).ref
    return None


def pending_ledger(given: Given) -> FileLedger | None:
    """Return what remembers requests from one command to the next, or None where there is no place for a file."""
    path = config_path(os.environ, sys.platform)
    if path is None:
        return None
    # A file for each endpoint, because a code of one endpoint means nothing to another. The endpoint is hashed,
    # because an address may hold a secret.
    endpoint = Settings.load(endpoint=given.url).endpoint
    name = hashlib.sha256(endpoint.encode()).hexdigest()[:HASH_LENGTH]
    return FileLedger(path.with_name(f"pending-{name}.json"))


def warn(given: Given, words: str) -> None:
    """Write a warning to stderr."""
    click.echo(json.dumps({"warning": words}) if given.as_json else f"Warning: {words}", err=True)


# Invitations


def create_invite(
    given: Given, email: str, *, name: str | None, role: str | None, expires_in_hours: int | None
) -> Found:
    """Invite somebody. The whole answer is shown, because nobody published which field has the token."""
    with FavCRMClient(given.url, api_key=given.api_key, retry=ONCE) as crm:
        invitation = crm.invite(email, name=name, role=role, expires_in_hours=expires_in_hours)
    return answered(invitation, show_key=True)


def request_invite_code(given: Given, token: str) -> Found:
    """Ask for the code that goes with an invitation."""
    with FavCRMProvisioner(given.url, retry=ONCE, ledger=pending_ledger(given)) as favcrm:
        pending = favcrm.request_invite_code(token)
    return Found(
        asked(pending), (*told(pending), "Then: favcrm team invite accept-verify --token TOKEN --code CODE")
    )


def verify_invite(
    given: Given, token: str, code: str, name: str | None, *, save: bool, show_key: bool
) -> Found:
    """Confirm the code of an invitation."""
    receipt = Receipt(save=save)
    try:
        with FavCRMProvisioner(
            given.url,
            retry=ONCE,
            store=receipt.store,
            ledger=pending_ledger(given),
            on_event=receipt.note,
        ) as favcrm:
            workspace = favcrm.confirm_invite(token, code, person=name)
    except KeyboardInterrupt:
        stop(receipt.stopped())
    return received(workspace, receipt.path, show_key=show_key, given=given)


def asked(pending: PendingRegistration) -> dict[str, JSON]:
    """Return what was asked for, for machines."""
    return {
        "expiresAt": pending.expires_at.isoformat(),
        "maskedEmail": pending.masked_email,
        "instructions": pending.instructions,
    }


def told(pending: PendingRegistration, *, reused: bool = False) -> tuple[str, ...]:
    """Return what was asked for, for people."""
    seconds = pending.remaining()
    time = f"{seconds / MINUTE:.0f} minutes" if seconds >= 2 * MINUTE else f"{seconds:.0f} seconds"
    if reused:
        return (
            f"A code was sent by an earlier request, and is good for {time} more. No second email was sent.",
            "Give --resend to ask for a new code.",
        )
    place = f" to {pending.masked_email}" if pending.masked_email else ""
    return (f"A code was sent{place}, and is good for {time}.",)
