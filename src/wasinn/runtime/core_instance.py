# SPDX-License-Identifier: Apache-2.0
"""What every instance of a core module has, however it is run: its store, its limits, its exports."""

from __future__ import annotations

import ctypes
import re
import struct
import threading
from collections.abc import Callable
from typing import Any, NoReturn

import wasmtime

from wasinn.abi.core import capi
from wasinn.abi.core.memory import GuestMemory
from wasinn.abi.core.state import InstanceState
from wasinn.errors import GuestError
from wasinn.handles import Stats
from wasinn.host import GuestHost, Shared
from wasinn.runtime import growth
from wasinn.runtime.engine import Engine
from wasinn.runtime.forgotten import forget, free_forgotten, weakly_stopped
from wasinn.runtime.guest import Guest, Signature, link_error
from wasinn.runtime.limits import EpochCallback, Limits, RunControl, controls, set_limits
from wasinn.runtime.outcome import GuestExit, GuestTrap, Trap, trap_of
from wasinn.runtime.told import Told
from wasinn.runtime.wasi import Wasi, World

#: Instances, tables and memories: of a guest, the stub and the hot path.
_MOST = 4, 64, 4

#: What wasmtime says when the pool has no more of something.
_FULL = re.compile(r"maximum concurrent .*limit of (\d+)")

_freeing = threading.Lock()


class CoreInstance(Told):
    """A store with a guest that is about to be instantiated in it, or has been."""

    def __init__(
        self,
        guest: Guest,
        shared: Shared,
        world: World,
        limits: Limits,
        trace: bool,
        watched: Callable[[RunControl], None] | None,
        epoch_moved: EpochCallback,
    ) -> None:
        """Makes the store. `watched` is called with what can end the guest, before any of it runs;
        `epoch_moved` is called in the guest when the epoch has moved. Raises GuestTrap for a guest that
        starts with more memory than it may have."""
        free_forgotten()
        self.guest = guest
        engine = guest.engine
        engine.trap_signals.hold()
        host = GuestHost(shared)
        self.state = InstanceState(host, guest.name, trace)
        self.control = RunControl(engine.address, weakly_stopped(self))
        self.state.run = self
        self.exit_code: int | None = None
        self._wasi = Wasi(world, self.control, limits.max_output, guest.wasi_imports)
        self._limits = limits
        self._slots = capi.Slots()
        self._instance = capi.buffer_type(capi.INSTANCE_SIZE)()
        self._instance_address = ctypes.addressof(self._instance)
        self._store: int | None = capi.store_new(engine.address, None, None)
        self._context = capi.store_context(self._store)
        if watched is not None:
            watched(self.control)
        try:
            self._set_limits(engine, epoch_moved)
            self._wasi.attach(self._context)
        except BaseException as error:
            self._left_by(error)
            self._free()
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

    # -- for those that run it --------------------------------------------------------------------

    def _set_limits(self, engine: Engine, epoch_moved: EpochCallback) -> None:
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
        assert self._store
        set_limits(self._store, self.control, limits, engine.fuel, _MOST, epoch_moved)

    def _find_memory(self) -> None:
        """Notes where the guest's memory is, once it is instantiated."""
        if self._export(b"memory") and self._slots.extern_kind() == capi.EXTERN_MEMORY:
            self.state.memory = GuestMemory(self._context, self._slots.payload(capi.MEMORY_SIZE), fixed=True)

    def __del__(self) -> None:
        if getattr(self, "_store", None):
            forget(self)

    def _free(self) -> None:
        """Frees all it holds. May be called twice; never while the guest runs."""
        with _freeing:
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

    def _raise(self, error: int | None, trapped: int, instantiating: bool) -> NoReturn:
        """Makes an exception of what a call into wasm ended with."""
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
            full = _FULL.search(text)
            if full:
                raise GuestError(
                    f"{self.guest.name} cannot start: this process has {full[1]} instances open, and no room "
                    "for more; close those that are done with, or run fewer at a time"
                ) from reason
        raise trap_of(reason, self.control.limit, self._limits, self._refused_growth())

    def _refused_growth(self) -> int:
        # An instance that was not made has a handle of zeros, which wasmtime must not see.
        if not self.guest.counts_growth or not any(self._instance.raw):
            return 0
        if not self._export(growth.REFUSED_EXPORT.encode()):
            return 0
        return capi.read_global_i32(self._context, self._slots.payload(capi.GLOBAL_SIZE))

    def _function_export(self, name: str) -> tuple[Any, int, Signature]:
        """An exported function: what keeps it, its address, and its types. Raises GuestError."""
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
        return extern, address + capi.EXTERN_PAYLOAD, signature

    def _check_call(self, name: str, signature: Signature, arguments: tuple[Any, ...]) -> None:
        """Raises GuestError for a wrong number of arguments."""
        if len(arguments) != len(signature.parameters):
            raise GuestError(
                f"{name}{signature} takes {len(signature.parameters)} arguments, got {len(arguments)}"
            )

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

    def _closed_error(self) -> GuestError:
        return GuestError(f"this instance of {self.guest.name} is closed")


def _fits_float(bits: int, value: int | float) -> bool:
    """Whether `value` is finite as a float of `bits`, or is not finite itself."""
    try:
        struct.pack("<f" if bits == 32 else "<d", value)
    except (struct.error, OverflowError):
        return False
    return True


def one_or_all(results: tuple[Any, ...]) -> Any:
    """A function's result, a tuple of several, or None."""
    if len(results) == 1:
        return results[0]
    return results or None
