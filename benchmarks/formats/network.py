# SPDX-License-Identifier: Apache-2.0
"""An image network as a list of layers, read from an ONNX model.

onnxruntime folds the model first (its basic optimisations: constants, shapes, nothing that is its own),
so that a dozen operators are left, whatever exporter wrote it. Paddings and activations then become
part of the convolution that they belong to, as every runtime writes them. Dims are those of ONNX:
batch, channels, height, width.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

Array = np.ndarray[Any, np.dtype[np.float32]]
Dims = tuple[int, ...]
Pads = tuple[int, int, int, int]  # top, left, bottom, right


@dataclass(frozen=True)
class Layer:
    """The layer that makes the tensor `output`, of `dims`, from the tensors `inputs`."""

    output: str
    dims: Dims
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Conv(Layer):
    """`weight`: outputs, inputs / groups, height, width. `ceiling`: of the activation; inf is a plain
    ReLU, None is no activation."""

    weight: Array
    bias: Array
    strides: tuple[int, int]
    pads: Pads
    groups: int
    ceiling: float | None = None


@dataclass(frozen=True)
class MaxPool(Layer):
    """Without padding."""

    size: tuple[int, int]
    strides: tuple[int, int]


@dataclass(frozen=True)
class Concat(Layer):
    """Along the channels."""


@dataclass(frozen=True)
class Mean(Layer):
    """Over height and width, which stay as 1."""


@dataclass(frozen=True)
class Flatten(Layer):
    """Everything after the batch; there is one value a channel."""


@dataclass(frozen=True)
class Tail(Layer):
    """What follows the first `start` values of the last axis."""

    start: int


@dataclass(frozen=True)
class Add(Layer):
    """Of two tensors."""


@dataclass(frozen=True)
class Constant(Layer):
    """`operator`, one of Add, Sub and Mul, with `value`: one number, or one for each channel."""

    operator: str
    value: Array


@dataclass(frozen=True)
class Network:
    """The layers in the order in which they run, from the tensor `input` to the last one's output."""

    input: str
    dims: Dims
    layers: tuple[Layer, ...]

    @property
    def output(self) -> Layer:
        return self.layers[-1]


def read(path: Path) -> Network:
    """The network in an ONNX file. Raises ValueError for an operator that is not known here."""
    graph = onnx.shape_inference.infer_shapes(_folded(path)).graph
    return _Reader(graph).network()


def _folded(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3  # it warns that what it writes is for this machine; so is what we read
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


class _Reader:
    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
        values = (*graph.input, *graph.value_info, *graph.output)
        self._dims = {
            value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim) for value in values
        }
        self._uses = Counter(name for node in graph.node for name in node.input)
        self._layers: dict[str, Layer] = {}
        self._pads: dict[str, tuple[str, Pads]] = {}  # what a Pad makes: of which tensor, by how much

    def network(self) -> Network:
        (source,) = (each for each in self._graph.input if each.name not in self._constants)
        for node in self._graph.node:
            self._read(node)
        return Network(source.name, self._dims[source.name], tuple(self._layers.values()))

    def _read(self, node: Any) -> None:
        kind, output = node.op_type, node.output[0]
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        tensors = tuple(name for name in node.input if name and name not in self._constants)
        constants = [self._constants[name] for name in node.input if name in self._constants]
        base = (output, self._dims[output], tensors)
        if kind == "Pad":
            _, _, top, left, _, _, bottom, right = map(int, constants[0])
            self._pads[output] = (tensors[0], (top, left, bottom, right))
            return
        if kind in ("Relu", "Clip"):
            self._activate(tensors[0], output, float(constants[1]) if kind == "Clip" else float("inf"))
            return
        layer: Layer
        if kind == "Conv":
            layer = self._conv(base, constants, attributes)
        elif kind == "MaxPool" and not any(attributes.get("pads", ())):
            layer = MaxPool(*base, tuple(attributes["kernel_shape"]), tuple(attributes["strides"]))
        elif kind == "Concat" and attributes["axis"] == 1:
            layer = Concat(*base)
        elif kind == "GlobalAveragePool" or (kind == "ReduceMean" and attributes.get("axes") == [2, 3]):
            layer = Mean(*base)
        elif kind == "Flatten" and attributes.get("axis", 1) == 1:
            layer = Flatten(*base)
        elif kind == "Slice" and len(base[1]) == 2:
            layer = Tail(*base, int(constants[0][0]))
        elif kind == "Add" and len(tensors) == 2:
            layer = Add(*base)
        elif kind in ("Add", "Sub", "Mul") and node.input[0] == tensors[0] and constants:
            layer = Constant(*base, kind, constants[0].reshape(-1))
        else:
            raise ValueError(f"no translation of the operator {kind} ({node.name}) with {attributes}")
        self._layers[output] = layer

    def _conv(self, base: tuple[str, Dims, tuple[str, ...]], constants: Any, attributes: Any) -> Conv:
        output, dims, (source,) = base
        top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
        if source in self._pads:
            source, more = self._pads[source]
            top, left, bottom, right = (a + b for a, b in zip((top, left, bottom, right), more, strict=True))
        weight, bias = constants
        groups = attributes.get("group", 1)
        strides = tuple(attributes["strides"])
        return Conv(output, dims, (source,), weight, bias, strides, (top, left, bottom, right), groups)

    def _activate(self, source: str, output: str, ceiling: float) -> None:
        layer = self._layers.pop(source)
        if not isinstance(layer, Conv) or self._uses[source] != 1 or layer.ceiling is not None:
            raise ValueError(f"the activation {output} does not follow a convolution of its own")
        self._layers[output] = replace(layer, output=output, ceiling=ceiling)
