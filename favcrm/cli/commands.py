"""What can be typed after ``favcrm``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from favcrm import __version__
from favcrm.cli import NOTHING_DONE, stop
from favcrm.cli.login import login
from favcrm.cli.options import Given, json_option, with_given
from favcrm.cli.signup import signup
from favcrm.cli.team import team
from favcrm.cli.workspace import doctor, plan, tool, whatsapp, whoami
from favcrm.settings import as_secret

if TYPE_CHECKING:
    from favcrm.secret import Secret

SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"]}


class Commands(click.Group):
    """A group of commands that Ctrl-C ends in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # click would call it an error.
            stop(NOTHING_DONE)


@click.group(cls=Commands, context_settings=SETTINGS)
@click.option("--url", help="The address of the tools; else from FAVCRM_MCP_URL.")
@click.option("--api-key", type=as_secret, metavar="KEY", help="The key; better in FAVCRM_API_KEY.")
@json_option
@click.version_option(__version__, prog_name="favcrm", message="%(prog)s %(version)s")
@click.pass_context
def favcrm(ctx: click.Context, *, url: str | None, api_key: Secret | None, as_json: bool) -> None:
    """Sign an agent up for FavCRM and start working.

    Begin with "favcrm demo", which needs no account and no network.
    """
    ctx.obj = Given(url, api_key, as_json)


@favcrm.command()
@click.option("--ask", is_flag=True, help="Type the code yourself, as a user would.")
@with_given
def demo(given: Given, *, ask: bool) -> None:
    """Watch a whole sign-up, on this machine.

    The demo registers a workspace with an embedded FavCRM, confirms the code, diagnoses the workspace and creates
    a member. Nothing leaves this machine, your settings and keys are not used, and nothing is kept.

    The exit status is 0 when the workspace is ready for work, and 1 otherwise.
    """
    # Here, so that --help and --version answer at once.
    from favcrm.cli.demo import run

    sys.exit(run(given.output, ask=ask))


@favcrm.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Where to listen; 0 for a free port.")
@click.option("--doctor", is_flag=True, help="Offer the tool favcrm_doctor too.")
@with_given
def sandbox(given: Given, *, port: int, doctor: bool) -> None:
    """Serve an embedded FavCRM on this machine until Ctrl-C.

    The sandbox has FavCRM's tools, limits and failures. Every mail that the sandbox sends is shown here, with its
    code. What is written in the sandbox is gone when the sandbox stops.
    """
    from favcrm.cli.sandbox import serve

    serve(given.output, port=port, doctor=doctor)


for _command in (doctor, login, plan, signup, team, tool, whatsapp, whoami):
    favcrm.add_command(_command)
