"""JSON-RPC messages: what is written, and what is made of an answer, whatever its bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from favcrm import InvalidInputError
from favcrm._mcp.jsonrpc import MAX_ANSWER_BYTES, AnswerReader, encode_request, report_progress
from favcrm.models import Progress
from favcrm.transport import JSONRPCError, Response

JSON_TYPE = {"content-type": "application/json"}
STREAM = {"content-type": "Text/Event-Stream; charset=utf-8"}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=8,
)


def read(
    *chunks: bytes, headers: dict[str, str] | None = None, status: int = 200, cut: bool = False
) -> Response:
    reader = AnswerReader(7, status, JSON_TYPE if headers is None else headers)
    for chunk in chunks:
        reader.feed(chunk)
    return reader.finish(cut=cut)


def encodable(value: object) -> bool:
    return "\\ud" not in json.dumps(value)


# Requests


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=3).filter(encodable))
@settings(max_examples=50)
def test_a_request_is_compact_json_in_utf8(params: dict[str, Any]) -> None:
    written = encode_request(3, "tools/call", params)
    assert json.loads(written) == {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params}
    assert written.startswith(b'{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{')
    assert b"\n" not in written


def test_text_is_not_escaped() -> None:
    assert "名\u2028".encode() in encode_request(1, "m", {"name": "名\u2028"})


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [float("nan"), b"bytes", "\ud800", endless(), deep(), {("a", "b"): 1}],
    ids=["NaN", "bytes", "half a character", "itself", "too deep", "a tuple as name"],
)
def test_parameters_that_json_cannot_carry_raise_invalid_input_error(value: Any) -> None:
    with pytest.raises(InvalidInputError) as raised:
        encode_request(1, "tools/call", {"arguments": value})
    assert raised.value.problems == (("arguments", "hold something that JSON cannot carry"),)


# Answers


@given(
    st.one_of(
        st.binary(max_size=60),
        JSON_VALUES.map(lambda value: json.dumps(value).encode()),
        st.fixed_dictionaries(
            {},
            optional={
                "id": JSON_VALUES | st.just(7) | st.just("7"),
                "result": JSON_VALUES,
                "error": JSON_VALUES
                | st.fixed_dictionaries({"code": JSON_VALUES}, optional={"message": JSON_VALUES}),
                "method": st.text(),
            },
        ).map(lambda value: json.dumps(value).encode()),
    ),
    st.sampled_from([JSON_TYPE, STREAM, {}]),
    st.sampled_from([200, 202, 307, 401, 500]),
    st.booleans(),
    st.booleans(),
)
@example(b'{"error":{"code":1e400}}', JSON_TYPE, 200, False, False)
@example(b'{"id":true,"result":1}', STREAM, 200, True, False)
@settings(max_examples=300)
def test_any_bytes_give_a_response(
    body: bytes, headers: dict[str, str], status: int, framed: bool, cut: bool
) -> None:
    response = read(b"data: " + body + b"\n\n" if framed else body, headers=headers, status=status, cut=cut)
    assert response.status == status
    assert response.headers == headers
    answered = response.result is not None or response.error is not None
    # An event that has arrived whole is an answer, whatever breaks off behind it.
    if cut and not framed:
        assert not answered
        assert not response.complete
    if answered:
        assert (response.complete, response.defect, response.body) == (True, "", "")


@given(JSON_VALUES, st.integers(0, 200))
@settings(max_examples=50)
def test_cuts_make_no_difference(result: Any, cut: int) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 7, "result": result}, ensure_ascii=True).encode()
    framed = b"data: " + body + b"\r\n\r\n"
    assert read(body[:cut], body[cut:]).result == result
    assert read(framed[:cut], framed[cut:], headers=STREAM).result == result


@pytest.mark.parametrize("identifier", [7, "7", 7.0], ids=["number", "text", "fraction of zero"])
def test_a_result_with_our_id_as_text_or_fraction_is_the_answer(identifier: object) -> None:
    body = json.dumps({"id": identifier, "result": 1}).encode()
    assert read(body).result == 1
    assert read(b"data: " + body + b"\n\n", headers=STREAM).result == 1


@pytest.mark.parametrize("identifier", [8, "07", None, [7], 7.5])
def test_a_result_of_another_id_is_not_ours(identifier: object) -> None:
    body = json.dumps({"id": identifier, "result": 1}).encode()
    assert (read(body).result, read(body).defect) == (None, "is no JSON-RPC answer")
    response = read(b"data: " + body + b"\n\n", headers=STREAM)
    assert (response.result, response.complete) == (None, False)


def test_an_id_of_true_is_not_the_id_one() -> None:
    reader = AnswerReader(1, 200, JSON_TYPE)
    reader.feed(b'{"id":true,"result":1}')
    assert reader.finish().defect == "is no JSON-RPC answer"


def test_an_error_without_an_id_is_the_answer_and_in_a_body_with_any_id() -> None:
    error = {"code": -32000, "message": "No.", "data": {"a": 1}}
    expected = JSONRPCError(-32000, "No.", {"a": 1})
    for identifier, streamed in ((None, expected), (7, expected), ("server-error", None), (8, None)):
        body = json.dumps({"id": identifier, "error": error}).encode()
        assert read(body).error == expected
        assert read(b"data: " + body + b"\n\n", headers=STREAM).error == streamed
    body = json.dumps({"error": error}).encode()
    assert read(b"data: " + body + b"\n\n", headers=STREAM).error == expected


@pytest.mark.parametrize("error", [None, "no", {"code": "NOT_FOUND"}, {"message": "no"}])
def test_an_error_without_a_numeric_code_is_no_json_rpc_error(error: object) -> None:
    body = json.dumps({"id": 7, "error": error}).encode()
    response = read(body, status=404)
    assert (response.error, response.body) == (None, body.decode())


def test_an_error_counts_before_a_result_only_with_a_code() -> None:
    assert read(b'{"id":7,"result":{},"error":{"code":1}}').error == JSONRPCError(1, "")
    response = read(b'{"id":7,"result":{},"error":{"message":"no"}}')
    assert (response.result, response.error) == ({}, None)


def test_the_first_result_with_our_id_in_a_batch_is_the_answer() -> None:
    batch = b'[5,{"method":"n"},{"id":8,"result":0},{"id":7,"result":1},{"id":7,"result":2}]'
    assert read(batch).result == 1
    assert read(b"data: " + batch + b"\n\n", headers=STREAM).result == 1


def test_a_result_wins_over_errors_before_it_in_a_batch() -> None:
    batch = b'[{"error":{"code":1}},{"id":7,"error":{"code":2}},{"id":7,"result":1}]'
    for response in (read(batch), read(b"data: " + batch + b"\n\n", headers=STREAM)):
        assert (response.result, response.error) == (1, None)


STRAY = b'data: {"error":{"code":-32000,"message":"slow"}}\n\n'


def test_an_error_of_no_request_is_the_answer_of_a_stream_without_a_better_one() -> None:
    answer = b'data: {"id":7,"result":1}\n\n'
    assert read(STRAY, answer, headers=STREAM).result == 1
    assert read(STRAY, headers=STREAM).error == JSONRPCError(-32000, "slow")
    broken_off = read(STRAY, headers=STREAM, cut=True)
    assert (broken_off.error, broken_off.complete) == (None, False)


PAGE = {"content-type": "text/html"}
ANSWER = b'{"id":7,\n"result":{"name":"\xe5\x90\x8d"}}'


@pytest.mark.parametrize("headers", [JSON_TYPE, STREAM, PAGE, {}], ids=["JSON", "stream", "page", "none"])
@pytest.mark.parametrize("cut", [1, 3, 1000])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_json_and_streams_are_read_under_any_content_type(
    headers: dict[str, str], cut: int, encoding: str
) -> None:
    for text in (
        ANSWER,
        b" \r\n" + ANSWER,
        b": ping\n\ndata: " + ANSWER.replace(b"\n", b"\ndata: ") + b"\n\n",
    ):
        body = text.decode().encode(encoding)
        pieces = [body[at : at + cut] for at in range(0, len(body), cut)]
        response = read(*pieces, headers=headers)
        assert (response.result, response.complete, response.defect) == ({"name": "\u540d"}, True, "")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b"\0{\0"])
def test_a_short_body_is_no_answer(body: bytes) -> None:
    assert read(body).defect in {"is empty", "is no JSON-RPC answer"}
    assert read(body, cut=True).complete is False


def test_json_that_is_called_a_stream_is_no_answer_where_it_broke_off() -> None:
    response = read(b'{"id":7,', headers=STREAM, cut=True)
    assert (response.complete, response.body) == (False, '{"id":7,')
    assert read(b'{"id":7,', headers=STREAM).defect == "is no JSON-RPC answer"


def test_a_stream_with_an_error_status_is_read_too() -> None:
    response = read(b'data: {"id":7,"error":{"code":-32000,"message":"no"}}\n\n', headers=STREAM, status=400)
    assert (response.error, response.status) == (JSONRPCError(-32000, "no"), 400)


def test_a_byte_order_mark_before_json_is_nothing() -> None:
    assert read(b'data: \xef\xbb\xbf{"id":7,"result":1}\n\n', headers=STREAM).result == 1
    assert read(b"\xef\xbb\xbf", b'{"id":7,"result":1}').result == 1


@pytest.mark.parametrize(
    ("body", "defect"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"hello", "is no JSON-RPC answer"),
        (b"[" * 200_000, "is no JSON-RPC answer"),
    ],
)
def test_a_body_that_is_no_answer_is_kept(body: bytes, defect: str) -> None:
    response = read(body)
    assert (response.defect, response.body, response.complete) == (defect, body.decode(), True)


def test_a_body_that_broke_off_is_no_answer_even_if_it_looks_like_one() -> None:
    body = b'{"id":7,"result":1}'
    expected = Response(status=200, headers=JSON_TYPE, body=body.decode(), complete=False)
    assert read(body, cut=True) == expected


def test_a_stream_is_done_once_it_has_answered() -> None:
    reader = AnswerReader(7, 200, STREAM)
    reader.feed(b"data: {}\n\n: ping\n\n")
    assert (reader.done, reader.answered) == (False, False)
    reader.feed(b'data: {"id":7,"result":1}\n\ndata: {"id":7,"result":2}\n\n')
    assert reader.done
    assert reader.answered
    reader.feed(b"data: {\n\n")
    assert reader.finish(cut=True) == Response(result=1, status=200, headers=STREAM)


def test_a_body_is_not_done_before_its_end() -> None:
    reader = AnswerReader(7, 200, JSON_TYPE)
    reader.feed(b'{"id":7,"result":1}')
    assert (reader.done, reader.answered) == (False, False)


@pytest.mark.parametrize(
    "data", [b"{", b"null", b"{]", b"[" * 200_000], ids=["half", "null", "wrong", "deep"]
)
def test_an_event_that_is_no_json_is_kept_in_the_body(data: bytes) -> None:
    reader = AnswerReader(7, 200, STREAM)
    reader.feed(b"data: %b\n\ndata: rest" % data)
    assert not reader.done
    unanswered = reader.finish()
    assert (unanswered.body, unanswered.complete) == (f"{data.decode()}\ndata: rest", False)
    reader.feed(b'\n\ndata: {"id":7,"result":1}\n\n')
    assert reader.finish().result == 1


def test_an_event_without_data_only_shows_that_the_stream_is_open() -> None:
    response = read(b"id: 1\ndata:\n\n", b"data\n\n", b'data: {"id":7,"result":1}\n\n', headers=STREAM)
    assert response.result == 1


def test_events_of_other_names_are_no_answer_and_are_kept() -> None:
    other = b'event: log\ndata: {"id":7,"result":0}\n\nevent: x\ndata: no JSON\n\n'
    assert read(other + b'event: message\ndata: {"id":7,"result":1}\n\n', headers=STREAM).result == 1
    assert read(other, headers=STREAM).body == '{"id":7,"result":0}\nno JSON\n'


def test_messages_with_another_id_are_kept_in_the_body() -> None:
    """One of them may hold a key that nobody can ask for again."""
    response = read(b'data: {"id":8,\ndata: "result":1}\n\ndata: {"id":', headers=STREAM)
    assert response.body == '{"id":8,\n"result":1}\ndata: {"id":'
    assert not response.complete


def test_a_refusal_that_is_called_a_stream_is_a_whole_body() -> None:
    response = read(b"data: {}\n\n", headers=STREAM, status=401)
    assert (response.body, response.complete) == ("data: {}\n\n", True)


@pytest.mark.parametrize("headers", [JSON_TYPE, STREAM])
def test_an_answer_larger_than_the_limit_is_a_defect(headers: dict[str, str]) -> None:
    body = b'data: {"id":7,"result":1}\n\n' if headers is STREAM else b'{"id":7,"result":1}'
    exact = AnswerReader(7, 200, headers, max_bytes=len(body))
    exact.feed(body)
    assert exact.finish().result == 1
    tight = AnswerReader(7, 200, headers, max_bytes=len(body) - 1)
    tight.feed(body[:5])
    assert not tight.done
    tight.feed(body[5:])
    assert tight.done
    assert (tight.finish().result, tight.finish().defect) == (None, "is larger than this client reads")


def test_the_limit_is_16_mebibytes() -> None:
    assert MAX_ANSWER_BYTES == 16 * 1024 * 1024
    reader = AnswerReader(7, 200, JSON_TYPE)
    reader.feed(bytes(MAX_ANSWER_BYTES))
    assert not reader.done
    reader.feed(b" ")
    assert reader.done


# What comes before an answer


def test_messages_before_the_answer_are_given_out_once() -> None:
    reader = AnswerReader(7, 200, STREAM)
    told, asked = {"method": "notifications/message"}, {"id": 1, "method": "ping"}
    reader.feed(
        f"data: {json.dumps(told)}\n\ndata: {json.dumps([asked, {'id': 8, 'result': 1}, 5])}\n\n".encode()
    )
    assert reader.take_messages() == [told, asked]
    assert reader.take_messages() == []
    assert not reader.done
    reader.feed(f"data: {json.dumps([told, {'id': 7, 'result': 1}])}\n\n".encode())
    assert reader.take_messages() == [told]
    assert reader.finish().result == 1


def test_a_message_that_is_given_out_is_not_kept_in_the_body() -> None:
    """What a server tells is given out; only what cannot be read may still hold a key."""
    response = read(b'data: {"method": "n"}\n\ndata: {"id": 8, "result": 1}\n\n', headers=STREAM)
    assert response.body == '{"id": 8, "result": 1}\n'


def test_a_method_that_is_no_word_is_no_message() -> None:
    reader = AnswerReader(7, 200, STREAM)
    reader.feed(b'data: {"method": 5}\n\n')
    assert reader.take_messages() == []


def test_a_request_with_our_id_is_no_answer() -> None:
    reader = AnswerReader(7, 200, STREAM)
    reader.feed(b'data: {"id": 7, "method": "ping"}\n\n')
    assert not reader.done
    assert reader.take_messages() == [{"id": 7, "method": "ping"}]


def test_a_stream_tells_its_last_event_id_and_retry_time() -> None:
    reader = AnswerReader(7, 200, STREAM)
    assert (reader.last_event_id, reader.retry) == ("", None)
    reader.feed(b"retry: 500\nid: 3\ndata:\n\n")
    assert (reader.last_event_id, reader.retry) == ("3", 0.5)
    body = AnswerReader(7, 200, JSON_TYPE)
    body.feed(b"id: 3\n\n")
    assert (body.last_event_id, body.retry) == ("", None)


@pytest.mark.parametrize("identifier", ["名", " edge", "edge ", "a\tb", "\x7f"])
def test_an_id_that_no_header_can_carry_resumes_nothing(identifier: str) -> None:
    reader = AnswerReader(7, 200, STREAM)
    reader.feed(f"id: {identifier}\n\n".encode())
    assert reader.last_event_id == ""


# Progress


def report(token: object, done: object, **more: object) -> dict[str, Any]:
    params = {"progressToken": token, "progress": done, **more}
    return {"method": "notifications/progress", "params": params}


@pytest.mark.parametrize(
    ("message", "progress"),
    [
        (report(7, 1, total=2, message="half\x07way"), Progress(progress=1, total=2, message="halfway")),
        (report("7", 1.5), Progress(progress=1.5, total=None, message="")),
        (report(7, 1, total="all", message=7), Progress(progress=1, total=None, message="")),
        (report(8, 1), None),
        (report(7, "half"), None),
        ({"method": "notifications/progress", "params": []}, None),
        ({"method": "notifications/progress"}, None),
        ({**report(7, 1), "method": "notifications/message"}, None),
    ],
)
def test_only_a_report_of_its_own_call_reaches_a_listener(
    message: dict[str, Any], progress: Progress | None
) -> None:
    heard: list[Progress] = []
    report_progress(message, 7, heard.append)
    assert heard == ([] if progress is None else [progress])


def test_a_listener_that_raises_leaves_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Progress) -> None:
        raise ValueError("mistaken")

    report_progress(report(7, 1), 7, fail)
    (record,) = caplog.records
    assert (record.getMessage(), record.exc_info) == ("the on_progress callback failed", None)
