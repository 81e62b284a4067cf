# SPDX-License-Identifier: Apache-2.0
"""Values of the component model, read and written where wasmtime has them: 32 bytes each.

Who owns what. The arguments of a host function are wasmtime's, which frees them when the function
returns: what is read here is a copy, but for `text_view`. What a result points to is memory of
wasmtime's allocators, made by the writers; once it stands in the result it is wasmtime's. A value's
kind is written after its payload: if anything fails half-way, the place still holds what it held
before (wasmtime puts `false` there), and a buffer is lost, but nothing uninitialised is ever read.

The generic forms in Python: bool, int, float, str for a char, a string and an enum, list, bytes for
`list<u8>`, dict for a record, tuple, `Case(name, value)` for a variant, the value or None for an
option, `Case("ok" or "err", value)` for a result, frozenset for flags.
"""

from __future__ import annotations

import ctypes
import struct
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wasinn.abi.component import capi

_SPACE = capi.ADDRESS_SPACE
_SIZE, _PAYLOAD = capi.VALUE_SIZE, capi.PAYLOAD
_WORD = struct.Struct("<Q")
_PAIR = struct.Struct("<QQ")
_BYTE = struct.Struct("<B")
_word_at, _put_word = _WORD.unpack_from, _WORD.pack_into
_pair_at = _PAIR.unpack_from

#: Lists of up to so many numbers, and so many bytes, are read in one step, by the format at their length.
_FEW, FEW_BYTES = 32, 256
_NUMBER = f"{_PAYLOAD}xI{_SIZE - _PAYLOAD - 4}x"
_COLUMNS = [struct.Struct("<" + _NUMBER * count).unpack_from for count in range(_FEW + 1)]
_BYTES = [struct.Struct(f"{count}s").unpack_from for count in range(FEW_BYTES + 1)]

#: struct's format of each kind of number.
_NUMBERS = {
    capi.S8: struct.Struct("<b"),
    capi.U8: struct.Struct("<B"),
    capi.S16: struct.Struct("<h"),
    capi.U16: struct.Struct("<H"),
    capi.S32: struct.Struct("<i"),
    capi.U32: struct.Struct("<I"),
    capi.S64: struct.Struct("<q"),
    capi.U64: struct.Struct("<Q"),
    capi.F32: struct.Struct("<f"),
    capi.F64: struct.Struct("<d"),
}


class Case(NamedTuple):
    """A variant's or a result's case, and what it carries: None where it carries nothing."""

    name: str
    value: Any = None


# -- reading --------------------------------------------------------------------------------------


def kind_of(address: int) -> int:
    """The kind of the value at `address`, one of capi's BOOL to RESOURCE."""
    return _SPACE[address]


def items(address: int) -> tuple[int, int]:
    """The number of items of a list, a tuple or a record, and the address of the first."""
    return _pair_at(_SPACE, address + _PAYLOAD)


def text_view(address: int) -> memoryview:
    """The bytes of a string or an enum, where they are: good until the host function returns."""
    size, pointer = _pair_at(_SPACE, address + capi.PAYLOAD)
    return _SPACE[pointer : pointer + size]


def read_text(address: int) -> str:
    """A string, or an enum's case. wasmtime has checked that it is UTF-8."""
    size, pointer = _pair_at(_SPACE, address + _PAYLOAD)
    if size <= FEW_BYTES:
        return _BYTES[size](_SPACE, pointer)[0].decode("utf-8", "replace")  # type: ignore[no-any-return]
    return str(_SPACE[pointer : pointer + size], "utf-8", "replace")


def few_bytes(pointer: int, size: int) -> bytes:
    """The `size` bytes at an address, at most FEW_BYTES of them."""
    return _BYTES[size](_SPACE, pointer)[0]  # type: ignore[no-any-return]


def read_u8_list(address: int) -> NDArray[np.uint8]:
    """A `list<u8>`, copied: one byte of each 32."""
    return _column(address, np.uint8, _SIZE)


def read_u32_list(address: int) -> tuple[int, ...] | array[int]:
    """A `list<u32>`, copied: a tuple, or an array (4 bytes each) where it is long."""
    count, first = _pair_at(_SPACE, address + _PAYLOAD)
    if count <= _FEW:
        return _COLUMNS[count](_SPACE, first)  # type: ignore[no-any-return]
    return array("I", _column(address, np.uint32, _SIZE // 4).tobytes())


def read(address: int, resource: Callable[[int], Any] | None = None) -> Any:
    """Any value, in its generic form (above), copied. `resource` makes something of a handle, from the
    address of its value; without it a handle is a ValueError. Recursive, item by item: not for bulk
    data, but for `list<u8>`, which is quick. An empty list is `[]` whatever its type."""
    kind = kind_of(address)
    payload = address + capi.PAYLOAD
    if kind in _NUMBERS:
        return _NUMBERS[kind].unpack_from(_SPACE, payload)[0]
    if kind == capi.BOOL:
        return _SPACE[payload] != 0
    if kind == capi.CHAR:
        return chr(_NUMBERS[capi.U32].unpack_from(_SPACE, payload)[0])
    if kind in (capi.STRING, capi.ENUM):
        return read_text(address)
    if kind == capi.LIST:
        count, first = items(address)
        if count and kind_of(first) == capi.U8:
            return read_u8_list(address).tobytes()
        return [read(each, resource) for each in _each(first, count)]
    if kind == capi.TUPLE:
        count, first = items(address)
        return tuple(read(each, resource) for each in _each(first, count))
    if kind == capi.RECORD:
        count, first = items(address)
        entries = range(first, first + count * capi.ENTRY_SIZE, capi.ENTRY_SIZE)
        return {_name(each): read(each + capi.NAME_SIZE, resource) for each in entries}
    if kind == capi.FLAGS:
        count, first = items(address)
        return frozenset(_name(first + number * capi.NAME_SIZE) for number in range(count))
    if kind == capi.OPTION:
        return _behind(payload, resource)
    if kind == capi.RESULT:
        return Case("ok" if _SPACE[payload] else "err", _behind(payload + 8, resource))
    if kind == capi.VARIANT:
        return Case(_name(payload), _behind(payload + capi.NAME_SIZE, resource))
    if kind == capi.RESOURCE and resource is not None:
        return resource(address)
    raise ValueError(f"a value of kind {kind} cannot be read here")


def _behind(pointer: int, resource: Callable[[int], Any] | None) -> Any:
    """The value that a pointer, which may be null, points to."""
    (target,) = _word_at(_SPACE, pointer)
    return read(target, resource) if target else None


def _each(first: int, count: int) -> range:
    return range(first, first + count * _SIZE, _SIZE)


def _name(address: int) -> str:
    size, pointer = _pair_at(_SPACE, address)
    return str(_SPACE[pointer : pointer + size], "utf-8", "replace") if size else ""


def _column(address: int, dtype: Any, stride: int) -> NDArray[Any]:
    """The payload of every value of a list, as an array of its own."""
    count, first = items(address)
    if not count:
        return np.empty(0, dtype)
    table = np.frombuffer(_SPACE[first : first + count * _SIZE], dtype)
    return table[capi.PAYLOAD * stride // _SIZE :: stride].copy()


# -- writing --------------------------------------------------------------------------------------


def write_bool(address: int, value: bool) -> None:
    _BYTE.pack_into(_SPACE, address + capi.PAYLOAD, bool(value))
    _set_kind(address, capi.BOOL)


def write_number(address: int, kind: int, value: float) -> None:
    """An integer or a float of `kind`, capi's S8 to F64. Raises struct.error for what does not fit."""
    _NUMBERS[kind].pack_into(_SPACE, address + capi.PAYLOAD, value)
    _set_kind(address, kind)


def write_char(address: int, value: str) -> None:
    """One character, no surrogate: wasmtime trusts that. Raises ValueError."""
    code = ord(value) if len(value) == 1 else -1
    if code < 0 or 0xD800 <= code < 0xE000:
        raise ValueError(f"{value!r} is not one character")
    _NUMBERS[capi.U32].pack_into(_SPACE, address + capi.PAYLOAD, code)
    _set_kind(address, capi.CHAR)


def write_text(address: int, text: str, kind: int = capi.STRING) -> None:
    """A string, or an enum's case with `kind` ENUM. Lone surrogates become `?`: bytes that are not
    UTF-8 would make wasmtime abort the process."""
    _put_name(address + capi.PAYLOAD, text)
    _set_kind(address, kind)


def start_ascii(address: int, size: int) -> NDArray[np.uint8]:
    """Makes a string of `size` bytes in a value that is not yet a string: fill the array with ASCII, all
    of it, and then call `finish_ascii`."""
    capi.bytes_new_uninitialized(address + capi.PAYLOAD, size)
    if not size:
        return np.empty(0, np.uint8)
    _, pointer = items(address)
    return np.frombuffer(_SPACE[pointer : pointer + size], np.uint8)


def finish_ascii(address: int) -> None:
    _set_kind(address, capi.STRING)


def write_ascii(address: int, text: bytes) -> None:
    """A string of ASCII, copied."""
    capi.bytes_new(address + _PAYLOAD, len(text), text)
    _set_kind(address, capi.STRING)


def write_u8_list(address: int, data: bytes | memoryview | NDArray[np.uint8]) -> None:
    """A `list<u8>`: 32 bytes for each."""
    column = np.frombuffer(data, np.uint8)
    _write_column(address, capi.U8, column)


def write_u32_list(address: int, values: Sequence[int] | NDArray[np.uint32]) -> None:
    _write_column(address, capi.U32, np.asarray(values, np.uint32))


def _write_column(address: int, kind: int, column: NDArray[Any]) -> None:
    capi.list_new(address + capi.PAYLOAD, len(column))
    if len(column):
        _, first = items(address)
        table = np.frombuffer(_SPACE[first : first + len(column) * _SIZE], np.uint64).reshape(-1, 4)
        table[:, 0] = kind
        table[:, 1] = column
    _set_kind(address, capi.LIST)


def write_list(address: int, count: int, fill: Callable[[int, int], None], kind: int = capi.LIST) -> None:
    """A list, or with `kind` TUPLE a tuple: `fill(number, address)` writes each item."""
    (capi.tuple_new if kind == capi.TUPLE else capi.list_new)(address + capi.PAYLOAD, count)
    _, first = items(address)
    for number in range(count):
        fill(number, first + number * _SIZE)
    _set_kind(address, kind)


def write_record(address: int, names: Sequence[str], fill: Callable[[int, int], None]) -> None:
    """A record: `fill(number, address)` writes the value of each of the fields `names`."""
    capi.record_new(address + capi.PAYLOAD, len(names))
    _, first = items(address)
    for number, name in enumerate(names):
        entry = first + number * capi.ENTRY_SIZE
        _put_name(entry, name)
        fill(number, entry + capi.NAME_SIZE)
    _set_kind(address, capi.RECORD)


def write_flags(address: int, names: Iterable[str]) -> None:
    """Flags: the names of those that are set."""
    chosen = list(names)
    capi.flags_new(address + capi.PAYLOAD, len(chosen))
    _, first = items(address)
    for number, name in enumerate(chosen):
        _put_name(first + number * capi.NAME_SIZE, name)
    _set_kind(address, capi.FLAGS)


def write_option(address: int, fill: Callable[[int], None] | None) -> None:
    """An option: none without `fill`, which else writes the value."""
    _put_word(_SPACE, address + capi.PAYLOAD, _boxed(fill))
    _set_kind(address, capi.OPTION)


def write_result(address: int, ok: bool, fill: Callable[[int], None] | None = None) -> None:
    """A result: `fill` writes what the case carries, if it carries anything."""
    target = _boxed(fill)
    _PAIR.pack_into(_SPACE, address + capi.PAYLOAD, ok, target)
    _set_kind(address, capi.RESULT)


def write_variant(address: int, case: str, fill: Callable[[int], None] | None = None) -> None:
    """A variant's case: `fill` writes what it carries, if it carries anything."""
    target = _boxed(fill)
    _put_name(address + capi.PAYLOAD, case)
    _put_word(_SPACE, address + capi.PAYLOAD + capi.NAME_SIZE, target)
    _set_kind(address, capi.VARIANT)


def _boxed(fill: Callable[[int], None] | None) -> int:
    """A value of its own in wasmtime's memory; null without `fill`."""
    if fill is None:
        return 0
    place = (ctypes.c_char * _SIZE)()
    fill(ctypes.addressof(place))
    return int(capi.value_new(ctypes.addressof(place)))


def _put_name(address: int, text: str) -> None:
    encoded = text.encode("utf-8", "replace")
    capi.bytes_new(address, len(encoded), encoded)


def _set_kind(address: int, kind: int) -> None:
    _SPACE[address] = kind


# -- handles --------------------------------------------------------------------------------------

_any_to_host, _host_to_any = capi.resource_any_to_host, capi.resource_host_to_any
_host_new, _host_rep, _host_delete = (
    capi.resource_host_new,
    capi.resource_host_rep,
    capi.resource_host_delete,
)


def take_resource(context: int, address: int, slot: int) -> int:
    """The number (`rep`) of the host's resource that the handle at `address` stands for.

    Consumes the handle, as must be done with every argument: a borrow is given back with it, and what
    was owned by the guest is the host's from now on, without a call of the destructor. `context` is the
    wasmtime_context_t of the call, `slot` eight bytes to write to. Raises wasmtime.WasmtimeError.
    """
    error = _any_to_host(context, _word_at(_SPACE, address + _PAYLOAD)[0], slot)
    if error:
        capi.raise_error(error)
    (host,) = _word_at(_SPACE, slot)
    rep = _host_rep(host)
    _host_delete(host)
    return rep  # type: ignore[no-any-return]


def write_owned(context: int, address: int, rep: int, kind: int) -> None:
    """An owned handle of the resource `rep` of the host's type `kind`, for the guest to have.

    Raises wasmtime.WasmtimeError, and then the value is what it was.
    """
    host = _host_new(True, rep, kind)
    error = _host_to_any(context, host, address + _PAYLOAD)
    _host_delete(host)
    if error:
        capi.raise_error(error)
    _SPACE[address] = capi.RESOURCE


class NamedHandles:
    """The answer `ok(list<tuple<string, own<...>>>)`, which is the same each time but for its handles.

    It is kept as a value of wasmtime's, with a number where each handle goes. A copy of it is one call, and
    what is written into the copy leaves it good whenever something fails.
    """

    __slots__ = ("_buffer", "_delete", "_template")

    def __init__(self, names: Sequence[str]) -> None:
        def write_item(number: int, address: int) -> None:
            parts = (
                lambda place: write_text(place, names[number]),
                lambda place: write_number(place, capi.U32, 0),
            )
            write_list(address, 2, lambda part, place: parts[part](place), capi.TUPLE)

        self._delete = capi.value_delete
        self._buffer = (ctypes.c_char * _SIZE)()
        self._template = ctypes.addressof(self._buffer)
        write_result(self._template, True, lambda place: write_list(place, len(names), write_item))

    def write(self, context: int, address: int, reps: Sequence[int], kind: int) -> None:
        """The answer with a new owned handle of each of `reps`. Raises wasmtime.WasmtimeError."""
        capi.value_clone(self._template, address)
        item = _word_at(_SPACE, _word_at(_SPACE, address + _PAYLOAD + 8)[0] + _PAYLOAD + 8)[0]
        for rep in reps:
            # The number that stands there has the size of a pointer, and needs no freeing.
            write_owned(context, _word_at(_SPACE, item + _PAYLOAD + 8)[0] + _SIZE, rep, kind)
            item += _SIZE

    def __del__(self) -> None:
        self._delete(self._template)
