# SPDX-License-Identifier: Apache-2.0
"""The header of a GGUF file: its version, the keys and values, and how many numbers the tensors have.

Layout and type numbers: ggml's docs/gguf.md. Version 1 counted in 32 bits, later ones in 64.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from wasinn.content import Content, number


@dataclass(frozen=True)
class Items:
    """An array, of which only the number of its items is read."""

    count: int


Value = int | float | bool | str | Items

#: Sizes of the types of fixed size: u8 i8 u16 i16 u32 i32 f32 bool (7), u64 i64 f64.
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_SIGNED, _FLOATS, _BOOL, _STRING, _ARRAY = {1, 3, 5, 11}, {6: "<f", 12: "<d"}, 7, 8, 9

#: Keys, and strings in arrays, that are read past: more than the tokens of any language model. Tensors
#: that are read.
_MAX_KEYS = 4096
_MAX_STRINGS = 500_000
_MAX_TENSORS = 100_000
_MAX_RANK = 8


def version(data: Content) -> int:
    """The version; that of a big-endian file too. Raises ValueError."""
    found = number(data, 4, 4)
    return found if found & 0xFFFF else int.from_bytes(data[4:8], "big")


def tensor_count(data: Content) -> int:
    return number(data, 8, 8 if version(data) > 1 else 4)


@dataclass
class Header:
    """What is read of a header, from its start on: first `values`, then `parameters`."""

    data: Content
    _position: int = 0

    def values(self) -> Iterator[tuple[str, Value]]:
        """The keys and their values, in order. Raises ValueError for what is no GGUF, and for a big-endian
        one."""
        data = self.data
        if not 1 <= number(data, 4, 4) <= 0xFFFF:
            raise ValueError("a big-endian GGUF")
        wide = self._wide
        position = 8 + wide
        count = number(data, position, wide)
        position += wide
        strings = _MAX_STRINGS
        for _ in range(min(count, _MAX_KEYS)):
            key, position = _string(data, position, wide)
            kind = number(data, position, 4)
            position += 4
            if kind == _ARRAY:
                inner, items = number(data, position, 4), number(data, position + 4, wide)
                position += 4 + wide
                if inner in _SIZES:
                    position += items * _SIZES[inner]
                else:
                    strings -= items
                    if inner != _STRING or strings < 0:
                        raise ValueError(f"an array of {items} of type {inner}")
                    for _ in range(items):
                        position += wide + number(data, position, wide)
                yield key, Items(items)
            elif kind == _STRING:
                text, position = _string(data, position, wide)
                yield key, text
            elif kind in _SIZES:
                yield key, _scalar(data, position, kind)
                position += _SIZES[kind]
            else:
                raise ValueError(f"type {kind}")
        if count <= _MAX_KEYS:
            self._position = position

    def parameters(self) -> int:
        """How many numbers the tensors have, after all `values`. Raises ValueError.

        A tensor is its name, its number of dims in 32 bits, the dims, its type in 32 bits and its offset in
        64.
        """
        data, wide, position = self.data, self._wide, self._position
        count = tensor_count(data)
        if not position or count > _MAX_TENSORS:
            raise ValueError("not the start of the tensors, or too many")
        total = 0
        for _ in range(count):
            _, position = _string(data, position, wide)
            rank = number(data, position, 4)
            if rank > _MAX_RANK:
                raise ValueError(f"a tensor of {rank} dims")
            position += 4
            total += math.prod(number(data, position + wide * each, wide) for each in range(rank))
            position += wide * rank + 4 + 8
        return total

    @property
    def _wide(self) -> int:
        return 8 if version(self.data) > 1 else 4


def _scalar(data: Content, position: int, kind: int) -> Value:
    size = _SIZES[kind]
    found = number(data, position, size)
    if kind in _FLOATS:
        value: float = struct.unpack(_FLOATS[kind], found.to_bytes(size, "little"))[0]
        return value
    if kind == _BOOL:
        return bool(found)
    if kind in _SIGNED and found >> (8 * size - 1):
        return found - (1 << 8 * size)
    return found


def _string(data: Content, position: int, wide: int) -> tuple[str, int]:
    """The string at `position`, cut to 1000 bytes, and where it ends."""
    length = number(data, position, wide)
    start = position + wide
    if start + length > len(data):
        raise ValueError("a string beyond the end")
    return data[start : start + min(length, 1000)].decode("utf-8", "replace"), start + length
