# SPDX-License-Identifier: Apache-2.0
"""The text of the driver component: what a guest of each snapshot of `wasi:nn` imports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

PAGES = 256
#: Where the allocator starts; what a test puts lies below it.
_HEAP = PAGES << 15

NEW_CODES = [
    "invalid-argument",
    "invalid-encoding",
    "timeout",
    "runtime-error",
    "unsupported-operation",
    "too-large",
    "not-found",
    "security",
    "unknown",
]
#: The older enum has `busy` where the newer has `timeout`.
OLD_CODES = ["busy" if code == "timeout" else code for code in NEW_CODES[:-2]]
TYPES = ["FP16", "FP32", "FP64", "BF16", "U8", "I32", "I64"]
_ENCODINGS = ["openvino", "onnx", "tensorflow", "pytorch", "tensorflowlite", "ggml", "autodetect"]


class Snapshot:
    """What a guest of one snapshot declares. `named`: compute takes and gives named tensors; `enum`: an
    error is an enum, and not a resource."""

    def __init__(self, version: str, named: bool, constructor: bool, enum: bool = False) -> None:
        self.version = version
        self.named = named
        self.constructor = constructor
        self.enum = enum
        self.codes = OLD_CODES if enum else NEW_CODES
        self.encodings = [each for each in _ENCODINGS if not (enum and each == "ggml")]

    def __repr__(self) -> str:
        return (
            f"{self.version or 'unversioned'}{'-enum' if self.enum else ''}{'-named' if self.named else ''}"
        )


SNAPSHOTS = (
    Snapshot("@0.2.0-rc-2024-10-28", True, False),
    Snapshot("@0.2.0-rc-2024-08-19", True, False),
    Snapshot("@0.2.0-rc-2024-08-19", False, False),
    Snapshot("@0.2.0-rc-2024-06-25", False, True),
    Snapshot("", False, True),
    Snapshot("", False, False, enum=True),
)


class Row(NamedTuple):
    """A function: its interface and name, its type, and the number of i32 that it takes and returns."""

    interface: str
    name: str
    export: str
    type: str
    arity: int
    results: int = 0


def _function_type(parameters: str, result: str = "") -> str:
    """`_function_type("self (borrow $r), name string", "$ty")` in component text."""
    parts = [each.split(maxsplit=1) for each in parameters.split(", ")]
    text = " ".join(f'(param "{name}" {kind})' for name, kind in parts)
    return f"{text} (result {result})" if result else text


def rows(snapshot: Snapshot, private: bool) -> list[Row]:
    """Every function of a snapshot; `$r` is the interface's resource."""
    kind = _function_type
    failed = "(error $error)" if snapshot.enum else "(error (own $error))"
    own, method = "(own $r)", "[method]graph-execution-context."
    me, data = "self (borrow $r)", "dimensions (list u32), ty $tensor-type"
    found = [
        Row("tensor", "[constructor]tensor", "tensor-new", kind(f"{data}, data (list u8)", own), 5, 1),
        Row("tensor", "[method]tensor.dimensions", "tensor-dimensions", kind(me, "(list u32)"), 2),
        Row("tensor", "[method]tensor.ty", "tensor-ty", kind(me, "$tensor-type"), 1, 1),
        Row("tensor", "[method]tensor.data", "tensor-data", kind(me, "(list u8)"), 2),
        Row(
            "graph",
            "load",
            "load",
            kind(
                "builder (list (list u8)), encoding $graph-encoding, target $execution-target",
                f"(result {own} {failed})",
            ),
            5,
        ),
        Row("graph", "load-by-name", "load-by-name", kind("name string", f"(result {own} {failed})"), 3),
        Row(
            "graph",
            "[method]graph.init-execution-context",
            "init-execution-context",
            kind(me, f"(result (own $graph-execution-context) {failed})"),
            2,
        ),
    ]
    if snapshot.named:
        named = f"(result $list {failed})"
        found.append(Row("inference", method + "compute", "compute", kind(f"{me}, inputs $list", named), 4))
    else:
        found += [
            Row(
                "inference",
                method + "set-input",
                "set-input",
                kind(f"{me}, name string, tensor (own $tensor)", f"(result {failed})"),
                5,
            ),
            Row("inference", method + "compute", "compute", kind(me, f"(result {failed})"), 2),
            Row(
                "inference",
                method + "get-output",
                "get-output",
                kind(f"{me}, name string", f"(result (own $tensor) {failed})"),
                4,
            ),
        ]
    if not snapshot.enum:
        found += [
            Row("errors", "[method]error.code", "error-code", kind(me, "$error-code"), 1, 1),
            Row("errors", "[method]error.data", "error-data", kind(me, "string"), 2),
        ]
    if snapshot.constructor:
        new = kind("code $error-code, data string", own)
        found.append(Row("errors", "[constructor]error", "error-new", new, 3, 1))
    if private:
        text = "low string, high string"
        enums = "encoding $graph-encoding, target $execution-target"
        found += [
            Row("tensor", "wasinn-begin", "tensor-begin", kind("size u32"), 1),
            Row("tensor", "wasinn-push", "tensor-push", kind(text), 4),
            Row("tensor", "wasinn-tensor", "bulk-tensor", kind(f"{data}, {text}", own), 7, 1),
            Row("tensor", "wasinn-data", "bulk-data", kind("tensor (borrow $r), start u32", "string"), 3),
            Row("tensor", "wasinn-size", "bulk-size", kind("tensor (borrow $r)", "u32"), 1, 1),
            Row("graph", "wasinn-begin", "graph-begin", kind("size u32"), 1),
            Row("graph", "wasinn-push", "graph-push", kind(text), 4),
            Row("graph", "wasinn-load", "bulk-load", kind(enums, f"(result {own} {failed})"), 3),
            Row(
                "introspection",
                "graph-metadata",
                "graph-metadata",
                kind("graph (borrow $graph)", "(result string (error string))"),
                2,
            ),
        ]
    return found


def _types(interface: str, snapshot: Snapshot) -> str:
    """The types that an interface of the snapshot declares, before its functions."""

    def enum(name: str, cases: Sequence[str]) -> str:
        listed = " ".join(f'"{case}"' for case in cases)
        return f'(type $enum-{name} (enum {listed})) (export "{name}" (type ${name} (eq $enum-{name})))'

    def used(name: str) -> str:
        return f'(alias outer 1 $of-{name} (type $a-{name})) (export "{name}" (type ${name} (eq $a-{name})))'

    def resource(name: str) -> str:
        return f'(export "{name}" (type $r (sub resource)))'

    if interface == "errors":
        if snapshot.enum:
            return enum("error", snapshot.codes)
        return enum("error-code", snapshot.codes) + resource("error")
    if interface == "tensor":
        return enum("tensor-type", TYPES) + resource("tensor")
    if interface == "inference":
        named = "(type $pair (tuple string (own $tensor))) (type $list (list $pair))"
        own = resource("graph-execution-context") + (named if snapshot.named else "")
        return used("error") + used("tensor") + own
    if interface == "graph":
        enums = enum("graph-encoding", snapshot.encodings) + enum("execution-target", ["cpu", "gpu", "tpu"])
        return used("error") + used("graph-execution-context") + resource("graph") + enums
    return used("graph")


#: Each interface with what the others use of it, in the order of their dependence.
_INTERFACES = {
    "errors": "error",
    "tensor": "tensor",
    "inference": "graph-execution-context",
    "graph": "graph",
}

_MEMORY = f"""(core module $memory
    (memory (export "memory") {PAGES})
    (global $next (mut i32) (i32.const {_HEAP}))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
        (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
        (global.set $next (i32.add (local.get $at) (local.get 3)))
        (local.get $at))
    (func (export "reset") (global.set $next (i32.const {_HEAP})))
    (func (export "poke") (param i32 i32 i32)
        (memory.copy (local.get 0) (local.get 1) (local.get 2))
        (global.set $next (i32.const {_HEAP})))
    (func (export "peek") (param i32 i32) (result i32)
        (i32.store (i32.const 8) (local.get 0)) (i32.store (i32.const 12) (local.get 1)) (i32.const 8)))
(core instance $m (instantiate $memory))"""
_OPTIONS = '(memory (core memory $m "memory")) (realloc (core func $m "realloc"))'


#: The functions of `wasinn:nn/streaming`.
STREAMING = (
    Row(
        "streaming",
        "start",
        "stream-start",
        _function_type("context (borrow $c), prompt string, options string", "(result (error (own $error)))"),
        6,
    ),
    Row(
        "streaming",
        "next",
        "stream-next",
        _function_type("context (borrow $c)", "(result $step (error (own $error)))"),
        2,
    ),
    Row(
        "streaming",
        "metadata",
        "stream-metadata",
        _function_type("context (borrow $c)", "(result string (error (own $error)))"),
        2,
    ),
    Row(
        "streaming",
        "finish",
        "stream-finish",
        _function_type("context (borrow $c)", "(result (error (own $error)))"),
        2,
    ),
)
_STREAMING_TYPES = """
    (alias outer 1 $of-error (type $e)) (export "error" (type $error (eq $e)))
    (alias outer 1 $of-graph-execution-context (type $x)) (export "graph-execution-context" (type $c (eq $x)))
    (type $steps (variant (case "piece" string) (case "end-of-sequence") (case "context-full" string)
        (case "prompt-too-long" string)))
    (export "step" (type $step (eq $steps)))"""


def driver_wat(snapshot: Snapshot, private: bool = True, streaming: bool = False) -> str:
    """The driver's text. `private`: with the functions of the bulk protocol, and introspection.
    `streaming`: with those of a language model."""
    table = rows(snapshot, private)
    text = ["(component"]
    for interface, resource in _INTERFACES.items():
        functions = "".join(
            f'\n  (export "{row.name}" (func {row.type}))' for row in table if row.interface == interface
        )
        name = f"wasi:nn/{interface}{snapshot.version}"
        types = _types(interface, snapshot)
        text.append(f'(import "{name}" (instance ${interface} {types} {functions}))')
        text.append(f'(alias export ${interface} "{resource}" (type $of-{resource}))')
    if private:
        metadata = next(row for row in table if row.interface == "introspection")
        text.append(f"""(import "wasinn:nn/introspection@0.1.0" (instance $introspection
            {_types("introspection", snapshot)} (export "graph-metadata" (func {metadata.type}))))""")
    if streaming:
        functions = "".join(f'\n  (export "{row.name}" (func {row.type}))' for row in STREAMING)
        text.append(f"""(import "wasinn:nn/streaming@0.1.0" (instance $streaming
            {_STREAMING_TYPES} {functions}))""")
        table = [*table, *STREAMING]
    text.append(_MEMORY)
    wrapped = []
    for row in table:
        lowered = f'(canon lower (func ${row.interface} "{row.name}") {_OPTIONS})'
        text.append(f"(core func ${row.export} {lowered})")
        wrapped.append((row.export, row.arity, row.results))
    for interface, resource in _INTERFACES.items():
        if interface != "errors" or not snapshot.enum:
            text.append(f"(core func $drop-{interface} (canon resource.drop $of-{resource}))")
            wrapped.append((f"drop-{interface}", 1, 0))
    text.append(_wrapper(wrapped))
    text.append(f"""
    (func (export "poke") (param "at" u32) (param "data" (list u8))
        (canon lift (core func $m "poke") {_OPTIONS}))
    (func (export "peek") (param "at" u32) (param "size" u32) (result (list u8))
        (canon lift (core func $m "peek") {_OPTIONS}))
    (func (export "reset") (canon lift (core func $m "reset"))))""")
    return "\n".join(text)


def _wrapper(functions: list[tuple[str, int, int]]) -> str:
    """A core module that passes each lowered import on, and the exports lifted from it."""
    imports, exports, lifted = [], [], []
    for name, arity, results in functions:
        kind = "(param" + " i32" * arity + ")" + " (result i32)" * results
        imports.append(f'(import "host" "{name}" (func ${name} {kind}))')
        arguments = " ".join(f"(local.get {number})" for number in range(arity))
        exports.append(f'(func (export "{name}") {kind} (call ${name} {arguments}))')
        parameters = (
            " ".join(f'(param "p{number}" u32)' for number in range(arity)) + " (result u32)" * results
        )
        lifted.append(f'(func (export "{name}") {parameters} (canon lift (core func $w "{name}")))')
    given = " ".join(f'(export "{name}" (func ${name}))' for name, _, _ in functions)
    lines = [
        "(core module $wrapper",
        *imports,
        *exports,
        f') (core instance $w (instantiate $wrapper (with "host" (instance {given}))))',
        *lifted,
    ]
    return "\n".join(lines)
