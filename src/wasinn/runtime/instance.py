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

import wasmtime

from wasinn.abi.core import capi
from wasinn.abi.core.hot_path import HOT_NAMES, HotPath
from wasinn.abi.core.memory import GuestMemory
from wasinn.abi.core.state import InstanceState
from wasinn.abi.core.trampoline import running
from wasinn.errors import GuestError
from wasinn.host import GuestHost, Shared, Stats
from wasinn.runtime import growth, threads
from wasinn.runtime.closing import Closing
from wasinn.runtime.engine import Engine
from wasinn.runtime.guest import Guest, Signature, link_error
from wasinn.runtime.limits import Limits, RunControl, controls, set_limits
from wasinn.runtime.outcome import GuestExit, GuestTrap, Trap, trap_of
from wasinn.runtime.wasi import Wasi, World

#: Instances, tables and memories: of a guest, the stub and the hot path.
_MOST = 4, 64, 4


_closing = threading.Lock()


class Instance(Closing):
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
        self.guest = guest
        engine = guest.engine
        host = GuestHost(shared)
        self.state = InstanceState(host, guest.name, trace)
        self.control = RunControl(engine.address, self._stopped)
        self.state.run = self
        self.exit_code: int | None = None
        self._wasi = Wasi(world, self.control, limits.max_output, guest.wasi_imports)
        self._limits = limits
        self._slots = capi.Slots()
        self._trap = ctypes.c_void_p()
        self._trap_address = ctypes.addressof(self._trap)
        self._instance = capi.buffer_type(capi.INSTANCE_SIZE)()
        self._instance_address = ctypes.addressof(self._instance)
        self._functions: dict[str, tuple[Any, int, Signature]] = {}
        self._arguments = capi.buffer_type(capi.RAW_VALUE_SIZE * 16)()
        self._arguments_address = ctypes.addressof(self._arguments)
        self._inside = False
        self._entering = threading.Lock()
        self._closing = False
        self._store = capi.store_new(engine.address, None, None)
        self._context = capi.store_context(self._store)
        if watched is not None:
            watched(self.control)
        try:
            self._set_limits(engine)
            self._wasi.attach(self._context)
            self._instantiate(long_lived and not trace and guest.uses_hot_path)
            if guest.is_reactor:
                self.call("_initialize")
        except (GuestTrap, GuestExit) as ended:
            ended.stdout, ended.stderr, ended.stats = self.stdout, self.stderr, self.stats
            self.close()
            raise
        except BaseException:
            self.close()
            raise

    # -- using it ---------------------------------------------------------------------------------

    @property
    def memory(self) -> memoryview:
        """The guest's memory, writable; ask for it anew after each call, which may have moved it.

        Raises GuestError if the guest exports none.
        """
        memory = self._memory()
        return capi.ADDRESS_SPACE[memory.base : memory.base + memory.size]

    @property
    def stats(self) -> Stats:
        """What this instance has asked of the host so far."""
        if self.state.hot_path is not None and self._store:
            self.state.hot_path.collect_stats()
        return self.state.stats

    @property
    def stdout(self) -> bytes:
        return self._wasi.stdout.data if self._wasi.stdout is not None else b""

    @property
    def stderr(self) -> bytes:
        return self._wasi.stderr.data if self._wasi.stderr is not None else b""

    def call(self, name: str, *arguments: int | float) -> Any:
        """Calls an exported function; its result, a tuple of several, or None.

        Raises GuestError for a name, a number or a type of argument that the guest does not have, and
        where another thread is inside; GuestTrap if it traps or runs into a limit, GuestExit if it exits.
        """
        if not self._store:
            raise GuestError(f"this instance of {self.guest.name} is closed")
        _, function, signature = self._functions.get(name) or self._function(name)
        if len(arguments) != len(signature.parameters):
            raise GuestError(
                f"{name}{signature} takes {len(signature.parameters)} arguments, got {len(arguments)}"
            )
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
        results = signature.unpack(buffer, 0)
        if len(results) == 1:
            return results[0]
        return results or None

    def close(self) -> None:
        """Ends the instance and frees all it holds. May be called twice.

        Where a call that was interrupted is still inside (loading a model, which nothing ends), it is
        the thread of that call that frees, when it comes out.
        """
        self._closing = True
        if self._inside:
            self.control.stop("interrupted")
            return
        with _closing:
            store, self._store = self._store, None
        if not store:
            return
        if self.state.hot_path is not None:
            self.state.hot_path.collect_stats()
        controls.pop(self.control.number, None)
        self.state.host.close()
        self._wasi.close()
        capi.store_delete(store)
        # No cycles: what a fresh instance held goes with it, not with the garbage collector's next round.
        self.state.run = None
        self.state.hot_path = None
        self.control.release()

    def __del__(self) -> None:
        if getattr(self, "_store", None):
            self.close()

    # -- making it -----------------------------------------------------------------------------------

    def _set_limits(self, engine: Engine) -> None:
        limits = self._limits
        if limits.max_memory is not None and self.guest.minimum_memory > limits.max_memory:
            raise GuestTrap(
                Trap(
                    "memory",
                    f"the guest starts with {self.guest.minimum_memory} bytes of memory, "
                    f"and its limit is {limits.max_memory}",
                ),
                "memory",
            )
        set_limits(self._store, self.control, limits, engine.fuel, _MOST)

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
        if self._export(b"memory") and self._slots.extern_kind() == capi.EXTERN_MEMORY:
            self.state.memory = GuestMemory(self._context, self._slots.payload(capi.MEMORY_SIZE), fixed=True)

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
                raise GuestError(f"this instance of {self.guest.name} is closed")
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

    def _raise(self, error: int | None, trapped: int, instantiating: bool) -> None:
        reason: Exception | None = None
        if error:
            reason = capi.make_error(error)
        elif trapped:
            reason = capi.make_trap(trapped)
        escaped, self.state.escaped = self.state.escaped, None
        if escaped is not None:
            raise escaped
        if self.exit_code is not None:
            code, self.exit_code = self.exit_code, None
            raise GuestExit(code)
        assert reason is not None
        if instantiating and isinstance(reason, wasmtime.WasmtimeError) and self.control.limit is None:
            text = str(reason)
            if "unknown import" in text or "incompatible import" in text:
                raise link_error(self.guest.name, reason)
        raise trap_of(reason, self.control.limit, self._limits, self._refused_growth())

    def _refused_growth(self) -> int:
        # An instance that was not made has a handle of zeros, which wasmtime must not see.
        if not self.guest.counts_growth or not any(self._instance.raw):
            return 0
        if not self._export(growth.REFUSED_EXPORT.encode()):
            return 0
        return capi.read_global_i32(self._context, self._slots.payload(capi.GLOBAL_SIZE))

    def _function(self, name: str) -> tuple[Any, int, Signature]:
        signature = self.guest.functions.get(name)
        extern = capi.ExternBuffer()
        address = ctypes.addressof(extern)
        text = name.encode()
        if signature is None or not capi.instance_export_get(
            self._context, self._instance_address, text, len(text), address
        ):
            raise self.guest.no_function(name)
        if not signature.callable:
            raise GuestError(f"{name}{signature} cannot be called from here: it takes more than numbers")
        needed = capi.RAW_VALUE_SIZE * signature.slots
        if needed > len(self._arguments):
            self._arguments = capi.buffer_type(needed)()
            self._arguments_address = ctypes.addressof(self._arguments)
        found = self._functions[name] = (extern, address + capi.EXTERN_PAYLOAD, signature)
        return found

    def _converted(self, name: str, signature: Signature, arguments: tuple[Any, ...]) -> list[int | float]:
        """Arguments that do not pack as they are: unsigned integers, which pointers are."""
        result: list[int | float] = []
        for kind, value in zip(signature.parameters, arguments, strict=True):
            bits = int(kind[1:])
            if kind[0] == "i" and isinstance(value, int) and -(1 << (bits - 1)) <= value < 1 << bits:
                result.append(value - (1 << bits) if value >> (bits - 1) > 0 else value)
            elif kind[0] == "f" and isinstance(value, int | float) and _fits_float(bits, value):
                result.append(float(value))
            else:
                raise GuestError(f"{name}{signature}: the argument {value!r} is not an {kind}")
        return result

    def _export(self, name: bytes) -> bool:
        return bool(
            capi.instance_export_get(
                self._context, self._instance_address, name, len(name), self._slots.extern
            )
        )

    def _memory(self) -> GuestMemory:
        memory = self.state.memory
        if memory is None or not self._store:
            raise GuestError(f"{self.guest.name} has no memory called 'memory', or was closed")
        memory.refresh()
        return memory

    def _stopped(self, reason: str) -> None:
        """Called by the watchdog's thread: ends what runs outside wasm."""
        self.state.host.interrupt(f"limit {reason}")
        self._wasi.unblock()


def _fits_float(bits: int, value: int | float) -> bool:
    """Whether `value` is finite as a float of `bits`, or is not finite itself."""
    try:
        struct.pack("<f" if bits == 32 else "<d", value)
    except (struct.error, OverflowError):
        return False
    return True
