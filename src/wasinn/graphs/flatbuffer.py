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

    def text(self, field: int, limit: int = 1000) -> str:
        """A string, cut to `limit` bytes; empty where the table does not have it."""
        return self.content(field, limit).decode("utf-8", "replace")

    def content(self, field: int, limit: int) -> bytes:
        """The first `limit` bytes of a string or a vector of bytes."""
        start, length = self._vector(field)
        return self._data[start : start + min(length, limit)]

    def floats(self, field: int, most: int) -> tuple[float, ...]:
        """The first `most` numbers of a vector of f32."""
        found = self._words(field, most)
        return struct.unpack(f"<{len(found) // 4}f", found)

    def integers(self, field: int, most: int) -> tuple[int, ...]:
        """The first `most` numbers of a vector of i32."""
        found = self._words(field, most)
        return struct.unpack(f"<{len(found) // 4}i", found)

    def _words(self, field: int, most: int) -> bytes:
        start, length = self._vector(field)
        size = 4 * min(length, most)
        found = self._data[start : start + size]
        if len(found) != size:
            raise ValueError(f"no {size} bytes at {start}")
        return found

    def table(self, field: int) -> Table | None:
        at = self._field(field)
        return Table(self._data, at + number(self._data, at, 4)) if at else None

    def tables(self, field: int, most: int) -> Iterator[Table]:
        """The first `most` tables of a vector."""
        length = self._vector(field)[1]
        for index in range(min(length, most)):
            yield self.item(field, index)

    def item(self, field: int, index: int) -> Table:
        """One table of a vector."""
        start, length = self._vector(field)
        if index >= length:
            raise ValueError(f"no item {index} of {length}")
        at = start + 4 * index
        return Table(self._data, at + number(self._data, at, 4))

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
