# SPDX-License-Identifier: Apache-2.0
"""One instance of a guest, on the raw C API: a fresh one costs tens of microseconds."""

from __future__ import annotations

import ctypes
import functools
import struct
import threading
from collections.abc import Callable
from threading import get_ident
from typing import Any

from wasinn.abi.core import capi
from wasinn.abi.core.hot_path import HOT_NAMES, HotPath
from wasinn.abi.core.trampoline import running
from wasinn.errors import GuestError
from wasinn.host import Shared
from wasinn.runtime import threads
from wasinn.runtime.closing import Closing
from wasinn.runtime.core_instance import CoreInstance, one_or_all
from wasinn.runtime.guest import Guest, Signature
from wasinn.runtime.limits import EPOCH_MOVED, Limits, RunControl
from wasinn.runtime.wasi import World


class Instance(CoreInstance, Closing):
    """A running guest: its memory, its exports, its handles on the host.

    Use it in one thread at a time. On the main thread each call takes a detour through another one
    (some 50 us), so that Ctrl-C can end it. Close it, or use it in a `with` statement.
    """

    def __init__(
        self,
        guest: Guest,
        shared: Shared,
        world: World,
        limits: Limits,
        long_lived: bool = False,
        trace: bool = False,
        watched: Callable[[RunControl], None] | None = None,
    ) -> None:
        """Instantiates `guest`, which runs its start section, and `_initialize` of a reactor.

        `long_lived` prepares the hot path: 0.1 ms once, for a guest that calls in a loop. `watched` is
        called with what can end the guest, before any of it runs. Raises GuestError for what does not
        link, GuestTrap and GuestExit for how the start ended.
        """
        self._trap = ctypes.c_void_p()
        self._trap_address = ctypes.addressof(self._trap)
        self._functions: dict[str, tuple[Any, int, Signature]] = {}
        self._arguments = capi.buffer_type(capi.RAW_VALUE_SIZE * 16)()
        self._arguments_address = ctypes.addressof(self._arguments)
        self._inside = False
        self._entering = threading.Lock()
        self._closing = False
        super().__init__(guest, shared, world, limits, trace, watched, EPOCH_MOVED)
        try:
            self._instantiate(long_lived and not trace and guest.uses_hot_path)
            if guest.is_reactor:
                self.call("_initialize")
        except BaseException as error:
            self._left_by(error)
            self.close()
            raise

    # -- using it ---------------------------------------------------------------------------------

    def call(self, name: str, *arguments: int | float) -> Any:
        """Calls an exported function; its result, a tuple of several, or None.

        Raises GuestError for a name, a number or a type of argument that the guest does not have, and
        where another thread is inside; GuestTrap if it traps or runs into a limit, GuestExit if it exits.
        """
        if not self._store:
            raise self._closed_error()
        _, function, signature = self._functions.get(name) or self._function(name)
        self._check_call(name, signature, arguments)
        if self._inside:
            raise self._running_error()
        buffer = self._arguments
        try:
            signature.pack(buffer, 0, *arguments)
        except (struct.error, TypeError, OverflowError):
            signature.pack(buffer, 0, *self._converted(name, signature, arguments))
        self._run(
            capi.call_unchecked,
            self._context,
            function,
            self._arguments_address,
            signature.slots,
            self._trap_address,
        )
        return one_or_all(signature.unpack(buffer, 0))

    def close(self) -> None:
        """Ends the instance and frees all it holds. May be called twice.

        Where a call that was interrupted is still inside (loading a model, which nothing ends), it is
        the thread of that call that frees, when it comes out.
        """
        self._closing = True
        if self._inside:
            self.control.stop("interrupted")
            return
        self._free()

    # -- making it -----------------------------------------------------------------------------------

    def _instantiate(self, hot: bool) -> None:
        instance = self._instance_address
        if not hot:
            pre = self.guest.pre_address or self.guest.pre()
            self._run(capi.instance_pre_instantiate, pre, self._context, instance, self._trap_address)
        else:
            linker = capi.linker_clone(capi.address_of(self.guest.engine.linker))
            try:
                self._link_hot_path(linker)
                module = capi.address_of(self.guest.module)
                self._run(
                    capi.linker_instantiate, linker, self._context, module, instance, self._trap_address
                )
            finally:
                capi.linker_delete(linker)
        self._find_memory()

    def _link_hot_path(self, linker: int) -> None:
        """Instantiates the stub and puts its functions over the dialect's in `linker`."""
        engine = self.guest.engine
        stub, hot = engine.hot_modules(self.guest.cache)
        slow = capi.address_of(engine.slow_linker())
        instance = ctypes.create_string_buffer(capi.INSTANCE_SIZE)
        address = ctypes.addressof(instance)
        self._run(
            capi.linker_instantiate, slow, self._context, capi.address_of(stub), address, self._trap_address
        )
        externs = {}
        for name in (*HOT_NAMES, "table"):
            capi.instance_export_get(self._context, address, name.encode(), len(name), self._slots.extern)
            externs[name] = self._slots.copy()
        module = b"wasi_ephemeral_nn"
        for name in HOT_NAMES:
            extern = ctypes.addressof(externs[name])
            capi.raise_error(
                capi.linker_define(
                    linker, self._context, module, len(module), name.encode(), len(name), extern
                )
            )
        self.state.hot_path = HotPath(
            self.state, self._context, slow, engine.types, capi.address_of(hot), externs["table"]
        )

    # -- calling ---------------------------------------------------------------------------------------

    def _run(self, function: Any, *arguments: Any) -> None:
        """Enters wasm, and makes an exception of whatever it ends with."""
        thread = get_ident()
        if thread == threads.main_thread:
            threads.call_elsewhere(
                functools.partial(self._run, function, *arguments),
                lambda: self.control.stop("interrupted"),
            )
            return
        if not self._entering.acquire(False):
            raise self._running_error()
        before = running.get(thread)
        running[thread] = self.state
        self._inside = True
        try:
            if self._closing:  # closed while this call waited for its thread
                raise self._closed_error()
            error = function(*arguments)
            if error or self._trap.value or self.state.escaped is not None:
                trapped, self._trap.value = self._trap.value or 0, None
                self._raise(error, trapped, instantiating=function is not capi.call_unchecked)
        finally:
            if before is None:
                del running[thread]
            else:
                running[thread] = before
            self._inside = False
            self._entering.release()
            if self._closing:
                self.close()

    def _running_error(self) -> GuestError:
        return GuestError(
            f"this instance of {self.guest.name} is running already, in another thread or in a call that was "
            "interrupted; an instance runs one call at a time"
        )

    def _function(self, name: str) -> tuple[Any, int, Signature]:
        found = self._functions[name] = self._function_export(name)
        needed = capi.RAW_VALUE_SIZE * found[2].slots
        if needed > len(self._arguments):
            self._arguments = capi.buffer_type(needed)()
            self._arguments_address = ctypes.addressof(self._arguments)
        return found
