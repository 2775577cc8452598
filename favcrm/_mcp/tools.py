"""What a modern server's list of tools says about the headers that a call must have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from favcrm._mcp.param_headers import find_parameters, write_headers
from favcrm._text import clean
from favcrm.events import logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from favcrm._mcp.param_headers import Parameters
    from favcrm.transport import Response
    from favcrm.typing import JSON


class ToolHeaders:
    """The arguments that travel as headers, for every tool that was listed."""

    def __init__(self) -> None:
        self._parameters: dict[str, Parameters] = {}

    def of(self, params: Mapping[str, JSON]) -> dict[str, str]:
        """Return the headers of a call; none for a tool that was never listed."""
        parameters = self._parameters.get(str(params.get("name")))
        return write_headers(parameters, params.get("arguments")) if parameters else {}

    def learn(self, response: Response) -> Response:
        """Note what a page of tools says, and return it without the tools that must not be offered."""
        result = response.result
        tools = result.get("tools") if isinstance(result, dict) else None
        if not isinstance(tools, list):
            return response
        allowed = [tool for tool in tools if self._note(tool)]
        assert isinstance(result, dict)
        return evolve(response, result={**result, "tools": allowed})

    def _note(self, tool: JSON) -> bool:
        """Note the headers of a tool, and tell whether it may be offered."""
        if not isinstance(tool, dict):
            return True
        parameters = find_parameters(tool.get("inputSchema"))
        if parameters is None:
            logger.warning(
                "the tool %s is left out: its x-mcp-header is not allowed", clean(str(tool.get("name")))
            )
            return False
        self._parameters[str(tool.get("name"))] = parameters
        return True
