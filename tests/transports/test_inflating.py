"""Content encodings by themselves: what comes out, in which pieces, how much of it, and where it ends."""

from __future__ import annotations

import gzip
import secrets
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from favcrm._mcp.jsonrpc import MAX_ANSWER_BYTES
from favcrm.transports.http import inflating
from favcrm.transports.http.inflating import INFLATED_PIECE, Inflater

TEXT = b'{"id":1,"result":"%b"}' % secrets.token_hex(5000).encode()


def inflated(
    data: bytes, encoding: str = "", size: int = 1000, *, max_bytes: int = MAX_ANSWER_BYTES
) -> tuple[bytes, bool]:
    """Return what comes out of data that arrives in chunks, and whether it was broken."""
    inflater, found = Inflater(encoding, max_bytes=max_bytes), bytearray()
    try:
        for at in range(0, len(data), size):
            for piece in inflater.feed(data[at : at + size]):
                found += piece
    except zlib.error:
        return bytes(found), True
    return bytes(found) + b"".join(inflater.end()), False


@given(st.binary(max_size=40), st.sampled_from(["", "gzip", "br", "identity"]), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_bytes_that_are_not_packed_come_out_as_they_are(data: bytes, encoding: str, size: int) -> None:
    found, broken = inflated(data, encoding, size)
    packed = data.startswith(b"\x1f\x8b") or (data[:1] and data[0] & 15 == 8)
    assert packed or (found, broken) == (data, False)


@given(st.binary(max_size=40), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_broken_bytes_raise_no_error_but_zlib_error(data: bytes, size: int) -> None:
    for mark in (b"", b"\x1f\x8b\x08", b"\x78\x9c", gzip.compress(b""), gzip.compress(b"a")):
        inflated(mark + data, "deflate", size)


@pytest.mark.parametrize("mark", [b"\x1f\x8b", b"\x1f\x8b\x08\x00", b"\x78\x9c", b"x\x01", b"He says that"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_bytes_that_only_look_packed_come_out_as_they_are(mark: bytes, size: int) -> None:
    data = mark + b"\xff" * 20 + b' {"apiKey": "whole"}'
    assert inflated(data, "gzip", size) == (data, False)


@pytest.mark.parametrize("size", [1, 7, 4096, 1_000_000])
def test_bytes_before_a_broken_place_are_kept(size: int) -> None:
    packed = gzip.compress(TEXT)
    assert inflated(packed[:-8] + bytes(8), "gzip", size) == (TEXT, True)
    half = len(packed) // 2
    found, _ = inflated(packed[:half] + b"\xff" * 100 + packed[half:], "gzip", size)
    assert TEXT.startswith(found[: len(TEXT) // 3])
    assert len(found) > len(TEXT) // 3


@pytest.mark.parametrize(
    "rubbish", [b"\0", b"\x1f", b"\x1f\x8b", b"\x1f\x8b\x08\xff\xff", b"<html>", b"x" * 9999]
)
@pytest.mark.parametrize("size", [1, 5, 1_000_000])
def test_bytes_after_the_last_member_are_passed_over(rubbish: bytes, size: int) -> None:
    assert inflated(gzip.compress(TEXT) + rubbish, "gzip", size) == (TEXT, False)


def test_pieces_are_bounded_and_complete() -> None:
    raw = zlib.compressobj(9, wbits=-15)
    for size in (INFLATED_PIECE - 1, INFLATED_PIECE, INFLATED_PIECE + 100, 3 * INFLATED_PIECE):
        text = b"{" + b" " * (size - 1)
        packer = raw.copy()
        packed = packer.compress(text) + packer.flush()
        pieces = list(Inflater("deflate").feed(packed))
        assert b"".join(pieces) == text
        assert max(map(len, pieces)) <= INFLATED_PIECE


def test_the_fourth_layer_is_not_undone() -> None:
    packed = inner = gzip.compress(TEXT)
    for _ in range(inflating.MAX_LAYERS - 1):
        packed = gzip.compress(packed)
    assert inflated(packed) == (TEXT, False)
    assert inflated(gzip.compress(packed)) == (inner, False)


@pytest.mark.parametrize(
    "data",
    [gzip.compress(b"") * 5, gzip.compress(gzip.compress(b"") * 5000)],
    ids=["in one layer", "in two layers"],
)
def test_endless_input_without_output_raises(data: bytes) -> None:
    many = data * (200_000 // len(data))
    assert inflated(many, max_bytes=100_000) == (b"", True)


def test_many_members_in_a_chunk_are_taken_in_parts() -> None:
    """Each member copies the data behind it, which would be too much for a whole chunk."""
    sizes: list[int] = []

    class Counting(Inflater):
        def _inflate(self, data: bytes) -> Iterator[bytes]:
            sizes.append(len(data))
            return super()._inflate(data)

    members = gzip.compress(b"a") * 5000
    assert b"".join(Counting("").feed(members)) == b"a" * 5000
    assert max(sizes) <= inflating.PART
