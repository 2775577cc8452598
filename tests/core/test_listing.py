"""Lists of tools in several pages: which pages are asked for, and which tools come out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from colours import client

from favcrm import FavCRMError, RefusedError, RetryPolicy, UnexpectedAnswerError
from favcrm.transport import JSONRPCError, Request, Response

if TYPE_CHECKING:
    from favcrm.typing import JSON

pytestmark = pytest.mark.anyio


class Pages:
    """A transport that answers with one page after the other.

    Attributes:
        asked: The cursor of each request.
    """

    def __init__(self, *pages: Response) -> None:
        self._pages = pages
        self.asked: list[JSON] = []

    def request(self, request: Request) -> Response:
        self.asked.append(request.params.get("cursor"))
        return self._pages[len(self.asked) - 1]

    def close(self) -> None: ...


def page(names: str, cursor: str | None = None) -> Response:
    """Return a page with a tool for each letter."""
    tools: list[JSON] = [{"name": name, "description": f"of {names}", "inputSchema": {}} for name in names]
    return Response(result={"tools": tools, "nextCursor": cursor})


def refusal(code: int) -> Response:
    return Response(error=JSONRPCError(code, "No"), status=200)


AB, BC, OVER = page("ab", "2"), page("bc"), refusal(-32602)


@pytest.mark.parametrize(
    ("pages", "asked"),
    [([AB, BC], [None, "2"]), ([page("ax", "2"), OVER, AB, BC], [None, "2", None, "2"])],
    ids=["pages that overlap", "a cursor that the server forgot"],
)
async def test_each_tool_is_listed_once(pages: list[Response], asked: list[JSON]) -> None:
    transport = Pages(*pages)
    tools = await client("blocking", transport=transport).list_tools()
    assert [(tool.name, tool.description) for tool in tools] == [
        ("a", "of ab"),
        ("b", "of ab"),
        ("c", "of bc"),
    ]
    assert transport.asked == asked


@pytest.mark.parametrize(
    ("pages", "asked", "error"),
    [
        ([AB, OVER, AB, OVER], [None, "2", None, "2"], RefusedError),
        ([OVER], [None], RefusedError),
        ([AB, refusal(-32001)], [None, "2"], RefusedError),
        ([AB, OVER, AB, AB], [None, "2", None, "2"], UnexpectedAnswerError),
    ],
    ids=["forgotten twice", "refused at once", "another refusal", "a circle after a forgotten cursor"],
)
async def test_a_list_that_cannot_be_read_to_its_end_raises(
    pages: list[Response], asked: list[JSON], error: type[FavCRMError]
) -> None:
    transport = Pages(*pages)
    with pytest.raises(error):
        await client("blocking", transport=transport, retry=RetryPolicy.never()).list_tools()
    assert transport.asked == asked
