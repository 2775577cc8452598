"""What is said over standard input and output, and how it is read."""

from __future__ import annotations

import logging
import math
import secrets
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from transports.stdio.talk import SHORT, Gate, talking, until_held

from favcrm import InputRequiredError, InvalidInputError, NotSentError, OutcomeUnknownError
from favcrm._mcp.progress import NOTIFICATION
from favcrm.transports.stdio.child import Line
from favcrm.transports.stdio.inbox import Inbox
from favcrm.transports.stdio.lines import KEPT_BYTES, LineReader, Tail
from favcrm.transports.waiting import BlockingSignal

if TYPE_CHECKING:
    from pathlib import Path

    from colours import Colour

    from favcrm.models import Progress

pytestmark = pytest.mark.anyio

OK = '{"jsonrpc":"2.0","id":ID,"result":{"ok":true}}'
OPENINGS = {
    "modern": ["server/discover"],
    "session": ["server/discover", "initialize", "notifications/initialized"],
    "bare": ["server/discover", "initialize"],
}


@pytest.mark.parametrize("era", OPENINGS)
async def test_a_server_is_asked_once_how_it_is_spoken_to(colour: Colour, era: str) -> None:
    async with talking(colour, {"era": era}) as talk:
        assert await talk.data("echo", {"a": 1}) == {"a": 1}
        assert await talk.methods() == [*OPENINGS[era], "tools/call"]
        assert await talk.methods() == [*OPENINGS[era], "tools/call", "tools/call"]


@pytest.mark.parametrize("era", OPENINGS)
async def test_an_era_can_be_pinned(colour: Colour, era: str) -> None:
    async with talking(colour, {"era": era}, era=era) as talk:
        sent = (await talk.data("received"))[-1]
        assert await talk.methods() == [*(OPENINGS[era][1:] if era == "session" else []), "tools/call"]
        assert ("_meta" in sent["params"]) is (era == "modern")


async def test_many_calls_begin_at_once_and_one_of_them_negotiates(colour: Colour, tmp_path: Path) -> None:
    answers: list[Any] = []
    started = tmp_path / "started"

    async with talking(colour, {"era": "session", "started": str(started)}) as talk:

        async def call(number: int) -> None:
            answers.append(await talk.data("echo", {"number": number}))

        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(call, number)
        assert sorted(answer["number"] for answer in answers) == list(range(10))
        assert (await talk.methods()).count("initialize") == 1
    assert len(started.read_text().split()) == 1


async def test_a_server_that_ends_when_it_is_asked_is_started_again(colour: Colour, tmp_path: Path) -> None:
    started = tmp_path / "started"
    behaviour = {"era": "session", "exits_on_discover": True, "started": str(started)}
    async with talking(colour, behaviour) as talk:
        assert await talk.methods() == ["initialize", "notifications/initialized"]
        with pytest.raises(OutcomeUnknownError):
            await talk.call("die")
        # What was learned holds for the next one.
        assert await talk.methods() == ["initialize", "notifications/initialized"]
    assert len(started.read_text().split()) == 3


async def test_a_server_that_does_not_answer_the_probe_is_initialized(
    colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("favcrm.transports.stdio.handshake.PROBE_SECONDS", SHORT)
    async with talking(colour, {"era": "session", "silent_on_discover": True}) as talk:
        assert await talk.methods() == OPENINGS["session"]


async def test_a_slow_server_is_not_asked_twice(colour: Colour, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    async with talking(colour, {"gate": gate.path}) as talk:
        with pytest.raises(NotSentError, match="did not say in time"):
            await talk.call("echo", timeout=SHORT)
        await gate.open()
        assert await talk.methods() == ["server/discover"]


async def test_a_server_that_never_gets_to_its_feet(colour: Colour) -> None:
    async with talking(colour, {"silent_on_initialize": True}, era="session") as talk:
        with pytest.raises(NotSentError, match="The call was not sent"):
            await talk.call("echo", timeout=SHORT)


async def test_a_server_of_no_known_version(colour: Colour) -> None:
    async with talking(colour, {"era": "session", "version": "1999-01-01"}) as talk:
        for _ in range(2):
            with pytest.raises(NotSentError, match="1999-01-01") as caught:
                await talk.call("echo")
            assert caught.value.permanent


async def test_a_refused_handshake_is_the_answer(colour: Colour) -> None:
    async with talking(colour, {"era": "bare", "initialize_error": -32603}) as talk:
        response = await talk.call("echo")
        assert response.error
        assert response.error.code == -32603


async def test_a_refused_version_is_agreed_on_anew(colour: Colour) -> None:
    async with talking(colour) as talk, anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(talk.data, "refuse_version", {"times": 2})
    async with talking(colour) as talk:
        assert await talk.data("refuse_version", {"times": 1}) == "done"
        assert await talk.methods() == ["server/discover", "tools/call"] * 2


LINES = {
    "as it is": OK,
    "CRLF": f"{OK}\r",
    "a byte order mark": f"\ufeff{OK}",
    "blanks around it": f"  {OK}  ",
    "a batch": f"[{OK}]",
    "the id as a text": OK.replace("ID", '"ID"'),
    "the id with a fraction of zero": OK.replace("ID", "ID.0"),
    "an empty line before it": f"\n{OK}",
    "lines that are no messages": f'Starting...\n{{"half": \n[1, null]\n{OK}',
    "another id": f'{{"jsonrpc":"2.0","id":999,"result":{{}}}}\n{OK}',
    "true for an id": f'{{"jsonrpc":"2.0","id":true,"result":{{}}}}\n{OK}',
    "a result without an id": f'{{"jsonrpc":"2.0","id":null,"result":{{}}}}\n{OK}',
    "a text that only looks like the id": f'{{"jsonrpc":"2.0","id":"01","result":{{}}}}\n{OK}',
    "a number between two ids": f'{{"jsonrpc":"2.0","id":1.5,"result":{{}}}}\n{OK}',
    "a word for an id": f'{{"jsonrpc":"2.0","id":"word","error":{{"code":1}}}}\n{OK}',
    "a notification": f'{{"jsonrpc":"2.0","method":"notifications/message","params":{{}}}}\n{OK}',
    "progress of nothing": f'{{"jsonrpc":"2.0","method":"notifications/progress","params":[]}}\n{OK}',
    "progress of a word": f'{{"method":"notifications/progress","params":{{"progressToken":"x"}}}}\n{OK}',
    "nesting without end": "[" * 100_000 + f"\n{OK}",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
async def test_an_answer_is_found(colour: Colour, line: str) -> None:
    # The first request, whose id is 1: true is not.
    async with talking(colour, era="bare") as talk:
        assert (await talk.raw(line)).result == {"ok": True}


async def test_only_a_line_feed_ends_a_line(colour: Colour) -> None:
    text = "one\u2028two\u0085three\u2029four"
    async with talking(colour) as talk:
        response = await talk.raw(f'{{"jsonrpc":"2.0","id":ID,"result":"{text}"}}')
        assert response.result == text
        assert await talk.data("echo", {"text": text}) == {"text": text}


async def test_a_line_that_is_no_message_is_told_without_what_is_in_it(
    colour: Colour, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "favcrm")
    async with talking(colour) as talk:
        await talk.raw("the password is sesame", OK)
    assert "22 bytes" in caplog.text
    assert "sesame" not in caplog.text


@pytest.mark.parametrize("request_id", ["ID", "null"])
async def test_an_error_is_read(colour: Colour, request_id: str) -> None:
    async with talking(colour) as talk:
        response = await talk.raw(
            f'{{"jsonrpc":"2.0","id":{request_id},"error":{{"code":-32603,"message":"no","data":1}}}}'
        )
        assert response.error
        assert (response.error.code, response.error.message, response.error.data) == (-32603, "no", 1)
        assert response.status is None


@pytest.mark.parametrize("error", ['{"code":"WORD"}', '"no"', "null"])
async def test_what_is_no_answer_is_told(colour: Colour, error: str) -> None:
    async with talking(colour) as talk:
        assert (await talk.raw(f'{{"id":ID,"error":{error}}}')).defect == "is no JSON-RPC answer"
        assert (await talk.raw('{"id":ID,"error":{"code":1,"message":2}}')).error


async def test_a_line_too_long_to_be_read(colour: Colour) -> None:
    async with talking(colour) as talk:
        response = await talk.call("huge", {"bytes": 17 * 1024 * 1024})
        assert response.defect == "is larger than this client reads"
        assert not response.complete
        assert await talk.data("echo", {"a": 1}) == {"a": 1}


async def test_answers_go_to_those_who_asked(colour: Colour) -> None:
    answers: dict[int, Any] = {}
    async with talking(colour) as talk:

        async def call(number: int) -> None:
            answers[number] = (await talk.call("hold", {"number": number})).result

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(call, number)
            await until_held(talk, 5)
            await talk.call("release")
    assert answers == {number: {"released": {"number": number}} for number in range(5)}


@pytest.mark.parametrize("timeout", [1e10, math.inf])
async def test_time_without_end(colour: Colour, timeout: float) -> None:
    async with talking(colour, {"era": "session"}) as talk:
        assert await talk.data("echo", {"a": 1}, timeout=timeout) == {"a": 1}


async def test_a_late_answer_is_nobodys(colour: Colour) -> None:
    async with talking(colour) as talk:
        await talk.call("echo")
        with pytest.raises(OutcomeUnknownError, match="No answer came in time"):
            await talk.call("hold", timeout=SHORT)
        assert not talk.transport._supervisor._dialogue._pending
        await talk.call("release")
        cancelled = [
            message
            for message in await talk.data("received")
            if message["method"] == "notifications/cancelled"
        ]
        assert [message["params"]["requestId"] for message in cancelled] == [3]
        # An error without an id may be the late one's.
        with pytest.raises(OutcomeUnknownError):
            await talk.raw('{"id":null,"error":{"code":-32603}}', timeout=SHORT)


@pytest.mark.parametrize("way", ["asyncio", "trio"], indirect=True)
async def test_a_cancelled_call_is_cancelled_at_the_server(colour: Colour) -> None:
    async with talking(colour) as talk:
        async with anyio.create_task_group() as group:
            group.start_soon(talk.call, "hold")
            await until_held(talk, 1)
            group.cancel_scope.cancel()
        assert (await talk.methods())[-1] == "notifications/cancelled"


@pytest.mark.parametrize("era", OPENINGS)
async def test_what_a_server_asks_is_answered_in_the_older_eras(colour: Colour, era: str) -> None:
    async with talking(colour, {"era": era}) as talk:
        await talk.raw(
            '{"jsonrpc":"2.0","id":"a","method":"ping"}',
            '{"jsonrpc":"2.0","id":7,"method":"roots/list"}',
            '{"jsonrpc":"2.0","id":null,"method":"ping"}',
            '{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}',
            OK,
        )
        answers = [message for message in await talk.data("received") if "method" not in message]
        assert answers == (
            []
            if era == "modern"
            else [
                {"jsonrpc": "2.0", "id": "a", "result": {}},
                {"jsonrpc": "2.0", "id": 7, "error": {"code": -32601, "message": "Method not found"}},
            ]
        )


async def test_a_ping_before_the_handshake_is_over_is_answered(colour: Colour) -> None:
    async with talking(colour, {"era": "session", "pings_before_initialized": True}) as talk:
        assert {"jsonrpc": "2.0", "id": "early", "result": {}} in await talk.data("received")


async def test_pings_that_nobody_reads_the_answers_to_are_bounded(colour: Colour) -> None:
    ping = '{"jsonrpc":"2.0","id":1,"method":"ping"}'
    async with talking(colour, {"era": "session"}, era="bare") as talk:
        # The server writes all of them before it reads, and answers enough to fill a pipe are not kept.
        await talk.raw(*[ping] * 20_000, OK)
        assert (await talk.methods()).count("an answer") < 20_000


async def test_progress_is_told_where_the_call_waits(colour: Colour) -> None:
    told: list[Progress] = []

    def listen(progress: Progress) -> None:
        told.append(progress)
        raise ValueError

    report = '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,%s}}'
    async with talking(colour) as talk:
        await talk.raw(
            report % ("ID", '"progress":1,"total":4,"message":"one\\u0007"'),
            report % ("999", '"progress":2'),
            report % ("ID", '"progress":2.5'),
            report % ('"ID"', '"progress":3'),
            report % ("ID.0", '"progress":4'),
            OK,
            report % ("ID", '"progress":5'),
            on_progress=listen,
        )
        await talk.raw(report % ("ID", '"progress":9'), OK)
        sent = [message["params"].get("_meta", {}) for message in await talk.data("received")]
        assert [meta.get("progressToken") for meta in sent] == [None, 2, None, None]
    assert [(progress.progress, progress.total, progress.message) for progress in told] == [
        (1, 4, "one"),
        (2.5, None, ""),
        (3, None, ""),
        (4, None, ""),
    ]


async def test_a_server_that_asks_for_input_gets_it(colour: Colour) -> None:
    async def later(requests: Any) -> Any:
        return now(requests)

    def now(requests: Any) -> Any:
        assert requests["name"]["params"] == {"message": "Who?"}
        return {"name": {"action": "accept", "content": {"name": "Ada"}}}

    async with talking(colour, on_input=now if colour == "blocking" else later) as talk:
        response = await talk.call("ask", {"a": 1})
        assert isinstance(response.result, dict)
        params: Any = response.result["structuredContent"]
        assert params["requestState"] == "two"
        assert params["arguments"] == {"a": 1}
        assert params["inputResponses"]["name"]["content"] == {"name": "Ada"}
        assert params["_meta"]["io.modelcontextprotocol/clientCapabilities"] == {"elicitation": {}}


async def test_input_that_nobody_gives(colour: Colour) -> None:
    async with talking(colour) as talk:
        with pytest.raises(InputRequiredError) as caught:
            await talk.call("ask")
        assert list(caught.value.input_requests) == ["name"]


async def test_a_server_that_is_never_done(colour: Colour) -> None:
    async with talking(colour) as talk:
        assert "rounds" in (await talk.call("ask_again")).defect


async def test_a_server_that_goes_between_two_rounds(colour: Colour) -> None:
    async with talking(colour) as talk:
        with pytest.raises(OutcomeUnknownError):
            await talk.call("ask_and_go")


async def test_what_json_cannot_carry_is_not_sent(colour: Colour) -> None:
    async with talking(colour) as talk:
        with pytest.raises(InvalidInputError):
            await talk.call("echo", {"number": float("nan")})
        assert await talk.methods() == ["server/discover"]


def test_lines_are_cut_wherever_the_bytes_are() -> None:
    lines = LineReader(longest=5)
    stream = b"one\ntwo\r\ntoo long\n\nfive5\nsix"
    for size in range(1, len(stream)):
        found = [
            line for start in range(0, len(stream), size) for line in lines.feed(stream[start : start + size])
        ]
        assert found == [b"one", b"two", None, b"", b"five5"]
        assert list(lines.feed(b"\n")) == [b"six"]


def test_half_a_secret_at_the_beginning_of_the_tail_is_not_shown() -> None:
    key = f"fav_mcp_{secrets.token_urlsafe(24)}"
    tail = Tail()
    tail.feed(f"begin {key}\n".encode())
    assert tail.show([]) == "begin [hidden]"
    tail.feed(b"x" * (KEPT_BYTES - len(key)))
    assert tail.show([key]) == "x" * 197 + "..."
    tail.feed(b"x" * 100)
    assert tail.show([]) == ""
    tail.feed(b"\nlast\n")
    assert tail.show([]) == "last"


def test_a_server_that_reports_faster_than_it_is_listened_to_holds_nobody_up() -> None:
    told: list[float] = []

    def listen(progress: Progress) -> None:
        told.append(progress.progress)
        inbox.report({"method": NOTIFICATION, "params": {"progressToken": 1, "progress": len(told) + 1}})

    inbox = Inbox(1, Line(b""), BlockingSignal(), listen)
    inbox.report({"method": NOTIFICATION, "params": {"progressToken": 1, "progress": 1}})
    inbox.tell(math.inf)
    assert told == [1]
    inbox.tell(-math.inf)
    assert told == [1]
    inbox.tell(math.inf)
    assert told == [1, 2]
