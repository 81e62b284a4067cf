# SPDX-License-Identifier: Apache-2.0
"""Small ONNX models for tests, made on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

Dims = Sequence[int | str | None]


def onnx_model(
    nodes: Sequence[Any],
    inputs: Sequence[tuple[str, int, Dims | None]],
    outputs: Sequence[tuple[str, int, Dims | None]],
    weights: dict[str, np.ndarray[Any, Any]] | None = None,
) -> bytes:
    """A model's bytes, opset 17; ports are (name, TensorProto type, dims)."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(*port) for port in inputs],
        [helper.make_tensor_value_info(*port) for port in outputs],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="wasinn-tests"
    )
    return bytes(model.SerializeToString())


def identity(onnx_type: int = TensorProto.FLOAT, dims: Dims | None = (1, 4)) -> bytes:
    """y = x, of any type and dims."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return onnx_model([node], [("x", onnx_type, dims)], [("y", onnx_type, dims)])


def add(dims: Dims = (1, 4)) -> bytes:
    """sum = a + b, and difference = a - b: two inputs, two outputs."""
    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Sub", ["a", "b"], ["difference"]),
    ]
    float_ = TensorProto.FLOAT
    return onnx_model(
        nodes,
        [("a", float_, dims), ("b", float_, dims)],
        [("sum", float_, dims), ("difference", float_, dims)],
    )


def slow(iterations: int) -> bytes:
    """A Loop of `iterations` matrix products of 256x256: x f32 [256,256] -> y, for long computes."""
    float_ = TensorProto.FLOAT
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["cond"], ["cond_out"]),
            helper.make_node("MatMul", ["state", "state"], ["product"]),
            helper.make_node("Tanh", ["product"], ["state_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("cond", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", float_, [256, 256]),
        ],
        [
            helper.make_tensor_value_info("cond_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state_out", float_, [256, 256]),
        ],
    )
    node = helper.make_node("Loop", ["count", "true", "x"], ["y"], body=body)
    return onnx_model(
        [node],
        [("x", float_, [256, 256])],
        [("y", float_, [256, 256])],
        {"count": np.array(iterations, np.int64), "true": np.array(True)},
    )
