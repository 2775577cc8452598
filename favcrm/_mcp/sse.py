"""Server-sent events from bytes, as the WHATWG standard frames them.

Splitting decoded text into lines would be wrong: U+2028 and others are line ends to ``str.splitlines`` but
plain characters inside JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from favcrm._patterns import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

LINE_END = lazy_pattern(rb"\r\n|\n|\r")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
RETRY = lazy_pattern(rb"[0-9]{1,9}")
MILLISECONDS = 1000
MESSAGE = "message"
"""The name of an event without a name."""


@frozen
class Event:
    """One event: its name (``message`` where unnamed) and its data."""

    name: str
    data: str


class EventDecoder:
    """Turns chunks of bytes, cut anywhere, into events. An event without its closing blank line never comes out.

    Attributes:
        last_event_id: The id of the last event that was complete, with data or without; empty before there is one.
        retry: Seconds to wait before the stream is opened again, or None where the server does not say.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._at_start = True
        self._after_cr = False
        self._name = ""
        self._data: list[bytes] = []
        self._id = ""
        self.last_event_id = ""
        self.retry: float | None = None

    @property
    def unfinished(self) -> bytes:
        """What has arrived of an event that is not complete."""
        return b"\n".join([*self._data, bytes(self._buffer)])

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Take the next chunk and yield the events that it completes."""
        self._buffer += chunk
        for line in self._complete_lines():
            if line:
                self._take_field(line)
                continue
            self.last_event_id = self._id
            if self._data:
                yield Event(self._name or MESSAGE, b"\n".join(self._data).decode("utf-8", "replace"))
                self._name, self._data = "", []
            else:
                self._name = ""

    def _complete_lines(self) -> Iterator[bytes]:
        if self._at_start:
            if BYTE_ORDER_MARK.startswith(bytes(self._buffer)):
                return
            self._buffer = self._buffer.removeprefix(BYTE_ORDER_MARK)
            self._at_start = False
        buffer, position = self._buffer, 0
        if self._after_cr and buffer:
            # The CR ended a line when it came, so that an event does not wait for the next one.
            self._after_cr = False
            position = int(buffer.startswith(b"\n"))
        while end := LINE_END.search(buffer, max(position, self._searched)):
            yield bytes(buffer[position : end.start()])
            position = end.end()
            self._after_cr = end.group() == b"\r" and position == len(buffer)
        del buffer[:position]
        # A long line comes in many chunks, and is not searched again from its start with each.
        self._searched = len(buffer)

    def _take_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and RETRY.fullmatch(value):
            self.retry = int(value) / MILLISECONDS
