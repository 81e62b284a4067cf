# SPDX-License-Identifier: Apache-2.0
"""One call of a component into the host: its arguments, its answer, and what happens to errors.

`answer` is the one way in for every function. What goes wrong becomes the function's error result
where its type has one, and else a trap with the reason; either way one line is logged, as for core
modules. No exception leaves it.
"""

from __future__ import annotations

import ctypes
import logging
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import wasmtime
from numpy.typing import NDArray

from wasinn.abi.component import capi, values
from wasinn.abi.component.buffers import ProtocolError
from wasinn.abi.component.resources import ComponentState
from wasinn.abi.component.snapshots import error_case
from wasinn.abi.core.state import shortened, shown
from wasinn.errors import WasiNNError
from wasinn.spec import ErrorCode

logger = logging.getLogger("wasinn.guest")
trace_logger = logging.getLogger("wasinn.trace")

#: The host's types of resources, the same in every snapshot: so `introspection` takes the graphs of each.
TENSOR, GRAPH, CONTEXT, ERROR = 1, 2, 3, 4

_TRAP_REASON = 2000
_u32_at = struct.Struct("<I").unpack_from


class Call:
    """A call's arguments, by position, and the place of its result. Good until the call returns.

    `given` and `made` are what the line in the log says of the arguments and of the result: names and
    values in turn; of several tensors a list of pairs (name, tensor).
    """

    __slots__ = ("arguments", "context", "count", "given", "made", "result", "state", "type")

    def __init__(
        self, state: ComponentState, context: int, kind: int, arguments: int, count: int, result: int
    ) -> None:
        self.state = state
        self.context = context
        self.type = kind
        self.arguments = arguments
        self.count = count
        self.result = result
        self.given: tuple[Any, ...] = ()
        self.made: tuple[Any, ...] = ()

    def argument(self, number: int) -> int:
        """The address of an argument's value."""
        return self.arguments + number * capi.VALUE_SIZE

    def take(self, number: int) -> int:
        """The number of the resource of which an argument is a handle, which is consumed. Every body
        takes all its handles before anything can fail."""
        address = self.arguments + number * capi.VALUE_SIZE
        return values.take_resource(self.context, address, self.state.slot)

    def u32(self, number: int) -> int:
        """An argument that is a u32."""
        return int(_u32_at(capi.ADDRESS_SPACE, self.argument(number) + capi.PAYLOAD)[0])

    def text(self, number: int) -> NDArray[np.uint8]:
        """The bytes of an argument that is a string, where they are."""
        view = values.text_view(self.argument(number))
        return np.frombuffer(view, np.uint8) if view.nbytes else np.empty(0, np.uint8)

    def own(self, address: int, rep: int, kind: int) -> None:
        """Writes a new owned handle."""
        values.write_owned(self.context, address, rep, kind)

    def succeed(self, rep: int, kind: int) -> None:
        """The result `ok` with a new owned handle."""
        values.write_result(self.result, True, lambda place: self.own(place, rep, kind))


class Function:
    """A function of an interface.

    `body(call)` writes the result, or raises WasiNNError. `fallible`: whether the function's result has
    an error for it. `counted`: the name under which `Stats.calls` counts it, that of the core dialects.
    `known`: the name by which its author knows it, if it is a private function of the adapter's.
    """

    __slots__ = ("body", "counted", "fallible", "known", "name")

    def __init__(
        self,
        name: str,
        body: Callable[[Call], None],
        fallible: bool = False,
        counted: str = "",
        known: str = "",
    ) -> None:
        self.name = name
        self.known = known or name
        self.body = body
        self.fallible = fallible
        self.counted = counted


def answer(function: Function, call: Call) -> int:
    """Runs one call: 0, or the `wasmtime_error_t*` of a trap."""
    state = call.state
    if function.counted:
        state.stats.calls[function.counted] += 1
    try:
        function.body(call)
    except Exception as error:
        return _answer_error(function, call, error)
    if state.trace:
        trace_logger.info("%s -> success%s", _described(function, call), _detail(call.made))
    return 0


def _answer_error(function: Function, call: Call, error: Exception) -> int:
    if isinstance(error, WasiNNError):
        return _fail(function, call, error.code, error.reason)
    if isinstance(error, MemoryError):
        return _fail(function, call, ErrorCode.TOO_LARGE, "the host has too little memory for this")
    if isinstance(error, wasmtime.WasmtimeError | ProtocolError):
        _log_failure(function, call, ErrorCode.INVALID_ARGUMENT, str(error))
        return trap(f"{function.known}: {error}")
    logger.debug("unexpected error in %s", function.name, exc_info=True)
    return _fail(function, call, ErrorCode.RUNTIME_ERROR, f"{type(error).__name__}: {error}")


def _fail(function: Function, call: Call, code: ErrorCode, reason: str) -> int:
    # A lone surrogate, of a file's name say, is text that nobody can write or send on.
    reason = reason.encode("utf-8", "replace").decode()
    logged = not call.state.failures.full
    _log_failure(function, call, code, reason)
    if not function.fallible:
        # There is no other way to refuse: a constructor has no error to return.
        return trap(f"{function.known}: {code.label}: {reason}")
    try:
        write_error(call, code, reason)
    except Exception as error:
        return trap(f"{function.known}: {code.label}: {reason} (and no error could be made of it: {error})")
    if call.state.trace and not logged:
        trace_logger.info("%s -> %s", _described(function, call), code.label)
    return 0


def trap(message: str) -> int:
    """A new `wasmtime_error_t*`, for a callback to return: the guest traps with this message."""
    return int(capi.error_new(message.encode("utf-8", "replace").replace(b"\0", b"?")[:_TRAP_REASON]))


# -- errors as the guest's type has them -------------------------------------------------------------


def write_error(call: Call, code: ErrorCode, reason: str) -> None:
    """Writes `err(...)` as the guest declared it: an error resource, an enum's case, or the reason.

    Raises WasiNNError (too_large) where there is no room for one more error.
    """
    kind, cases = error_type(call.type)
    if kind == capi.TYPE_OWN:
        rep = call.state.add_error(code, reason)
        values.write_result(call.result, False, lambda place: call.own(place, rep, ERROR))
    elif kind == capi.TYPE_ENUM:
        case = error_case(code, cases)
        values.write_result(call.result, False, lambda place: values.write_text(place, case, capi.ENUM))
    elif kind == capi.TYPE_STRING:
        values.write_result(call.result, False, lambda place: values.write_text(place, reason))
    else:
        values.write_result(call.result, False)


_POINTER = struct.Struct("<Q")
_NAME = struct.Struct("<QQ")


def error_type(function_type: int) -> tuple[int, tuple[str, ...]]:
    """The kind of a function's error, one of capi's TYPE_..., and the cases of an enum; -1 for none."""
    outer = (ctypes.c_char * capi.TYPE_SIZE)()
    inner = (ctypes.c_char * capi.TYPE_SIZE)()
    at, inside = ctypes.addressof(outer), ctypes.addressof(inner)
    if not capi.function_result(function_type, at):
        return -1, ()
    try:
        if outer[0][0] != capi.TYPE_RESULT:
            return -1, ()
        if not capi.result_error(_POINTER.unpack_from(outer, 8)[0], inside):
            return -1, ()
        try:
            kind = inner[0][0]
            return kind, _cases(_POINTER.unpack_from(inner, 8)[0]) if kind == capi.TYPE_ENUM else ()
        finally:
            capi.type_delete(inside)
    finally:
        capi.type_delete(at)


def _cases(enum: int) -> tuple[str, ...]:
    found = (ctypes.c_char * 16)()
    names = []
    for number in range(capi.enum_count(enum)):
        capi.enum_name(enum, number, ctypes.addressof(found), ctypes.addressof(found) + 8)
        pointer, size = _NAME.unpack_from(found)
        names.append(str(capi.ADDRESS_SPACE[pointer : pointer + size], "utf-8", "replace"))
    return tuple(names)


# -- the log ------------------------------------------------------------------------------------------


def _log_failure(function: Function, call: Call, code: ErrorCode, reason: str) -> None:
    state = call.state
    state.stats.failures += 1
    state.failures.add(state.name, lambda: _described(function, call), int(code), shortened(reason))


def _described(function: Function, call: Call) -> str:
    """`[method]graph-execution-context.set-input(context 0, name 'data', tensor f32 [1,4] (16 bytes))`."""
    return f"{function.known}({', '.join(_pairs(call.given))})"


def _detail(made: tuple[Any, ...]) -> str:
    return "  " + ", ".join(_pairs(made)) if made else ""


def _pairs(named: tuple[Any, ...]) -> list[str]:
    pairs = zip(named[::2], named[1::2], strict=True)
    return [f"{name} {_value(value)}".strip() for name, value in pairs]


def _value(value: Any) -> str:
    if isinstance(value, list):
        return _listed(value)
    return shown(value) if isinstance(value, str) else str(value)


def _listed(pairs: list[tuple[str, Any]]) -> str:
    """Named tensors, the first of them: a guest may give thousands to one call."""
    texts = [f"{shown(name)} {tensor}" for name, tensor in pairs[:8]]
    return ", ".join(texts + ["..."] * (len(pairs) > 8)) or "none"
