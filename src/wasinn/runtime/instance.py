# SPDX-License-Identifier: Apache-2.0
"""One instance of a guest, on the raw C API: a fresh one costs tens of microseconds."""

from __future__ import annotations

import ctypes
import struct
import time
from threading import get_ident
from types import TracebackType
from typing import Any, Self

import wasmtime

from wasinn.abi.core import capi
from wasinn.abi.core.hot_path import HOT_NAMES, HotPath
from wasinn.abi.core.memory import GuestMemory
from wasinn.abi.core.state import InstanceState
from wasinn.abi.core.trampoline import running
from wasinn.errors import GuestError
from wasinn.host import GuestHost, Shared, Stats
from wasinn.runtime import growth
from wasinn.runtime.engine import Engine
from wasinn.runtime.guest import Guest, Signature, link_error
from wasinn.runtime.limits import EPOCH_MOVED, Limits, RunControl, controls, watchdog
from wasinn.runtime.outcome import GuestExit, GuestTrap, Trap, trap_of
from wasinn.runtime.wasi import Wasi, World

_NO_LIMIT = -1
#: A guest, the stub and the hot path.
_INSTANCES, _TABLES, _MEMORIES = 4, 64, 4

_VALUES = {
    "i32": struct.Struct("<i"),
    "i64": struct.Struct("<q"),
    "f32": struct.Struct("<f"),
    "f64": struct.Struct("<d"),
}


class Instance:
    """A running guest: its memory, its exports, its handles on the host.

    Use it in one thread at a time, and not in the main thread of a process that handles signals in
    Python (`Host.run` takes a thread of its own). Close it, or use it in a `with` statement.
    """

    def __init__(
        self,
        guest: Guest,
        shared: Shared,
        world: World,
        limits: Limits,
        long_lived: bool = False,
        trace: bool = False,
    ) -> None:
        """Instantiates `guest`, which runs its start section, and `_initialize` of a reactor.

        `long_lived` prepares the hot path: 0.1 ms once, for a guest that calls in a loop. Raises
        GuestError for what does not link, GuestTrap and GuestExit for how the start ended.
        """
        self.guest = guest
        engine = guest.engine
        host = GuestHost(shared)
        self.state = InstanceState(host, guest.name, trace)
        self.control = RunControl(engine.address, self._stopped)
        self.state.run = self
        self.exit_code: int | None = None
        self._wasi = Wasi(world, self.control, limits.max_output)
        self._limits = limits
        self._slots = capi.Slots()
        self._instance = ctypes.create_string_buffer(capi.INSTANCE_SIZE)
        self._functions: dict[str, tuple[Any, Signature]] = {}
        self._arguments = ctypes.create_string_buffer(capi.RAW_VALUE_SIZE * 16)
        self._started = time.perf_counter()
        self._store = capi.store_new(engine.address, None, None)
        self._context = capi.store_context(self._store)
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

        Raises GuestError for a name, a number or a type of argument that the guest does not have,
        GuestTrap if it traps or runs into a limit, GuestExit if it exits.
        """
        function, signature = self._function(name)
        buffer = self._arguments
        if len(arguments) != len(signature.parameters):
            raise GuestError(
                f"{name}{signature} takes {len(signature.parameters)} arguments, got {len(arguments)}"
            )
        try:
            for index, (kind, value) in enumerate(zip(signature.parameters, arguments, strict=True)):
                _VALUES[kind].pack_into(buffer, capi.RAW_VALUE_SIZE * index, _signed(kind, value))
        except (struct.error, TypeError) as error:
            raise GuestError(f"{name}{signature}: argument {value!r} does not fit {kind}: {error}") from None
        count = max(len(arguments), len(signature.results), 1)
        self._run(
            capi.call_unchecked,
            self._context,
            ctypes.addressof(function),
            ctypes.addressof(buffer),
            count,
            self._slots.trap,
        )
        results = tuple(
            _VALUES[kind].unpack_from(buffer, capi.RAW_VALUE_SIZE * index)[0]
            for index, kind in enumerate(signature.results)
        )
        if not results:
            return None
        return results[0] if len(results) == 1 else results

    def close(self) -> None:
        """Ends the instance and frees all it holds. May be called twice."""
        if not self._store:
            return
        if self.state.hot_path is not None:
            self.state.hot_path.collect_stats()
        self.control.finished = True
        controls.pop(self.control.number, None)
        self.state.host.close()
        self._wasi.close()
        store, self._store = self._store, None
        capi.store_delete(store)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_store", None):
            self.close()

    # -- making it -----------------------------------------------------------------------------------

    def _set_limits(self, engine: Engine) -> None:
        limits, context = self._limits, self._context
        most = limits.max_memory if limits.max_memory is not None else _NO_LIMIT
        if limits.max_memory is not None and self.guest.minimum_memory > limits.max_memory:
            raise GuestTrap(
                Trap(
                    "memory",
                    f"the guest starts with {self.guest.minimum_memory} bytes of memory, "
                    f"and its limit is {limits.max_memory}",
                ),
                "memory",
            )
        capi.store_limiter(self._store, most, _NO_LIMIT, _INSTANCES, _TABLES, _MEMORIES)
        controls[self.control.number] = self.control
        capi.store_epoch_callback(self._store, EPOCH_MOVED, self.control.number, None)
        capi.set_epoch_deadline(context, 1)
        if limits.deadline is not None:
            watchdog.watch(self.control, limits.deadline)
        if engine.fuel:
            fuel = limits.fuel if limits.fuel is not None else (1 << 64) - 1
            capi.raise_error(capi.set_fuel(context, fuel))

    def _instantiate(self, hot: bool) -> None:
        instance = ctypes.addressof(self._instance)
        if not hot:
            pre = capi.address_of(self.guest.pre())
            self._run(capi.instance_pre_instantiate, pre, self._context, instance, self._slots.trap)
        else:
            linker = capi.linker_clone(capi.address_of(self.guest.engine.linker))
            try:
                self._link_hot_path(linker)
                module = capi.address_of(self.guest.module)
                self._run(
                    capi.linker_instantiate, linker, self._context, module, instance, self._slots.trap
                )
            finally:
                capi.linker_delete(linker)
        if self._export(b"memory") and self._slots.extern_kind() == capi.EXTERN_MEMORY:
            self.state.memory = GuestMemory(self._context, self._slots.payload(capi.MEMORY_SIZE))

    def _link_hot_path(self, linker: int) -> None:
        """Instantiates the stub and puts its functions over the dialect's in `linker`."""
        engine = self.guest.engine
        stub, hot = engine.hot_modules(self.guest.cache)
        slow = capi.address_of(engine.slow_linker())
        instance = ctypes.create_string_buffer(capi.INSTANCE_SIZE)
        address = ctypes.addressof(instance)
        self._run(
            capi.linker_instantiate, slow, self._context, capi.address_of(stub), address, self._slots.trap
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
        table = externs.pop("table")
        self.state.hot_path = HotPath(
            self.state, self._context, engine.address, capi.address_of(hot), table, externs
        )

    # -- calling ---------------------------------------------------------------------------------------

    def _run(self, function: Any, *arguments: Any) -> None:
        """Enters wasm, and makes an exception of whatever it ends with."""
        thread = get_ident()
        before = running.get(thread)
        running[thread] = self.state
        try:
            error = function(*arguments)
        finally:
            if before is None:
                running.pop(thread, None)
            else:
                running[thread] = before
        trapped = self._slots.take_trap()
        if error or trapped or self.state.escaped is not None:
            self._raise(error, trapped, instantiating=function is not capi.call_unchecked)

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
            raise GuestExit(self.exit_code)
        assert reason is not None
        if instantiating and isinstance(reason, wasmtime.WasmtimeError) and self.control.limit is None:
            text = str(reason)
            if "unknown import" in text or "incompatible import" in text:
                raise link_error(self.guest.name, reason)
        raise trap_of(reason, self.control.limit, self._limits, self._refused_growth())

    def _refused_growth(self) -> int:
        # An instance that was not made has a handle of zeros, which wasmtime must not see.
        if not any(self._instance.raw) or not self._export(growth.REFUSED_EXPORT.encode()):
            return 0
        return capi.read_global_i32(self._context, self._slots.payload(capi.GLOBAL_SIZE))

    def _function(self, name: str) -> tuple[Any, Signature]:
        found = self._functions.get(name)
        if found is None:
            signature = self.guest.functions.get(name)
            if signature is None or not self._export(name.encode()):
                known = ", ".join(sorted(self.guest.functions)) or "none"
                raise GuestError(f"{self.guest.name} exports no function {name!r}; it exports: {known}")
            strange = [kind for kind in (*signature.parameters, *signature.results) if kind not in _VALUES]
            if strange:
                raise GuestError(f"{name}{signature} cannot be called from here: {strange[0]} has no value")
            needed = capi.RAW_VALUE_SIZE * max(len(signature.parameters), len(signature.results), 1)
            if needed > len(self._arguments):
                self._arguments = ctypes.create_string_buffer(needed)
            found = self._functions[name] = (self._slots.payload(capi.FUNC_SIZE), signature)
        return found

    def _export(self, name: bytes) -> bool:
        instance = ctypes.addressof(self._instance)
        return bool(capi.instance_export_get(self._context, instance, name, len(name), self._slots.extern))

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


def _signed(kind: str, value: int | float) -> int | float:
    """Unsigned integers, which pointers are, as the signed ones of the same bits."""
    bits = {"i32": 32, "i64": 64}.get(kind)
    if bits is not None and isinstance(value, int) and 1 << (bits - 1) <= value < 1 << bits:
        return value - (1 << bits)
    return value
