# SPDX-License-Identifier: Apache-2.0
"""What a guest needs of its host, and whether this host has it: for `wasinn check`.

Nothing of the guest runs. What the host has is asked of its linker, the one that links guests that are run.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Any

import wasmtime

from wasinn.abi.core import introspection, wamr, wasmedge, witx
from wasinn.errors import GuestError
from wasinn.runtime import binary, served, wasi
from wasinn.runtime.cache import CompileCache
from wasinn.runtime.engine import FUNCTIONS, MODULES, PROVIDED, Engine
from wasinn.runtime.guest import Guest, Signature

_PAGE = 65536


@dataclass(frozen=True)
class Need:
    """One thing that a guest imports: a function of a core module, or an interface of a component.

    `missing` says what is wrong with it in this host, and what is nearest; "" where the host has it.
    """

    module: str
    name: str
    type: str
    missing: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "module": self.module,
            "name": self.name,
            "type": self.type,
            "provided": not self.missing,
            "missing": self.missing or None,
        }


@dataclass(frozen=True)
class Memory:
    """A guest's memory; sizes in bytes, `maximum` None where the guest sets no limit."""

    exported: bool
    minimum: int
    maximum: int | None
    shared: bool
    wide: bool


@dataclass
class Requirements:
    """What is known of a guest without running it.

    `entry`: "command", "reactor", "start section", or "library", whose work is in exports that nobody calls
    unasked. `dialects`: those of WASI-NN. `numbering`: which numbers its tensor types have, in words; "" for
    none. `problems`: why this host cannot run it. `notes`: what may surprise.
    """

    name: str
    size: int
    kind: str
    entry: str = "library"
    dialects: list[str] = field(default_factory=list)
    numbering: str = ""
    memory: Memory | None = None
    needs: list[Need] = field(default_factory=list)
    exports: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def runs(self) -> bool:
        """Whether this host can run it, as far as can be seen."""
        return not self.problems and not any(each.missing for each in self.needs)

    @property
    def loads_bytes(self) -> bool:
        """Whether it can bring a model of its own."""
        return self._imports_graph("load", "load")

    @property
    def loads_by_name(self) -> bool:
        return self._imports_graph("load_by_name", "load-by-name") or self._imports_graph(
            "load_by_name_with_config", ""
        )

    def _imports_graph(self, core: str, component: str) -> bool:
        for each in self.needs:
            if each.name == core and each.module in (witx.MODULE, wamr.MODULE):
                return True
            if each.module.startswith("wasi:nn/graph") and component in each.name.split(", "):
                return True
        return False


_DIALECTS = (
    (witx.FUNCTIONS, "witx"),
    (wasmedge.FUNCTIONS, "WasmEdge"),
    (wamr.FUNCTIONS, "WAMR"),
    (introspection.FUNCTIONS, "wasinn"),
)


def read_module(wasm: bytes, name: str, engine: Engine, cache: CompileCache) -> Requirements:
    """The requirements of a core module, whatever is wrong with it."""
    found = Requirements(name, len(wasm), "core module")
    try:
        wasmtime.Module.validate(engine.engine, wasm)
        facts = binary.outline(wasm)
        types, exports = binary.function_types(wasm), binary.exports(wasm)
        functions = binary.exported_functions(wasm)
    except (wasmtime.WasmtimeError, ValueError, IndexError) as error:
        found.problems.append(f"it is not a valid wasm module: {' '.join(str(error).split())[:500]}")
        return found
    found.exports = sorted(exports)
    found.needs = _needs(facts, types, engine)
    imports = set(facts.imports)
    found.dialects = [
        label for table, label in _DIALECTS if any((each.module, each.name) in imports for each in table)
    ]
    found.numbering = _numbering(imports)
    found.entry = _entry(wasm, functions)
    found.memory = _memory(facts, exports)
    if MODULES & {module for module, _ in imports} and "memory" not in exports:
        found.problems.append(
            "it exports no memory called 'memory', so every call of WASI-NN fails (missing_memory): leave "
            'the linker\'s export of the memory on, or write (memory (export "memory") 1)'
        )
    elif MODULES & {module for module, _ in imports} and exports["memory"][0] != "memory":
        found.problems.append(f"its export 'memory' is a {exports['memory'][0]}, and no memory")
    _try_linking(found, wasm, engine, cache)
    if served.HANDLE in functions:
        _tell_of_serving(found, {each: Signature(*kinds) for each, kinds in functions.items()}, exports)
    return found


def _tell_of_serving(
    found: Requirements, functions: dict[str, Signature], exports: dict[str, tuple[str, int]]
) -> None:
    """A note of a guest that was made for `wasinn serve`, or why that cannot serve it."""
    try:
        served.form_of(found.name, functions, exports.get("memory", ("", 0))[0] == "memory")
    except GuestError as error:
        found.notes.append(f"wasinn serve cannot serve it: {str(error).removeprefix(f'{found.name} ')}")
    else:
        found.notes.append("it answers requests: wasinn serve --guest NAME=FILE")


def _needs(facts: binary.Outline, types: list[binary.Kinds], engine: Engine) -> list[Need]:
    store = wasmtime.Store(engine.engine)
    needs = []
    for (module, name), (kind, index) in dict(zip(facts.imports, facts.import_kinds, strict=True)).items():
        signature = Signature(*types[index]) if kind == "function" and index < len(types) else None
        wanted = str(signature) if signature is not None else kind
        needs.append(Need(module, name, wanted, _missing(module, name, kind, signature, engine, store)))
    return needs


def _missing(
    module: str,
    name: str,
    kind: str,
    signature: Signature | None,
    engine: Engine,
    store: wasmtime.Store,
) -> str:
    """What is wrong with an import, "" for nothing. Of a function whose type is not known, linking tells."""
    if module == wasi.MODULE or (module, name) in PROVIDED:
        try:
            extern = engine.linker.get(store, module, name)
        except wasmtime.WasmtimeError:
            return _no_function(module, name)
        if not isinstance(extern, wasmtime.Func):
            return f"it is no function here, and the guest imports a {kind}"
        if kind != "function":
            return f"the guest imports a {kind}, and it is a function"
        mine = extern.type(store)
        host = Signature(tuple(map(str, mine.params)), tuple(map(str, mine.results)))
        if signature is not None and host != signature:
            return f"the guest declares it as {signature}, and it is {host}"
        return ""
    if module in MODULES:
        return _no_function(module, name)
    return _no_module(module, name)


def _no_function(module: str, name: str) -> str:
    if module == wasi.MODULE:
        return "WASI preview 1 has no such function"
    elsewhere = sorted(each.module for each in FUNCTIONS if each.name == name)
    if elsewhere:
        return f"{module} has no such function; {', '.join(elsewhere)} has"
    known = sorted(each.name for each in FUNCTIONS if each.module == module)
    near = difflib.get_close_matches(name, known, 1)
    return f"{module} has no such function; " + (
        f"the nearest is {near[0]}" if near else f"it has {', '.join(known)}"
    )


#: Import modules that say by which toolchain a guest was made, and what to do.
_FOREIGN = {
    "wasi_unstable": "WASI of before preview 1; build it again with a toolchain of today (wasm32-wasip1)",
    "__wbindgen_placeholder__": "glue of wasm-bindgen, for JavaScript; build for wasm32-wasip1 instead",
    "wbg": "glue of wasm-bindgen, for JavaScript; build for wasm32-wasip1 instead",
    "go": "glue of Go for JavaScript; build with GOOS=wasip1",
    "gojs": "glue of Go for JavaScript; build with GOOS=wasip1",
}


def _no_module(module: str, name: str) -> str:
    if module in _FOREIGN:
        return _FOREIGN[module]
    if module.startswith(("wasi:", "wasinn:", "cm32p2|", "[export]")):
        return "the import of a component's core; make a component of it (wasm-tools component new)"
    known = sorted(MODULES | {wasi.MODULE})
    if module == "env":
        if name == "abort":
            return "AssemblyScript's own; build with --use abort=... (a function of yours), as the SDK does"
        return "a symbol that was declared and not linked: link what defines it, or declare its import module"
    near = difflib.get_close_matches(module, known, 1)
    return f"there is no module {module!r}; " + (
        f"the nearest is {near[0]}" if near else f"there are {', '.join(known)}"
    )


def _numbering(imports: set[tuple[str, str]]) -> str:
    if (witx.MODULE, "set_input") in imports:
        return "current, or that of before October 2023 (u8 2, i32 3): seen at the first set_input"
    if (wamr.MODULE, "set_input") in imports:
        return "WAMR's: f16 0, f32 1, u8 2, i32 3"
    return ""


def _entry(wasm: bytes, functions: dict[str, binary.Kinds]) -> str:
    if "_start" in functions:
        return "command"
    if "_initialize" in functions:
        return "reactor"
    starts = any(kind == binary.START for kind, _ in binary.sections(wasm))
    return "start section" if starts else "library"


def _memory(facts: binary.Outline, exports: dict[str, tuple[str, int]]) -> Memory | None:
    if not facts.memories:
        return None
    kind, index = exports.get("memory", ("", 0))
    exported = kind == "memory"
    each = facts.memories[index if exported else 0]
    maximum = None if each.maximum is None else each.maximum * _PAGE
    return Memory(exported, each.minimum * _PAGE, maximum, each.shared, each.wide)


def _try_linking(found: Requirements, wasm: bytes, engine: Engine, cache: CompileCache) -> None:
    """Compiles it and resolves its imports, as a run does: what that says beyond `needs` is a problem."""
    missing = any(each.missing for each in found.needs)
    try:
        guest = Guest(wasm, found.name, engine, cache)
        if not missing:
            guest.pre()
    except GuestError as error:
        text = str(error).removeprefix(f"{found.name} ")
        if not (missing and text.startswith("imports what this host does not provide")):
            found.problems.append(text)
