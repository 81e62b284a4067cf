# SPDX-License-Identifier: Apache-2.0
"""The zoo in ONNX, opset 17 (19 for the floats of eight bits)."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

import models
from wasinn.spec import TensorType
from zoo import Builders, Dims

_TYPES = {
    TensorType.F16: TensorProto.FLOAT16,
    TensorType.F32: TensorProto.FLOAT,
    TensorType.F64: TensorProto.DOUBLE,
    TensorType.BF16: TensorProto.BFLOAT16,
    TensorType.U8: TensorProto.UINT8,
    TensorType.I32: TensorProto.INT32,
    TensorType.I64: TensorProto.INT64,
    TensorType.I8: TensorProto.INT8,
    TensorType.BOOL: TensorProto.BOOL,
    TensorType.I16: TensorProto.INT16,
    TensorType.U16: TensorProto.UINT16,
    TensorType.U32: TensorProto.UINT32,
    TensorType.U64: TensorProto.UINT64,
    TensorType.F8E4M3FN: TensorProto.FLOAT8E4M3FN,
    TensorType.F8E4M3FNUZ: TensorProto.FLOAT8E4M3FNUZ,
    TensorType.F8E5M2: TensorProto.FLOAT8E5M2,
    TensorType.F8E5M2FNUZ: TensorProto.FLOAT8E5M2FNUZ,
}
_F32, _I64 = TensorProto.FLOAT, TensorProto.INT64


def _dims(dims: Dims | None) -> models.Dims | None:
    """Dynamic dimensions get names, so that those of several ports are known to be the same."""
    if dims is None:
        return None
    return [f"d{place}" if dim is None else dim for place, dim in enumerate(dims)]


def identity(tensor_type: TensorType, dims: Dims | None) -> Builders | None:
    model = models.identity(_TYPES[tensor_type], _dims(dims))
    if not tensor_type.label.startswith("f8"):
        return (model,)
    newer = onnx.load_from_string(model)
    newer.opset_import[0].version, newer.ir_version = 19, 9
    return (newer.SerializeToString(),)


def add(dims: Dims) -> Builders | None:
    return (models.add(_dims(dims) or ()),)


def mixed() -> Builders | None:
    pixels, weights, ids = (TensorProto.UINT8, [4]), (_F32, [2]), (_I64, [1])
    nodes = [
        helper.make_node("Identity", ["pixels"], ["pixels_out"]),
        helper.make_node("Neg", ["weights"], ["weights_out"]),
        helper.make_node("Identity", ["ids"], ["ids_out"]),
    ]
    model = models.onnx_model(
        nodes,
        [("pixels", *pixels), ("weights", *weights), ("ids", *ids)],
        [("ids_out", *ids), ("pixels_out", *pixels), ("weights_out", *weights)],
    )
    return (model,)


def nonzero() -> Builders | None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["places"]),
        helper.make_node("Squeeze", ["places", "first"], ["y"]),
    ]
    first = {"first": np.zeros(1, "<i8")}
    return (models.onnx_model(nodes, [("x", _F32, [6])], [("y", _I64, ["n"])], first),)


def halves(dims: Dims) -> Builders | None:
    node = helper.make_node("Mul", ["x", "half"], ["y"])
    port = _F32, _dims(dims)
    return (models.onnx_model([node], [("x", *port)], [("y", *port)], {"half": np.array(0.5, "<f4")}),)


def slow(products: int) -> Builders | None:
    """Without a Loop, which not every runtime has: y = tanh(x x), the square of that, and so on."""
    nodes = []
    for number in range(products):
        nodes.append(helper.make_node("MatMul", [f"x{number}"] * 2, [f"square{number}"]))
        nodes.append(helper.make_node("Tanh", [f"square{number}"], [f"x{number + 1}"]))
    nodes[0].input[:] = ["x", "x"]
    nodes[-1].output[:] = ["y"]
    return (models.onnx_model(nodes, [("x", _F32, [256, 256])], [("y", _F32, [256, 256])]),)
