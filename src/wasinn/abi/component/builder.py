# SPDX-License-Identifier: Apache-2.0
"""Writes component binaries, as far as the rewriter needs it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from wasinn.abi.component.binary import HEADER
from wasinn.abi.component.model import Index, Section, Sort
from wasinn.leb128 import write_unsigned

#: An argument of an instantiation: its name, and which item of which sort it is.
Argument = tuple[str, Sort, int]


number = write_unsigned


def text(value: str) -> bytes:
    """A name."""
    data = value.encode()
    return number(len(data)) + data


def vector(items: Sequence[bytes]) -> bytes:
    """Items that are counted."""
    return number(len(items)) + b"".join(items)


def value_type(value: int) -> bytes:
    """One of the primitive types (negative), or the index of a type: LEB128 with a sign."""
    result = bytearray()
    while not -0x40 <= value < 0x40:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value & 0x7F)
    return bytes(result)


def func_type(params: Sequence[tuple[str, int]], result: int | None) -> bytes:
    fields = [text(name) + value_type(kind) for name, kind in params]
    return b"\x40" + vector(fields) + (b"\x01\x00" if result is None else b"\x00" + value_type(result))


def renumbered(
    data: bytes, start: int, end: int, indices: Sequence[Index], at: Callable[[int], int]
) -> bytes:
    """The type that is written from `start` to `end`, with other indices of types in it."""
    parts = []
    for index in indices:
        value = at(index.value)
        parts += [data[start : index.start], value_type(value) if index.signed else number(value)]
        start = index.end
    return b"".join([*parts, data[start:end]])


def enum_type(labels: Sequence[str]) -> bytes:
    return b"\x6d" + vector([text(label) for label in labels])


class Builder:
    """A component in the making: each method adds an item, and returns its index among those of its sort."""

    def __init__(self, start: Sequence[bytes], sizes: dict[Sort, int]) -> None:
        """`start` is its sections so far, `sizes` how many items of each sort they have."""
        self._parts = [HEADER, *start]
        self._sizes = Counter(sizes)

    def build(self) -> bytes:
        return b"".join(self._parts)

    def component(self, content: bytes) -> int:
        # The content may be large: it is copied once, when all is joined.
        self._parts += [bytes([Section.COMPONENT]) + number(len(content)), content]
        return self._next(Sort.COMPONENT)

    def instance(self, component: int, arguments: Sequence[Argument]) -> int:
        items = [text(name) + bytes([sort]) + number(index) for name, sort, index in arguments]
        self._add(Section.INSTANCE, b"\x00" + number(component) + vector(items))
        return self._next(Sort.INSTANCE)

    def alias(self, sort: Sort, instance: int, name: str) -> int:
        """What an instance exports."""
        self._add(Section.ALIAS, bytes([sort, 0]) + number(instance) + text(name))
        return self._next(sort)

    def type(self, content: bytes) -> int:
        self._add(Section.TYPE, content)
        return self._next(Sort.TYPE)

    def import_func(self, name: str, type_index: int) -> int:
        self._add(Section.IMPORT, b"\x00" + text(name) + bytes([Sort.FUNC]) + number(type_index))
        return self._next(Sort.FUNC)

    def import_type(self, name: str, same: int | None) -> int:
        """A type: a resource, or the `same` as another."""
        bound = b"\x01" if same is None else b"\x00" + number(same)
        self._add(Section.IMPORT, b"\x00" + text(name) + bytes([Sort.TYPE]) + bound)
        return self._next(Sort.TYPE)

    def export(self, name: str, sort: Sort, index: int, type_index: int | None = None) -> int:
        """An export is a new item itself. A function is given the type `type_index`, if there is one."""
        ascribed = b"\x00" if type_index is None else b"\x01" + bytes([Sort.FUNC]) + number(type_index)
        self._add(Section.EXPORT, b"\x00" + text(name) + bytes([sort]) + number(index) + ascribed)
        return self._next(sort)

    def _add(self, section: Section, item: bytes) -> None:
        self._parts.append(bytes([section]) + number(len(item) + 1) + b"\x01" + item)

    def _next(self, sort: Sort) -> int:
        self._sizes[sort] += 1
        return self._sizes[sort] - 1
