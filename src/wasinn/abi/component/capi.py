# SPDX-License-Identifier: Apache-2.0
"""The part of wasmtime's C API for components that the public Python objects are too slow for, typed.

As in `abi/core/capi.py`, everything here takes and returns plain addresses (int), and the sizes and
offsets relied on are asserted at import. All calls keep the interpreter's lock: each takes
nanoseconds, or copies bytes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import wasmtime.component
from wasmtime import _ffi as ffi

from wasinn.abi.core.capi import ADDRESS_SPACE, address_of, raise_error

__all__ = ["ADDRESS_SPACE", "address_of", "raise_error"]

_PTR = ctypes.c_void_p
_SIZE = ctypes.c_size_t
_U32 = ctypes.c_uint32
#: A size_t as an argument: ctypes makes a pointer of an int several times as fast.
_WORD = ctypes.c_void_p
_library = ctypes.PyDLL(ffi.dll._name)


def _kept(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    function = getattr(_library, name)
    function.restype, function.argtypes = result, arguments
    return function  # type: ignore[no-any-return]


# -- wasmtime_component_val_t -------------------------------------------------------------------------

#: A value: its kind (u8) at 0, its payload at 8.
VALUE_SIZE = 32
PAYLOAD = 8
#: A name is {size, pointer}, an entry of a record {name, value}.
NAME_SIZE = 16
ENTRY_SIZE = NAME_SIZE + VALUE_SIZE

BOOL, S8, U8, S16, U16, S32, U32, S64, U64, F32, F64, CHAR = range(12)
STRING, LIST, RECORD, TUPLE, VARIANT, ENUM, OPTION, RESULT, FLAGS, RESOURCE = range(12, 22)

#: Kinds of wasmtime_component_valtype_t, which are numbered otherwise: those that decide something here.
TYPE_STRING, TYPE_ENUM, TYPE_RESULT, TYPE_OWN = 12, 17, 19, 21
TYPE_SIZE = 16


def _assert_layout() -> None:
    def where(structure: Any, **fields: int) -> None:
        for name, offset in fields.items():
            found = getattr(structure, name).offset
            assert found == offset, f"{structure.__name__}.{name} is at {found}, not at {offset}"

    value, union = ffi.wasmtime_component_val_t, ffi.wasmtime_component_valunion_t
    assert ctypes.sizeof(value) == VALUE_SIZE, "wasmtime_component_val_t has another size"
    assert ctypes.sizeof(ffi.wasmtime_component_valrecord_entry_t) == ENTRY_SIZE
    assert ctypes.sizeof(ffi.wasm_name_t) == NAME_SIZE
    assert ctypes.sizeof(ffi.wasmtime_component_valtype_t) == TYPE_SIZE
    where(value, kind=0, of=PAYLOAD)
    where(ffi.wasm_name_t, size=0, data=8)
    where(ffi.wasmtime_component_valrecord_entry_t, name=0, val=NAME_SIZE)
    for each in ("list", "record", "tuple", "flags"):
        where(getattr(ffi, f"wasmtime_component_val{each}_t"), size=0, data=8)
    where(ffi.wasmtime_component_valresult_t, is_ok=0, val=8)
    where(ffi.wasmtime_component_valvariant_t, discriminant=0, val=NAME_SIZE)
    where(ffi.wasmtime_component_valtype_t, kind=0, of=8)
    assert ctypes.sizeof(union) == VALUE_SIZE - PAYLOAD
    kinds = (
        "BOOL S8 U8 S16 U16 S32 U32 S64 U64 F32 F64 CHAR STRING LIST RECORD TUPLE VARIANT ENUM OPTION "
        "RESULT FLAGS RESOURCE"
    )
    for number, kind in enumerate(kinds.split()):
        assert getattr(ffi, f"WASMTIME_COMPONENT_{kind}").value == number, f"{kind} has another number"
    for number, kind in ((12, "STRING"), (17, "ENUM"), (19, "RESULT"), (21, "OWN")):
        assert getattr(ffi, f"WASMTIME_COMPONENT_VALTYPE_{kind}").value == number


_assert_layout()

# -- functions ---------------------------------------------------------------------------------------

# Each fills in a {size, pointer} with memory of wasmtime's.
list_new = _kept("wasmtime_component_vallist_new_uninit", None, _PTR, _WORD)
tuple_new = _kept("wasmtime_component_valtuple_new_uninit", None, _PTR, _WORD)
record_new = _kept("wasmtime_component_valrecord_new_uninit", None, _PTR, _WORD)
flags_new = _kept("wasmtime_component_valflags_new_uninit", None, _PTR, _WORD)
#: Copies the bytes.
bytes_new = _kept("wasm_byte_vec_new", None, _PTR, _WORD, ctypes.c_char_p)
bytes_new_uninitialized = _kept("wasm_byte_vec_new_uninitialized", None, _PTR, _WORD)

#: Moves the value behind an address into memory of wasmtime's; the new address.
value_new = _kept("wasmtime_component_val_new", _PTR, _PTR)
#: (from, to): copies a value with all that it holds, over a value that holds nothing.
value_clone = _kept("wasmtime_component_val_clone", None, _PTR, _PTR)
#: Frees what a value holds, not the 32 bytes.
value_delete = _kept("wasmtime_component_val_delete", None, _PTR)

# Handles. A `resource_any` is what a value holds, a `resource_host` our own view of it.
#: (owned, rep, type). Without argument types, ctypes passes each as a C int, in half the time.
resource_host_new = _kept("wasmtime_component_resource_host_new", _PTR)
resource_host_new.argtypes = None  # type: ignore[attr-defined]
resource_host_delete = _kept("wasmtime_component_resource_host_delete", None, _PTR)
resource_host_rep = _kept("wasmtime_component_resource_host_rep", _U32, _PTR)
resource_any_to_host = _kept("wasmtime_component_resource_any_to_host", _PTR, _PTR, _PTR, _PTR)
resource_host_to_any = _kept("wasmtime_component_resource_host_to_any", _PTR, _PTR, _PTR, _PTR)

# Types, to see what a guest declared.
function_result = _kept("wasmtime_component_func_type_result", ctypes.c_bool, _PTR, _PTR)
result_error = _kept("wasmtime_component_result_type_err", ctypes.c_bool, _PTR, _PTR)
enum_count = _kept("wasmtime_component_enum_type_names_count", _SIZE, _PTR)
enum_name = _kept("wasmtime_component_enum_type_names_nth", ctypes.c_bool, _PTR, _SIZE, _PTR, _PTR)
type_delete = _kept("wasmtime_component_valtype_delete", None, _PTR)

error_new = _kept("wasmtime_error_new", _PTR, ctypes.c_char_p)

#: `wasmtime_error_t* callback(void* env, wasmtime_context_t*, const wasmtime_component_func_type_t*,
#: wasmtime_component_val_t* args, size_t n, wasmtime_component_val_t* results, size_t n)`. The arguments
#: and the results stay wasmtime's; a result is written in place and then wasmtime's too.
CALLBACK = ctypes.CFUNCTYPE(_SIZE, _PTR, _PTR, _PTR, _PTR, _SIZE, _PTR, _SIZE)
#: `wasmtime_error_t* destructor(void* env, wasmtime_context_t*, uint32_t rep)`
DESTRUCTOR = ctypes.CFUNCTYPE(_SIZE, _PTR, _PTR, _U32)

_add_function = _kept(
    "wasmtime_component_linker_instance_add_func", _PTR, _PTR, ctypes.c_char_p, _SIZE, CALLBACK, _PTR, _PTR
)
_add_resource = _kept(
    "wasmtime_component_linker_instance_add_resource",
    _PTR,
    _PTR,
    ctypes.c_char_p,
    _SIZE,
    _PTR,
    DESTRUCTOR,
    _PTR,
    _PTR,
)


def define_function(instance: wasmtime.component.LinkerInstance, name: str, callback: Any) -> None:
    """Defines a function of any type. The caller keeps `callback`, a CALLBACK, as long as the linker and
    everything instantiated by it. Raises wasmtime.WasmtimeError for a name that is taken."""
    encoded = name.encode()
    raise_error(_add_function(address_of(instance), encoded, len(encoded), callback, None, None))


def define_resource(
    instance: wasmtime.component.LinkerInstance,
    name: str,
    kind: wasmtime.component.ResourceType,
    destructor: Any,
) -> None:
    """Defines a resource of ours; `destructor`, a DESTRUCTOR, is called for each owned handle that a
    guest drops. The caller keeps both. Raises wasmtime.WasmtimeError for a name that is taken."""
    encoded = name.encode()
    raise_error(
        _add_resource(address_of(instance), encoded, len(encoded), address_of(kind), destructor, None, None)
    )
