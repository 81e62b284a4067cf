# SPDX-License-Identifier: Apache-2.0
"""A guest that is a component: checked, given the adapter, compiled, and its exports read."""

from __future__ import annotations

import difflib
import functools
import hashlib
import logging
import re
from importlib import resources
from typing import TYPE_CHECKING

import wasmtime
from wasmtime import component as wasmtime_component

from wasinn.abi.component import hosting
from wasinn.abi.component.rewrite import NotRewritable, rewrite, wrap
from wasinn.abi.component.snapshots import INTROSPECTION, SNAPSHOTS, STREAMING
from wasinn.errors import GuestError
from wasinn.runtime import component_wasi
from wasinn.runtime.component_types import Signature, read_signature

if TYPE_CHECKING:
    from wasinn.runtime.cache import CompileCache
    from wasinn.runtime.engine import Engine

logger = logging.getLogger("wasinn.host")

#: What else this host provides: by interface, its versions ("" for none).
_VERSIONS = [snapshot.removeprefix("@") for snapshot in SNAPSHOTS]
_OURS = {f"wasi:nn/{name}": _VERSIONS for name in ("tensor", "graph", "inference", "errors")}
for _own in (INTROSPECTION, STREAMING):
    _OURS[_own.partition("@")[0]] = [_own.partition("@")[2]]

_RUN = re.compile(r"wasi:cli/run@0\.2\.\d+#run")
#: The functions of `wasi:nn` with bulk data, as the type of an import has their names.
_BULK_FUNCTIONS = (b"[constructor]tensor\x01", b"[method]tensor.data\x01", b"\x04load\x01")
#: What wasmtime says where the linker lacks an import.
_MISSING = re.compile(r"component imports \w+ `([^`]+)`, but (?:a matching implementation was )?not found")


class ComponentGuest:
    """A compiled component. Made by `Host.guest`; every method may be called from any thread."""

    def __init__(self, wasm: bytes, name: str, engine: Engine, cache: CompileCache) -> None:
        """Raises GuestError, saying why, for what this host cannot run."""
        self.name = name
        self.engine = engine
        try:
            self.component = self._compiled(wasm, cache)
        except wasmtime.WasmtimeError as error:
            raise GuestError(f"{name} does not compile: {_one_line(error)}") from error
        kind = self.component.type
        self.imports = frozenset(kind.imports(engine.engine))
        self._check_imports()
        #: The signature of each exported function, by `name` or `package:name/interface@version#name`.
        self.functions: dict[str, Signature] = {}
        self._indices: dict[str, wasmtime_component.ExportIndex] = {}
        for export, extern in kind.exports(engine.engine).items():
            self._read_export(export, extern)

    def _compiled(self, wasm: bytes, cache: CompileCache) -> wasmtime_component.Component:
        def compile_component() -> wasmtime_component.Component:
            why: Exception | None = None
            for rewriting in (rewrite, wrap):
                try:
                    rewritten = rewriting(wasm)
                except NotRewritable as error:
                    why = error
                    break
                if rewritten == wasm:
                    break
                try:
                    return wasmtime_component.Component(self.engine.engine, rewritten)
                except wasmtime.WasmtimeError as error:
                    why = error
            # Were the rewriting at fault, the guest's own would still compile.
            own = wasmtime_component.Component(self.engine.engine, wasm)
            if why is not None:
                self._tell_of_no_adapter(wasm, _one_line(why))
            return own

        return cache.component(self.engine.engine, wasm, f"rewriter {_rewriter_version()}", compile_component)

    def _tell_of_no_adapter(self, wasm: bytes, why: str) -> None:
        """A warning where it costs something: where the guest moves bulk data through `wasi:nn`."""
        moves = b"wasi:nn/" in wasm and any(name in wasm for name in _BULK_FUNCTIONS)
        level = logging.WARNING if moves else logging.INFO
        logger.log(
            level,
            "%s is run without the adapter, so its tensors and models move slowly, and 2.79 MB at most: %s",
            self.name,
            why,
        )

    def _read_export(self, name: str, extern: wasmtime_component._types.ComponentExtern) -> None:
        try:
            found = extern.ty
        except TypeError:  # a kind that wasmtime-py does not know: nothing to call
            return
        if isinstance(found, wasmtime_component.FuncType):
            self._add_function(name, found, self.component.get_export_index(name))
        elif isinstance(found, wasmtime_component.ComponentInstanceType):
            interface = self.component.get_export_index(name)
            for inner, inner_extern in found.exports(self.engine.engine).items():
                try:
                    kind = inner_extern.ty
                except TypeError:
                    continue
                if isinstance(kind, wasmtime_component.FuncType):
                    index = self.component.get_export_index(inner, interface)
                    self._add_function(f"{name}#{inner}", kind, index)

    def _add_function(
        self,
        name: str,
        kind: wasmtime_component.FuncType,
        index: wasmtime_component.ExportIndex | None,
    ) -> None:
        if index is not None:
            self.functions[name] = read_signature(kind)
            self._indices[name] = index

    def index(self, name: str) -> wasmtime_component.ExportIndex:
        """Where wasmtime finds the function, by its full name."""
        return self._indices[name]

    def find_function(self, name: str) -> str:
        """The full name of an exported function: given in full, without the version of its interface, or
        by its own name alone if only one has it. Raises GuestError."""
        if name in self.functions:
            return name
        found = [each for each in self.functions if _unversioned(each) == name or each.split("#")[-1] == name]
        if len(found) == 1:
            return found[0]
        if found:
            raise GuestError(f"{self.name} has several functions {name!r}: {', '.join(sorted(found))}")
        raise self.no_function(name)

    def no_function(self, name: str) -> GuestError:
        """The error for a function that the guest does not export."""
        known = ", ".join(sorted(self.functions)) or "none"
        return GuestError(f"{self.name} exports no function {name!r}; it exports: {known}")

    @functools.cached_property
    def command(self) -> str | None:
        """The full name of `wasi:cli/run`'s function, of a guest that is a command."""
        return next((name for name in self.functions if _RUN.fullmatch(name)), None)

    # -- imports ---------------------------------------------------------------------------------------

    def _check_imports(self) -> None:
        """Raises GuestError for interfaces that this host knows nothing of, with the nearest that it has."""
        engine = self.engine.engine
        externs = self.component.type.imports(engine)
        unknown = [
            name
            for name in sorted(self.imports)
            if not _is_provided(name) and not _has_only_types(externs[name], engine)
        ]
        if unknown:
            raise self._not_provided(unknown)

    def _not_provided(self, names: list[str]) -> GuestError:
        listed = "; ".join(f"{name} ({_nearest(name)})" for name in names[:8])
        more = "; ..." if len(names) > 8 else ""
        return GuestError(f"{self.name} imports what this host does not provide: {listed}{more}")

    def link_error(self, error: Exception) -> GuestError:
        """The error for a component that the linker refused."""
        found = _MISSING.search(str(error))
        if found is not None and not _is_provided(found.group(1)):
            return self._not_provided([found.group(1)])
        advice = hosting.explain_trap(str(error))
        why = f"{_one_line(error)}{f' ({advice})' if advice else ''}"
        return GuestError(f"{self.name} does not link with this host: {why}")


def _is_provided(name: str) -> bool:
    interface, _, version = name.partition("@")
    if interface in _OURS:
        return version in _OURS[interface]
    return interface in component_wasi.INTERFACES and re.fullmatch(r"0\.2\.\d+", version) is not None


def _has_only_types(extern: wasmtime_component._types.ComponentExtern, engine: wasmtime.Engine) -> bool:
    """Whether an import is an interface of plain types, such as records: nobody has to provide those."""
    needed = (
        wasmtime_component.FuncType,
        wasmtime_component.ResourceType,
        wasmtime_component.ComponentInstanceType,
    )
    try:
        found = extern.ty
        return isinstance(found, wasmtime_component.ComponentInstanceType) and not any(
            isinstance(inner.ty, needed) for inner in found.exports(engine).values()
        )
    except TypeError:  # a kind that wasmtime-py does not know
        return False


def _nearest(name: str) -> str:
    """What this host has that is most like the interface `name`, in words."""
    interface, _, _ = name.partition("@")
    if interface in _OURS:
        versions = (f"{interface}@{version}" if version else interface for version in _OURS[interface])
        return f"it has {', '.join(versions)}"
    if interface in component_wasi.INTERFACES:
        return f"it has {interface}@0.2.0 and later 0.2"
    if interface.startswith("wasi:http/"):
        return "WASI HTTP is not provided"
    near = difflib.get_close_matches(interface, [*_OURS, *component_wasi.INTERFACES], 1)
    if near:
        return f"the nearest is {near[0]}"
    return "it provides wasi:cli, clocks, filesystem, io, random, sockets of 0.2, wasi:nn and wasinn:nn"


def _unversioned(name: str) -> str:
    interface, hash_sign, function = name.rpartition("#")
    return f"{interface.partition('@')[0]}{hash_sign}{function}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]


@functools.cache
def _rewriter_version() -> str:
    """What changes with the rewriter: its source, so that no older rewriting is taken from the cache."""
    digest = hashlib.sha256()
    for file in sorted(resources.files("wasinn.abi.component").iterdir(), key=lambda file: file.name):
        if file.name.endswith((".py", ".pyc", ".wat")):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
