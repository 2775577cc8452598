"""What a tool of the sandbox is: data, and the function that acts."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

from attrs import frozen

from favcrm.sandbox.forms import Reason, Refused
from favcrm.sandbox.schema import problems
from favcrm.sandbox.world import unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from favcrm.sandbox.forms import Answered
    from favcrm.sandbox.schema import Schema
    from favcrm.sandbox.world import Access, World
    from favcrm.typing import JSON

CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")

OUTPUT: Schema = {
    "type": "object",
    "properties": {
        "data": {"description": "The payload."},
        "summary": {"type": "string", "description": "One sentence about it."},
        "renderType": {"type": "string", "description": "How to show it."},
    },
    "required": ["data", "summary", "renderType"],
}


@frozen
class Caller:
    """Who calls.

    Attributes:
        world: What is called.
        ip: The IP address.
        shows_key: Whether a key was shown.
        access: What that key opens; None where there is none or it opens nothing.
        listed: How many tools this sandbox lists.
    """

    world: World
    ip: str
    shows_key: bool
    access: Access | None
    listed: int

    @property
    def member(self) -> Access:
        """What the key opens.

        Raises:
            Refused: There is no key, or it opens nothing.
        """
        if self.access is None:
            raise unauthorized()
        return self.access


@frozen
class Tool:
    """One tool.

    Attributes:
        name: Its name.
        description: What it does.
        schema: The JSON Schema of its arguments.
        act: What it does. Gets the caller and the arguments, their names in snake_case.
        needs_key: Whether it refuses without a key.
        read_only: Whether it changes nothing.
    """

    name: str
    description: str
    schema: Schema
    act: Callable[..., Answered]
    needs_key: bool
    read_only: bool

    @property
    def entry(self) -> dict[str, JSON]:
        """The tool as ``tools/list`` names it."""
        return {
            "name": self.name,
            "description": self.description,
            "inputSchema": self.schema,
            "outputSchema": OUTPUT,
            "annotations": {
                "title": self.name.replace("_", " ").capitalize(),
                "readOnlyHint": self.read_only,
                "destructiveHint": False,
                "idempotentHint": self.read_only,
                "openWorldHint": False,
            },
        }

    def call(self, caller: Caller, arguments: Mapping[str, JSON]) -> Answered:
        """Act.

        Raises:
            Refused: The caller may not, the arguments are not right, or the tool says no.
        """
        if self.needs_key:
            caller.world.count_call(caller.member)
        if wrong := problems(self.schema, arguments):
            raise Refused(Reason.INVALID_INPUT, f"Invalid arguments: {'; '.join(wrong)}.")
        # Unknown arguments are dropped, as FavCRM's schemas do not forbid them.
        known = self.schema["properties"]
        assert isinstance(known, dict)
        given = {name: arguments[name] for name in known if arguments.get(name) is not None}
        return self.act(caller, **{CAPITAL.sub("_", name).lower(): value for name, value in given.items()})


def tool(
    schema: Schema, *, needs_key: bool = True, read_only: bool = False
) -> Callable[[Callable[..., Answered]], Tool]:
    """Make the tool that a function is: its name and its docstring are the tool's."""

    def make(act: Callable[..., Answered]) -> Tool:
        return Tool(act.__name__, inspect.getdoc(act) or "", schema, act, needs_key, read_only)

    return make
