# SPDX-License-Identifier: Apache-2.0
"""The part of wasmtime's C API that the public Python objects are too slow for, typed.

Everything here takes and returns plain addresses (int). Two loads of the same library: through
`kept` the interpreter's lock stays held, for calls that take nanoseconds; through `freed` it is
given up while wasm runs. The sizes and offsets relied on are asserted at import, so that another
wasmtime is a clear error and not a crash.

`Linker.define_func` of wasmtime-py costs 7-10 us a call, an unchecked callback 0.15-0.6.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable
from typing import Any

import wasmtime
from wasmtime import _ffi as ffi

_PTR = ctypes.c_void_p
_SIZE = ctypes.c_size_t
_library = ffi.dll._name
_keep_library = ctypes.PyDLL(_library)
_free_library = ctypes.CDLL(_library)

# wasmtime_val_raw_t is a 16-byte union; an extern is a kind and a 16-byte-aligned payload.
RAW_VALUE_SIZE = 16
EXTERN_SIZE = ctypes.sizeof(ffi.wasmtime_extern_t)
EXTERN_PAYLOAD = ffi.wasmtime_extern_t.of.offset
MEMORY_SIZE = ctypes.sizeof(ffi.wasmtime_memory_t)
GLOBAL_SIZE = ctypes.sizeof(ffi.wasmtime_global_t)
FUNC_SIZE = ctypes.sizeof(ffi.wasmtime_func_t)
INSTANCE_SIZE = ctypes.sizeof(ffi.wasmtime_instance_t)
assert ctypes.sizeof(ffi.wasmtime_val_raw_t) == RAW_VALUE_SIZE, "wasmtime_val_raw_t has another size"
assert (FUNC_SIZE, INSTANCE_SIZE, MEMORY_SIZE) == (16, 16, 24), "wasmtime's handles have other sizes"
assert EXTERN_SIZE - EXTERN_PAYLOAD >= MEMORY_SIZE, "wasmtime_extern_t has another size"

EXTERN_MEMORY = 3  # WASMTIME_EXTERN_MEMORY of extern.h; 4 is a shared memory

#: `wasm_trap_t* callback(void* env, wasmtime_caller_t*, wasmtime_val_raw_t* args, size_t n)`
CALLBACK = ctypes.CFUNCTYPE(_PTR, _PTR, _PTR, _PTR, _SIZE)
#: `wasmtime_error_t* callback(wasmtime_context_t*, void* data, uint64_t* delta, uint8_t* kind)`
EPOCH_CALLBACK = ctypes.CFUNCTYPE(_PTR, _PTR, _PTR, _PTR, _PTR)
#: `ptrdiff_t callback(void* data, const unsigned char*, size_t)`
OUTPUT_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_ssize_t, _PTR, _PTR, _SIZE)

#: The whole address space as one view: `struct` reads and writes through it ten times faster than
#: through a ctypes object made for each call. Whoever uses it has checked the address.
ADDRESS_SPACE = memoryview((ctypes.c_ubyte * (1 << 62)).from_address(0)).cast("B")


_POINTER = struct.Struct("<Q")


def kept(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """A function of the library that is called with the interpreter's lock held."""
    function = getattr(_keep_library, name)
    function.restype, function.argtypes = result, arguments
    return function  # type: ignore[no-any-return]


def freed(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """A function of the library during which the interpreter's lock is given up."""
    function = getattr(_free_library, name)
    function.restype, function.argtypes = result, arguments
    return function  # type: ignore[no-any-return]


memory_data = kept("wasmtime_memory_data", _PTR, _PTR, _PTR)
memory_data_size = kept("wasmtime_memory_data_size", _SIZE, _PTR, _PTR)
memory_grow = kept("wasmtime_memory_grow", _PTR, _PTR, _PTR, ctypes.c_uint64, _PTR)
caller_context = kept("wasmtime_caller_context", _PTR, _PTR)
caller_export_get = kept("wasmtime_caller_export_get", ctypes.c_bool, _PTR, ctypes.c_char_p, _SIZE, _PTR)

store_new = kept("wasmtime_store_new", _PTR, _PTR, _PTR, _PTR)
store_context = kept("wasmtime_store_context", _PTR, _PTR)
store_delete = kept("wasmtime_store_delete", None, _PTR)
store_limiter = kept("wasmtime_store_limiter", None, _PTR, *[ctypes.c_int64] * 5)
store_epoch_callback = kept("wasmtime_store_epoch_deadline_callback", None, _PTR, EPOCH_CALLBACK, _PTR, _PTR)
set_epoch_deadline = kept("wasmtime_context_set_epoch_deadline", None, _PTR, ctypes.c_uint64)
set_fuel = kept("wasmtime_context_set_fuel", _PTR, _PTR, ctypes.c_uint64)
set_wasi = kept("wasmtime_context_set_wasi", _PTR, _PTR, _PTR)
engine_clone = kept("wasmtime_engine_clone", _PTR, _PTR)
increment_epoch = kept("wasmtime_engine_increment_epoch", None, _PTR)
externref_new = kept("wasmtime_externref_new", ctypes.c_bool, _PTR, _PTR, _PTR, _PTR)

linker_clone = kept("wasmtime_linker_clone", _PTR, _PTR)
linker_delete = kept("wasmtime_linker_delete", None, _PTR)
linker_define = kept(
    "wasmtime_linker_define", _PTR, _PTR, _PTR, ctypes.c_char_p, _SIZE, ctypes.c_char_p, _SIZE, _PTR
)
linker_instantiate = freed("wasmtime_linker_instantiate", _PTR, _PTR, _PTR, _PTR, _PTR, _PTR)
linker_get = kept(
    "wasmtime_linker_get", ctypes.c_bool, _PTR, _PTR, ctypes.c_char_p, _SIZE, ctypes.c_char_p, _SIZE, _PTR
)
#: For modules without a start section alone: the lock stays held.
instance_new = kept("wasmtime_instance_new", _PTR, _PTR, _PTR, _PTR, _SIZE, _PTR, _PTR)
instance_pre_instantiate = freed("wasmtime_instance_pre_instantiate", _PTR, _PTR, _PTR, _PTR, _PTR)
instance_export_get = kept(
    "wasmtime_instance_export_get", ctypes.c_bool, _PTR, _PTR, ctypes.c_char_p, _SIZE, _PTR
)
call_unchecked = freed("wasmtime_func_call_unchecked", _PTR, _PTR, _PTR, _PTR, _SIZE, _PTR)

_global_get = kept("wasmtime_global_get", None, _PTR, _PTR, _PTR)
wasi_config_new = kept("wasi_config_new", _PTR)
wasi_set_argv = kept("wasi_config_set_argv", ctypes.c_bool, _PTR, _SIZE, _PTR)
wasi_set_stdout = kept("wasi_config_set_stdout_custom", None, _PTR, OUTPUT_CALLBACK, _PTR, _PTR)
wasi_set_stderr = kept("wasi_config_set_stderr_custom", None, _PTR, OUTPUT_CALLBACK, _PTR, _PTR)
trap_new = kept("wasmtime_trap_new", _PTR, ctypes.c_char_p, _SIZE)
error_new = kept("wasmtime_error_new", _PTR, ctypes.c_char_p)
_I32 = wasmtime.ValType.i32()
#: Function types by (parameters, results), all i32. One belongs to the first engine that it is used
#: with, and must live as long as what was defined with it: whoever defines keeps it.
FunctionTypes = dict[tuple[int, int], wasmtime.FuncType]


def address_of(managed: Any) -> int:
    """The address behind an object of wasmtime-py (`Engine`, `Linker`, `Module`, ...)."""
    return ctypes.cast(managed.ptr(), _PTR).value or 0


def define_function(
    linker: int,
    types: FunctionTypes,
    module: str,
    name: str,
    arity: int,
    callback: Any,
    results: int = 1,
) -> None:
    """Defines an import that takes `arity` i32 and returns `results` i32 (0 or 1).

    The caller keeps `callback`, a CALLBACK, and `types`, which is of one engine alone, as long as the
    linker and every instance made by it. Raises wasmtime.WasmtimeError for a name that is taken.
    """
    define_import(_define_unchecked, linker, types, module, name, (arity, results), callback)


def definer(name: str, callback: Any) -> Callable[..., Any]:
    """A function of the library that defines an import by a callback of that type."""
    text = ctypes.c_char_p, _SIZE
    return kept(name, _PTR, _PTR, *text, *text, _PTR, callback, _PTR, _PTR)


def define_import(
    define: Callable[..., Any],
    linker: int,
    types: FunctionTypes,
    module: str,
    name: str,
    kind: tuple[int, int],
    callback: Any,
) -> None:
    """Defines an import by what `definer` gave. `kind`: how many i32 it takes and returns. As
    `define_function` does, which says what is to be kept."""
    if kind not in types:
        parameters, results = kind
        types[kind] = wasmtime.FuncType([_I32] * parameters, [_I32] * results)
    texts = [part for text in (module.encode(), name.encode()) for part in (text, len(text))]
    raise_error(define(linker, *texts, address_of(types[kind]), callback, None, None))


_define_unchecked = definer("wasmtime_linker_define_func_unchecked", CALLBACK)


def make_error(pointer: int) -> wasmtime.WasmtimeError:
    """The exception for a `wasmtime_error_t*`, which it owns; ExitTrap for an exit."""
    return wasmtime.WasmtimeError._from_ptr(ctypes.cast(pointer, ctypes.POINTER(ffi.wasmtime_error_t)))


def make_trap(pointer: int) -> wasmtime.Trap:
    """The exception for a `wasm_trap_t*`, which it owns."""
    return wasmtime.Trap._from_ptr(ctypes.cast(pointer, ctypes.POINTER(ffi.wasm_trap_t)))


def raise_error(pointer: int | None) -> None:
    """Raises what a `wasmtime_error_t*` says, unless it is null."""
    if pointer:
        raise make_error(pointer)


def read_global_i32(context: int, handle: Any) -> int:
    """The value of an i32 global, by its wasmtime_global_t."""
    value = ctypes.create_string_buffer(ctypes.sizeof(ffi.wasmtime_val_t))
    _global_get(context, ctypes.addressof(handle), ctypes.addressof(value))
    return int(struct.unpack_from("<i", value, ffi.wasmtime_val_t.of.offset)[0])


def make_extern(kind: int, payload: Any) -> Any:
    """A wasmtime_extern_t, as a ctypes buffer, from its kind and its payload."""
    extern = ctypes.create_string_buffer(EXTERN_SIZE)
    extern[0] = bytes([kind])
    ctypes.memmove(ctypes.addressof(extern) + EXTERN_PAYLOAD, payload, ctypes.sizeof(payload))
    return extern


@functools.cache
def buffer_type(size: int) -> type[ctypes.Array[ctypes.c_char]]:
    """The ctypes array of `size` bytes. ctypes itself forgets a type with its last object, and making
    one anew takes 5 us."""
    return ctypes.c_char * size


ExternBuffer = buffer_type(EXTERN_SIZE)
_SlotsBuffer = buffer_type(EXTERN_SIZE + 8)


class Slots:
    """Memory for the handles that the C API fills in: one call's extern and trap pointer."""

    __slots__ = ("_buffer", "extern", "trap")

    def __init__(self) -> None:
        self._buffer = _SlotsBuffer()
        self.extern = ctypes.addressof(self._buffer)
        self.trap = self.extern + EXTERN_SIZE

    def extern_kind(self) -> int:
        return ADDRESS_SPACE[self.extern]

    def payload(self, size: int) -> Any:
        """A copy of the extern's payload, as a ctypes buffer."""
        copy = buffer_type(size)()
        ctypes.memmove(copy, self.extern + EXTERN_PAYLOAD, size)
        return copy

    def copy(self) -> Any:
        """A copy of the whole extern, as a ctypes buffer."""
        copy = ExternBuffer()
        ctypes.memmove(copy, self.extern, EXTERN_SIZE)
        return copy

    def take_trap(self) -> int:
        """The trap pointer that the last call left, or 0; it is left only once."""
        (pointer,) = _POINTER.unpack_from(ADDRESS_SPACE, self.trap)
        if pointer:
            _POINTER.pack_into(ADDRESS_SPACE, self.trap, 0)
        return int(pointer)
