# SPDX-License-Identifier: Apache-2.0
"""The part of wasmtime's C API by which a guest runs as a fiber, on a stack of its own.

A call into the guest gives a future. Polling it runs the guest until it is done, until the epoch moves, or
until it makes a call that is answered later: such an import is an asynchronous function, whose callback says
at once whether the answer is there, and leaves a continuation that wasmtime asks at each poll.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any

from wasmtime import _ffi as ffi

from wasinn.abi.core import capi
from wasinn.abi.core.state import InstanceState
from wasinn.abi.core.trampoline import running, trap
from wasinn.spec import ErrorCode

_PTR, _SIZE = ctypes.c_void_p, ctypes.c_size_t

#: Runs the guest: gives up the interpreter's lock meanwhile.
future_poll = capi.freed("wasmtime_call_future_poll", ctypes.c_bool, _PTR)
#: The same with the lock held: for a turn that is known to be short.
future_poll_short = capi.kept("wasmtime_call_future_poll", ctypes.c_bool, _PTR)
#: Frees a future, also one that is not done: then the guest's stack is unwound.
future_delete = capi.kept("wasmtime_call_future_delete", None, _PTR)
call_async = capi.kept("wasmtime_func_call_async", _PTR, _PTR, _PTR, _PTR, _SIZE, _PTR, _SIZE, _PTR, _PTR)
instance_pre_instantiate_async = capi.kept(
    "wasmtime_instance_pre_instantiate_async", _PTR, _PTR, _PTR, _PTR, _PTR, _PTR
)
#: `void callback(void* env, wasmtime_caller_t*, const wasmtime_val_t* args, size_t, wasmtime_val_t* results,
#: size_t, wasm_trap_t** trap, wasmtime_async_continuation_t*)`
_ASYNC_CALLBACK = ctypes.CFUNCTYPE(None, _PTR, _PTR, _PTR, _SIZE, _PTR, _SIZE, _PTR, _PTR)
_define_async = capi.definer("wasmtime_linker_define_async_func", _ASYNC_CALLBACK)

#: wasmtime_val_t: a kind, and a payload of 16 bytes behind it.
VALUE_SIZE = ctypes.sizeof(ffi.wasmtime_val_t)
assert (VALUE_SIZE, ffi.wasmtime_val_t.of.offset) == (32, 8), "wasmtime_val_t has another layout"
_KINDS = {"i32": (0, "i20x"), "i64": (1, "q16x"), "f32": (2, "f20x"), "f64": (3, "d16x")}

_RESULT = struct.Struct("<B7xi").pack_into
_POINTER = struct.Struct("<Q").pack_into
#: wasmtime_async_continuation_t: `bool callback(void* env)`, env, and what frees env.
_CONTINUATION = struct.Struct("<QQQ").pack_into
_ARGUMENTS = [struct.Struct("<" + "8xI20x" * arity) for arity in range(1, 17)]

# The continuation must not be Python: it is asked at every poll. What it needs is a C function that takes an
# address and returns true or false; strlen of a byte and a zero is that: 1 where the byte is 1, else 0.
_libc = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
_strlen = ctypes.cast(_libc.strlen, _PTR).value or 0
_ALWAYS = ctypes.create_string_buffer(b"\x01")


class Flag:
    """Whether the answer that a suspended guest waits for is there."""

    __slots__ = ("_buffer", "address")

    def __init__(self) -> None:
        self._buffer = capi.buffer_type(2)()
        self.address = ctypes.addressof(self._buffer)

    def set(self, there: bool) -> None:
        capi.ADDRESS_SPACE[self.address] = there


class Values:
    """The layout of a function's parameters and results as wasmtime_val_t."""

    __slots__ = ("_fields", "_pack", "_unpack", "parameters", "results")

    def __init__(self, parameters: tuple[str, ...], results: tuple[str, ...]) -> None:
        self.parameters, self.results = len(parameters), len(results)
        #: A kind and a value, by turns.
        self._fields: list[int | float] = [each for kind in parameters for each in (_KINDS[kind][0], 0)]
        self._pack = struct.Struct("<" + "".join("B7x" + _KINDS[kind][1] for kind in parameters)).pack_into
        self._unpack = struct.Struct("<" + "".join("8x" + _KINDS[kind][1] for kind in results)).unpack_from

    def pack(self, buffer: Any, arguments: Sequence[int | float]) -> None:
        """Raises struct.error for a number that does not fit."""
        fields = self._fields.copy()
        fields[1::2] = arguments
        self._pack(buffer, 0, *fields)

    def unpack(self, buffer: Any, offset: int) -> tuple[Any, ...]:
        return self._unpack(buffer, offset)


class Suspended:
    """The place of a call that is answered later."""

    __slots__ = ("_results", "_trap", "caller")

    def __init__(self, caller: int, results: int, trap: int) -> None:
        self.caller = caller
        self._results = results
        self._trap = trap

    def answer(self, code: int) -> None:
        """The result, for the next poll."""
        _RESULT(capi.ADDRESS_SPACE, self._results, 0, code)

    def end(self, message: str) -> None:
        """A trap in place of a result."""
        _POINTER(capi.ADDRESS_SPACE, self._trap, trap(message))


#: Begins a call: its result if it is there, else None, once `later` has been called for the call's place.
Begin = Callable[[InstanceState, tuple[int, ...], int, Callable[[], Suspended]], int | None]


def define(
    linker: int,
    types: capi.FunctionTypes,
    module: str,
    name: str,
    arity: int,
    begin: Begin,
    keep: list[Any],
) -> None:
    """Defines an import that may be answered later. It takes `arity` i32 and returns one.

    `begin(state, arguments, caller, later)` gives the result, or None after it has kept what `later()` gives;
    then the instance's flag (`state.run.flag`) says when the result is there. The callback is appended to
    `keep`, which lives as long as the linker. Raises wasmtime.WasmtimeError for a name that is taken.
    """
    unpack = _ARGUMENTS[arity - 1].unpack_from
    space = capi.ADDRESS_SPACE
    always = ctypes.addressof(_ALWAYS)

    def callback(
        _env: int, caller: int, arguments: int, _n: int, results: int, _r: int, trapped: int, then: int
    ) -> None:
        try:
            state = running[get_ident()]
            code = begin(state, unpack(space, arguments), caller, lambda: Suspended(caller, results, trapped))
            if code is None:
                _CONTINUATION(space, then, _strlen, state.run.flag.address, 0)
            else:
                _RESULT(space, results, 0, code)
                _CONTINUATION(space, then, _strlen, always, 0)
        except BaseException as error:
            _RESULT(space, results, 0, _FAILED)
            _CONTINUATION(space, then, _strlen, always, 0)
            _escape(error, trapped)

    pointer = _ASYNC_CALLBACK(callback)
    keep.append(pointer)
    capi.define_import(_define_async, linker, types, module, name, (arity, 1), pointer)


def _escape(error: BaseException, trapped: int) -> None:
    """Keeps an exception for whoever runs the instance; a trap ends the guest."""
    state = running.get(get_ident())
    if state is not None:
        state.escaped = error
    _POINTER(capi.ADDRESS_SPACE, trapped, trap(f"wasinn: {type(error).__name__} in the host"))


_FAILED = int(ErrorCode.RUNTIME_ERROR)
