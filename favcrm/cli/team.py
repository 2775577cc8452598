"""``favcrm team invite``: invite people, and accept an invitation."""

from __future__ import annotations

import click
from attrs import evolve

from favcrm._text import clean
from favcrm.cli.keys import receive
from favcrm.cli.options import Given, action, key_options
from favcrm.cli.output import Found, answered
from favcrm.cli.signup import EMAIL_SENT, asked, need_a_place_for_the_key, pending_ledger, told

__all__ = ["team"]


@click.group()
def team() -> None:
    """Invite people, and accept invitations."""


@team.group()
def invite() -> None:
    """Invite people, and accept invitations."""


@invite.command()
@click.option("--email", required=True, help="The address of the person to invite.")
@click.option("--name", help="The name of that person.")
@click.option("--role", help="The role: manager or staff.")
@click.option("--expires-in-hours", type=int, help="How long the invitation lives, 1 to 336.")
@action(stopped="The invitation may have been created.")
def create(
    given: Given, *, email: str, name: str | None, role: str | None, expires_in_hours: int | None
) -> Found:
    """Invite somebody to this workspace."""
    with given.client() as crm:
        invitation = crm.invite(email, name=name, role=role, expires_in_hours=expires_in_hours)
    # The whole answer is shown, because nobody published which field has the token.
    found = answered(invitation, show_key=True)
    # The server's sentence has no email, because the email is hidden there; who typed the email may read it.
    invited = f"{clean(email)} is invited."
    token = "TOKEN" if invitation.token is None else clean(invitation.token.reveal())
    then = f"Then, where that person works: favcrm team invite accept-request --token {token}"
    return evolve(found, lines=(invited, found.lines[-1], then))


@invite.command("accept-request")
@click.option("--token", required=True, help="The token in the invitation.")
@action(stopped=EMAIL_SENT)
def accept_request(given: Given, *, token: str) -> Found:
    """Ask for the code that goes with an invitation."""
    with given.provisioner(ledger=pending_ledger()) as favcrm:
        pending = favcrm.request_invite_code(token)
    then = "Then: favcrm team invite accept-verify --token TOKEN --code CODE"
    return Found(asked(pending), (*told(pending), then))


@invite.command("accept-verify")
@click.option("--token", required=True, help="The token in the invitation.")
@click.option("--code", required=True, help="The 6 digits from the email.")
@click.option("--name", help="Your name.")
@key_options
@action()
def accept_verify(
    given: Given, *, token: str, code: str, name: str | None, no_save: bool, show_key: bool
) -> Found:
    """Confirm the code of an invitation, and save the key in the config file."""
    need_a_place_for_the_key(given, no_save=no_save, show_key=show_key)
    return receive(
        given,
        lambda favcrm: favcrm.confirm_invite(token, code, person=name),
        ledger=pending_ledger(),
        save=not no_save,
        show_key=show_key,
    )
