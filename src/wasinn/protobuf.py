# SPDX-License-Identifier: Apache-2.0
"""Protobuf's wire format, as far as it takes to find a field: nothing is read that is not asked for.

Numbers of wire types: developers.google.com/protocol-buffers/docs/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator

from wasinn.content import Content
from wasinn.leb128 import read_unsigned

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_SIZES = {FIXED64: 8, FIXED32: 4}

#: More than any model has, and read in a second: hostile bytes can have a field in every two.
_MAX_FIELDS = 500_000

#: Protobuf's largest field number: a reader may drop the bits of a key that lie above.
_MAX_NUMBER = (1 << 29) - 1

#: (field number, wire type, start, end); for a varint the last two are its value, twice.
Field = tuple[int, int, int, int]


def fields(data: Content, start: int = 0, end: int | None = None) -> Iterator[Field]:
    """The fields of the message in `data[start:end]`, in their order; payloads are skipped.

    Without `end` the message is all of `data`, and its last field may reach beyond: content that is
    cut short. Raises ValueError for what is not protobuf.
    """
    limit = len(data) if end is None else end
    position = start
    left = _MAX_FIELDS
    while position < min(limit, len(data)):
        left -= 1
        if left < 0:
            raise ValueError(f"a message of more than {_MAX_FIELDS} fields")
        head = data[position : min(position + 20, limit)]  # a key and a number are at most 10 each
        key, used = read_unsigned(head, 0)
        field, wire = key >> 3, key & 7
        if not 1 <= field <= _MAX_NUMBER:
            raise ValueError(f"field number {field}")
        if wire == VARINT:
            value, used = read_unsigned(head, used)
            position += used
            yield field, wire, value, value
            continue
        if wire == BYTES:
            length, used = read_unsigned(head, used)
        elif wire in _SIZES:
            length = _SIZES[wire]
        else:
            raise ValueError(f"wire type {wire}")
        position += used
        if end is not None and position + length > limit:
            raise ValueError("a field that is longer than its message")
        yield field, wire, position, position + length
        position += length


def text(data: Content, start: int, end: int, limit: int = 1000) -> str:
    """The string in `data[start:end]`, cut to `limit` bytes."""
    return data[start : min(end, start + limit)].decode("utf-8", "replace")
