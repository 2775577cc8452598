"""Text in any encoding that JSON may have, turned into UTF-8 as it arrives."""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codecs import IncrementalDecoder

BYTES_THAT_TELL = 4
UTF8 = {"utf-8", "utf-8-sig"}


class Transcoder:
    """Returns chunks of bytes, cut anywhere, as UTF-8 without a byte order mark.

    The first bytes tell the encoding: a charset that is declared is often wrong.
    """

    def __init__(self) -> None:
        self._start = b""
        self._began = False
        self._decoder: IncrementalDecoder | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Take the next chunk and return what it becomes."""
        if self._began:
            return self._convert(chunk)
        self._start += chunk
        return self._begin() if len(self._start) >= BYTES_THAT_TELL else b""

    def end(self) -> bytes:
        """Return what was held back."""
        return b"" if self._began else self._begin()

    def _begin(self) -> bytes:
        self._began = True
        encoding = json.detect_encoding(self._start)
        if encoding not in UTF8:
            self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        return self._convert(self._start).removeprefix(codecs.BOM_UTF8)

    def _convert(self, chunk: bytes) -> bytes:
        return chunk if self._decoder is None else self._decoder.decode(chunk).encode()
