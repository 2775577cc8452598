"""What tests of the command arrange in a sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from attrs import evolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from favcrm.sandbox import Sandbox
    from favcrm.sandbox.forms import ToolAnswer
    from favcrm.sandbox.tools import SandboxTool
    from favcrm.typing import JSON

VERIFY, ACCEPT = "register_organisation_verify", "accept_team_invite_verify"


def replace_tool(sandbox: Sandbox, name: str, first: Callable[[], object]) -> None:
    """Let something happen at the server before a tool acts."""
    tools = cast("dict[str, SandboxTool]", sandbox.tools)
    function = tools[name].function

    def call_later(*arguments: object, **fields: JSON) -> ToolAnswer:
        first()
        return function(*arguments, **fields)

    tools[name] = evolve(tools[name], function=call_later)
