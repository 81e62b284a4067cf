# SPDX-License-Identifier: Apache-2.0
"""Single fields of FlatBuffers, found by their number in the schema and checked against the end.

The layout is that of flatbuffers.dev/internals: a table begins with the (signed) distance back to its
vtable, which has two sizes and then, for each field in the schema's order, where the table has it
(0: nowhere); strings, vectors and tables are reached by an offset from where the offset stands.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from wasinn.content import Content, number


class Table:
    """A table in `data`. Every method raises ValueError for what reaches outside."""

    def __init__(self, data: Content, position: int) -> None:
        self._data = data
        self._position = position
        back = number(data, position, 4)
        self._vtable = position - (back - (1 << 32) if back >> 31 else back)
        self._vtable_size = number(data, self._vtable, 2)

    @classmethod
    def root(cls, data: Content) -> Table:
        return cls(data, number(data, 0, 4))

    def number(self, field: int, size: int) -> int:
        """An unsigned number; 0 where the table does not have it."""
        at = self._field(field)
        return number(self._data, at, size) if at else 0

    def signed(self, field: int, size: int) -> int:
        """A signed number; 0 where the table does not have it."""
        found, bits = self.number(field, size), 8 * size
        return found - (1 << bits) if found >> (bits - 1) else found

    def text(self, field: int, limit: int = 1000) -> str:
        """A string, cut to `limit` bytes; empty where the table does not have it."""
        return self.content(field, limit).decode("utf-8", "replace")

    def content(self, field: int, limit: int) -> bytes:
        """The first `limit` bytes of a string or a vector of bytes."""
        start, length = self._vector(field)
        return self._data[start : start + min(length, limit)]

    def floats(self, field: int, most: int) -> tuple[float, ...]:
        """The first `most` numbers of a vector of f32."""
        found = self._numbers(field, most, 4)
        return struct.unpack(f"<{len(found) // 4}f", found)

    def integers(self, field: int, most: int, size: int = 4) -> tuple[int, ...]:
        """The first `most` numbers of a vector of i32, or of i64 where the `size` is 8."""
        found = self._numbers(field, most, size)
        return struct.unpack(f"<{len(found) // size}{'q' if size == 8 else 'i'}", found)

    def length(self, field: int) -> int:
        """How many items a vector says that it has; 0 where the table does not have it."""
        return self._vector(field)[1]

    def _numbers(self, field: int, most: int, width: int) -> bytes:
        start, length = self._vector(field)
        size = width * min(length, most)
        found = self._data[start : start + size]
        if len(found) != size:
            raise ValueError(f"no {size} bytes at {start}")
        return found

    def table(self, field: int) -> Table | None:
        at = self._field(field)
        return self._at(at) if at else None

    def tables(self, field: int, most: int) -> Iterator[Table]:
        """The first `most` tables of a vector."""
        start, length = self._vector(field)
        for index in range(min(length, most)):
            yield self._at(start + 4 * index)

    def item(self, field: int, index: int) -> Table:
        """One table of a vector."""
        start, length = self._vector(field)
        if index >= length:
            raise ValueError(f"no item {index} of {length}")
        return self._at(start + 4 * index)

    def _at(self, position: int) -> Table:
        """The table that the offset at `position` leads to."""
        return Table(self._data, position + number(self._data, position, 4))

    def _vector(self, field: int) -> tuple[int, int]:
        """Where the items of a vector begin, and how many there are."""
        at = self._field(field)
        if not at:
            return 0, 0
        start = at + number(self._data, at, 4)
        return start + 4, number(self._data, start, 4)

    def _field(self, field: int) -> int:
        """Where a field stands; 0 where the table does not have it."""
        slot = 4 + 2 * field
        if slot + 2 > self._vtable_size:
            return 0
        offset = number(self._data, self._vtable + slot, 2)
        return self._position + offset if offset else 0
