"""Server-sent events from bytes, cut anywhere: the same events come out."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from favcrm._mcp.sse import Event, EventDecoder

LINE_ENDS = [b"\n", b"\r\n", b"\r"]


def rest(*chunks: bytes) -> tuple[str, float | None]:
    """Return what a stream leaves behind: the id of its last event, and how long to wait."""
    decoder = EventDecoder()
    for chunk in chunks:
        list(decoder.feed(chunk))
    return decoder.last_event_id, decoder.retry


def rest_of(stream: bytes) -> tuple[str, float | None]:
    """Read the same from a whole stream at once, as the standard says it."""
    lines = re.split(rb"\r\n|\r|\n", stream.removeprefix(b"\xef\xbb\xbf"))[:-1]
    seen, last, retry = "", "", None
    for line in lines:
        field, _, value = line.partition(b":")
        text = value.removeprefix(b" ").decode("utf-8", "replace")
        if not line:
            last = seen
        elif field == b"id" and "\0" not in text:
            seen = text
        elif field == b"retry" and text.isascii() and text.isdecimal():
            retry = int(text) / 1000
    return last, retry


def decode(*chunks: bytes) -> list[Event]:
    decoder = EventDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def reference(stream: bytes) -> list[Event]:
    """Read a whole stream at once, as the standard says it."""
    lines = re.split(rb"\r\n|\r|\n", stream.removeprefix(b"\xef\xbb\xbf"))[:-1]
    events: list[Event] = []
    name, data = "", list[str]()
    for line in lines:
        field, colon, value = line.partition(b":")
        text = value.removeprefix(b" ").decode("utf-8", "replace")
        if not line:
            if data:
                events.append(Event(name or "message", "\n".join(data)))
            name, data = "", []
        elif field == b"data":
            data.append(text)
        elif field == b"event":
            name = text
        else:
            assert not field or colon or line == field
    return events


LINES = st.one_of(
    st.sampled_from(
        [
            b"",
            b"",
            b"data",
            b"data:",
            b"data: {}",
            b"data:  two blanks",
            b"data : no field",
            b"datax: no field",
            b"event: ping",
            b"event:",
            b"id: 1",
            b"id:2",
            b"id",
            b"id: \0",
            "id: 名".encode(),
            b"retry: 5",
            b"retry:1500",
            b"retry: -1",
            b"retry: 1.5",
            b"retry: \xd9\xa3",
            b"retry",
            b": comment",
            "data: \u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e".encode(),
            b"data: \xff\xfe",
            b"\xef\xbb\xbfdata: marked",
        ]
    ),
    st.binary(max_size=12).filter(lambda line: b"\r" not in line and b"\n" not in line),
)
STREAMS = st.builds(
    lambda mark, lines, rest: mark + b"".join(line + end for line, end in lines) + rest,
    st.sampled_from([b"", b"", b"\xef\xbb\xbf", b"\xef\xbb"]),
    st.lists(st.tuples(LINES, st.sampled_from(LINE_ENDS)), max_size=12),
    st.sampled_from([b"", b"data: unterminated", b"\r", b"\n"]),
)


@given(STREAMS, st.data())
@settings(max_examples=200)
def test_cuts_make_no_difference(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    # An incomplete byte order mark at the end holds back what might still become one.
    expected = reference(stream) if stream not in {b"\xef\xbb", b"\xef"} else []
    assert decode(*pieces) == expected
    assert rest(*pieces) == (rest_of(stream) if stream not in {b"\xef\xbb", b"\xef"} else ("", None))


@given(STREAMS)
@example(b"\xef\xbb\xbfevent: a\r\ndata: 1\rdata: 2\n\r\ndata: 3\r\r")
@settings(max_examples=100)
def test_every_byte_may_come_alone(stream: bytes) -> None:
    assert decode(*(stream[at : at + 1] for at in range(len(stream)))) == reference(stream)


@pytest.mark.parametrize("end", LINE_ENDS)
def test_an_event_comes_out_with_its_blank_line(end: bytes) -> None:
    """It does not wait for the byte after it, which may never come."""
    decoder = EventDecoder()
    assert list(decoder.feed(b"data: 1" + end)) == []
    assert list(decoder.feed(end)) == [Event("message", "1")]
    assert list(decoder.feed(b"")) == []
    assert list(decoder.feed(b"data: 2" + end * 2)) == [Event("message", "2")]


def test_a_line_end_may_be_cut_in_two() -> None:
    assert decode(b"data: 1\r", b"", b"\ndata: 2\r", b"\n\r", b"\n") == [Event("message", "1\n2")]


def test_data_lines_are_joined_and_one_blank_is_dropped() -> None:
    assert decode(b"data:a\ndata: b\ndata:  c\ndata\n\n") == [Event("message", "a\nb\n c\n")]


def test_a_name_is_for_one_event() -> None:
    stream = b"event: ping\ndata: 1\n\ndata: 2\n\nevent: ping\n\ndata: 3\n\n"
    assert decode(stream) == [Event("ping", "1"), Event("message", "2"), Event("message", "3")]


def test_other_line_ends_of_unicode_are_characters() -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei"
    assert decode(f"data: {text}\n\n".encode()) == [Event("message", text)]


def test_an_event_without_its_blank_line_stays_unfinished() -> None:
    decoder = EventDecoder()
    assert decoder.unfinished == b""
    assert list(decoder.feed(b"data: gone\n\ndata: 1\ndata: 2\ndata: 3")) == [Event("message", "gone")]
    assert decoder.unfinished == b"1\n2\ndata: 3"


def test_a_byte_order_mark_counts_at_the_start_only() -> None:
    mark = b"\xef\xbb\xbf"
    assert decode(mark[:2], mark[2:], b"data: 1\n\n" + mark + b"data: 2\n\n") == [Event("message", "1")]
    assert decode(b"\xef", b"\xbbdata: 1\n\n") == []


@pytest.mark.parametrize(
    ("stream", "last"),
    [
        (b"", ""),
        (b"id: 1\n\n", "1"),
        (b"id: 1\ndata:\n\n", "1"),
        (b"id: 1\ndata: {}\n\ndata: {}\n\n", "1"),
        (b"id: 1\ndata: {}\n\nid: 2\ndata: {}", "1"),
        (b"id: 1\n\nid\n\n", ""),
        (b"id: 1\n\nid: 2\0\n\n", "1"),
        (b"id:  1\n\n", " 1"),
        (b"ID: 1\n\n", ""),
    ],
)
def test_the_last_event_id_is_of_the_last_complete_event(stream: bytes, last: str) -> None:
    assert rest(stream)[0] == last


@pytest.mark.parametrize(
    ("stream", "seconds"),
    [
        (b"retry: 500\n", 0.5),
        (b"retry: 0\n", 0.0),
        (b"retry: 500\nretry: 700\n", 0.7),
        (b"retry: 500\nretry: soon\n", 0.5),
        (b"retry: 999999999\n", 999_999.999),
        (b"retry: 1000000000\n", None),
        (b"retry: -1\n", None),
        (b"retry: 500", None),
        (b"retry: \xd9\xa3\n", None),
    ],
)
def test_the_retry_field_is_read_as_milliseconds(stream: bytes, seconds: float | None) -> None:
    assert rest(stream)[1] == seconds
