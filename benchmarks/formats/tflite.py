# SPDX-License-Identifier: Apache-2.0
"""A network as a TFLite model, written with the schema that comes with ai-edge-litert.

TFLite keeps the channels last: the model's input is batch, height, width, channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from formats import network as net

_ACTIVATIONS = {None: 0, math.inf: 1, 6.0: 3}  # ActivationFunctionType: NONE, RELU, RELU6
_SAME, _VALID = 0, 1


def write(network: net.Network, path: Path) -> None:
    """Writes it; one input `x` and one output `y`, channels last."""
    path.write_bytes(_Writer(network).model())


def _channels_last(dims: net.Dims) -> net.Dims:
    return (dims[0], *dims[2:], dims[1]) if len(dims) == 4 else dims


class _Writer:
    """A subgraph under construction: its tensors by name, their buffers and the operators."""

    def __init__(self, network: net.Network) -> None:
        self._network = network
        self._buffers: list[Any] = [schema.BufferT()]  # the first one is empty, by convention
        self._tensors: list[Any] = []
        self._codes: list[int] = []
        self._operators: list[Any] = []
        self._numbers = {network.input: self._tensor("x", _channels_last(network.dims))}
        for layer in network.layers:
            self._add(layer)

    def model(self) -> bytes:
        graph: Any = schema.SubGraphT()
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = [0], [self._numbers[self._network.output.output]]
        graph.name = "main"
        self._tensors[graph.outputs[0]].name = "y"
        model: Any = schema.ModelT()
        model.version = 3
        model.description = "wasinn's benchmarks"
        model.operatorCodes = [self._code(number) for number in self._codes]
        model.subgraphs, model.buffers = [graph], self._buffers
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    @staticmethod
    def _code(number: int) -> Any:
        code: Any = schema.OperatorCodeT()
        code.builtinCode, code.version = number, 1
        code.deprecatedBuiltinCode = min(number, 127)
        return code

    def _tensor(self, name: str, dims: Sequence[int], data: Any = None) -> int:
        tensor: Any = schema.TensorT()
        tensor.name, tensor.shape = name, list(dims)
        integers = data is not None and data.dtype == np.int32
        tensor.type = schema.TensorType.INT32 if integers else schema.TensorType.FLOAT32
        tensor.buffer = 0
        if data is not None:
            buffer: Any = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            tensor.buffer = len(self._buffers)
            self._buffers.append(buffer)
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _constant(self, values: Any, kind: Any = np.float32) -> int:
        array = np.asarray(values, kind)
        return self._tensor(f"constant{len(self._tensors)}", array.shape, array)

    def _operator(
        self, name: str, inputs: list[int], output: int, options: Any = None, **fields: Any
    ) -> None:
        number = getattr(schema.BuiltinOperator, name)
        if number not in self._codes:
            self._codes.append(number)
        operator: Any = schema.OperatorT()
        operator.opcodeIndex = self._codes.index(number)
        operator.inputs, operator.outputs = inputs, [output]
        if options is not None:
            operator.builtinOptions = options
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            for key, value in fields.items():
                if not hasattr(options, key):
                    raise AttributeError(f"{kind} has no {key}")
                setattr(options, key, value)
        self._operators.append(operator)

    def _add(self, layer: net.Layer) -> None:
        inputs = [self._numbers[name] for name in layer.inputs]
        output = self._tensor(layer.output, _channels_last(layer.dims))
        self._numbers[layer.output] = output
        match layer:
            case net.Conv():
                self._conv(layer, inputs[0], output)
            case net.MaxPool():
                (height, width), (down, across) = layer.size, layer.strides
                self._operator(
                    "MAX_POOL_2D",
                    inputs,
                    output,
                    schema.Pool2DOptionsT(),
                    filterHeight=height,
                    filterWidth=width,
                    strideH=down,
                    strideW=across,
                    padding=_VALID,
                )
            case net.Concat():
                self._operator("CONCATENATION", inputs, output, schema.ConcatenationOptionsT(), axis=3)
            case net.Mean():
                axes = self._constant([1, 2], np.int32)
                self._operator("MEAN", [*inputs, axes], output, schema.ReducerOptionsT(), keepDims=True)
            case net.Flatten():
                self._operator(
                    "RESHAPE",
                    [*inputs, self._constant(layer.dims, np.int32)],
                    output,
                    schema.ReshapeOptionsT(),
                )
            case net.Tail():
                begin, size = ([0, layer.start], layer.dims)
                ends = [self._constant(each, np.int32) for each in (begin, size)]
                self._operator("SLICE", [*inputs, *ends], output, schema.SliceOptionsT())
            case net.Add():
                self._operator("ADD", inputs, output, schema.AddOptionsT())
            case net.Constant():
                options = getattr(schema, f"{layer.operator}OptionsT")()
                value = self._constant(layer.value)
                self._operator(layer.operator.upper(), [*inputs, value], output, options)
            case _:
                raise TypeError(f"no translation of {type(layer).__name__}")

    def _conv(self, layer: net.Conv, source: int, output: int) -> None:
        padding, pads = self._padding(layer, source)
        if pads is not None:
            dims = list(self._tensors[source].shape)
            dims[1] += pads[1][0] + pads[1][1]
            dims[2] += pads[2][0] + pads[2][1]
            padded = self._tensor(f"{layer.output}/padded", dims)
            self._operator("PAD", [source, self._constant(pads, np.int32)], padded, schema.PadOptionsT())
            source = padded
        outputs, each, *_ = layer.weight.shape
        fields = {
            "strideH": layer.strides[0],
            "strideW": layer.strides[1],
            "padding": padding,
            "fusedActivationFunction": _ACTIVATIONS[layer.ceiling],
        }
        bias = self._constant(layer.bias)
        if layer.groups == 1:
            weight = self._constant(layer.weight.transpose(0, 2, 3, 1))
            self._operator("CONV_2D", [source, weight, bias], output, schema.Conv2DOptionsT(), **fields)
        elif layer.groups == outputs and each == 1:
            weight = self._constant(layer.weight.transpose(1, 2, 3, 0))
            fields["depthMultiplier"] = 1
            options = schema.DepthwiseConv2DOptionsT()
            self._operator("DEPTHWISE_CONV_2D", [source, weight, bias], output, options, **fields)
        else:
            raise ValueError("a convolution of groups that is not depthwise")

    def _padding(self, layer: net.Conv, source: int) -> tuple[int, list[list[int]] | None]:
        """What TFLite calls it, and the padding that must go before where it has no word for it."""
        if not any(layer.pads):
            return _VALID, None
        top, left, bottom, right = layer.pads
        same = []
        for size, kernel, stride in zip(
            self._tensors[source].shape[1:3], layer.weight.shape[2:], layer.strides, strict=True
        ):
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            same.append((total // 2, total - total // 2))
        if same == [(top, bottom), (left, right)]:
            return _SAME, None
        return _VALID, [[0, 0], [top, bottom], [left, right], [0, 0]]
