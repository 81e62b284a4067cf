# SPDX-License-Identifier: Apache-2.0
"""The wasm engine of the process, its linker, and the modules of the hot path.

Epochs are on (limits), instances come from a pool (a fresh one in 10 us), a memory reserves 4 GiB,
so that it never moves and bounds checks cost nothing. The async functions of the component model (WASI 0.3)
are off.
"""

from __future__ import annotations

import functools
import logging
import threading
from typing import Any

import wasmtime
from wasmtime import _ffi as ffi

from wasinn.abi.core import capi, introspection, trampoline, wamr, wasmedge, witx
from wasinn.abi.core.hot_path import HOT_FUNCTIONS, wat_text
from wasinn.runtime import fiber_answers, prepared_store, wasi
from wasinn.runtime.cache import CompileCache
from wasinn.runtime.component_linker import ComponentLinker
from wasinn.runtime.ticker import Ticker
from wasinn.runtime.trap_signals import trap_signals

logger = logging.getLogger("wasinn.host")

#: Every function of every dialect.
FUNCTIONS = (*witx.FUNCTIONS, *wasmedge.FUNCTIONS, *wamr.FUNCTIONS, *introspection.FUNCTIONS)
#: What a guest may import beside WASI, by module.
PROVIDED = {(function.module, function.name) for function in FUNCTIONS}
MODULES = {module for module, _ in PROVIDED}

#: Slots of the pool. A guest with the hot path takes three instances, two memories, two tables. What prepared
#: stores hold between requests is nobody else's.
_POOL = {
    "total_core_instances": 3000 + prepared_store.HELD_INSTANCES,
    "total_stacks": 1500 + prepared_store.MAX_OPEN,
    "total_memories": 1500 + prepared_store.HELD_MEMORIES,
    "total_tables": 3000 + prepared_store.HELD_TABLES,
    "max_memories_per_module": 2,
    "max_tables_per_module": 8,
    "table_elements": 1 << 17,
    "max_core_instance_size": 16 << 20,
    "linear_memory_keep_resident": 1 << 16,
    "table_keep_resident": 1 << 12,
}


class Engine:
    """An engine with everything that its instances share."""

    def __init__(self, fuel: bool) -> None:
        self.fuel = fuel
        self.pooled = True
        try:
            self.engine = wasmtime.Engine(_config(fuel, pooled=True))
        except wasmtime.WasmtimeError as error:
            # A process with little address space (ulimit -v) cannot reserve the pool.
            logger.debug("no pool of instances: %s", error)
            self.pooled = False
            self.engine = wasmtime.Engine(_config(fuel, pooled=False))
        self.address = capi.address_of(self.engine)
        self.trap_signals = trap_signals()
        self.key = f"epochs fuel={fuel} pooled={self.pooled} async=False"
        self._keep: list[Any] = []
        self.types: capi.FunctionTypes = {}
        self.linker = wasmtime.Linker(self.engine)
        self.linker.allow_shadowing = True
        wasi.define(self.linker, self.types)
        trampoline.define(capi.address_of(self.linker), self.types, FUNCTIONS, self._keep)
        self._slow_linker: wasmtime.Linker | None = None
        self._fiber_linkers: dict[bool, wasmtime.Linker] = {}
        self._component_linker: ComponentLinker | None = None
        self._lock = threading.Lock()
        self._prepared: tuple[wasmtime.Module, wasmtime.Linker] | None = None
        self._hot: tuple[wasmtime.Module, wasmtime.Module] | None = None

    def hot_modules(self, cache: CompileCache) -> tuple[wasmtime.Module, wasmtime.Module]:
        """(stub, hot path), compiled once."""
        with self._lock:
            if self._hot is None:
                wasm = [bytes(wasmtime.wat2wasm(wat_text(name))) for name in ("hot_stub.wat", "hot_path.wat")]
                self._hot = cache.module(self.engine, wasm[0]), cache.module(self.engine, wasm[1])
            return self._hot

    def slow_linker(self) -> wasmtime.Linker:
        """A linker with the functions behind the hot path, as module `slow`."""
        with self._lock:
            if self._slow_linker is None:
                linker = wasmtime.Linker(self.engine)
                slow = [each.renamed("slow") for each in HOT_FUNCTIONS]
                trampoline.define(capi.address_of(linker), self.types, slow, self._keep)
                self._slow_linker = linker
            return self._slow_linker

    def fiber_linker(self, plain: bool) -> wasmtime.Linker:
        """The linker of guests that run as fibers: what takes long is answered later (`fiber_answers`)."""
        with self._lock:
            linker = self._fiber_linkers.get(plain)
            if linker is None:
                linker = wasmtime.Linker(self.engine)
                linker.allow_shadowing = True
                wasi.define(linker, self.types, sleeps=False)
                fiber_answers.define(capi.address_of(linker), self.types, FUNCTIONS, self._keep, plain)
                self._fiber_linkers[plain] = linker
            return linker

    def prepared(self, cache: CompileCache) -> tuple[wasmtime.Module, wasmtime.Linker]:
        """What stands beside the guest in a prepared store, compiled once, and a linker with what it imports
        of the host."""
        with self._lock:
            if self._prepared is None:
                module = cache.module(self.engine, bytes(wasmtime.wat2wasm(wat_text("prepared.wat"))))
                linker = wasmtime.Linker(self.engine)
                prepared_store.define(capi.address_of(linker), self.types, self._keep)
                self._prepared = module, linker
            return self._prepared

    @functools.cached_property
    def ticker(self) -> Ticker:
        """What has fibers take turns."""
        return Ticker(self.address)

    def component_linker(self) -> ComponentLinker:
        """The linker of all components, made when the first one needs it."""
        with self._lock:
            if self._component_linker is None:
                self._component_linker = ComponentLinker(self.engine)
            return self._component_linker


def _config(fuel: bool, pooled: bool) -> wasmtime.Config:
    config = wasmtime.Config()
    config.epoch_interruption = True
    config.consume_fuel = fuel
    # A fiber's stack is as large as a thread's: the host's side of its calls, quick computes among them, runs
    # on it. It is address space until it is used.
    ffi.wasmtime_config_async_stack_size_set(config.ptr(), 8 << 20)
    config.wasm_multi_memory = True  # for the hot path; guests with several memories are refused
    # WASI 0.3, which has async functions, is not served; without them no guest can wait in the runtime.
    ffi.wasmtime_config_wasm_component_model_async_set(config.ptr(), False)
    ffi.wasmtime_config_concurrency_support_set(config.ptr(), False)
    if pooled:
        pool = ffi.wasmtime_pooling_allocation_config_new()
        for name, value in _POOL.items():
            getattr(ffi, f"wasmtime_pooling_allocation_config_{name}_set")(pool, value)
        ffi.wasmtime_pooling_allocation_strategy_set(config.ptr(), pool)
        ffi.wasmtime_pooling_allocation_config_delete(pool)
    return config


def get_engine(fuel: bool = False) -> Engine:
    """The engine of the process; a second one where guests are given fuel."""
    return _engine(fuel)


_engine = functools.cache(Engine)
