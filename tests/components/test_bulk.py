# SPDX-License-Identifier: Apache-2.0
"""The text coding of bytes: any bytes come back, as ASCII, in the sizes that the protocol says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasinn.abi.component import bulk
from wasinn.abi.component.buffers import Buffers, ProtocolError


def by_the_book(data: bytes) -> bytes:
    """The coding as its description says it, bit by bit."""
    rows = -(-len(data) // 7)
    high = bytearray(rows)
    for number, byte in enumerate(data):
        high[number % rows] |= (byte >> 7) << (number // rows)
    return bytes(byte & 0x7F for byte in data) + bytes(high)


@given(st.binary(max_size=300))
def test_the_coding_is_what_its_description_says(data: bytes) -> None:
    text = bulk.encode(data)
    assert text == by_the_book(data)
    assert text.isascii()


@given(st.binary(max_size=300))
def test_any_bytes_come_back(data: bytes) -> None:
    assert bulk.decode(bulk.encode(data)).tobytes() == data


@pytest.mark.parametrize("size", [0, 1, 6, 7, 8, 111, 112, 113, 602_112, bulk.PIECE - 1, bulk.PIECE])
def test_sizes(size: int) -> None:
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    text = bulk.encode(data)
    assert len(text) == bulk.text_size(size)
    assert bulk.byte_size(len(text)) == size
    assert np.array_equal(bulk.decode(text), data)


def test_in_place() -> None:
    data = np.arange(256, dtype=np.uint8)
    text = np.frombuffer(bytearray(bulk.encode(data)), np.uint8)
    bulk.decode_into(text[:256], text[256:], text[:256])
    assert np.array_equal(text[:256], data)


def test_a_full_piece_is_a_round_number_of_characters() -> None:
    assert bulk.text_size(bulk.PIECE) == 1 << 20


@given(st.integers(0, 10_000))
def test_lengths_that_no_piece_has(characters: int) -> None:
    if characters % 8 == 1:
        with pytest.raises(ValueError, match="no piece"):
            bulk.byte_size(characters)
    else:
        assert bulk.text_size(bulk.byte_size(characters)) == characters


@pytest.mark.parametrize(("low", "high", "size"), [(7, 2, 7), (7, 0, 7), (8, 1, 8), (7, 1, 6), (0, 1, 0)])
def test_sizes_that_do_not_fit(low: int, high: int, size: int) -> None:
    data = np.zeros(size, np.uint8)
    with pytest.raises(ValueError, match="characters"):
        bulk.decode_into(np.zeros(low, np.uint8), np.zeros(high, np.uint8), data)


def test_characters_beyond_ascii_are_decoded_too() -> None:
    """A component that calls the private functions itself may send any text: it gets some bytes."""
    assert bulk.decode(bytes([0xC3, 0xA9, 0xFF])).tobytes() == bytes([0xC3, 0xA9])


# -- the host's buffers ------------------------------------------------------------------------------


def test_a_buffer_becomes_bytes_without_a_copy() -> None:
    buffers = Buffers(10_000)
    for size in (0, 1, 7, 600, 5000):
        buffers.begin(size)
        for start in range(0, size, 1000):
            text = bulk.encode(bytes(each % 251 for each in range(start, min(start + 1000, size))))
            low = np.frombuffer(text, np.uint8)
            count = bulk.byte_size(len(low))
            buffers.push(low[:count], low[count:])
    made = buffers.take()
    assert made is not None
    for size, each in zip((0, 1, 7, 600, 5000), made, strict=True):
        assert type(each) is bytes
        assert each == bytes(number % 251 for number in range(size))
        assert hash(each) == hash(bytes(bytearray(each)))
    assert buffers.take() == []


def test_buffers_beyond_the_limit_are_counted_and_not_kept() -> None:
    buffers = Buffers(100)
    buffers.begin(60)
    zeros = np.zeros(60, np.uint8)
    buffers.push(zeros, zeros[: bulk.high_size(60)])
    buffers.begin(60)
    assert buffers.held == 0
    with pytest.raises(ProtocolError, match="0 bytes came for a buffer of 60"):
        buffers.take()
    buffers.push(zeros, zeros[: bulk.high_size(60)])
    assert (buffers.count, buffers.total) == (2, 120)
    assert buffers.take() is None
    assert buffers.take() == []
