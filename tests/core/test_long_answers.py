"""Long answers and deep ones: they are read once, whatever is in them, and end in an error of ours at worst."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from core.test_answers import ANY, CLOCK, EVERY_CALL, VERIFY, error_of

from favcrm import errors
from favcrm._flows.attempts import Answered, judge
from favcrm._mcp.input_required import check_result_type
from favcrm._mcp.jsonrpc import MAX_ANSWER_BYTES, AnswerReader
from favcrm._mcp.sse import EventDecoder
from favcrm.transport import JSONRPCError, Response

LENGTH = 256 * 1024
PATIENCE = 60.0
"""Seconds, for what takes about a second. Read once from each letter, a text of this length takes many minutes."""


@pytest.fixture
def patience() -> Iterator[None]:
    def over(*_: object) -> None:
        raise TimeoutError("read again and again")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


PIECES = {
    "one word": "a",
    "dots": "a.",
    "stars": "*",
    "stars and at signs": "*@",
    "half an email": "a@b.",
    "blanks": " ",
    "backslashes": "\\",
    "a key's beginning": "fav_",
    "no keys": "fav_mcp_x ",
    "bearers": "Bearer ",
    "fields": '"apiKey" ',
    "already": "already ",
    "too many": "too many ",
    "wrong": "wrong ",
    "waits": "in 1 ",
    "lists": "[",
}


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES.keys())
@pytest.mark.parametrize("call", [ANY, VERIFY], ids=["any", "verify"])
def test_a_long_reason_is_read_once(call: Any, piece: str) -> None:
    text = piece * (LENGTH // len(piece))
    error = error_of(call, Response(error=JSONRPCError(-32603, text, {"detail": text}), status=200))
    assert len(str(error)) < 2_000


QUOTES = {"escaped quotes": '\\"', "names": "a", "blanks": "a ", "values": 'a="', "commas": ","}


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("piece", QUOTES.values(), ids=QUOTES.keys())
@pytest.mark.parametrize("start", ["", 'x="'], ids=["open", "in quotes"])
def test_a_long_challenge_is_read_once(start: str, piece: str) -> None:
    header = start + piece * (LENGTH // len(piece))
    error = error_of(ANY, Response(status=401, headers={"www-authenticate": header}))
    assert type(error) is errors.AuthenticationError


NESTS = {
    "lists": ("[", "]"),
    "data": ('{"data":', "}"),
    "errors": ('{"error":', "}"),
    "errors in lists": ('{"error":[', "]}"),
    "structured": ('{"structuredContent":', "}"),
    "contents": ('{"content":[{"type":"text","text":', "}]}"),
}
PLACES = {
    "the body": "%s",
    "the result": '{"id":1,"result":%s}',
    "the structured content": '{"id":1,"result":{"structuredContent":%s}}',
    "a refusal": '{"id":1,"result":{"isError":true,"structuredContent":%s}}',
    "an error": '{"id":1,"error":{"code":-32603,"message":"no","data":%s}}',
    "a result of an unknown type": '{"id":1,"result":{"resultType":"later","more":%s}}',
}


@pytest.mark.parametrize("nest", NESTS.values(), ids=NESTS.keys())
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize("status", [200, 400])
def test_a_deep_answer_breaks_nothing(nest: tuple[str, str], place: str, status: int) -> None:
    """How deep JSON may be, and how deep a function, are two limits from Python 3.12 on."""
    for depth in (300, 900, 960, 990, 2_000, 20_000):
        reader = AnswerReader(1, status, {"content-type": "application/json"})
        reader.feed((place % (nest[0] * depth + "1" + nest[1] * depth)).encode())
        response = check_result_type(reader.finish())
        for call in EVERY_CALL:
            outcome = judge(call, response, CLOCK)
            assert isinstance(outcome, Answered) or isinstance(outcome.error, errors.FavCRMError)


def test_what_is_too_deep_to_be_searched_breaks_nothing() -> None:
    deep: Any = "down here"
    for _ in range(100_000):
        deep = [deep]
    for result in ({"structuredContent": deep}, {"resultType": "later", "more": deep}):
        error = error_of(VERIFY, check_result_type(Response(result=result, status=200)))
        assert type(error) is errors.OutcomeUnknownError


def test_what_is_no_json_after_all_breaks_nothing() -> None:
    """A transport that somebody wrote may answer with anything."""
    circle: list[Any] = []
    circle.append(circle)
    odd: list[Any] = [circle, {1: 2, (1, 2): 3}, b"bytes"]
    for told in odd:
        error = error_of(VERIFY, Response(result={"structuredContent": {"more": told}}, status=200))
        assert type(error) is errors.OutcomeUnknownError


@pytest.mark.usefixtures("patience")
def test_a_long_line_of_a_stream_is_searched_once() -> None:
    """Searched from its start with each chunk, this line would take many minutes."""
    decoder = EventDecoder()
    for _ in range(MAX_ANSWER_BYTES // 500):
        assert list(decoder.feed(b"x" * 500)) == []
    assert len(decoder.unfinished) == MAX_ANSWER_BYTES // 500 * 500
