# SPDX-License-Identifier: Apache-2.0
"""Small TensorFlow models, written as protobufs without TensorFlow: frozen graphs and SavedModels.

Field numbers are those of TensorFlow's graph.proto, node_def.proto, attr_value.proto, tensor.proto,
function.proto, op_def.proto, saved_model.proto and meta_graph.proto.

A GraphDef has no order of its outputs, and both runtimes take them sorted by name: of `add`, the first is
`difference` and the second `sum`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wasinn.spec import TensorType
from zoo import Builders, Dims

#: types.proto, by the names that wasinn has for them and by TensorFlow's own.
TYPES = {
    "f32": 1, "f64": 2, "i32": 3, "u8": 4, "i16": 5, "i8": 6, "string": 7, "complex64": 8, "i64": 9,
    "bool": 10, "qint8": 11, "quint8": 12, "qint32": 13, "bf16": 14, "u16": 17, "complex128": 18, "f16": 19,
    "resource": 20, "variant": 21, "u32": 22, "u64": 23, "f8e5m2": 24, "f8e4m3fn": 25, "f8e4m3fnuz": 26,
    "f8e5m2fnuz": 28,
}  # fmt: skip

# -- the wire -----------------------------------------------------------------------------------------


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    """A field that is a varint."""
    return _varint(field << 3) + _varint(value)


def content(field: int, *values: bytes | str) -> bytes:
    """A field that is bytes, a string or a message, once for each value."""
    out = b""
    for value in values:
        data = value.encode() if isinstance(value, str) else value
        out += _varint(field << 3 | 2) + _varint(len(data)) + data
    return out


# -- attributes ---------------------------------------------------------------------------------------


def dtype(name: str) -> bytes:
    return number(6, TYPES[name])


def shape(dims: Dims | None) -> bytes:
    """A shape; None for a dimension that is not known, dims=None for a rank that is not."""
    if dims is None:
        return content(7, number(3, 1))
    sizes = (number(1, -1 if dim is None else dim) for dim in dims)
    return content(7, b"".join(content(2, size) for size in sizes))


def tensor(array: Any) -> bytes:
    """The content of a Const."""
    values = np.asarray(array)
    names = {"float32": "f32", "int32": "i32", "int64": "i64"}
    dims = b"".join(content(2, number(1, size)) for size in values.shape)
    kind = TYPES[names[values.dtype.name]]
    return content(8, number(1, kind) + content(2, dims) + content(4, values.tobytes()))


def strings(*values: str) -> bytes:
    """The content of a Const of strings: one as a scalar, several as a vector."""
    dims = content(2, number(1, len(values))) if len(values) != 1 else b""
    return content(8, number(1, TYPES["string"]) + content(2, dims) + content(8, *values))


def text(value: str) -> bytes:
    return content(2, value)


def integer(value: int) -> bytes:
    return number(3, value)


def function(name: str) -> bytes:
    return content(10, content(1, name))


def types(*names: str) -> bytes:
    return content(1, content(6, b"".join(_varint(TYPES[name]) for name in names)))


# -- graphs -------------------------------------------------------------------------------------------


def node(op: str, name: str, *inputs: str, device: str = "", **attributes: bytes) -> bytes:
    """A NodeDef. An input is a node's name, `name:1` or, for a control dependency, `^name`."""
    entries = (content(1, key) + content(2, value) for key, value in attributes.items())
    return content(1, name) + content(2, op) + content(3, *inputs) + content(4, device) + content(5, *entries)


def placeholder(name: str, kind: str = "f32", dims: Dims | None = ()) -> bytes:
    return node("Placeholder", name, dtype=dtype(kind), shape=shape(dims))


def constant(name: str, array: Any) -> bytes:
    value = tensor(array)
    kind = {"float32": "f32", "int32": "i32", "int64": "i64"}[np.asarray(array).dtype.name]
    return node("Const", name, dtype=dtype(kind), value=value)


def unary(op: str, name: str, of: str, kind: str = "f32") -> bytes:
    return node(op, name, of, T=dtype(kind))


def binary(op: str, name: str, first: str, second: str, kind: str = "f32") -> bytes:
    return node(op, name, first, second, T=dtype(kind))


def graph(*nodes: bytes, functions: Sequence[bytes] = ()) -> bytes:
    """A GraphDef of the version of TensorFlow 2.18 (which writes its operations' first versions as such)."""
    library = content(2, content(1, *functions)) if functions else b""
    return content(1, *nodes) + library + content(4, number(1, 1994))


def function_def(
    name: str,
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    returns: Mapping[str, str],
    *nodes: bytes,
) -> bytes:
    """A FunctionDef: arguments and results with their types, and what each result is of its nodes."""

    def argument(key: str, kind: str) -> bytes:
        return content(1, key) + number(3, TYPES[kind])

    signature = content(1, name)
    signature += content(2, *(argument(*each) for each in inputs.items()))
    signature += content(3, *(argument(*each) for each in outputs.items()))
    entries = (content(1, key) + content(2, value) for key, value in returns.items())
    return content(1, signature) + content(3, *nodes) + content(4, *entries)


# -- the zoo ------------------------------------------------------------------------------------------


def identity(tensor_type: TensorType = TensorType.F32, dims: Dims | None = (1, 4)) -> Builders:
    kind = tensor_type.label
    return (graph(placeholder("x", kind, dims), unary("Identity", "y", "x", kind)),)


def add(dims: Dims = (1, 4)) -> Builders:
    return (
        graph(
            placeholder("a", "f32", dims),
            placeholder("b", "f32", dims),
            binary("AddV2", "sum", "a", "b"),
            binary("Sub", "difference", "a", "b"),
        ),
    )


def mixed() -> Builders:
    return (
        graph(
            placeholder("pixels", "u8", (4,)),
            placeholder("weights", "f32", (2,)),
            placeholder("ids", "i64", (1,)),
            unary("Identity", "pixels_out", "pixels", "u8"),
            unary("Neg", "weights_out", "weights"),
            unary("Identity", "ids_out", "ids", "i64"),
        ),
    )


def nonzero() -> Builders:
    return (
        graph(
            placeholder("x", "f32", (6,)),
            unary("Where", "where", "x"),
            constant("row", np.array([-1], "<i4")),
            node("Reshape", "y", "where", "row", T=dtype("i64"), Tshape=dtype("i32")),
        ),
    )


def halves(dims: Dims) -> Builders:
    return (
        graph(
            placeholder("x", "f32", dims),
            constant("two", np.float32(2)),
            binary("RealDiv", "y", "x", "two"),
        ),
    )


def slow(products: int) -> Builders:
    condition = function_def(
        "condition",
        {"step": "i32", "state": "f32"},
        {"more": "bool"},
        {"more": "less:z:0"},
        constant("end", np.int32(products)),
        binary("Less", "less", "step", "end:output:0", "i32"),
    )
    body = function_def(
        "body",
        {"step": "i32", "state": "f32"},
        {"next": "i32", "result": "f32"},
        {"next": "plus:z:0", "result": "tanh:y:0"},
        constant("one", np.int32(1)),
        binary("AddV2", "plus", "step", "one:output:0", "i32"),
        binary("MatMul", "product", "state", "state"),
        unary("Tanh", "tanh", "product:product:0"),
    )
    loop = node(
        "StatelessWhile",
        "loop",
        "zero",
        "x",
        T=types("i32", "f32"),
        cond=function("condition"),
        body=function("body"),
    )
    nodes = (
        placeholder("x", "f32", (256, 256)),
        constant("zero", np.int32(0)),
        loop,
        unary("Identity", "y", "loop:1"),
    )
    return (graph(*nodes, functions=(condition, body)),)


# -- SavedModels --------------------------------------------------------------------------------------


def saved_model(
    folder: Path,
    inputs: Mapping[str, tuple[str, str, Dims | None]],
    outputs: Mapping[str, tuple[str, str, Dims | None]],
    *nodes: bytes,
    signature: str = "serving_default",
) -> Path:
    """Writes a SavedModel without variables; its ports are name -> (tensor, type, dims)."""

    def port(key: str, of: str, kind: str, dims: Dims | None) -> bytes:
        info = content(1, of) + number(2, TYPES[kind]) + content(3, shape(dims)[2:])
        return content(1, key) + content(2, info)

    definition = content(1, *(port(key, *each) for key, each in inputs.items()))
    definition += content(2, *(port(key, *each) for key, each in outputs.items()))
    definition += content(3, "tensorflow/serving/predict")
    entry = content(1, signature) + content(2, definition)
    information = content(4, "serve") + content(5, "2.18.0")
    meta = content(1, information) + content(2, graph(*nodes)) + content(5, entry)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "saved_model.pb").write_bytes(number(1, 1) + content(2, meta))
    return folder
