"""The tools that have a method of their own, because a secret is among their arguments or in their answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from favcrm._mcp import payloads
from favcrm.errors import raise_problems

if TYPE_CHECKING:
    from collections.abc import Iterator

    from favcrm.typing import JSON

METHODS = {
    "register_organisation_request": "FavCRMProvisioner.initiate",
    "register_organisation_verify": "FavCRMProvisioner.confirm",
    "create_team_member_invite": "FavCRMClient.invite",
    "accept_team_invite_request": "FavCRMProvisioner.request_invite_code",
    "accept_team_invite_verify": "FavCRMProvisioner.confirm_invite",
}
EXECUTE = "execute_tool"


def check_not_reserved(name: str, arguments: Mapping[str, JSON]) -> None:
    """Refuse a tool that has a method of its own, also where another tool is asked to call it.

    Raises:
        InvalidInputError: It has one; the message names it.
    """
    problems = {"name": _problem(name)}
    if _calls_tools(name):
        try:
            problems["arguments"] = next(filter(None, map(_problem, _names_in(arguments))), None)
        except RecursionError:
            problems["arguments"] = "must not nest that deep"
    raise_problems(problems)


@lru_cache(maxsize=1000)
def _problem(name: str) -> str | None:
    folded = _folded(name)
    for tool, method in METHODS.items():
        if folded.endswith(tool):
            return f"{tool} has a method of its own, which keeps its secrets out of results: call {method}"
    return None


@lru_cache(maxsize=1000)
def _calls_tools(name: str) -> bool:
    return _folded(name).endswith(EXECUTE)


def _folded(name: str) -> str:
    """Return a name that ends with a tool's, also behind a prefix such as ``mcp__favcrm__`` and with other hyphens."""
    return re.sub(r"[^a-z]+", "_", name.lower()).strip("_")


def _names_in(value: JSON, field: str = "") -> Iterator[str]:
    """Yield what names a tool in the arguments of a tool that calls tools; their schema is not published."""
    if isinstance(value, str):
        if "tool" in field.lower() or field.lower() in {"name", "function"}:
            yield value
        value = payloads.as_json(value) if value.lstrip()[:1] in {"{", "["} else None
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _names_in(inner, str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _names_in(inner, field)
