# SPDX-License-Identifier: Apache-2.0
"""Small TensorFlow Lite models, written as FlatBuffers without TensorFlow.

The schema's object API comes with ai-edge-litert, and is imported only when a model is made. Beyond what
every encoding has (see the package's head) there are quantized models, models with a signature, and
models made to be refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wasinn.spec import TensorType
from zoo import Builders, Dims

#: schema.fbs, TensorType, by the names that wasinn has for them and by the schema's own.
TYPES = {
    "f32": 0, "f16": 1, "i32": 2, "u8": 3, "i64": 4, "string": 5, "bool": 6, "i16": 7, "complex64": 8,
    "i8": 9, "f64": 10, "complex128": 11, "u64": 12, "resource": 13, "variant": 14, "u32": 15, "u16": 16,
    "int4": 17, "bf16": 18, "int2": 19, "uint4": 20, "f8e4m3fn": 21, "f8e5m2": 22,
}  # fmt: skip

#: A tensor's scales, zero points and, if each channel has its own, the dimension.
Quantization = tuple[Sequence[float], Sequence[int], int]


@dataclass(frozen=True)
class Port:
    """A tensor of a subgraph. `dims`: None for a dynamic dimension, dims=None for no rank."""

    name: str
    type: str = "f32"
    dims: Dims | None = ()
    data: bytes | None = None
    quantization: Quantization | None = None
    variable: bool = False


@dataclass(frozen=True)
class Op:
    """An operator: `code` as in schema.fbs (BuiltinOperator), or the name of a custom one in lower case."""

    code: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    options: str | None = None
    fields: tuple[tuple[str, Any], ...] = ()
    version: int = 1


@dataclass(frozen=True)
class Subgraph:
    tensors: Sequence[Port]
    ops: Sequence[Op]
    inputs: Sequence[str]
    outputs: Sequence[str]


@dataclass(frozen=True)
class Signature:
    """The name of a port in the signature -> the tensor's."""

    inputs: dict[str, str]
    outputs: dict[str, str]
    key: str = "serving_default"
    subgraph: int = 0


def build(*subgraphs: Subgraph, signatures: Sequence[Signature] = ()) -> bytes:
    """A model's bytes; the first subgraph is the one that runs."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT()
    model.version = 3
    model.description = "wasinn tests"
    model.buffers = [schema.BufferT()]
    model.operatorCodes = []
    model.subgraphs = [_subgraph(schema, model, each) for each in subgraphs]
    model.signatureDefs = [_signature(schema, subgraphs, each) for each in signatures]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _subgraph(schema: Any, model: Any, subgraph: Subgraph) -> Any:
    result = schema.SubGraphT()
    result.name = "main"
    names = [tensor.name for tensor in subgraph.tensors]
    result.tensors = [_tensor(schema, model, tensor) for tensor in subgraph.tensors]
    result.inputs = [names.index(name) for name in subgraph.inputs]
    result.outputs = [names.index(name) for name in subgraph.outputs]
    result.operators = [_operator(schema, model, names, op) for op in subgraph.ops]
    return result


def _tensor(schema: Any, model: Any, port: Port) -> Any:
    tensor = schema.TensorT()
    tensor.name = port.name
    tensor.type = TYPES[port.type]
    tensor.hasRank = port.dims is not None
    tensor.isVariable = port.variable
    tensor.shape = [1 if dim is None else dim for dim in port.dims or ()]
    if None in (port.dims or ()):
        tensor.shapeSignature = [-1 if dim is None else dim for dim in port.dims or ()]
    tensor.buffer = 0
    if port.data is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(port.data, np.uint8)
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
    if port.quantization is not None:
        quantization = schema.QuantizationParametersT()
        scales, zero_points, quantization.quantizedDimension = port.quantization
        quantization.scale, quantization.zeroPoint = list(scales), list(zero_points)
        tensor.quantization = quantization
    return tensor


def _operator(schema: Any, model: Any, names: list[str], op: Op) -> Any:
    code = schema.OperatorCodeT()
    if op.code.islower() or op.code.startswith("Flex"):
        code.builtinCode, code.customCode = schema.BuiltinOperator.CUSTOM, op.code
    else:
        code.builtinCode = getattr(schema.BuiltinOperator, op.code)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = op.version
    model.operatorCodes.append(code)
    result = schema.OperatorT()
    result.opcodeIndex = len(model.operatorCodes) - 1
    result.inputs = [names.index(name) if name else -1 for name in op.inputs]
    result.outputs = [names.index(name) for name in op.outputs]
    if op.options is not None:
        result.builtinOptionsType = getattr(schema.BuiltinOptions, op.options)
        result.builtinOptions = getattr(schema, op.options + "T")()
        for field, value in op.fields:
            setattr(result.builtinOptions, field, value)
    return result


def _signature(schema: Any, subgraphs: Sequence[Subgraph], signature: Signature) -> Any:
    names = [tensor.name for tensor in subgraphs[signature.subgraph].tensors]

    def tensor_map(ports: dict[str, str]) -> list[Any]:
        result = []
        for name, tensor in sorted(ports.items()):  # as the converter writes them
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name, names.index(tensor)
            result.append(entry)
        return result

    result = schema.SignatureDefT()
    result.signatureKey = signature.key
    result.subgraphIndex = signature.subgraph
    result.inputs, result.outputs = tensor_map(signature.inputs), tensor_map(signature.outputs)
    return result


# -- the models that every encoding has ---------------------------------------------------------------


def same(kind: str, dims: Dims | None, quantization: Quantization | None = None) -> Subgraph:
    """y = x by two operators that copy the bytes of any type, ExpandDims and Squeeze."""
    longer = None if dims is None else (1, *dims)
    return Subgraph(
        [
            Port("x", kind, dims, quantization=quantization),
            constant("axis", np.array([0], "<i4")),
            Port(
                "wide", kind, longer, quantization=quantization and (*quantization[:2], quantization[2] + 1)
            ),
            Port("y", kind, dims, quantization=quantization),
        ],
        [
            Op("EXPAND_DIMS", ["x", "axis"], ["wide"], "ExpandDimsOptions"),
            Op("SQUEEZE", ["wide"], ["y"], "SqueezeOptions", (("squeezeDims", [0]),)),
        ],
        ["x"],
        ["y"],
    )


def constant(name: str, values: Any) -> Port:
    """A tensor with its values in the file, f32, i32 or i64."""
    kind = {"float32": "f32", "int32": "i32", "int64": "i64"}[values.dtype.name]
    return Port(name, kind, values.shape, values.tobytes())


def identity(tensor_type: TensorType = TensorType.F32, dims: Dims | None = (1, 4)) -> Builders | None:
    if tensor_type.label not in TYPES:
        return None
    return (build(same(tensor_type.label, dims)),)


def add(dims: Dims = (1, 4)) -> Builders:
    names = ["a", "b", "sum", "difference"]
    ops = [
        Op("ADD", names[:2], names[2:3], "AddOptions"),
        Op("SUB", names[:2], names[3:], "SubOptions"),
    ]
    return (build(Subgraph([Port(name, "f32", dims) for name in names], ops, names[:2], names[2:])),)


def mixed() -> Builders:
    kinds = {"pixels": ("u8", (4,)), "weights": ("f32", (2,)), "ids": ("i64", (1,))}
    tensors = [constant("axis", np.array([0], "<i4"))]
    ops = [Op("NEG", ["weights"], ["weights_out"], "NegOptions")]
    for name, (kind, dims) in kinds.items():
        tensors += [Port(name, kind, dims), Port(name + "_out", kind, dims)]
        if name != "weights":
            tensors.append(Port(name + "_wide", kind, (1, *dims)))
            ops += [
                Op("EXPAND_DIMS", [name, "axis"], [name + "_wide"], "ExpandDimsOptions"),
                Op("SQUEEZE", [name + "_wide"], [name + "_out"], "SqueezeOptions", (("squeezeDims", [0]),)),
            ]
    return (build(Subgraph(tensors, ops, list(kinds), ["ids_out", "pixels_out", "weights_out"])),)


def nonzero(declared: Dims = (None, 1)) -> Builders:
    """The indices as [n,1], whatever dims the file declares."""
    tensors = [
        Port("x", "f32", (6,)),
        constant("zero", np.zeros((), "<f4")),
        Port("is", "bool", (6,)),
        Port("y", "i64", declared),
    ]
    ops = [
        Op("NOT_EQUAL", ["x", "zero"], ["is"], "NotEqualOptions"),
        Op("WHERE", ["is"], ["y"], "WhereOptions"),
    ]
    return (build(Subgraph(tensors, ops, ["x"], ["y"])),)


def halves(dims: Dims = (None, None)) -> Builders:
    tensors = [Port("x", "f32", dims), constant("half", np.array(0.5, "<f4")), Port("y", "f32", dims)]
    return (build(Subgraph(tensors, [Op("MUL", ["x", "half"], ["y"], "MulOptions")], ["x"], ["y"])),)


def slow(products: int) -> Builders:
    """A While over two more subgraphs: the condition, and a body of one product and a Tanh."""
    square, one = (256, 256), np.array(1, "<i4")
    loop = Op(
        "WHILE",
        ["zero", "x"],
        ["i", "y"],
        "WhileOptions",
        (("condSubgraphIndex", 1), ("bodySubgraphIndex", 2)),
    )
    main = Subgraph(
        [constant("zero", one * 0), Port("x", "f32", square), Port("i", "i32"), Port("y", "f32", square)],
        [loop],
        ["x"],
        ["y"],
    )
    condition = Subgraph(
        [Port("i", "i32"), Port("x", "f32", square), constant("n", one * products), Port("more", "bool")],
        [Op("LESS", ["i", "n"], ["more"], "LessOptions")],
        ["i", "x"],
        ["more"],
    )
    body = Subgraph(
        [
            Port("i", "i32"),
            Port("x", "f32", square),
            constant("one", one),
            Port("next", "i32"),
            Port("product", "f32", square),
            Port("y", "f32", square),
        ],
        [
            Op("ADD", ["i", "one"], ["next"], "AddOptions"),
            Op("BATCH_MATMUL", ["x", "x"], ["product"], "BatchMatMulOptions"),
            Op("TANH", ["product"], ["y"]),
        ],
        ["i", "x"],
        ["next", "y"],
    )
    return (build(main, condition, body),)


# -- quantized models ---------------------------------------------------------------------------------


def quantized_identity(
    tensor_type: TensorType = TensorType.U8,
    scale: float | Sequence[float] = 0.5,
    zero_point: int = 128,
    dims: Dims = (1, 4),
    axis: int = 0,
) -> Builders:
    """y = x, both quantized; several scales are those of the indices of dimension `axis`."""
    scales = [scale] if isinstance(scale, float) else list(scale)
    return (build(same(tensor_type.label, dims, (scales, [zero_point] * len(scales), axis))),)


#: What `quantized_dense` computes: y = x @ weights.T + bias, in real numbers.
DENSE_WEIGHTS = np.array([[1.0, -0.5, 0.25, 0.0], [-1.0, 0.5, 0.5, 0.75]], "<f4")
DENSE_BIAS = np.array([0.5, -1.0], "<f4")
#: Scale and zero point of x [1,4] and y [1,2], by type.
DENSE_X = {"u8": (0.0625, 128), "i8": (0.0625, 0), "i16": (0.0625, 0)}
DENSE_Y = {"u8": (0.125, 100), "i8": (0.125, -28), "i16": (0.125, 0)}


def quantized_dense(tensor_type: TensorType = TensorType.I8, per_channel: bool = False) -> Builders:
    """A FullyConnected with weights of i8 (u8 for u8), with one scale or one for each output."""
    kind = tensor_type.label
    (x_scale, x_zero), (y_scale, y_zero) = DENSE_X[kind], DENSE_Y[kind]
    zero, dtype = (128, "u1") if kind == "u8" else (0, "i1")
    scales = np.array([1 / 64, 1 / 128]) if per_channel else np.array([1 / 64])
    weights = np.round(DENSE_WEIGHTS / scales[:, None] + zero).astype(dtype)
    bias_type = "<i8" if kind == "i16" else "<i4"
    bias = np.round(DENSE_BIAS / (scales * x_scale)).astype(bias_type)
    zeros = [0] * len(scales)
    tensors = [
        Port("x", kind, (1, 4), quantization=([x_scale], [x_zero], 0)),
        Port(
            "w", "u8" if kind == "u8" else "i8", (2, 4), weights.tobytes(), (scales, [zero] * len(scales), 0)
        ),
        Port("b", "i64" if kind == "i16" else "i32", (2,), bias.tobytes(), (scales * x_scale, zeros, 0)),
        Port("y", kind, (1, 2), quantization=([y_scale], [y_zero], 0)),
    ]
    op = Op("FULLY_CONNECTED", ["x", "w", "b"], ["y"], "FullyConnectedOptions", version=4)
    return (build(Subgraph(tensors, [op], ["x"], ["y"])),)


# -- names --------------------------------------------------------------------------------------------


def signed() -> Builders:
    """As TensorFlow's converter writes a function (a, b) -> y = a - b: the tensors have other names than
    the signature, and another order (b, a)."""
    a, b, y = "serving_default_a:0", "serving_default_b:0", "StatefulPartitionedCall:0"
    main = Subgraph(
        [Port(b, "f32", (2,)), Port(a, "f32", (2,)), Port(y, "f32", (2,))],
        [Op("SUB", [a, b], [y], "SubOptions")],
        [b, a],
        [y],
    )
    return (build(main, signatures=[Signature({"a": a, "b": b}, {"y": y})]),)


def two_functions() -> Builders:
    """Two subgraphs, each with a signature: `double`, which comes first, and `negate`."""
    tensors = [Port("x", "f32", (2,)), Port("y", "f32", (2,))]
    double = Subgraph(tensors, [Op("ADD", ["x", "x"], ["y"], "AddOptions")], ["x"], ["y"])
    negate = Subgraph(tensors, [Op("NEG", ["x"], ["y"], "NegOptions")], ["x"], ["y"])
    signatures = [
        Signature({"minus": "x"}, {"plus": "y"}, "negate", 1),
        Signature({"once": "x"}, {"twice": "y"}, "double", 0),
    ]
    return (build(double, negate, signatures=signatures),)


# -- models with something that a backend must mind ----------------------------------------------------


def gather() -> Builders:
    """ids i32 [1] -> y f32 [1]: of the values 10, 20, 30 the one at that index, if there is one."""
    tensors = [
        Port("ids", "i32", (1,)),
        constant("values", np.array([10, 20, 30], "<f4")),
        Port("y", "f32", (1,)),
    ]
    return (
        build(Subgraph(tensors, [Op("GATHER", ["values", "ids"], ["y"], "GatherOptions")], ["ids"], ["y"])),
    )


def where(count: int = 64) -> Builders:
    """is bool [count] -> y i64 [n,1]: the indices of what is true."""
    tensors = [Port("is", "bool", (count,)), Port("y", "i64", (None, 1))]
    return (build(Subgraph(tensors, [Op("WHERE", ["is"], ["y"], "WhereOptions")], ["is"], ["y"])),)


def outer() -> Builders:
    """a f32 [?,1], b f32 [1,?] -> y = a + b: small inputs, and an output of any size."""
    tensors = [Port("a", "f32", (None, 1)), Port("b", "f32", (1, None)), Port("y", "f32", (None, None))]
    return (build(Subgraph(tensors, [Op("ADD", ["a", "b"], ["y"], "AddOptions")], ["a", "b"], ["y"])),)


def reshape() -> Builders:
    """x f32 [4], shape i32 [2] -> y: fails in the middle of a compute for a shape of other than 4."""
    tensors = [Port("x", "f32", (4,)), Port("shape", "i32", (2,)), Port("y", "f32", (None, None))]
    return (build(Subgraph(tensors, [Op("RESHAPE", ["x", "shape"], ["y"])], ["x", "shape"], ["y"])),)


def valid_pool() -> Builders:
    """x f32 [1,?,?,1] -> the means of 3 by 3: 1, which the file has for what is dynamic, is too few."""
    fields = (("filterWidth", 3), ("filterHeight", 3), ("strideW", 1), ("strideH", 1), ("padding", 1))
    ports = [Port(name, "f32", (1, None, None, 1)) for name in "xy"]
    return (
        build(Subgraph(ports, [Op("AVERAGE_POOL_2D", ["x"], ["y"], "Pool2DOptions", fields)], ["x"], ["y"])),
    )


def growing() -> Builders:
    """x i64 [4], n i32 [1] -> y = x + 1. On the side, and for nothing, n zeros are added up, between which
    the interpreter moves every tensor if there is too little room."""
    tensors = [
        Port("x", "i64", (4,)),
        constant("one", np.ones(4, "<i8")),
        Port("y", "i64", (4,)),
        Port("n", "i32", (1,)),
        constant("zero", np.zeros((), "<i8")),
        Port("zeros", "i64", (None,)),
        Port("more", "i64", (None,)),
    ]
    ops = [
        Op("ADD", ["x", "one"], ["y"], "AddOptions"),
        Op("FILL", ["n", "zero"], ["zeros"], "FillOptions"),
        Op("ADD", ["zeros", "zeros"], ["more"], "AddOptions"),
    ]
    return (build(Subgraph(tensors, ops, ["x", "n"], ["y"])),)


def overwriting() -> Builders:
    """y = x + 1, and then x = y + 1: an operator that writes into the model's input."""
    tensors = [Port("x", "i64", (2,)), constant("one", np.ones(2, "<i8")), Port("y", "i64", (2,))]
    ops = [Op("ADD", ["x", "one"], ["y"], "AddOptions"), Op("ADD", ["y", "one"], ["x"], "AddOptions")]
    return (build(Subgraph(tensors, ops, ["x"], ["y"])),)


def through() -> Builders:
    """The input is the output."""
    return (build(Subgraph([Port("x", "f32", (2,))], [], ["x"], ["x"])),)


def constants() -> Builders:
    """x f32 [2] -> y f32 [2], always 3 and 4."""
    return (
        build(Subgraph([Port("x", "f32", (2,)), constant("y", np.array([3, 4], "<f4"))], [], ["x"], ["y"])),
    )


def constant_input() -> Builders:
    """An input that is a constant of the file."""
    tensors = [constant("x", np.ones(2, "<f4")), Port("y", "f32", (2,))]
    return (build(Subgraph(tensors, [Op("NEG", ["x"], ["y"], "NegOptions")], ["x"], ["y"])),)


def twice_the_same() -> Builders:
    """One tensor that is both inputs."""
    ports = [Port(name, "f32", (2,)) for name in "xy"]
    return (build(Subgraph(ports, [Op("ADD", ["x", "x"], ["y"], "AddOptions")], ["x", "x"], ["y"])),)


def counter() -> Builders:
    """x f32 [1] -> y: the sum of every x so far, in a resource variable."""
    handle = Op("VAR_HANDLE", [], ["v"], "VarHandleOptions", (("container", ""), ("sharedName", "v")))
    resource = Port("v", "resource", ())
    main = Subgraph(
        [Port("x", "f32", (1,)), resource, Port("before", "f32", (1,)), Port("y", "f32", (1,))],
        [
            Op("CALL_ONCE", [], [], "CallOnceOptions", (("initSubgraphIndex", 1),)),
            handle,
            Op("READ_VARIABLE", ["v"], ["before"], "ReadVariableOptions"),
            Op("ADD", ["before", "x"], ["y"], "AddOptions"),
            Op("ASSIGN_VARIABLE", ["v", "y"], [], "AssignVariableOptions"),
        ],
        ["x"],
        ["y"],
    )
    start = Subgraph(
        [resource, constant("zero", np.zeros(1, "<f4"))],
        [handle, Op("ASSIGN_VARIABLE", ["v", "zero"], [], "AssignVariableOptions")],
        [],
        [],
    )
    return (build(main, start),)


def recurrent() -> Builders:
    """x f32 [1,1] -> y: the sum of every x so far, in a variable tensor (the state of an RNN)."""
    one = np.ones((1, 1), "<f4")
    tensors = [
        Port("x", "f32", (1, 1)),
        constant("w", one),
        constant("r", one),
        constant("b", np.zeros(1, "<f4")),
        Port("state", "f32", (1, 1), variable=True),
        Port("y", "f32", (1, 1)),
    ]
    return (
        build(
            Subgraph(tensors, [Op("RNN", ["x", "w", "r", "b", "state"], ["y"], "RNNOptions")], ["x"], ["y"])
        ),
    )


def unknown_op(code: str = "my_op") -> Builders:
    """x f32 [1] -> y by a custom operator; one called Flex... is TensorFlow's."""
    ports = [Port(name, "f32", (1,)) for name in "xy"]
    return (build(Subgraph(ports, [Op(code, ["x"], ["y"])], ["x"], ["y"])),)


def tiny() -> Builders:
    """x f32 [1,16] -> y f32 [1,4]: one FullyConnected, what the benchmarks call tiny."""
    weights = np.random.default_rng(0).random((4, 16), "<f4")
    tensors = [Port("x", "f32", (1, 16)), constant("w", weights), Port("y", "f32", (1, 4))]
    op = Op("FULLY_CONNECTED", ["x", "w", ""], ["y"], "FullyConnectedOptions")
    return (build(Subgraph(tensors, [op], ["x"], ["y"])),)
