# SPDX-License-Identifier: Apache-2.0
"""Callbacks from wasm into the dialects' functions.

One callback a function serves every instance: the instance is found by the thread it runs on
(`running`), or, for stores that are not ours, by the memory of the caller. An exception never
crosses the callback, which would crash the process: what no errno can carry is kept in
`InstanceState.escaped` and becomes a trap.
"""

from __future__ import annotations

import ctypes
import logging
import struct
import threading
from collections.abc import Callable, Iterable
from threading import get_ident
from typing import Any

from wasinn.abi.core import capi
from wasinn.abi.core.memory import GuestMemory
from wasinn.abi.core.state import MAX_LOGGED_FAILURES, Function, InstanceState, put_result
from wasinn.errors import WasiNNError
from wasinn.spec import ErrorCode

logger = logging.getLogger("wasinn.guest")

#: The instance that each thread is running: thread identifier -> state.
running: dict[int, InstanceState] = {}

#: Arguments are 16 bytes apart; the upper bits of an i32's slot mean nothing.
_ARGUMENTS = [struct.Struct("<" + "12x".join("I" * arity)) for arity in range(1, 17)]
_MEMORY_KEY = struct.Struct("<QII")


def make_callback(function: Function, find: Callable[[int], InstanceState] | None = None) -> Any:
    """The C callback of `function`, which whoever defines it keeps alive.

    `find(caller)` gives the state of an instance; by default that of this thread.
    """
    unpack = _ARGUMENTS[function.arity - 1].unpack_from
    space = capi.ADDRESS_SPACE

    def callback(_env: int, caller: int, arguments: int, _count: int) -> int:
        try:
            state = running[get_ident()] if find is None else find(caller)
            put_result(arguments, state.answer(function, unpack(space, arguments), caller))
            return 0
        except BaseException as error:
            return _escape(error, arguments)

    return capi.CALLBACK(callback)


def _escape(error: BaseException, arguments: int) -> int:
    """Keeps an exception for whoever runs the instance; a trap ends the guest."""
    try:
        if isinstance(error, WasiNNError):
            put_result(arguments, int(error.code))
            return 0
        state = running.get(get_ident())
        if state is not None:
            state.escaped = error
        return trap(f"wasinn: {type(error).__name__} in the host")
    except BaseException:
        put_result(arguments, int(ErrorCode.RUNTIME_ERROR))
        return 0


def trap(message: str) -> int:
    """A new trap, for a callback to return."""
    text = message.encode("utf-8", "replace")[:500]
    return int(capi.trap_new(text, len(text)))


def define(linker: int, types: capi.FunctionTypes, functions: Iterable[Function], keep: list[Any]) -> None:
    """Defines `functions` for instances of ours; the callbacks are appended to `keep`."""
    for function in functions:
        callback = make_callback(function)
        keep.append(callback)
        capi.define_function(linker, types, function.module, function.name, function.arity, callback)


class ForeignInstances:
    """The states of instances in stores that are not ours, found by the caller's memory.

    A store has a number that is never used again. An object of ours is left in each new store, whose
    finalizer runs when the store goes: then the state is closed.
    """

    def __init__(self, new_state: Callable[[], InstanceState]) -> None:
        self._new_state = new_state
        self._states: dict[tuple[int, ...], InstanceState] = {}
        self._without_memory = 0
        self._stores: dict[int, list[tuple[int, ...]]] = {}
        self._lock = threading.Lock()
        self._slots = threading.local()
        self._finalizer = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._store_gone)

    def find(self, caller: int) -> InstanceState:
        """The state of the calling instance, made on its first call."""
        slots = getattr(self._slots, "value", None)
        if slots is None:
            slots = self._slots.value = capi.Slots()
        if (
            not capi.caller_export_get(caller, b"memory", 6, slots.extern)
            or slots.extern_kind() != capi.EXTERN_MEMORY
        ):
            reason = "the guest exports no memory called 'memory', so no call can work"
            self._without_memory += 1
            if self._without_memory <= MAX_LOGGED_FAILURES:
                logger.warning("guest: %s", reason)
            raise WasiNNError(ErrorCode.MISSING_MEMORY, reason)
        handle = slots.payload(capi.MEMORY_SIZE)
        key = _MEMORY_KEY.unpack_from(handle)
        state = self._states.get(key)
        if state is None:
            with self._lock:
                state = self._states[key] = self._new_state()
                context = capi.caller_context(caller)
                state.memory = GuestMemory(context, handle)
                self._watch(context, key)
        return state

    def _watch(self, context: int, key: tuple[int, ...]) -> None:
        store = key[0]
        keys = self._stores.get(store)
        if keys is not None:
            keys.append(key)
            return
        self._stores[store] = [key]
        reference = ctypes.create_string_buffer(32)
        capi.externref_new(
            context, store, ctypes.cast(self._finalizer, ctypes.c_void_p), ctypes.addressof(reference)
        )

    def _store_gone(self, store: int | None) -> None:
        try:
            for key in self._stores.pop(store or 0, ()):
                state = self._states.pop(key, None)
                if state is not None:
                    state.host.close()
        except BaseException:
            return

    def close(self) -> None:
        """Closes every state; instances that call afterwards start anew."""
        with self._lock:
            states = list(self._states.values())
            self._states.clear()
            self._stores.clear()
        for state in states:
            # Another thread may be computing in it: then its buffers must not go to the next context.
            state.host.interrupt("the host was closed")
            state.host.close()
