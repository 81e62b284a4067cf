# SPDX-License-Identifier: Apache-2.0
"""The adapter: a small component between a guest and the host's `wasi:nn`, written here as text.

The guest calls the adapter's functions, which have the types that the guest expects, with `list<u8>`. The
runtime copies such lists between the guest's memory and the adapter's, a byte a turn of a loop (0.4 ms for
600 KB, twice that with epochs): most of what a tensor costs. The adapter turns them into text, in place, and
calls the host's private functions; `bulk` has the coding and the calls.

**Its memory.** It has one of its own, from one page up. The arguments of a call lie one after another, from
HEAP up, and what a call needs beside them lies after them; when the call is over, all of it is free again. So
the memory grows to the largest call: the list (or the builders of a load together) and a seventh of a piece
(128 KiB) at most. It never shrinks, as no memory of wasm does; it is freed with the guest's instance. The
embedder's limit on memories holds for it as for the guest's own. Where it cannot grow (the limit, or 4 GiB),
the call traps in a function named `adapter_out_of_memory`; the guest is over then, as after any trap, and its
adapter with it; no other instance shares anything with it.

What traps besides: nothing that a guest can pass. `host_broke_the_protocol` is for a host that is not ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import wasmtime

from wasinn.abi.component.adapter_core import DATA, HEAP, LOAD, MEMORY, NEW, SEND, stream

#: The functions of the adapter, by the name of the interface and of the function that they stand in for.
EXPORTS = {
    ("tensor", "[constructor]tensor"): "new",
    ("tensor", "[method]tensor.data"): "data",
    ("graph", "load"): "load",
}


@dataclass(frozen=True)
class Constructor:
    """What the guest calls the parameters of the constructor, and its type codes."""

    params: tuple[str, str, str]
    types_name: str
    types: tuple[str, ...]


@dataclass(frozen=True)
class Load:
    """What the guest calls the parameters of load, and the labels of its enums. `errors` is None where an
    error is a resource."""

    params: tuple[str, str, str]
    encodings_name: str
    encodings: tuple[str, ...]
    targets_name: str
    targets: tuple[str, ...]
    errors: tuple[str, ...] | None


@dataclass(frozen=True)
class Needs:
    """The functions that the guest imports: each None or False where it does not. Names are as in WIT
    (letters, digits, hyphens), so that they can stand in text as they are."""

    constructor: Constructor | None = None
    data: bool = False
    load: Load | None = None

    @property
    def tensor(self) -> bool:
        return self.constructor is not None or self.data

    @property
    def any(self) -> bool:
        return self.tensor or self.load is not None


@lru_cache(maxsize=64)
def adapter(needs: Needs) -> bytes:
    """The adapter, as a component.

    It imports the instances `tensor` and `graph` with the host's private functions, each only if needed, and
    exports the functions in EXPORTS that are needed.
    """
    return bytes(wasmtime.wat2wasm(adapter_wat(needs)))


def adapter_wat(needs: Needs) -> str:
    """The text of the adapter."""
    parts = [_imports(needs), MEMORY, _lowered(needs), _core(needs), _lifted(needs)]
    return "(component\n" + "\n".join(parts) + "\n)"


def _enum(labels: tuple[str, ...]) -> str:
    return "(enum " + " ".join(f'"{label}"' for label in labels) + ")"


_BUFFERS = """
    (export "wasinn-begin" (func (param "size" u32)))
    (export "wasinn-push" (func (param "low" string) (param "high" string)))"""


def _imports(needs: Needs) -> str:
    """The host's instances, and the types that the functions of the adapter speak of."""
    lines = []
    if needs.tensor:
        lines.append(f"""\
  (import "tensor" (instance $tensor{_BUFFERS if needs.constructor else ""}
    (export "tensor" (type $t (sub resource)))""")
        if needs.constructor:
            name = needs.constructor.types_name
            lines.append(f"""\
    (type $types {_enum(needs.constructor.types)})
    (export "{name}" (type $ty (eq $types)))
    (export "wasinn-tensor" (func (param "dimensions" (list u32)) (param "ty" $ty)
      (param "low" string) (param "high" string) (result (own $t))))""")
        if needs.data:
            lines.append("""\
    (export "wasinn-data" (func (param "tensor" (borrow $t)) (param "start" u32) (result string)))""")
        lines.append('  ))\n  (alias export $tensor "tensor" (type $t))')
        if needs.constructor:
            lines.append(f'  (alias export $tensor "{needs.constructor.types_name}" (type $ty))')
    if needs.load:
        load = needs.load
        error = "(sub resource)" if load.errors is None else "(eq $errors)"
        lines.append(f"""\
  (import "graph" (instance $graph{_BUFFERS}
    (export "graph" (type $g (sub resource)))
    {"" if load.errors is None else f"(type $errors {_enum(load.errors)})"}
    (export "error" (type $e {error}))
    (type $encodings {_enum(load.encodings)})
    (export "{load.encodings_name}" (type $encoding (eq $encodings)))
    (type $targets {_enum(load.targets)})
    (export "{load.targets_name}" (type $target (eq $targets)))
    (export "wasinn-load" (func (param "encoding" $encoding) (param "target" $target)
      (result (result {_result("$g", "$e", load)}))))
  ))
  (alias export $graph "graph" (type $g))
  (alias export $graph "error" (type $e))
  (alias export $graph "{load.encodings_name}" (type $encoding))
  (alias export $graph "{load.targets_name}" (type $target))""")
    return "\n".join(lines)


def _result(graph: str, error: str, load: Load) -> str:
    return f"(own {graph}) (error {error if load.errors else f'(own {error})'})"


def _host_functions(needs: Needs) -> list[tuple[str, str, str, str]]:
    """What the core imports of the host: (name, instance, function, core type)."""
    functions = []
    for needed, instance in ((needs.constructor, "tensor"), (needs.load, "graph")):
        if needed:
            functions += [
                (f"{instance}-begin", instance, "wasinn-begin", "(param i32)"),
                (f"{instance}-push", instance, "wasinn-push", "(param i32 i32 i32 i32)"),
            ]
    if needs.constructor:
        core = "(param i32 i32 i32 i32 i32 i32 i32) (result i32)"
        functions.append(("tensor", "tensor", "wasinn-tensor", core))
    if needs.data:
        functions.append(("data", "tensor", "wasinn-data", "(param i32 i32 i32)"))
    if needs.load:
        functions.append(("load", "graph", "wasinn-load", "(param i32 i32 i32)"))
    return functions


def _lowered(needs: Needs) -> str:
    """The host's functions, as core functions."""
    lines = [
        f'  (core func ${name} (canon lower (func ${instance} "{function}")\n'
        "    (memory $memory) (realloc $realloc) string-encoding=utf8))"
        for name, instance, function, _ in _host_functions(needs)
    ]
    if needs.data:
        lines.append("  (core func $drop (canon resource.drop $t))")
    return "\n".join(lines)


def _core(needs: Needs) -> str:
    """The module with the adapter's functions, and its instance."""
    functions = _host_functions(needs)
    imports = [f'    (import "host" "{name}" (func ${name} {core}))' for name, _, _, core in functions]
    exports = [f'(export "{name}" (func ${name}))' for name, _, _, _ in functions]
    if needs.data:
        imports.append('    (import "host" "drop" (func $drop (param i32)))')
        exports.append('(export "drop" (func $drop))')
    bodies = [SEND if needs.constructor or needs.load else ""]
    if needs.constructor:
        bodies += [stream("tensor"), NEW]
    if needs.data:
        bodies.append(DATA)
    if needs.load:
        bodies += [stream("graph"), LOAD]
    return "\n".join(
        [
            "  (core module $Adapter",
            '    (import "memory" "memory" (memory 1))',
            '    (import "memory" "top" (global $top (mut i32)))',
            '    (import "memory" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))',
            *imports,
            *bodies,
            f'    (func $reset (export "reset") (global.set $top (i32.const {HEAP})))',
            "  )",
            "  (core instance $adapter (instantiate $Adapter",
            '    (with "memory" (instance $memory))',
            f'    (with "host" (instance {" ".join(exports)}))',
            "  ))",
        ]
    )


def _lifted(needs: Needs) -> str:
    """The core functions, with the types that the guest expects."""
    lines = []
    lift = "(memory $memory) (realloc $realloc)"
    if needs.constructor:
        dims, types, data = needs.constructor.params
        lines.append(f"""\
  (func $new (param "{dims}" (list u32)) (param "{types}" $ty) (param "{data}" (list u8)) (result (own $t))
    (canon lift (core func $adapter "new") {lift}))
  (export "new" (func $new))""")
    if needs.data:
        lines.append(f"""\
  (func $list (param "self" (borrow $t)) (result (list u8))
    (canon lift (core func $adapter "data") {lift} (post-return (core func $adapter "data-over"))))
  (export "data" (func $list))""")
    if needs.load:
        builders, encoding, target = needs.load.params
        lines.append(f"""\
  (func $graph-load (param "{builders}" (list (list u8)))
    (param "{encoding}" $encoding) (param "{target}" $target)
    (result (result {_result("$g", "$e", needs.load)}))
    (canon lift (core func $adapter "load") {lift}))
  (export "load" (func $graph-load))""")
    return "\n".join(lines)
