"""What a child process writes: whole lines of its output, and the end of what it says of errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from favcrm._text import clean, mask, without_emails

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LONGEST_LINE = 16 * 1024 * 1024
KEPT_BYTES = 8 * 1024
KEPT_LINES = 10
LONGEST_SHOWN = 200


class LineReader:
    """Cuts bytes into lines at LF alone: JSON may hold every other character that ends lines elsewhere.

    Args:
        longest: How many bytes a line may have; of a longer one nothing is kept.
    """

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        self._longest = longest
        self._begun = bytearray()
        self._too_long = False

    def feed(self, chunk: bytes) -> Iterator[bytes | None]:
        """Take the next bytes, and yield each line that they end; None for one that was too long."""
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            self._add(end)
            yield None if self._too_long else bytes(self._begun.removesuffix(b"\r"))
            self._begun.clear()
            self._too_long = False
        self._add(rest)

    def _add(self, piece: bytes) -> None:
        self._begun += piece
        if len(self._begun) > self._longest:
            self._begun.clear()
            self._too_long = True


class Tail:
    """The last lines of a stream, however long it is."""

    def __init__(self) -> None:
        self._kept = b""
        self._cut = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        kept = self._kept + chunk
        self._cut = self._cut or len(kept) > KEPT_BYTES
        self._kept = kept[-KEPT_BYTES:]

    def show(self, hide: Iterable[str]) -> str:
        """Return the last lines in one, without secrets and without the values in ``hide``."""
        # Not from within a line: the half of a secret cannot be recognised.
        whole = self._kept.partition(b"\n")[2] if self._cut else self._kept
        text = whole.decode("utf-8", "replace")
        seen = text.casefold()
        text = without_emails(mask(text, hide=[value for value in hide if value.casefold() in seen]))
        lines = [clean(line, longest=LONGEST_SHOWN) for line in text.split("\n")]
        return " | ".join([line for line in lines if line][-KEPT_LINES:])
