# SPDX-License-Identifier: Apache-2.0
"""Reading and writing the sections of a core wasm module.

Source: the binary format chapter of the WebAssembly specification. Only what the host needs to know
of a guest before it compiles it; everything else passes through untouched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from wasinn.leb128 import read_unsigned, write_unsigned

MAGIC = b"\0asm"
CORE_HEADER = MAGIC + b"\1\0\0\0"
COMPONENT_HEADER = MAGIC + b"\x0d\0\1\0"

CUSTOM, TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, START, ELEMENT, CODE, DATA = range(12)
#: The order of sections; the data count (12) comes before the code, the tags (13) after memories.
ORDER = {TYPE: 1, IMPORT: 2, FUNCTION: 3, TABLE: 4, MEMORY: 5, 13: 6, GLOBAL: 7, EXPORT: 8}
ORDER.update({START: 9, ELEMENT: 10, 12: 11, CODE: 12, DATA: 13})

#: What can be imported and exported, by its number.
KINDS = ("function", "table", "memory", "global", "tag")


def sections(module: bytes) -> Iterator[tuple[int, bytes]]:
    """(identifier, content) of each section. Raises ValueError for what is not a core module."""
    if module[:8] != CORE_HEADER:
        raise ValueError("not a core wasm module of version 1")
    position = 8
    while position < len(module):
        identifier = module[position]
        size, start = read_unsigned(module, position + 1)
        if start + size > len(module):
            raise ValueError("a section that is longer than the file")
        yield identifier, module[start : start + size]
        position = start + size


def join(parts: list[tuple[int, bytes]]) -> bytes:
    """A module from its sections."""
    result = bytearray(CORE_HEADER)
    for identifier, content in parts:
        result.append(identifier)
        result += write_unsigned(len(content))
        result += content
    return bytes(result)


@dataclass(frozen=True)
class MemoryType:
    """A memory: its limits in pages, which have 64 KiB (`maximum` None for no limit), and whether it is
    shared or has 64-bit addresses."""

    minimum: int
    shared: bool
    wide: bool
    maximum: int | None = None


@dataclass
class Outline:
    """What a module imports, its memories, and the type index of each of its functions, the imported
    ones first. `import_kinds` has the kind of each import, and of a function the index of its type; `tables`
    is the number of its own."""

    imports: list[tuple[str, str]] = field(default_factory=list)
    import_kinds: list[tuple[str, int]] = field(default_factory=list)
    memories: list[MemoryType] = field(default_factory=list)
    functions: list[int] = field(default_factory=list)
    imported_functions: int = 0
    imported_globals: int = 0
    tables: int = 0


def outline(module: bytes) -> Outline:
    """The imports, memories and functions of a module.

    Raises ValueError or IndexError for what is not a core module.
    """
    result = Outline()
    for identifier, content in sections(module):
        if identifier == IMPORT:
            _read_imports(content, result)
        elif identifier == FUNCTION:
            count, position = read_unsigned(content, 0)
            for _ in range(count):
                kind, position = read_unsigned(content, position)
                result.functions.append(kind)
        elif identifier == MEMORY:
            count, position = read_unsigned(content, 0)
            for _ in range(count):
                memory, position = _read_memory(content, position)
                result.memories.append(memory)
        elif identifier == TABLE:
            result.tables, _ = read_unsigned(content, 0)
    return result


def _read_imports(content: bytes, result: Outline) -> None:
    count, position = read_unsigned(content, 0)
    for _ in range(count):
        module, position = _read_name(content, position)
        name, position = _read_name(content, position)
        result.imports.append((module, name))
        kind = content[position]
        position += 1
        index = 0
        if kind == 0:
            result.imported_functions += 1
            index, position = read_unsigned(content, position)
            result.functions.append(index)
        elif kind == 1:
            _, position = _read_memory(content, skip_value_type(content, position))
        elif kind == 2:
            memory, position = _read_memory(content, position)
            result.memories.append(memory)
        elif kind == 3:
            result.imported_globals += 1
            position = skip_value_type(content, position) + 1
        elif kind == 4:
            _, position = read_unsigned(content, position + 1)
        else:
            raise ValueError(f"an import of the unknown kind {kind}")
        result.import_kinds.append((KINDS[kind], index))


#: Number and vector types, and the references that have a short form.
_VALUE_TYPES = {
    0x7F: "i32",
    0x7E: "i64",
    0x7D: "f32",
    0x7C: "f64",
    0x7B: "v128",
    0x70: "funcref",
    0x6F: "externref",
}
Kinds = tuple[tuple[str, ...], tuple[str, ...]]


def exported_functions(module: bytes) -> dict[str, Kinds]:
    """(parameter types, result types) of each exported function of a module that compiles.

    A type that is no number is named as far as it is known, else `reference`; a function whose type
    stands behind others that this file does not read is (("unknown",), ()).
    """
    types, functions = function_types(module), outline(module).functions
    result = {}
    for name, (kind, index) in exports(module).items():
        if kind == "function":
            number = functions[index]
            result[name] = types[number] if number < len(types) else (("unknown",), ())
    return result


def exports(module: bytes) -> dict[str, tuple[str, int]]:
    """The kind and the index of each export. Raises ValueError or IndexError for no core module."""
    result = {}
    for identifier, content in sections(module):
        if identifier == EXPORT:
            count, position = read_unsigned(content, 0)
            for _ in range(count):
                name, position = _read_name(content, position)
                kind = content[position]
                index, position = read_unsigned(content, position + 1)
                result[name] = KINDS[kind], index
    return result


def function_types(module: bytes) -> list[Kinds]:
    """The module's function types, up to the first type that is none."""
    content = next((content for identifier, content in sections(module) if identifier == TYPE), b"\0")
    count, position = read_unsigned(content, 0)
    types: list[Kinds] = []
    for _ in range(count):
        if content[position] != 0x60:
            break
        position += 1
        lists = []
        for _ in range(2):
            length, position = read_unsigned(content, position)
            kinds = []
            for _ in range(length):
                kinds.append(_VALUE_TYPES.get(content[position], "reference"))
                position = skip_value_type(content, position)
            lists.append(tuple(kinds))
        types.append((lists[0], lists[1]))
    return types


def _read_name(content: bytes, position: int) -> tuple[str, int]:
    length, start = read_unsigned(content, position)
    return content[start : start + length].decode("utf-8", "replace"), start + length


def _read_memory(content: bytes, position: int) -> tuple[MemoryType, int]:
    flags = content[position]
    minimum, position = read_unsigned(content, position + 1)
    maximum = None
    if flags & 1:
        maximum, position = read_unsigned(content, position)
    if flags & 8:
        _, position = read_unsigned(content, position)  # a custom page size
    return MemoryType(minimum, bool(flags & 2), bool(flags & 4), maximum), position


def skip_value_type(content: bytes, position: int) -> int:
    """Where the value type at `position` ends."""
    # A reference with an explicit heap type (0x63, 0x64) has one more number.
    if content[position] in (0x63, 0x64):
        _, position = read_unsigned(content, position + 1)
        return position
    return position + 1
