# SPDX-License-Identifier: Apache-2.0
"""Reading and writing the sections of a core wasm module.

Source: the binary format chapter of the WebAssembly specification. Only what the host needs to know
of a guest before it compiles it; everything else passes through untouched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = b"\0asm"
CORE_HEADER = MAGIC + b"\1\0\0\0"
COMPONENT_HEADER = MAGIC + b"\x0d\0\1\0"

CUSTOM, TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, START, ELEMENT, CODE, DATA = range(12)
#: The order of sections; the data count (12) comes before the code, the tags (13) after memories.
ORDER = {TYPE: 1, IMPORT: 2, FUNCTION: 3, TABLE: 4, MEMORY: 5, 13: 6, GLOBAL: 7, EXPORT: 8}
ORDER.update({START: 9, ELEMENT: 10, 12: 11, CODE: 12, DATA: 13})


def read_u32(data: bytes, position: int) -> tuple[int, int]:
    """An unsigned LEB128 and where it ends. Raises ValueError, also past the end."""
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


def write_u32(value: int) -> bytes:
    """`value` as unsigned LEB128."""
    result = bytearray()
    while value >= 0x80:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)


def sections(module: bytes) -> Iterator[tuple[int, bytes]]:
    """(identifier, content) of each section. Raises ValueError for what is not a core module."""
    if module[:8] != CORE_HEADER:
        raise ValueError("not a core wasm module of version 1")
    position = 8
    while position < len(module):
        identifier = module[position]
        size, start = read_u32(module, position + 1)
        if start + size > len(module):
            raise ValueError("a section that is longer than the file")
        yield identifier, module[start : start + size]
        position = start + size


def join(parts: list[tuple[int, bytes]]) -> bytes:
    """A module from its sections."""
    result = bytearray(CORE_HEADER)
    for identifier, content in parts:
        result.append(identifier)
        result += write_u32(len(content))
        result += content
    return bytes(result)


@dataclass(frozen=True)
class MemoryType:
    """A memory: its limits in pages of 64 KiB, and whether it is shared or has 64-bit addresses."""

    minimum: int
    shared: bool
    wide: bool


@dataclass
class Outline:
    """What a module imports and how many of each thing it has."""

    imports: list[tuple[str, str]]
    imported_functions: int = 0
    imported_globals: int = 0
    imported_memories: int = 0
    memories: list[MemoryType] | None = None


def outline(module: bytes) -> Outline:
    """The imports and memories of a module. Raises ValueError for what is not a core module."""
    result = Outline(imports=[], memories=[])
    assert result.memories is not None
    for identifier, content in sections(module):
        if identifier == IMPORT:
            _read_imports(content, result)
        elif identifier == MEMORY:
            count, position = read_u32(content, 0)
            for _ in range(count):
                memory, position = _read_memory(content, position)
                result.memories.append(memory)
    return result


def _read_imports(content: bytes, result: Outline) -> None:
    assert result.memories is not None
    count, position = read_u32(content, 0)
    for _ in range(count):
        module, position = _read_name(content, position)
        name, position = _read_name(content, position)
        result.imports.append((module, name))
        kind = content[position]
        position += 1
        if kind == 0:
            result.imported_functions += 1
            _, position = read_u32(content, position)
        elif kind == 1:
            _, position = _read_memory(content, _skip_value_type(content, position))
        elif kind == 2:
            memory, position = _read_memory(content, position)
            result.memories.append(memory)
            result.imported_memories += 1
        elif kind == 3:
            result.imported_globals += 1
            position = _skip_value_type(content, position) + 1
        elif kind == 4:
            _, position = read_u32(content, position + 1)
        else:
            raise ValueError(f"an import of the unknown kind {kind}")


def _read_name(content: bytes, position: int) -> tuple[str, int]:
    length, start = read_u32(content, position)
    return content[start : start + length].decode("utf-8", "replace"), start + length


def _read_memory(content: bytes, position: int) -> tuple[MemoryType, int]:
    flags = content[position]
    minimum, position = read_u32(content, position + 1)
    if flags & 1:
        _, position = read_u32(content, position)
    if flags & 8:
        _, position = read_u32(content, position)  # a custom page size
    return MemoryType(minimum, bool(flags & 2), bool(flags & 4)), position


def _skip_value_type(content: bytes, position: int) -> int:
    # A reference with an explicit heap type (0x63, 0x64) has one more number.
    if content[position] in (0x63, 0x64):
        _, position = read_u32(content, position + 1)
        return position
    return position + 1
