# SPDX-License-Identifier: Apache-2.0
"""What a component needs of its host, and whether this host has it: for `wasinn check`.

Nothing of the component runs: a component with its imports and none of its code is linked in its place.
"""

from __future__ import annotations

import ctypes
from typing import Any

import wasmtime
from wasmtime import component as wasmtime_component

from wasinn.abi.component import binary
from wasinn.abi.component import capi as component_capi
from wasinn.abi.component.model import NotRewritable, Section
from wasinn.abi.component.shapes import SHAPES, Shape
from wasinn.abi.component.snapshots import INTROSPECTION, STREAMING
from wasinn.abi.core import capi
from wasinn.errors import GuestError
from wasinn.runtime import component_calls, component_guest, forked
from wasinn.runtime.cache import CompileCache
from wasinn.runtime.component_guest import ComponentGuest
from wasinn.runtime.component_types import WitType, read_type
from wasinn.runtime.engine import Engine
from wasinn.runtime.requirements import Need, Requirements

#: What the types of imports are made of.
_TYPES = (Section.IMPORT, Section.TYPE, Section.ALIAS, Section.CORE_TYPE)
_NEVER = 1 << 40


class _AnyImports(ComponentGuest):
    """A component that is compiled whatever it imports."""

    def _check_imports(self) -> None:
        pass


def read_component(wasm: bytes, name: str, engine: Engine, cache: CompileCache) -> Requirements:
    """The requirements of a component, whatever is wrong with it."""
    found = Requirements(name, len(wasm), "component")
    try:
        guest = _AnyImports(wasm, name, engine, cache)
    except GuestError as error:
        found.problems.append(str(error).removeprefix(f"{name} "))
        return found
    found.exports = sorted(guest.functions)
    found.entry = "command" if guest.command is not None else "library"
    bare = _without_code(wasm, engine)
    component = guest.component if bare is None else bare
    externs = component.type.imports(engine.engine)
    for each in sorted(externs):
        found.needs.append(_need(each, externs[each], engine.engine))
    found.dialects = _dialects(found.needs)
    if any(each.missing for each in found.needs):
        return found
    if bare is None:
        found.notes.append("whether the types of its imports fit is seen when it runs")
        return found
    refused = _link(bare, engine)
    if refused is not None:
        found.problems.append(str(guest.link_error(refused)).removeprefix(f"{name} "))
    return found


def _dialects(needs: list[Need]) -> list[str]:
    """The snapshots of `wasi:nn`, as its packages are called."""
    found: dict[str, None] = {}
    for each in needs:
        interface, at, version = each.module.partition("@")
        if interface.startswith("wasi:nn/"):
            found[f"wasi:nn{at}{version}"] = None
        elif each.module in (INTROSPECTION, STREAMING):
            found["wasinn:nn"] = None
    return list(found)


def _need(name: str, extern: Any, engine: wasmtime.Engine) -> Need:
    functions = _functions(extern, engine)
    listed = ", ".join(functions)
    if component_guest._has_only_types(extern, engine):
        return Need(name, "", "types alone")
    if not component_guest._is_provided(name):
        return Need(name, listed, "interface", component_guest._nearest(name))
    if name.startswith("wasi:nn/") or name in (INTROSPECTION, STREAMING):
        wrong = [f"{each}: {why}" for each, kind in functions.items() if (why := _wrong(each, kind))]
        return Need(name, listed, "interface", "; ".join(wrong))
    return Need(name, listed, "interface")


def _functions(extern: Any, engine: wasmtime.Engine) -> dict[str, Any]:
    """The functions of an imported interface, by name, with wasmtime's own types."""
    result = {}
    try:
        kind = extern.ty
    except TypeError:  # a kind that wasmtime-py does not know
        return {}
    if not isinstance(kind, wasmtime_component.ComponentInstanceType):
        return {}
    for name, inner in kind.exports(engine).items():
        try:
            found = inner.ty
        except TypeError:
            continue
        if isinstance(found, wasmtime_component.FuncType):
            result[name] = found
    return result


def _wrong(name: str, function: Any) -> str:
    """What is wrong with the type of a function of `wasi:nn`, which linking does not look at."""
    shape = SHAPES.get(name)
    if shape is None:
        return ""  # then linking says that it is not there
    try:
        kinds = [read_type(kind) for _, kind in function.params]
    except TypeError:
        return ""
    alternatives, results = shape
    made = 0 if function.result is None else 1
    if made == results and any(
        len(each) == len(kinds) and all(map(_is, each, kinds)) for each in alternatives
    ):
        return ""
    declared = ", ".join(str(kind) for kind in kinds)
    return f"declared with ({declared}), which no snapshot of wasi:nn has"


def _is(shape: Shape, kind: WitType) -> bool:
    if shape[0] == component_capi.RESOURCE:
        return kind.kind == "unknown"  # a handle cannot be passed from here, and so has no name
    if getattr(component_capi, kind.kind.upper(), None) != shape[0]:
        return False
    parts = [part for _, part in kind.parts if part is not None]
    if shape[0] == component_capi.TUPLE:
        return len(parts) == len(shape) - 1 and all(map(_is, shape[1:], parts))
    return len(shape) == 1 or _is(shape[1], parts[0])


def _without_code(wasm: bytes, engine: Engine) -> wasmtime_component.Component | None:
    """A component with the imports of `wasm`, and nothing else; None where they do not come first."""
    try:
        found = list(binary.sections(wasm))
    except NotRewritable:
        return None
    last = max((number for number, (kind, *_) in enumerate(found) if kind == Section.IMPORT), default=-1)
    parts = [binary.HEADER]
    for kind, start, _, end in found[: last + 1]:
        if kind in _TYPES:
            parts.append(wasm[start:end])
        elif kind != Section.CUSTOM:
            return None
    forked.use(forked.COMPILING)
    try:
        return wasmtime_component.Component(engine.engine, b"".join(parts))
    except wasmtime.WasmtimeError:
        return None


def _link(bare: wasmtime_component.Component, engine: Engine) -> Exception | None:
    """Links a component without code; what the linker says against it."""
    store = capi.store_new(engine.address, None, None)
    try:
        context = capi.store_context(store)
        capi.set_epoch_deadline(context, _NEVER)
        instance = capi.buffer_type(component_calls.INSTANCE_SIZE)()
        linker, address = engine.component_linker().address, component_capi.address_of(bare)
        capi.raise_error(component_calls.instantiate(linker, context, address, ctypes.addressof(instance)))
    except wasmtime.WasmtimeError as error:
        return error
    finally:
        capi.store_delete(store)
    return None
