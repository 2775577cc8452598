"""``favcrm demo``: a whole sign-up against a sandbox on this machine, over HTTP where the sandbox can be served."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from favcrm import (
    FavCRMClient,
    FavCRMError,
    FavCRMProvisioner,
    Industry,
    InvalidCodeError,
    InvalidInputError,
    Registration,
)
from favcrm.cli import stop
from favcrm.cli.options import read_hidden
from favcrm.cli.output import time_left
from favcrm.errors import Problem
from favcrm.sandbox import Sandbox, SandboxClock
from favcrm.stores import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from favcrm import PendingRegistration, ToolResult, Workspace
    from favcrm.cli.output import Output
    from favcrm.transport import Transport

__all__ = ["run"]

REGISTRATION = Registration(
    email="you@example.com", organisation_name="Stretch + Breathe", industry=Industry.FITNESS, country="HK"
)
MEMBER = {"name": "Ada Lovelace", "phone": "+852 5555 0100"}
QUESTION = "The code (hidden while you type): "
IN_PROCESS = 'in this process, because the extra "sandbox" is not installed'

CONFIG_FILE_VARIABLES = ("HOME", "XDG_CONFIG_HOME", "APPDATA")
"""What says where the config file is."""


def run(output: Output, *, ask: bool) -> int:
    """Run the demo, in which a person types the code where ``ask`` is true, and return the exit status."""
    output.say("Signing up for FavCRM in a sandbox. Nothing leaves this machine.")
    try:
        with own_settings(), ExitStack() as resources:
            sign_up_and_work(output, resources, ask=ask)
    except KeyboardInterrupt:
        stop("Nothing was kept.")
    except FavCRMError as error:
        output.finish(error)
        return 1
    output.finish()
    output.say('Ready. The key was kept in memory and is gone. To try your own code, start "favcrm sandbox".')
    return 0


@contextmanager
def own_settings() -> Generator[None]:
    """Hide the settings of whoever runs this, keys above all: the demo is the same everywhere."""
    kept = dict(os.environ)
    for name in kept:
        if name.startswith("FAVCRM_") or name in CONFIG_FILE_VARIABLES:
            del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(kept)


def sign_up_and_work(output: Output, resources: ExitStack, *, ask: bool) -> None:
    """Go through the phases."""
    store = MemoryStore()
    with output.phase("sandbox", "Start the sandbox") as phase:
        sandbox = Sandbox(clock=SandboxClock(running=True))
        url, transport = reach(sandbox, resources)
        phase.result = url or IN_PROCESS
    favcrm = resources.enter_context(FavCRMProvisioner(url, transport=transport, store=store))
    with output.phase("initiate", "Ask for a code") as phase:
        pending = favcrm.initiate(REGISTRATION)
        phase.result = f"sent to {pending.masked_email}, good for {time_left(pending)}"
    if ask:
        output.mail(sandbox.inbox.last_to(REGISTRATION.email), aside=True)
        workspace = confirm(output, favcrm, pending, type_code, "typed", InvalidCodeError, InvalidInputError)
    else:
        find_code = partial(sandbox.inbox.code_for, REGISTRATION.email)
        workspace = confirm(output, favcrm, pending, find_code, "found in the sandbox's inbox")
    with output.phase("diagnose", "Diagnose") as phase:
        output.report = favcrm.diagnose()
        output.report.raise_if_not_ready()
        phase.result = "ready for work"
    crm = FavCRMClient(url, transport=transport, api_key=workspace.ref, store=store)
    work(output, resources.enter_context(crm))


def reach(sandbox: Sandbox, resources: ExitStack) -> tuple[str | None, Transport | None]:
    """Serve the sandbox and return its address; without the extra ``sandbox``, return a transport in process."""
    try:
        return resources.enter_context(sandbox.serve()).url, None
    except ModuleNotFoundError:
        return None, sandbox.transport()


def confirm(
    output: Output,
    favcrm: FavCRMProvisioner,
    pending: PendingRegistration,
    read_code: Callable[[], str],
    told: str,
    *mistakes: type[FavCRMError],
) -> Workspace:
    """Read the code and confirm it, again after each of the mistakes that a person may make."""
    while True:
        try:
            # A spinner would write over what is typed.
            with output.phase("code", "Read the code", busy=not mistakes) as phase:
                code = read_code()
                phase.result = told
            with output.phase("confirm", "Confirm the code") as phase:
                workspace = favcrm.confirm(pending, code)
                phase.result = f"key {workspace.api_key} received, stored in memory"
        except mistakes as error:
            if isinstance(error, InvalidInputError):
                # The error would name an option "--code", which the demo does not have.
                output.error(InvalidInputError([Problem("the code", wrong) for _, wrong in error.problems]))
            else:
                output.error(error)
        else:
            return workspace


def work(output: Output, crm: FavCRMClient) -> None:
    """Use the new workspace."""
    with output.phase("services", "List the services") as phase:
        services = part(crm.call_tool("list_services"), "services")
        phase.result = f"{len(services)} so far, which is fine"
    with output.phase("create_member", "Create a member") as phase:
        created = part(crm.call_tool("create_member", MEMBER), "member")
        phase.result = created["memberId"]
    with output.phase("read_member", "Read the member back") as phase:
        read = part(crm.call_tool("get_member", {"memberId": created["memberId"]}), "member")
        phase.result = f"{read['name']}, {read['phone']}"


def type_code() -> str:
    """Let a person type the code."""
    if code := read_hidden(QUESTION):
        return code
    raise FavCRMError(
        "No code was typed.", next_step="Run the demo again, and type the code that is in the mail."
    )


def part(result: ToolResult, name: str) -> Any:
    """Return one field of what a tool answered."""
    return cast("dict[str, Any]", result.data)[name]
