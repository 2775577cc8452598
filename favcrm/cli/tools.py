"""The commands that use FavCRM, with the names and options of the vendor's own command.

Their work is in `favcrm.cli.work` and `favcrm.cli.queries`, which are loaded when a command runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import click

from favcrm.cli.options import Given, action
from favcrm.settings import as_secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from favcrm.secret import Secret

__all__ = ["COMMANDS"]

EMAIL_SENT = "An email with a code may have been sent."

CommandT = TypeVar("CommandT", bound="Callable[..., object]")


def key_options(command: CommandT) -> CommandT:
    """Add what is said about a key that is received."""
    no_save = click.option("--no-save", is_flag=True, help="Do not save the key.")
    show_key = click.option("--show-key", is_flag=True, help="Show the whole key.")
    return no_save(show_key(command))


def keep_key(given: Given, *, no_save: bool, show_key: bool) -> None:
    """Refuse to receive a key that would be neither saved nor shown."""
    if no_save and not (show_key or given.as_json):
        raise click.UsageError("With --no-save, give --show-key or --json too: the key comes only once.")


@click.group()
def signup() -> None:
    """Sign up: ask for a code, then confirm it."""


@signup.command("request")
@click.option("--email", required=True, help="Where the code goes.")
@click.option("--organisation-name", required=True, help="2 to 80 characters.")
@click.option("--industry", help="Such as fitness.")
@click.option("--country", help="ISO 3166-1 alpha-2, such as HK.")
@click.option("--timezone", help="An IANA name, such as Asia/Hong_Kong.")
@click.option("--resend", is_flag=True, help="Ask for a new code, also where an earlier one is good.")
@action
def signup_request(
    given: Given,
    *,
    email: str,
    organisation_name: str,
    industry: str | None,
    country: str | None,
    timezone: str | None,
    resend: bool,
) -> None:
    """Ask for a 6-digit code by email.

    While the code of an earlier request is good, no second email is sent.
    """
    from favcrm.cli import work

    work.perform(
        given,
        lambda: work.request_code(
            given,
            resend=resend,
            email=email,
            organisation_name=organisation_name,
            industry=industry,
            country=country,
            timezone=timezone,
        ),
        stopped=EMAIL_SENT,
    )


@signup.command("verify")
@click.option("--request-id", required=True, help="What the request answered.")
@click.option("--code", required=True, help="The 6 digits from the email.")
@key_options
@action
def signup_verify(given: Given, *, request_id: str, code: str, no_save: bool, show_key: bool) -> None:
    """Confirm the code, and save the key in the config file."""
    from favcrm.cli import work

    keep_key(given, no_save=no_save, show_key=show_key)
    work.perform(
        given, lambda: work.verify_code(given, request_id, code, save=not no_save, show_key=show_key)
    )


@click.group()
def team() -> None:
    """Invite people, and accept invitations."""


@team.group()
def invite() -> None:
    """Invite people, and accept invitations."""


@invite.command("create")
@click.option("--email", required=True, help="Whom to invite.")
@click.option("--name", help="Their name.")
@click.option("--role", help="manager or staff.")
@click.option("--expires-in-hours", type=int, help="How long the invitation lives, 1 to 336.")
@action
def invite_create(
    given: Given, *, email: str, name: str | None, role: str | None, expires_in_hours: int | None
) -> None:
    """Invite somebody to this workspace."""
    from favcrm.cli import work

    work.perform(
        given,
        lambda: work.create_invite(given, email, name=name, role=role, expires_in_hours=expires_in_hours),
        stopped="The invitation may have been created.",
    )


@invite.command("accept-request")
@click.option("--token", required=True, help="What the invitation says.")
@action
def invite_accept_request(given: Given, *, token: str) -> None:
    """Ask for the code that goes with an invitation."""
    from favcrm.cli import work

    work.perform(given, lambda: work.request_invite_code(given, token), stopped=EMAIL_SENT)


@invite.command("accept-verify")
@click.option("--token", required=True, help="What the invitation says.")
@click.option("--code", required=True, help="The 6 digits from the email.")
@click.option("--name", help="Your name.")
@key_options
@action
def invite_accept_verify(
    given: Given, *, token: str, code: str, name: str | None, no_save: bool, show_key: bool
) -> None:
    """Confirm the code of an invitation, and save the key in the config file."""
    from favcrm.cli import work

    keep_key(given, no_save=no_save, show_key=show_key)
    work.perform(
        given, lambda: work.verify_invite(given, token, code, name, save=not no_save, show_key=show_key)
    )


@click.command()
@action
def doctor(given: Given) -> None:
    """Find out whether the workspace is ready for work.

    The exit status is 0 when the workspace is ready, and 1 otherwise.
    """
    from favcrm.cli import queries, work

    work.perform(given, lambda: queries.diagnose(given))


@click.command()
@action
def whoami(given: Given) -> None:
    """Show the companies that the key opens."""
    _call(given, "list_my_companies")


@click.group()
def plan() -> None:
    """Look at the plan."""


@plan.command("status")
@action
def plan_status(given: Given) -> None:
    """Show the plan and its limits."""
    _call(given, "get_plan_status")


@click.group()
def whatsapp() -> None:
    """Look at WhatsApp."""


@whatsapp.command("status")
@action
def whatsapp_status(given: Given) -> None:
    """Show whether WhatsApp is connected."""
    _call(given, "get_whatsapp_connection_status")


@click.group()
def tool() -> None:
    """List, describe and call tools."""


@tool.command("list")
@action
def tool_list(given: Given) -> None:
    """List the tools."""
    from favcrm.cli import queries, work

    work.perform(given, lambda: queries.list_tools(given))


@tool.command("describe")
@click.argument("name")
@action
def tool_describe(given: Given, *, name: str) -> None:
    """Show a tool with its schemas."""
    from favcrm.cli import queries, work

    work.perform(given, lambda: queries.describe_tool(given, name))


@tool.command("call")
@click.argument("name")
@click.argument("arguments", metavar="[JSON]", default="{}")
@click.option("--show-key", is_flag=True, help="Show keys and one-time tokens in full.")
@action
def tool_call(given: Given, *, name: str, arguments: str, show_key: bool) -> None:
    """Call a tool; its arguments are a JSON object."""
    _call(given, name, arguments, show_key=show_key, stopped="The tool may have done its work.")


@click.command()
@click.argument("key", type=as_secret, required=False)
@click.option("--replace", is_flag=True, help="Replace another key; the old file is kept.")
@action
def login(given: Given, *, key: Secret | None, replace: bool) -> None:
    """Save a key that was made in the portal in the config file.

    The server is asked first whether it takes the key. Without KEY you type the key, or pipe it in, so that no
    history of commands has it.
    """
    from favcrm.cli import keys, work

    work.perform(
        given,
        lambda: keys.save_key(given, keys.read_key() if key is None else key, replace=replace),
        stopped="The key was not saved.",
    )


def _call(
    given: Given, name: str, arguments: str = "{}", *, show_key: bool = False, stopped: str | None = None
) -> None:
    from favcrm.cli import queries, work

    work.perform(
        given,
        lambda: queries.call_tool(given, name, arguments, show_key=show_key),
        stopped=stopped or work.NOTHING_CHANGED,
    )


COMMANDS: tuple[click.Command, ...] = (doctor, login, plan, signup, team, tool, whatsapp, whoami)
