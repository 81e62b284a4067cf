# SPDX-License-Identifier: Apache-2.0
"""The calls of wasmtime's C API that instantiate a component and run its functions, typed.

They take and return plain addresses, as in `wasinn.abi.core.capi`; those that run a guest give up the
interpreter's lock.
"""

from __future__ import annotations

import ctypes

from wasmtime import _ffi as ffi

from wasinn.abi.core.capi import freed, kept

_PTR = ctypes.c_void_p
_SIZE = ctypes.c_size_t

INSTANCE_SIZE = ctypes.sizeof(ffi.wasmtime_component_instance_t)
FUNCTION_SIZE = ctypes.sizeof(ffi.wasmtime_component_func_t)

#: (linker, store context, component, instance to fill in) -> error
instantiate = freed("wasmtime_component_linker_instantiate", _PTR, _PTR, _PTR, _PTR, _PTR)
#: (function, store context, arguments, their number, results, their number) -> error
call = freed("wasmtime_component_func_call", _PTR, _PTR, _PTR, _PTR, _SIZE, _PTR, _SIZE)
#: (instance, store context, export index, function to fill in) -> whether it is there
get_function = kept("wasmtime_component_instance_get_func", ctypes.c_bool, _PTR, _PTR, _PTR, _PTR)
