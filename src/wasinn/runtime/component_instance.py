# SPDX-License-Identifier: Apache-2.0
"""One instance of a component: its store, its limits, its calls."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable
from dataclasses import replace
from threading import get_ident
from typing import Any, NoReturn

from wasinn.abi.component import capi as component_capi
from wasinn.abi.component import hosting
from wasinn.abi.component.resources import ComponentState
from wasinn.abi.core import capi
from wasinn.errors import GuestError
from wasinn.handles import Stats
from wasinn.host import GuestHost, Shared
from wasinn.runtime import component_calls, threads
from wasinn.runtime.closing import Closing
from wasinn.runtime.component_guest import ComponentGuest
from wasinn.runtime.component_types import Signature
from wasinn.runtime.component_values import Room, check, read, write
from wasinn.runtime.component_wasi import entered
from wasinn.runtime.forgotten import forget, free_forgotten, weakly_stopped
from wasinn.runtime.limits import Limits, RunControl, controls, set_limits
from wasinn.runtime.outcome import GuestExit, GuestTrap, trap_of
from wasinn.runtime.told import Told
from wasinn.runtime.wasi import Wasi, World

#: Instances, tables and memories: a component of Python's has some forty instances, most with no memory.
_MOST = 512, 512, 32
#: Every component may use all of it: its streams come from instances, whose functions are not looked into.
_WASI_IMPORTS = frozenset({"fd_write", "fd_read", "args_get", "environ_get", "fd_prestat_get"})

#: Words of errors that end an instantiation which linked.
_NOT_LINKING = ("wasm backtrace", "memory limits", "fuel consumed")

_closing = threading.Lock()


class ComponentInstance(Told, Closing):
    """A running component: its exports, its handles on the host.

    Used as an `Instance` of a core module, but that its memories are its own, and its functions take
    and return typed values (see `call`).
    """

    def __init__(
        self,
        guest: ComponentGuest,
        shared: Shared,
        world: World,
        limits: Limits,
        trace: bool = False,
        watched: Callable[[RunControl], None] | None = None,
    ) -> None:
        """Instantiates `guest`. `watched` is called with what can end the guest, before any of it runs.

        Raises GuestError for what does not link, GuestTrap and GuestExit for how its start ended.
        """
        free_forgotten()
        self.guest = guest
        engine = guest.engine
        engine.trap_signals.hold()
        self._host = GuestHost(shared)
        self.state = ComponentState(self._host, guest.name, shared.permissions, trace)
        self.control = RunControl(engine.address, weakly_stopped(self))
        #: What `wasi:cli/exit` was called with.
        self.exit_code: int | None = None
        #: An exception of the host's own functions.
        self.escaped: BaseException | None = None
        #: The handle of the function that makes this store's pollables, once it was needed.
        self.clock_function: Any = None
        wasi = any(name.startswith("wasi:") and not name.startswith("wasi:nn/") for name in guest.imports)
        self._wasi = Wasi(world, self.control, limits.max_output, _WASI_IMPORTS if wasi else frozenset())
        self._limits = limits
        self._instance = capi.buffer_type(component_calls.INSTANCE_SIZE)()
        self._functions: dict[str, tuple[Any, Signature]] = {}
        self._inside = False
        self._entering = threading.Lock()
        self._closing = False
        self._dead = False
        self._store = capi.store_new(engine.address, None, None)
        self._context = capi.store_context(self._store)
        if watched is not None:
            watched(self.control)
        try:
            set_limits(self._store, self.control, limits, engine.fuel, _MOST)
            self._wasi.attach(self._context)
            component = component_capi.address_of(guest.component)
            place = ctypes.addressof(self._instance)
            linker = engine.component_linker().address
            self._run(component_calls.instantiate, linker, self._context, component, place)
        except BaseException as error:
            self._left_by(error)
            self.close()
            raise

    # -- using it ---------------------------------------------------------------------------------

    @property
    def memory(self) -> memoryview:
        """Raises GuestError: a component shows none of its memories."""
        raise GuestError(f"{self.guest.name} is a component, whose memories are its own")

    @property
    def stats(self) -> Stats:
        """What this instance has asked of the host so far."""
        return self.state.stats

    def call(self, name: str, *arguments: Any) -> Any:
        """Calls an exported function, by `name` or `package:name/interface#name`; its result, or None.

        Values are as the table in `component_values` says: list<u8> is bytes, a record is a dict, a
        variant or a result is a Case(name, value). Raises GuestError for a name, a number or a type of
        argument that the guest does not have, GuestTrap if it traps or runs into a limit, GuestExit if
        it exits. After a trap or an exit the instance can only be closed. One call at a time: GuestError
        where another thread is inside.
        """
        if not self._store:
            raise GuestError(f"this instance of {self.guest.name} is closed")
        if self._dead:
            raise GuestError(f"this instance of {self.guest.name} has trapped or exited; make another")
        name = self.guest.find_function(name)
        function, signature = self._functions.get(name) or self._function(name)
        if len(arguments) != len(signature.parameters):
            raise GuestError(
                f"{name}{signature} takes {len(signature.parameters)} arguments, got {len(arguments)}"
            )
        if get_ident() == threads.main_thread:
            # All of it there, its memory too: an interrupted call goes on, and writes its result.
            return threads.call_elsewhere(
                functools.partial(self._call, name, function, signature, arguments), self._interrupt
            )
        return self._call(name, function, signature, arguments)

    def _call(self, name: str, function: Any, signature: Signature, arguments: tuple[Any, ...]) -> Any:
        given = Room(len(arguments))
        results = Room(0 if signature.result is None else 1)
        try:
            for index, value in enumerate(_checked(name, signature, arguments)):
                write(signature.parameters[index][1], value, given.at(index))
            self._run(
                component_calls.call,
                ctypes.addressof(function),
                self._context,
                given.address,
                given.count,
                results.address,
                results.count,
            )
            return None if signature.result is None else read(signature.result, results.address)
        finally:
            given.free()
            results.free()

    def close(self) -> None:
        """Ends the instance and frees all it holds. May be called twice.

        Where a call that was interrupted is still inside (loading a model, sleeping), it is the thread of
        that call that frees, when it comes out.
        """
        self._closing = True
        if self._inside:
            self.control.stop("interrupted")
            return
        self._free()

    def _free(self) -> None:
        """Frees all it holds. May be called twice; never while the guest runs."""
        with _closing:
            store, self._store = self._store, None
        if not store:
            return
        controls.pop(self.control.number, None)
        # The tables go first: dropping a store runs no destructor of what a trapped guest still held.
        self.state.close()
        self._host.close()
        self._wasi.close()
        capi.store_delete(store)
        self.control.release()

    def __del__(self) -> None:
        if getattr(self, "_store", None):
            forget(self)

    # -- entering it ---------------------------------------------------------------------------------

    def _run(self, function: Any, *arguments: Any) -> None:
        """Enters wasm, and makes an exception of whatever it ends with."""
        thread = get_ident()
        if thread == threads.main_thread:
            threads.call_elsewhere(functools.partial(self._run, function, *arguments), self._interrupt)
            return
        if not self._entering.acquire(False):
            raise GuestError(
                f"this instance of {self.guest.name} is running already, in another thread or in a call that "
                "was interrupted; an instance runs one call at a time"
            )
        before = entered.get(thread)
        entered[thread] = self
        self._inside = True
        try:
            if self._closing:  # closed while this call waited for its thread
                raise GuestError(f"this instance of {self.guest.name} is closed")
            error = function(*arguments)
            if error:
                self._dead = True
                self._raise(error, instantiating=function is component_calls.instantiate)
            if self.control.limit == "deadline":  # it slept until then, and came to its end
                raise trap_of(RuntimeError("the deadline passed"), "deadline", self._limits, 0)
        finally:
            if before is None:
                del entered[thread]
            else:
                entered[thread] = before
            self._inside = False
            self._entering.release()
            if self._closing:
                self.close()

    def _interrupt(self) -> float | None:
        """Ends what runs; how long that is to be waited for."""
        self.control.stop("interrupted")
        return self.control.patience

    def _raise(self, error: int, instantiating: bool) -> NoReturn:
        reason = capi.make_error(error)
        escaped = self.escaped or self.state.exception
        self.escaped = self.state.exception = None
        if escaped is not None:
            raise escaped
        if self.exit_code is not None:
            raise GuestExit(self.exit_code)
        text = str(reason)
        ran = self.control.limit is not None or any(words in text for words in _NOT_LINKING)
        if instantiating and not ran:
            raise self.guest.link_error(reason)
        ended = trap_of(reason, self.control.limit, self._limits, 0)
        advice = hosting.explain_trap(text) if ended.limit is None else None
        if advice:
            ended = GuestTrap(replace(ended.trap, message=f"{ended.trap.message}: {advice}"))
        if not advice and ended.trap.kind == "unreachable" and self._limits.max_memory is not None:
            # Of a component nobody sees whether a growth of its memory was refused.
            most = f"perhaps for want of memory: its limit is {self._limits.max_memory} bytes"
            ended = GuestTrap(replace(ended.trap, message=f"{ended.trap.message} ({most})"))
        raise ended

    def _function(self, name: str) -> tuple[Any, Signature]:
        signature = self.guest.functions[name]
        if not signature.callable:
            raise GuestError(f"{name}{signature} cannot be called from here: not all of it is plain values")
        function = capi.buffer_type(component_calls.FUNCTION_SIZE)()
        index = component_capi.address_of(self.guest.index(name))
        place = ctypes.addressof(self._instance)
        if not component_calls.get_function(place, self._context, index, ctypes.addressof(function)):
            raise self.guest.no_function(name)
        found = self._functions[name] = (function, signature)
        return found

    def _stopped(self, reason: str) -> None:
        """Called by the watchdog's thread: ends what runs outside wasm."""
        self._host.interrupt(f"limit {reason}")
        self._wasi.unblock()


def _checked(name: str, signature: Signature, arguments: tuple[Any, ...]) -> list[Any]:
    """The arguments as `write` takes them. Raises GuestError."""
    result = []
    for (parameter, kind), value in zip(signature.parameters, arguments, strict=True):
        try:
            result.append(check(kind, value))
        except ValueError as error:
            raise GuestError(f"{name}{signature}: the argument {parameter}: {error}") from None
    return result
