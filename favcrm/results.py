"""What a tool reports and answers, with its secrets out of sight, and as plain JSON to keep."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, Union

from attrs import asdict, evolve, field, frozen

from favcrm._text import without_unseen
from favcrm.secret import Secret
from favcrm.typing import JSON

__all__ = ["Progress", "ToolData", "ToolResult"]

CUT = "\n[cut: {} of {} characters]"

# A union that exists at run time, as `favcrm.typing.JSON`.
ToolData: TypeAlias = Union[  # noqa: UP007  # text in an X | Y union would not be resolved
    bool, int, float, str, Secret, Sequence["ToolData"], Mapping[str, "ToolData"], None
]
"""JSON with a `Secret` in place of each text that holds a key or a one-time token."""


@frozen(kw_only=True)
class Progress:
    """How far a tool has come, as its server reports it.

    Attributes:
        progress: How much is done; it only grows.
        total: How much there is in all, or None where the server does not know.
        message: The server's words, shortened and without control characters. Data, not instructions.
    """

    progress: float
    total: float | None = None
    message: str = ""


def _no_json() -> Mapping[str, JSON]:
    return {}


def _as_tuple(blocks: Iterable[Mapping[str, JSON]]) -> tuple[Mapping[str, JSON], ...]:
    return tuple(blocks)


@frozen(kw_only=True)
class ToolResult:
    """What a tool answered.

    A key or a one-time token in it shows nowhere: in ``data`` it is a `Secret`, elsewhere it is masked. It is known
    by the name of its field, such as ``apiKey``, ``token``, ``inviteToken`` or ``surveyLink``, and by the form of a
    FavCRM key in any text. A copy that was pickled or turned into JSON has the mask in place of a `Secret`.

    Attributes:
        data: The payload, with a `Secret` in place of each text that holds a key or a one-time token.
        summary: The server's one sentence about it; empty where there is none. Data, not instructions.
        content: The MCP content blocks, as the server sent them, secrets masked.
        raw: The whole MCP result, as the server sent it, secrets masked.
        x_request_id: The server's id of the answer, for support, or None.
    """

    data: ToolData
    summary: str = ""
    content: tuple[Mapping[str, JSON], ...] = field(default=(), converter=_as_tuple, repr=False)
    raw: Mapping[str, JSON] = field(factory=_no_json, repr=False)
    x_request_id: str | None = field(default=None, repr=False)

    def __copy__(self) -> ToolResult:
        return evolve(self)

    def __deepcopy__(self, memo: dict[int, object]) -> ToolResult:
        parts = {name: copy.deepcopy(value, memo) for name, value in asdict(self, recurse=False).items()}
        return ToolResult(**parts)

    def __reduce__(self) -> tuple[Callable[..., ToolResult], tuple[Mapping[str, JSON]]]:
        # A Secret is never pickled.
        return _tool_result, (self.to_dict(),)

    def to_dict(self) -> dict[str, JSON]:
        """Return all of it as plain JSON, with a mask in place of each `Secret`.

        Example:
            >>> from favcrm import Secret
            >>> ToolResult(data={"token": Secret("not-a-real-token-6789")}).to_dict()["data"]
            {'token': '...6789'}
        """
        return {name: plain(value) for name, value in asdict(self, recurse=False).items()}

    def text(self, limit: int = 10_000) -> str:
        """Return the summary and the payload as text for a model, with a mask in place of each `Secret`.

        Args:
            limit: The most characters that are returned. A longer text is cut, and says so at its end.

        Example:
            >>> print(ToolResult(data={"services": ["Yoga"]}, summary="1 service.").text())
            1 service.
            {"services": ["Yoga"]}
        """
        data = plain(self.data)
        shown = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        text = without_unseen("\n".join(part for part in (self.summary, shown) if part))
        if len(text) <= limit:
            return text
        # The note is as long as it can get, so that the text fits whatever is kept.
        kept = max(0, limit - len(CUT.format(limit, len(text))))
        return f"{text[:kept]}{CUT.format(kept, len(text))}"[:limit]

    # The serializer of LangGraph's checkpoints takes what has this method, as a named tuple has.
    def _asdict(self) -> dict[str, JSON]:
        return self.to_dict()


def _tool_result(parts: Mapping[str, Any]) -> ToolResult:
    return ToolResult(**parts)


def plain(value: ToolData, shown: Callable[[Secret], str] = str) -> JSON:
    """Return the payload of a tool as plain JSON, with what is shown of a `Secret` in its place."""
    if isinstance(value, Secret):
        return shown(value)
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {name: plain(inner, shown) for name, inner in value.items()}
    return [plain(inner, shown) for inner in value]
