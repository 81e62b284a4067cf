# SPDX-License-Identifier: Apache-2.0
"""The zoo in OpenVINO IR, version 11: the xml written by hand, and a bin where there are weights.

The format: docs.openvino.ai, "Model representation in OpenVINO"; a layer's ports count on from its
inputs to its outputs, a name stands at the port that makes the tensor, or as `output_names` at a Result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wasinn.spec import TensorType
from zoo import Builders, Dims

#: (element_type, precision) as IR writes them.
_TYPES = {
    TensorType.F16: ("f16", "FP16"),
    TensorType.F32: ("f32", "FP32"),
    TensorType.F64: ("f64", "FP64"),
    TensorType.BF16: ("bf16", "BF16"),
    TensorType.U8: ("u8", "U8"),
    TensorType.I32: ("i32", "I32"),
    TensorType.I64: ("i64", "I64"),
    TensorType.I8: ("i8", "I8"),
    TensorType.BOOL: ("boolean", "BOOL"),
    TensorType.I16: ("i16", "I16"),
    TensorType.U16: ("u16", "U16"),
    TensorType.U32: ("u32", "U32"),
    TensorType.U64: ("u64", "U64"),
    TensorType.F8E4M3FN: ("f8e4m3", "F8E4M3"),
    TensorType.F8E5M2: ("f8e5m2", "F8E5M2"),
}
_F32, _I64 = TensorType.F32, TensorType.I64


@dataclass(frozen=True)
class Value:
    """A tensor between layers: who makes it, at which port, and what it is."""

    layer: int
    port: int
    type: TensorType
    dims: Dims | None


class Net:
    """An IR in the making."""

    def __init__(self) -> None:
        self._layers: list[str] = []
        self._edges: list[str] = []
        self._weights = bytearray()

    def parameter(self, name: str, tensor_type: TensorType, dims: Dims | None) -> Value:
        data = f'<data shape="{_shape(dims)}" element_type="{_TYPES[tensor_type][0]}"/>'
        return self._layer(name, "Parameter", "opset1", data, [], tensor_type, dims)

    def constant(self, array: np.ndarray[Any, Any], tensor_type: TensorType) -> Value:
        where = f'offset="{len(self._weights)}" size="{array.nbytes}"'
        self._weights += array.tobytes()
        data = f'<data element_type="{_TYPES[tensor_type][0]}" shape="{_shape(array.shape)}" {where}/>'
        return self._layer("", "Const", "opset1", data, [], tensor_type, array.shape)

    def op(
        self,
        kind: str,
        inputs: Sequence[Value],
        dims: Dims | None,
        *,
        name: str = "",
        version: str = "opset1",
        tensor_type: TensorType | None = None,
        **attributes: str,
    ) -> Value:
        """A layer with one output, of the type of its first input unless `tensor_type` says else."""
        data = "<data " + " ".join(f'{key}="{value}"' for key, value in attributes.items()) + "/>"
        return self._layer(name, kind, version, data, inputs, tensor_type or inputs[0].type, dims)

    def result(self, value: Value, name: str = "") -> None:
        number = len(self._layers)
        named = f' output_names="{name}"' if name else ""
        self._layers.append(
            f'<layer id="{number}" name="{name or number}/sink_port_0" type="Result" version="opset1"{named}>'
            f"<input>{_port(0, value.type, value.dims)}</input></layer>"
        )
        self._edge(value, number, 0)

    def builders(self) -> Builders:
        text = "".join(
            ['<?xml version="1.0"?>\n<net name="zoo" version="11"><layers>', *self._layers]
            + ["</layers><edges>", *self._edges, "</edges></net>"]
        )
        return (text.encode(), bytes(self._weights)) if self._weights else (text.encode(),)

    def _layer(
        self,
        name: str,
        kind: str,
        version: str,
        data: str,
        inputs: Sequence[Value],
        tensor_type: TensorType,
        dims: Dims | None,
    ) -> Value:
        number, place = len(self._layers), len(inputs)
        taken = "".join(_port(index, each.type, each.dims) for index, each in enumerate(inputs))
        self._layers.append(
            f'<layer id="{number}" name="{name or f"layer{number}"}" type="{kind}" version="{version}">{data}'
            + (f"<input>{taken}</input>" if inputs else "")
            + f"<output>{_port(place, tensor_type, dims, name)}</output></layer>"
        )
        for index, value in enumerate(inputs):
            self._edge(value, number, index)
        return Value(number, place, tensor_type, dims)

    def _edge(self, value: Value, layer: int, port: int) -> None:
        self._edges.append(
            f'<edge from-layer="{value.layer}" from-port="{value.port}" to-layer="{layer}" to-port="{port}"/>'
        )


def _shape(dims: Dims | None) -> str:
    return "..." if dims is None else ",".join("?" if dim is None else str(dim) for dim in dims)


def _port(number: int, tensor_type: TensorType, dims: Dims | None, name: str = "") -> str:
    named = f' names="{name}"' if name else ""
    sizes = "".join(f"<dim>{-1 if dim is None else dim}</dim>" for dim in dims or ())
    return f'<port id="{number}" precision="{_TYPES[tensor_type][1]}"{named}>{sizes}</port>'


# -- the models -----------------------------------------------------------------------------------------


def identity(tensor_type: TensorType, dims: Dims | None) -> Builders | None:
    """A Parameter straight to a Result: anything between them would be computed in 32 bits."""
    if dims is None or tensor_type not in _TYPES:
        return None  # the runtime compiles no input without a rank, and knows two of the four f8
    return shapeless(tensor_type, dims)


def shapeless(tensor_type: TensorType = _F32, dims: Dims | None = None) -> Builders:
    """y = x, by default with an input whose rank is not fixed."""
    net = Net()
    net.result(net.parameter("x", tensor_type, dims), "y")
    return net.builders()


def add(dims: Dims) -> Builders | None:
    net = Net()
    pair = [net.parameter(name, _F32, dims) for name in "ab"]
    for kind, name in (("Add", "sum"), ("Subtract", "difference")):
        net.result(net.op(kind, pair, dims, name=name, auto_broadcast="numpy"), name)
    return net.builders()


def mixed() -> Builders | None:
    net = Net()
    pixels = net.parameter("pixels", TensorType.U8, (4,))
    weights = net.parameter("weights", _F32, (2,))
    ids = net.parameter("ids", _I64, (1,))
    net.result(ids, "ids_out")
    net.result(pixels, "pixels_out")
    net.result(net.op("Negative", [weights], (2,), name="weights_out"), "weights_out")
    return net.builders()


def nonzero() -> Builders | None:
    net = Net()
    x = net.parameter("x", _F32, (6,))
    places = net.op("NonZero", [x], (1, None), version="opset3", tensor_type=_I64, output_type="i64")
    first = net.constant(np.zeros(1, "<i8"), _I64)
    net.result(net.op("Squeeze", [places, first], (None,), name="y"), "y")
    return net.builders()


def halves(dims: Dims) -> Builders | None:
    net = Net()
    half = net.constant(np.array(0.5, "<f4"), _F32)
    x = net.parameter("x", _F32, dims)
    net.result(net.op("Multiply", [x, half], dims, name="y", auto_broadcast="numpy"), "y")
    return net.builders()


def slow(products: int) -> Builders | None:
    net = Net()
    dims = (256, 256)
    x = net.parameter("x", _F32, dims)
    for number in range(products):
        square = net.op("MatMul", [x, x], dims, transpose_a="false", transpose_b="false")
        x = net.op("Tanh", [square], dims, name="y" if number == products - 1 else "")
    net.result(x, "y")
    return net.builders()
