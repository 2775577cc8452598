"""Content encodings, undone by what the bytes are, because proxies announce encodings wrongly or apply them twice."""

from __future__ import annotations

import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

from favcrm._mcp.jsonrpc import MAX_ANSWER_BYTES
from favcrm._patterns import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INFLATED_PIECE = 64 * 1024
"""Bytes that come out in one piece at most; httpx inflates a chunk in one go."""
# zlib copies the data behind a member with each member, so a chunk of many small ones is taken in parts.
PART = 4096
MAX_LAYERS = 3
"""How many encodings may lie over each other."""
MARK = 2
"""Bytes that tell what they are, by the marks of gzip and zlib."""
BEGINNING = 16
"""Bytes that tell text from deflate without a header."""
DEFLATE = "deflate"
GZIP = b"\x1f\x8b"
ZLIB = lazy_pattern(rb"[\x08\x18\x28\x38\x48\x58\x68\x78]")
GZIP_WITH_HEADER = 16 + zlib.MAX_WBITS
# How JSON, an event and a page begin, whose zero bytes are left out for the wider encodings. Deflate without a
# header has no mark of its own, and does not begin so.
TEXT = lazy_pattern(rb"(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?\s*+(?:[{\[:<]|data|even|id|retr|\Z)")


class Inflater:
    """Undoes the content encodings of one body: fed with chunks, it yields pieces of bounded size.

    Its methods raise ``zlib.error`` where the data is broken, after all that comes before that place.

    Args:
        encoding: The header of the answer. It counts only for deflate without a header, because its bytes have no mark.
        layers: How many encodings are undone.
        max_bytes: How many bytes are read at most.
    """

    def __init__(self, encoding: str, *, layers: int = MAX_LAYERS, max_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._encoding = encoding.lower()
        self._layers = layers
        self._max_bytes = max_bytes
        self._room = max_bytes
        self._take: Callable[[bytes], Iterator[bytes]] = self._begin if layers else self._pass_on
        self._held = b""
        self._stream = self._before = zlib.decompressobj()
        # The bytes of the first member, until something comes out of it.
        self._unopened: bytearray | None = bytearray()
        self._silent = True
        self._inner: Inflater | None = None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take the next chunk and yield what it becomes."""
        if self._take == self._pass_on:
            yield chunk
            return
        for at in range(0, len(chunk), PART):
            yield from self._take(chunk[at : at + PART])

    def end(self) -> Iterator[bytes]:
        """Yield what was held back because it was too short to tell what it is."""
        if self._inner is not None:
            yield from self._inner.end()
        elif self._held:
            yield self._held

    def _begin(self, data: bytes) -> Iterator[bytes]:
        self._held += data
        if len(self._held) < (BEGINNING if DEFLATE in self._encoding else MARK):
            return
        data, self._held = self._held, b""
        window = _window_of(data, self._encoding)
        if window is None:
            self._take = self._pass_on
        else:
            self._take, self._stream = self._inflate, zlib.decompressobj(window)
            self._inner = Inflater(self._encoding, layers=self._layers - 1, max_bytes=self._max_bytes)
        yield from self._take(data)

    def _pass_on(self, data: bytes) -> Iterator[bytes]:
        yield data

    def _pass_over(self, _: bytes) -> Iterator[bytes]:
        """Take padding, or whatever else stands behind the last member."""
        return iter(())

    def _inflate(self, data: bytes) -> Iterator[bytes]:
        """Undo gzip or deflate, member by member."""
        # Also the input is bounded, because little or nothing may come out of it.
        self._room -= len(data)
        if self._room < 0:
            raise zlib.error("larger than this client reads")
        data, self._held = self._held + data, b""
        piece = b""
        while data or len(piece) == INFLATED_PIECE:
            if self._stream.eof:
                data = data.lstrip(b"\0")
                if len(data) < len(GZIP):
                    self._held = data
                    return
                if not data.startswith(GZIP):
                    self._take = self._pass_over
                    return
                self._stream, self._silent = zlib.decompressobj(GZIP_WITH_HEADER), True
            self._before = self._stream.copy()
            try:
                piece = self._stream.decompress(data, INFLATED_PIECE)
            except zlib.error:
                yield from self._salvage(data)
                return
            yield from self._open(piece, data)
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail

    def _open(self, piece: bytes, data: bytes) -> Iterator[bytes]:
        """Pass on what came out of a member."""
        assert self._inner is not None
        if piece or self._stream.eof:
            self._unopened, self._silent = None, False
        elif self._unopened is not None:
            self._unopened += data
        yield from self._inner.feed(piece)

    def _salvage(self, data: bytes) -> Iterator[bytes]:
        """Yield what comes before the place where data is broken, and raise.

        Where nothing came out of a member, its bytes only look like one, and are taken for what they are.
        """
        assert self._inner is not None
        found = self._before_the_break(data)
        if found or not self._silent:
            yield from self._inner.feed(found)
            raise zlib.error("broken")
        self._take = self._pass_over
        if self._unopened is not None:
            self._take = self._pass_on
            yield bytes(self._unopened + data)

    def _before_the_break(self, data: bytes) -> bytes:
        """Return what zlib keeps back when it finds data broken: all that comes before, found by halving."""
        found, size = b"", 1 << len(data).bit_length()
        while size := size // 2:
            attempt = self._before.copy()
            with suppress(zlib.error):
                found += attempt.decompress(data[:size])
                self._before, data = attempt, data[size:]
        return found


def _window_of(start: bytes, encoding: str) -> int | None:
    """Return the window with which zlib inflates data that begins so, or None for plain data."""
    if start.startswith(GZIP):
        return GZIP_WITH_HEADER
    if ZLIB.match(start) and int.from_bytes(start[:2]) % 31 == 0:
        return zlib.MAX_WBITS
    plain = DEFLATE not in encoding or TEXT.match(start.replace(b"\0", b""))
    return None if plain else -zlib.MAX_WBITS
