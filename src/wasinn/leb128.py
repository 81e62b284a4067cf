# SPDX-License-Identifier: Apache-2.0
"""LEB128: how wasm modules, and protobuf under the name of varint, write unsigned numbers."""

from __future__ import annotations

import mmap


def read_unsigned(data: bytes | mmap.mmap, position: int) -> tuple[int, int]:
    """The number at `position`, of at most 70 bits, and where it ends.

    Raises ValueError where it has no end.
    """
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ValueError("a number without an end")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def write_unsigned(value: int) -> bytes:
    """`value` in as few bytes as it takes."""
    result = bytearray()
    while value >= 0x80:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)
