# SPDX-License-Identifier: Apache-2.0
"""Python values for the arguments and results of a component's functions.

| WIT | Python |
|---|---|
| bool, integers, floats, char, string | bool, int, float, str of one character, str |
| list<u8> | bytes |
| other lists, tuples | list, tuple |
| record | dict |
| enum | str |
| flags | set of str |
| option | None or the value; an option in an option is Case("some", value) |
| variant, result | Case(name, value), for a result named "ok" or "err" |

An argument is checked whole before any of it is written, so that writing cannot fail half-way.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from wasinn.abi.component import capi, values
from wasinn.abi.component.values import Case
from wasinn.abi.core.capi import buffer_type
from wasinn.runtime.component_types import INTEGERS, SIMPLE, WitType

_NUMBERS = SIMPLE[1:11]
_KINDS = {
    "bool": capi.BOOL,
    "s8": capi.S8,
    "s16": capi.S16,
    "s32": capi.S32,
    "s64": capi.S64,
    "u8": capi.U8,
    "u16": capi.U16,
    "u32": capi.U32,
    "u64": capi.U64,
    "f32": capi.F32,
    "f64": capi.F64,
    "char": capi.CHAR,
    "string": capi.STRING,
    "list": capi.LIST,
    "record": capi.RECORD,
    "tuple": capi.TUPLE,
    "variant": capi.VARIANT,
    "enum": capi.ENUM,
    "option": capi.OPTION,
    "result": capi.RESULT,
    "flags": capi.FLAGS,
}
_POINTER = struct.Struct("<Q")
_BYTES_LIKE = (bytes, bytearray, memoryview)


# -- checking ------------------------------------------------------------------------------------------


def check(kind: WitType, value: Any) -> Any:
    """`value` as `write` takes it. Raises ValueError, saying what is wrong, for what is no `kind`."""
    name = kind.kind
    if name in INTEGERS:
        least, greatest = INTEGERS[name]
        if isinstance(value, int | np.integer) and not isinstance(value, bool):
            if least <= value <= greatest:
                return int(value)
            raise ValueError(f"{value} is beyond {name}, which is {least} to {greatest}")
    elif name in ("f32", "f64"):
        if isinstance(value, int | float | np.floating) and not isinstance(value, bool):
            return _checked_float(name, value)
    elif name == "bool":
        if isinstance(value, bool):
            return value
    elif name == "char":
        if isinstance(value, str) and len(value) == 1:
            return _checked_text(value)
    elif name == "string":
        if isinstance(value, str):
            return _checked_text(value)
    elif name in _CHECKS:
        found = _CHECKS[name](kind, value)
        if found is not None:
            return found[0]
    raise ValueError(f"{_shown(value)} is no {kind}")


def _checked_float(name: str, value: Any) -> float:
    try:
        result = float(value)
        struct.pack("<f" if name == "f32" else "<d", result)
    except (OverflowError, struct.error):
        raise ValueError(f"{_shown(value)} is beyond {name}") from None
    return result


def _checked_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{_shown(text)} is not Unicode text: it has half a surrogate pair") from None
    return text


#: Each answers None for a value of the wrong type, else the value in a tuple.
_Checked = tuple[Any] | None


def _check_list(kind: WitType, value: Any) -> _Checked:
    element = kind.element
    if isinstance(value, _BYTES_LIKE):
        return (bytes(value),) if element.kind == "u8" else None
    if isinstance(value, np.ndarray):
        value = value.tolist() if value.ndim == 1 else None
    if not isinstance(value, list | tuple):
        return None
    checked = [_within(f"[{index}]", element, each) for index, each in enumerate(value)]
    return (bytes(checked) if element.kind == "u8" else checked,)


def _check_tuple(kind: WitType, value: Any) -> _Checked:
    if not isinstance(value, list | tuple) or len(value) != len(kind.parts):
        return None
    parts = (part for _, part in kind.parts)
    pairs = enumerate(zip(parts, value, strict=True))
    return ([_within(f"[{index}]", part, each) for index, (part, each) in pairs],)


def _check_record(kind: WitType, value: Any) -> _Checked:
    if not isinstance(value, Mapping):
        return None
    unknown = [name for name in value if name not in dict(kind.parts)]
    if unknown:
        raise ValueError(f"{kind} has no field {unknown[0]!r}")
    result = []
    for name, part in kind.parts:
        if name not in value and (part is None or part.kind != "option"):
            raise ValueError(f"the field {name!r} of {kind} is missing")
        result.append(_within(f".{name}", part, value.get(name)))
    return (result,)


def _check_enum(kind: WitType, value: Any) -> _Checked:
    if not isinstance(value, str):
        return None
    return (_known(kind, value),)


def _check_flags(kind: WitType, value: Any) -> _Checked:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return None
    wanted = {_known(kind, name) for name in value}
    return ([name for name, _ in kind.parts if name in wanted],)


def _check_option(kind: WitType, value: Any) -> _Checked:
    nested = kind.element.kind == "option"
    if value is None or (nested and isinstance(value, Case) and value == Case("none")):
        return ((False, None),)
    if kind.element.kind == "option" and isinstance(value, Case) and value.name == "some":
        value = value.value
    return ((True, check(kind.element, value)),)


def _check_variant(kind: WitType, value: Any) -> _Checked:
    if isinstance(value, str) and value in dict(kind.parts):
        value = Case(value)
    if not isinstance(value, Case):
        return None
    part = kind.part(_known(kind, value.name))
    if part is None and value.value is not None:
        raise ValueError(f"the case {value.name!r} of {kind} has no payload")
    return ((value.name, None if part is None else _within(f".{value.name}", part, value.value)),)


_CHECKS = {
    "list": _check_list,
    "tuple": _check_tuple,
    "record": _check_record,
    "enum": _check_enum,
    "flags": _check_flags,
    "option": _check_option,
    "variant": _check_variant,
    "result": _check_variant,
}


def _known(kind: WitType, name: Any) -> str:
    names = [known for known, _ in kind.parts]
    if name not in names:
        raise ValueError(f"{_shown(name)} is none of {', '.join(names)}")
    return str(name)


def _within(where: str, kind: WitType | None, value: Any) -> Any:
    assert kind is not None
    try:
        return check(kind, value)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


class Room:
    """Memory for `count` values, all `false` at first."""

    __slots__ = ("_buffer", "address", "count")

    def __init__(self, count: int) -> None:
        self._buffer = buffer_type(capi.VALUE_SIZE * max(count, 1))()
        self.count = count
        self.address = ctypes.addressof(self._buffer)

    def at(self, index: int) -> int:
        """The address of a value."""
        return self.address + index * capi.VALUE_SIZE

    def free(self) -> None:
        """Frees what the values hold."""
        for index in range(self.count):
            capi.value_delete(self.at(index))


# -- writing -------------------------------------------------------------------------------------------


def write(kind: WitType, value: Any, address: int) -> None:
    """Writes what `check` answered as the 32 bytes of a value. Whoever calls frees it (Room.free)."""
    name = kind.kind
    if name == "bool":
        values.write_bool(address, value)
    elif name == "char":
        values.write_char(address, value)
    elif name in _NUMBERS:
        values.write_number(address, _KINDS[name], value)
    elif name in ("string", "enum"):
        values.write_text(address, value, _KINDS[name])
    elif name == "list" and kind.element.kind == "u8":
        values.write_u8_list(address, value)
    elif name in ("list", "tuple"):
        parts = [kind.element] * len(value) if name == "list" else _types(kind)
        values.write_list(
            address, len(value), lambda index, at: write(parts[index], value[index], at), _KINDS[name]
        )
    elif name == "record":
        fields = [field for field, _ in kind.parts]
        kinds = _types(kind)
        values.write_record(address, fields, lambda index, at: write(kinds[index], value[index], at))
    elif name == "flags":
        values.write_flags(address, value)
    elif name == "option":
        there, inner = value
        values.write_option(address, functools.partial(write, kind.element, inner) if there else None)
    else:
        case, inner = value
        part = kind.part(case)
        fill = None if part is None else functools.partial(write, part, inner)
        if name == "result":
            values.write_result(address, case == "ok", fill)
        else:
            values.write_variant(address, case, fill)


def _types(kind: WitType) -> list[WitType]:
    return [part for _, part in kind.parts if part is not None]


# -- reading -------------------------------------------------------------------------------------------


def read(kind: WitType, address: int) -> Any:
    """The Python value of the 32 bytes at `address`, which stay whose they are."""
    name, payload = kind.kind, address + capi.PAYLOAD
    found = values.kind_of(address)
    if found != _KINDS[name]:
        raise ValueError(f"a value of kind {found} came where the type says {kind}")
    if name in ("list", "tuple"):
        count, first = values.items(address)
        places = range(first, first + count * capi.VALUE_SIZE, capi.VALUE_SIZE)
        if name == "tuple":
            return tuple(read(part, at) for part, at in zip(_types(kind), places, strict=True))
        if kind.element.kind == "u8":
            return values.read_u8_list(address).tobytes()
        return [read(kind.element, at) for at in places]
    if name == "record":
        _, first = values.items(address)
        places = range(first + capi.NAME_SIZE, first + len(kind.parts) * capi.ENTRY_SIZE, capi.ENTRY_SIZE)
        return {
            field: read(part, at)
            for (field, _), part, at in zip(kind.parts, _types(kind), places, strict=True)
        }
    if name == "option":
        pointer = _pointer(payload)
        if not pointer:
            return None
        value = read(kind.element, pointer)
        return Case("some", value) if kind.element.kind == "option" else value
    if name in ("variant", "result"):
        if name == "result":
            case, at = ("ok" if capi.ADDRESS_SPACE[payload] else "err"), payload + 8
        else:
            case, at = values.read_text(address), payload + capi.NAME_SIZE
        part = kind.part(case)
        return Case(case, None if part is None else read(part, _pointer(at)))
    value = values.read(address)
    return set(value) if name == "flags" else value


def _pointer(address: int) -> int:
    (found,) = _POINTER.unpack_from(capi.ADDRESS_SPACE, address)
    return int(found)
