# SPDX-License-Identifier: Apache-2.0
"""A guest: a wasm module read, checked, compiled, and linked once for many instances.

Components are told from core modules here, and are then `ComponentGuest`s.
"""

from __future__ import annotations

import functools
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wasmtime

from wasinn import shipped
from wasinn.abi.core import capi, fiber_calls
from wasinn.errors import GuestError
from wasinn.runtime import binary, growth, wasi
from wasinn.runtime.cache import CompileCache
from wasinn.runtime.engine import MODULES, PROVIDED, Engine


@dataclass(frozen=True)
class Signature:
    """The parameter and result types of an export, as `i32`, `i64`, `f32`, `f64`, ..."""

    parameters: tuple[str, ...]
    results: tuple[str, ...]

    @functools.cached_property
    def values(self) -> fiber_calls.Values:
        """The layout of a fiber's call."""
        return fiber_calls.Values(self.parameters, self.results)

    @functools.cached_property
    def callable(self) -> bool:
        """Whether all of it is numbers, which is what can be passed from Python."""
        return all(kind in _FORMATS for kind in (*self.parameters, *self.results))

    @functools.cached_property
    def slots(self) -> int:
        """How many raw values of 16 bytes a call takes."""
        return max(len(self.parameters), len(self.results), 1)

    @functools.cached_property
    def pack(self) -> Callable[..., None]:
        return _layout(self.parameters).pack_into

    @functools.cached_property
    def unpack(self) -> Callable[..., tuple[Any, ...]]:
        return _layout(self.results).unpack_from

    def __str__(self) -> str:
        return f"({', '.join(self.parameters)}) -> ({', '.join(self.results)})"


_FORMATS = {"i32": "i12x", "i64": "q8x", "f32": "f12x", "f64": "d8x"}


def _layout(kinds: tuple[str, ...]) -> struct.Struct:
    """Raw values of wasm, 16 bytes apart."""
    return struct.Struct("<" + "".join(_FORMATS[kind] for kind in kinds))


class Guest:
    """A compiled guest. Made by `Host.guest`; every method may be called from any thread."""

    def __init__(self, wasm: bytes, name: str, engine: Engine, cache: CompileCache) -> None:
        """Raises GuestError, saying why, for what this host cannot run."""
        if is_component(wasm):
            raise GuestError(f"{name} is a component, and a core module was wanted")
        self.name = name
        self.engine = engine
        self.cache = cache
        self.imports = _check(wasm, name)
        self.wasi_imports = frozenset(each for module, each in self.imports if module == wasi.MODULE)
        counted = growth.instrument(wasm)
        #: Whether the module has the export that `growth` adds.
        self.counts_growth = counted is not wasm
        try:
            self.module = cache.module(engine.engine, counted)
        except wasmtime.WasmtimeError:
            try:
                # Were the counted module at fault, the guest's own would still compile.
                self.module = cache.module(engine.engine, wasm)
                self.counts_growth = False
            except wasmtime.WasmtimeError as error:
                raise GuestError(f"{name} does not compile: {_first_lines(error)}") from error
        # Not by `module.exports` of wasmtime-py, which ends the process at a type like v128.
        self.functions = {
            export: Signature(*kinds) for export, kinds in binary.exported_functions(wasm).items()
        }
        #: Whether the module runs something when it is instantiated.
        self.has_start = any(kind == binary.START for kind, _ in binary.sections(wasm))
        facts = binary.outline(wasm)
        #: What it imports, in order.
        self.import_list = tuple(facts.imports)
        #: The parameter and result types of each; None where not all are functions of numbers.
        self.import_kinds = _function_imports(facts, binary.function_types(wasm))
        #: Of the largest memory at its start, in bytes.
        self.minimum_memory = max((memory.minimum for memory in facts.memories), default=0) * 65536
        #: The number of its tables.
        self.tables = facts.tables
        self._pre: wasmtime.InstancePre | None = None
        self.pre_address = 0
        self._fiber_pres: dict[bool, wasmtime.InstancePre] = {}
        #: The addresses of modules with their imports resolved, for fibers: with plain graphs alone, or not.
        self.fiber_pre_addresses: dict[bool, int] = {}
        self._lock = threading.Lock()

    @functools.cached_property
    def uses_hot_path(self) -> bool:
        return ("wasi_ephemeral_nn", "set_input") in self.imports

    @functools.cached_property
    def is_reactor(self) -> bool:
        return "_start" not in self.functions and "_initialize" in self.functions

    def find_function(self, name: str) -> str:
        """The name of an exported function, if it is one. Raises GuestError."""
        if name not in self.functions:
            raise self.no_function(name)
        return name

    def no_function(self, name: str) -> GuestError:
        """The error for a function that the guest does not export."""
        known = ", ".join(sorted(self.functions)) or "none"
        return GuestError(f"{self.name} exports no function {name!r}; it exports: {known}")

    def pre(self) -> int:
        """The address of the module with its imports resolved. Raises GuestError for what does not link."""
        with self._lock:
            if self._pre is None:
                self._pre = self._linked(self.engine.linker)
                self.pre_address = capi.address_of(self._pre)
            return self.pre_address

    def fiber_pre(self, plain: bool) -> int:
        """The same for instances that run as fibers. `plain`: all graphs are loaded, and in this process."""
        linked = plain and not self.loads
        with self._lock:
            if linked not in self._fiber_pres:
                self._fiber_pres[linked] = self._linked(self.engine.fiber_linker(linked))
            found = self.fiber_pre_addresses[plain] = capi.address_of(self._fiber_pres[linked])
            return found

    @functools.cached_property
    def loads(self) -> bool:
        """Whether it can load models of its own."""
        return any(name == "load" for _, name in self.imports)

    def _linked(self, linker: wasmtime.Linker) -> wasmtime.InstancePre:
        try:
            return linker.instantiate_pre(self.module)
        except wasmtime.WasmtimeError as error:
            raise link_error(self.name, error) from error


def _function_imports(
    facts: binary.Outline, types: list[binary.Kinds]
) -> dict[tuple[str, str], binary.Kinds] | None:
    found: dict[tuple[str, str], binary.Kinds] = {}
    for each, (kind, index) in zip(facts.imports, facts.import_kinds, strict=True):
        if kind != "function" or index >= len(types):
            return None
        kinds = types[index]
        if not all(name in _FORMATS for names in kinds for name in names) or found.get(each, kinds) != kinds:
            return None
        found[each] = kinds
    return found


def link_error(name: str, error: Exception) -> GuestError:
    return GuestError(f"{name} does not link with this host: {_first_lines(error)}")


#: What tells one state of a file from another: its path, its time of change in ns, its size.
FileState = tuple[str, int, int]


def find_guest(guest: str | Path | bytes) -> tuple[Callable[[], bytes], str, FileState | None]:
    """A guest given as a path, as `@NAME` of a shipped one, or as bytes: how to read it, its name, and
    the state of its file. Raises GuestError."""
    if isinstance(guest, bytes):
        return lambda: guest, "guest", None
    try:
        path = shipped.resolve(str(guest), "guests")
        found = path.stat()
    except OSError as error:
        raise _unreadable(guest, error) from error

    def read() -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise _unreadable(guest, error) from error

    return read, path.name, (str(path), found.st_mtime_ns, found.st_size)


def _unreadable(guest: str | Path, error: OSError) -> GuestError:
    return GuestError(f"cannot read the guest {str(guest)!r}: {error.strerror or error}")


def to_binary(wasm: bytes, name: str) -> bytes:
    """A core module or a component, from the binary or the text format. Raises GuestError for neither."""
    if wasm[:8] in (binary.CORE_HEADER, binary.COMPONENT_HEADER):
        return wasm
    if wasm[:4] == binary.MAGIC and len(wasm) >= 8:
        version, layer = struct.unpack_from("<HH", wasm, 4)
        if layer == 1:
            raise GuestError(
                f"{name} is a component of version {version}, a draft; this host runs version 13. Build it "
                "again with tools of today"
            )
        raise GuestError(
            f"{name} is not a wasm module of version 1 nor a component of version 13, but version {version}, "
            f"layer {layer}"
        )
    if wasm.lstrip()[:1] == b"(":
        try:
            return bytes(wasmtime.wat2wasm(wasm.decode()))
        except (wasmtime.WasmtimeError, UnicodeDecodeError) as error:
            raise GuestError(f"{name} is not valid text of a wasm module: {_first_lines(error)}") from error
    head = wasm[:8].hex(" ") or "empty"
    raise GuestError(f"{name} is not a wasm module: its first bytes are {head}, not 00 61 73 6d")


def is_component(wasm: bytes) -> bool:
    """Whether a binary is a component, and not a core module."""
    return wasm[:8] == binary.COMPONENT_HEADER


def _check(wasm: bytes, name: str) -> frozenset[tuple[str, str]]:
    """The module's imports, if this host has them all. Raises GuestError."""
    try:
        facts = binary.outline(wasm)
    except (ValueError, IndexError) as error:
        raise GuestError(f"{name} is not a valid wasm module: {error}") from error
    imports = frozenset(facts.imports)
    unknown = [
        f"{module}.{function}"
        for module, function in facts.imports
        if module != wasi.MODULE and (module, function) not in PROVIDED
    ]
    if unknown:
        listed = ", ".join(unknown[:8]) + (", ..." if len(unknown) > 8 else "")
        known = ", ".join(sorted(MODULES | {wasi.MODULE}))
        raise GuestError(f"{name} imports what this host does not provide: {listed}; it provides {known}")
    if any(module in MODULES for module, _ in imports):
        memories = facts.memories
        if len(memories) > 1:
            raise GuestError(
                f"{name} has {len(memories)} memories; a WASI-NN pointer does not say which one it means"
            )
        if any(memory.wide for memory in memories):
            raise GuestError(f"{name} has a 64-bit memory; the pointers of WASI-NN have 32 bits")
        if any(memory.shared for memory in memories):
            raise GuestError(f"{name} has a shared memory, which can change while the host reads it")
    return imports


def _first_lines(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
