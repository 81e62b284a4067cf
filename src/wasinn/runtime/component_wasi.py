# SPDX-License-Identifier: Apache-2.0
"""WASI 0.2 for components: wasmtime's own, but for two interfaces that a host has to answer itself.

`wasi:cli/exit`: wasmtime has no `exit-with-code`, so that every failure would be 1.

`wasi:clocks/monotonic-clock`: a component sleeps by waiting for a pollable of this clock, in wasmtime, where
nothing can wake it. So no pollable of a run with a deadline is due later than that: the guest wakes when the
deadline has passed, and the epoch ends it. A pollable is a resource of wasmtime's, which the C API cannot
make: a small component in the same store, made when it is first needed, asks wasmtime's clock for it.
"""

from __future__ import annotations

import ctypes
import struct
import threading
import time
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any

import wasmtime

from wasinn.abi.component import capi, values
from wasinn.abi.core.capi import buffer_type
from wasinn.runtime import component_calls, forked

if TYPE_CHECKING:
    from wasinn.runtime.component_instance import ComponentInstance

#: The interfaces that wasmtime's linker provides, as 0.2.0 and what came after it.
_PACKAGES = {
    "cli": "environment exit stderr stdin stdout terminal-input terminal-output terminal-stderr "
    "terminal-stdin terminal-stdout",
    "clocks": "monotonic-clock wall-clock",
    "filesystem": "preopens types",
    "io": "error poll streams",
    "random": "insecure insecure-seed random",
    "sockets": "instance-network ip-name-lookup network tcp tcp-create-socket udp udp-create-socket",
}
INTERFACES = [f"wasi:{package}/{name}" for package, names in _PACKAGES.items() for name in names.split()]

#: Ours are defined as each of 0.2.0 to 0.2.15. An import of another version is given the newest.
_VERSIONS = range(16)
_EXIT, _CLOCK = "wasi:cli/exit", "wasi:clocks/monotonic-clock"

#: Seconds that an interrupted component is waited for which has slept: perhaps it does so now, in the
#: runtime, where nothing wakes it.
_PATIENCE = 0.1
#: Nanoseconds after the deadline, for the watchdog to have moved the epoch.
_MARGIN = 20_000_000
_U64 = struct.Struct("<Q")

#: The instance that each thread is running.
entered: dict[int, ComponentInstance] = {}

_CLOCK_COMPONENT = """
(component
  (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type (sub resource)))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer 1 $pollable (type $same))
    (export "pollable" (type $own (eq $same)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $own))))))
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core module $code
    (import "clock" "subscribe" (func $subscribe (param i64) (result i32)))
    (func (export "subscribe") (param i64) (result i32) (call $subscribe (local.get 0))))
  (core instance $running (instantiate $code
    (with "clock" (instance (export "subscribe" (func $subscribe))))))
  (func (export "subscribe") (param "when" u64) (result (own $pollable))
    (canon lift (core func $running "subscribe"))))
"""


class Wasi2:
    """Defines WASI 0.2 in the linker of an engine. Kept as long as the linker."""

    def __init__(self, engine: wasmtime.Engine, linker: wasmtime.component.Linker) -> None:
        """`linker` allows shadowing."""
        self._engine = engine
        self._lock = threading.Lock()
        self._made: _Clock | None = None
        linker.add_wasip2()
        self._keep: list[Any] = []
        with linker.root() as root:
            for version in _VERSIONS:
                with root.add_instance(f"{_EXIT}@0.2.{version}") as instance:
                    self._define(instance, "exit", _exit)
                    self._define(instance, "exit-with-code", _exit_with_code)
                with root.add_instance(f"{_CLOCK}@0.2.{version}") as instance:
                    self._define(instance, "now", _now)
                    self._define(instance, "resolution", _resolution)
                    self._define(instance, "subscribe-duration", self._subscribe_duration)
                    self._define(instance, "subscribe-instant", self._subscribe_instant)

    def _define(
        self,
        instance: wasmtime.component.LinkerInstance,
        name: str,
        body: Callable[[int, int, int], None],
    ) -> None:
        """`body(store context, address of the arguments, address of the result)`."""

        def callback(
            _env: int, context: int, _type: int, arguments: int, given: int, results: int, made: int
        ) -> int:
            try:
                kinds = tuple(capi.ADDRESS_SPACE[arguments + at * capi.VALUE_SIZE] for at in range(given))
                if (kinds, made) != _SHAPES[name]:
                    raise _Ended(f"{name} was imported with another type than WASI gives it")
                body(context, arguments, results)
                return 0
            except (_Ended, wasmtime.WasmtimeError) as ended:  # the latter of the clock: out of fuel, say
                return int(capi.error_new(str(ended).encode()))
            except BaseException as error:
                return _escape(error)

        kept = capi.CALLBACK(callback)
        self._keep.append(kept)
        capi.define_function(instance, name, kept)

    # -- the clock ---------------------------------------------------------------------------------

    def _subscribe_duration(self, context: int, arguments: int, results: int) -> None:
        (nanoseconds,) = _U64.unpack_from(capi.ADDRESS_SPACE, arguments + capi.PAYLOAD)
        self._subscribe(context, nanoseconds, results)

    def _subscribe_instant(self, context: int, arguments: int, results: int) -> None:
        (instant,) = _U64.unpack_from(capi.ADDRESS_SPACE, arguments + capi.PAYLOAD)
        self._subscribe(context, max(instant - time.monotonic_ns(), 0), results)

    def _subscribe(self, context: int, nanoseconds: int, results: int) -> None:
        running = entered[get_ident()]
        deadline = running.control.deadline
        if deadline is not None:
            left = int((deadline - time.monotonic()) * 1e9)
            nanoseconds = min(nanoseconds, max(left, 0) + _MARGIN)
        function = running.clock_function
        running.control.patience = _PATIENCE
        if function is None:
            function = running.clock_function = self._instantiate_clock(context)
        argument = buffer_type(capi.VALUE_SIZE)()
        address = ctypes.addressof(argument)
        values.write_number(address, capi.U64, nanoseconds)
        called = component_calls.call(ctypes.addressof(function), context, address, 1, results, 1)
        capi.raise_error(called)

    def _instantiate_clock(self, context: int) -> Any:
        """The handle of the small component's function, in the store of `context`."""
        instance = buffer_type(component_calls.INSTANCE_SIZE)()
        function = buffer_type(component_calls.FUNCTION_SIZE)()
        place = ctypes.addressof(instance)
        with self._lock:
            if self._made is None:
                forked.use(forked.COMPILING)
                self._made = _Clock(self._engine)
            clock = self._made
        linker, component = capi.address_of(clock.linker), capi.address_of(clock.component)
        capi.raise_error(component_calls.instantiate(linker, context, component, place))
        index = capi.address_of(clock.index)
        found = component_calls.get_function(place, context, index, ctypes.addressof(function))
        assert found, "the clock's component has lost its function"
        return function


#: The kinds of the arguments, and the number of results.
_SHAPES = {
    "exit": ((capi.RESULT,), 0),
    "exit-with-code": ((capi.U8,), 0),
    "now": ((), 1),
    "resolution": ((), 1),
    "subscribe-duration": ((capi.U64,), 1),
    "subscribe-instant": ((capi.U64,), 1),
}


class _Clock:
    """The small component, and a linker with nothing but wasmtime's own."""

    def __init__(self, engine: wasmtime.Engine) -> None:
        self.linker = wasmtime.component.Linker(engine)
        self.linker.add_wasip2()
        self.component = wasmtime.component.Component(engine, _CLOCK_COMPONENT)
        index = self.component.get_export_index("subscribe")
        assert index is not None
        self.index = index


class _Ended(Exception):
    """What a guest asked for that ends it."""


def _escape(error: BaseException) -> int:
    """Keeps an exception for whoever runs the instance, and ends the guest."""
    try:
        running = entered.get(get_ident())
        if running is not None:
            running.escaped = error
    except BaseException:
        pass
    return int(capi.error_new(b"wasinn: an error in the host"))


def _exit(_context: int, arguments: int, _results: int) -> None:
    """`exit(status: result)`."""
    _end(0 if capi.ADDRESS_SPACE[arguments + capi.PAYLOAD] else 1)


def _exit_with_code(_context: int, arguments: int, _results: int) -> None:
    """`exit-with-code(status-code: u8)`."""
    _end(capi.ADDRESS_SPACE[arguments + capi.PAYLOAD])


def _end(code: int) -> None:
    running = entered[get_ident()]
    if running.control.limit is None:  # else that is what ended it, and the guest only noticed
        running.exit_code = code
    raise _Ended("exit")


def _now(_context: int, _arguments: int, results: int) -> None:
    values.write_number(results, capi.U64, time.monotonic_ns())


def _resolution(_context: int, _arguments: int, results: int) -> None:
    values.write_number(results, capi.U64, 1)
