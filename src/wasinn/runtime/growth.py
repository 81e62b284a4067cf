# SPDX-License-Identifier: Apache-2.0
"""Making a refused `memory.grow` visible.

A guest over its memory limit is told so by a -1 that many guests do not look at, and wasmtime's C
API has no word for it. So that a run can say that it ended because of its memory limit, each
`memory.grow` of a guest is turned into a call of a small function that is added to the module: it
grows, counts refusals in an exported global, and traps after many in a row. A guest that asks for
less after a refusal (AssemblyScript's and Emscripten's allocators do) is not disturbed.

Only functions in which the bytes of the instruction occur are decoded. A module with anything that
this file does not know is left as it is.
"""

from __future__ import annotations

from wasinn.leb128 import read_unsigned, write_unsigned
from wasinn.runtime.binary import (
    CODE,
    EXPORT,
    FUNCTION,
    GLOBAL,
    ORDER,
    TYPE,
    join,
    outline,
    sections,
    skip_value_type,
)

#: The export that counts refusals; no guest's own export has such a name.
REFUSED_EXPORT = "wasinn:refused-growth"
#: Refusals in a row after which the guest is ended.
MAX_REFUSALS = 1000

_MEMORY_GROW = b"\x40\x00"
_CALL = b"\x10"
_I32, _FUNC = b"\x7f", b"\x60"


class _NotUnderstood(Exception):
    """The module has something that this file does not know."""


def instrument(module: bytes) -> bytes:
    """`module` with its `memory.grow` counted, or `module` itself where that is not possible.

    Never raises: a module that is malformed is the compiler's to refuse.
    """
    try:
        return _instrument(module)
    except (_NotUnderstood, ValueError, IndexError, KeyError):
        return module


def _instrument(module: bytes) -> bytes:
    facts = outline(module)
    memories = facts.memories
    if len(memories) != 1 or memories[0].wide:
        return module
    parts = list(sections(module))
    found = {identifier: content for identifier, content in parts if identifier}
    code = found.get(CODE, b"")
    if _MEMORY_GROW not in code:
        return module
    functions, _ = read_unsigned(found[FUNCTION], 0)
    new_function = facts.imported_functions + functions
    bodies = _replace_in_code(code, write_unsigned(new_function))
    if bodies is None:
        return module
    types, start = read_unsigned(found[TYPE], 0)
    if b"\x4e" in found[TYPE]:
        raise _NotUnderstood  # perhaps a recursive group, whose types are counted otherwise
    globals_, global_start = read_unsigned(found[GLOBAL], 0) if GLOBAL in found else (0, 0)
    first_global = facts.imported_globals + globals_
    if REFUSED_EXPORT.encode() in found.get(EXPORT, b""):
        raise _NotUnderstood  # the guest's own export, whatever it is
    exports, export_start = read_unsigned(found[EXPORT], 0) if EXPORT in found else (0, 0)
    name = REFUSED_EXPORT.encode()
    changed = {
        TYPE: write_unsigned(types + 1) + found[TYPE][start:] + _FUNC + b"\1" + _I32 + b"\1" + _I32,
        FUNCTION: _append(found[FUNCTION], write_unsigned(types)),
        GLOBAL: write_unsigned(globals_ + 2)
        + found.get(GLOBAL, b"")[global_start:]
        + 2 * (_I32 + b"\1\x41\0\x0b"),
        EXPORT: write_unsigned(exports + 1)
        + found.get(EXPORT, b"")[export_start:]
        + write_unsigned(len(name))
        + name
        + b"\3"
        + write_unsigned(first_global),
        CODE: _append(write_unsigned(functions) + b"".join(bodies), _growing_function(first_global)),
    }
    result = []
    for identifier, content in parts:
        if identifier == 0 and content.startswith(b"\x19metadata.code.branch_hint"):
            continue  # its offsets would be wrong
        result.append((identifier, changed.pop(identifier, content)))
    for identifier, content in changed.items():
        at = next(
            (
                index
                for index, (other, _) in enumerate(result)
                if other and ORDER.get(other, 99) > ORDER[identifier]
            ),
            len(result),
        )
        result.insert(at, (identifier, content))
    return join(result)


def _append(section: bytes, item: bytes) -> bytes:
    count, start = read_unsigned(section, 0)
    return write_unsigned(count + 1) + section[start:] + item


def _growing_function(refused: int) -> bytes:
    """The body: grow; on -1 count it, and trap after MAX_REFUSALS in a row."""
    total, streak = write_unsigned(refused), write_unsigned(refused + 1)
    limit = b"\xe8\x07"  # 1000 as signed LEB128
    assert MAX_REFUSALS == 1000
    body = b"\1\1" + _I32  # one local i32
    body += b"\x20\0" + _MEMORY_GROW + b"\x22\1"  # local.tee 1 (memory.grow (local.get 0))
    body += b"\x41\x7f\x46\x04\x40"  # if (i32.eq (i32.const -1))
    body += b"\x23" + total + b"\x41\1\x6a\x24" + total
    body += b"\x23" + streak + b"\x41\1\x6a\x24" + streak
    body += b"\x23" + streak + b"\x41" + limit + b"\x4e\x04\x40\x00\x0b"  # if (i32.ge_s) unreachable
    body += b"\x05\x41\0\x24" + streak + b"\x0b"  # else streak = 0
    body += b"\x20\1\x0b"
    return write_unsigned(len(body)) + body


def _replace_in_code(code: bytes, target: bytes) -> list[bytes] | None:
    """The function bodies, with their sizes, and each memory.grow replaced; None if there is none."""
    count, position = read_unsigned(code, 0)
    bodies = []
    replaced = False
    for _ in range(count):
        size, start = read_unsigned(code, position)
        body = code[start : start + size]
        if _MEMORY_GROW in body:
            places = _growth_places(body)
            replaced = replaced or bool(places)
            body = _replaced(body, places, _CALL + target)
        bodies.append(write_unsigned(len(body)) + body)
        position = start + size
    if position != len(code):
        raise _NotUnderstood  # malformed, and not to be mended here
    return bodies if replaced else None


def _replaced(body: bytes, places: list[int], instruction: bytes) -> bytes:
    result, last = bytearray(), 0
    for place in places:
        result += body[last:place] + instruction
        last = place + len(_MEMORY_GROW)
    return bytes(result + body[last:])


def _growth_places(body: bytes) -> list[int]:
    """Where in a function body the instruction `memory.grow 0` begins."""
    groups, position = read_unsigned(body, 0)
    for _ in range(groups):
        _, position = read_unsigned(body, position)
        position = skip_value_type(body, position)
    places = []
    while position < len(body):
        if body[position] == 0x40 and body[position + 1] == 0:
            places.append(position)
        position = _after_instruction(body, position)
    return places


# How the immediates of an opcode look: n numbers (LEB128 of either sign has the same length).
_NUMBERS = dict.fromkeys(
    (0x07, 0x08, 0x09, 0x0C, 0x0D, 0x10, 0x12, 0x14, 0x15, 0x18)
    + (*range(0x20, 0x27), 0x3F, 0x40, 0x41, 0x42, 0xD0, 0xD2, 0xD5, 0xD6),
    1,
)
_NUMBERS.update(dict.fromkeys((0x11, 0x13), 2))
_NONE = {0x00, 0x01, 0x05, 0x0A, 0x0B, 0x0F, 0x19, 0x1A, 0x1B, 0xD1, 0xD3, 0xD4, *range(0x45, 0xC5)}
#: The 0xFC group: saturating conversions, then bulk memory and tables.
_MISC_NUMBERS = {8: 2, 9: 1, 10: 2, 11: 1, 12: 2, 13: 1, 14: 2, 15: 1, 16: 1, 17: 1}


def _after_instruction(body: bytes, position: int) -> int:
    opcode = body[position]
    position += 1
    if opcode in _NONE:
        return position
    if opcode in (0x02, 0x03, 0x04, 0x06):
        # A block type is a value type, or an index as one LEB128.
        if body[position] in (0x63, 0x64):
            return skip_value_type(body, position)
        return _skip(body, position, 1)
    if 0x28 <= opcode <= 0x3E:
        return _after_memory_argument(body, position)
    if opcode in _NUMBERS:
        return _skip(body, position, _NUMBERS[opcode])
    if opcode == 0x43:
        return position + 4
    if opcode == 0x44:
        return position + 8
    if opcode == 0x0E:  # br_table: a list and a default
        count, position = read_unsigned(body, position)
        return _skip(body, position, count + 1)
    if opcode == 0x1C:  # select with types
        count, position = read_unsigned(body, position)
        for _ in range(count):
            position = skip_value_type(body, position)
        return position
    if opcode == 0xFC:
        sub, position = read_unsigned(body, position)
        if sub < 8:
            return position
        if sub in _MISC_NUMBERS:
            return _skip(body, position, _MISC_NUMBERS[sub])
    if opcode == 0xFD:
        return _after_simd(body, position)
    raise _NotUnderstood


def _after_simd(body: bytes, position: int) -> int:
    sub, position = read_unsigned(body, position)
    if sub <= 11 or sub in (92, 93):
        return _after_memory_argument(body, position)  # loads and stores
    if sub in (12, 13):
        return position + 16  # a constant, a shuffle
    if 21 <= sub <= 34:
        return position + 1  # lanes
    if 84 <= sub <= 91:
        return _after_memory_argument(body, position) + 1  # loads and stores of lanes
    return position


def _after_memory_argument(body: bytes, position: int) -> int:
    """Alignment, a memory's index where bit 6 of the alignment says so, and an offset."""
    alignment, position = read_unsigned(body, position)
    return _skip(body, position, 2 if alignment & 0x40 else 1)


def _skip(body: bytes, position: int, count: int) -> int:
    for _ in range(count):
        _, position = read_unsigned(body, position)
    return position
