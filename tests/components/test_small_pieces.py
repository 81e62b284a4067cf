# SPDX-License-Identifier: Apache-2.0
"""Small pieces in integers, held against the coding of `bulk.py` in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasinn.abi.component import bulk, small_pieces

SIZES = [*range(1, 66), 127, 128, 255, small_pieces.MOST]


def text_of(data: bytes) -> bytes:
    """The text of a piece by its definition, a bit at a time."""
    rows = -(-len(data) // 7)
    high = bytearray(rows)
    for number, byte in enumerate(data):
        high[number % rows] |= (byte >> 7) << (number // rows)
    return bytes(byte & 0x7F for byte in data) + bytes(high)


@pytest.mark.parametrize("fill", ["random", "ones", "tops", "zeros"])
def test_every_size_is_coded_as_bulk_does(fill: str) -> None:
    random = np.random.default_rng(7)
    for size in SIZES:
        data = {
            "random": random.integers(0, 256, size, np.uint8).tobytes(),
            "ones": b"\xff" * size,
            "tops": b"\x80" * size,
            "zeros": bytes(size),
        }[fill]
        text = small_pieces.encode(memoryview(data))
        assert text == bulk.encode(data) == text_of(data)
        assert small_pieces.decode(text[:size], text[size:]) == data


def test_nothing_is_nothing() -> None:
    assert small_pieces.encode(b"") == b""
    assert small_pieces.decode(b"", b"") == b""


@given(st.data(), st.integers(1, 80))
def test_any_characters_are_decoded_as_bulk_does(draw: st.DataObject, size: int) -> None:
    """What no adapter sends: bits that stand for no byte, and bytes above ASCII."""
    low = draw.draw(st.binary(min_size=size, max_size=size))
    high = draw.draw(st.binary(min_size=bulk.high_size(size), max_size=bulk.high_size(size)))
    wanted = np.empty(size, np.uint8)
    bulk.decode_into(np.frombuffer(low, np.uint8), np.frombuffer(high, np.uint8), wanted)
    assert small_pieces.decode(low, high) == wanted.tobytes()
