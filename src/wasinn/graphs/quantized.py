# SPDX-License-Identifier: Apache-2.0
"""A graph around a graph whose guests pass and get real numbers where the model has integers.

`quantization = "affine"`, the operator's choice for a graph: every port that carries a scale and a zero
point is f32 for the guest. By default, and without it, bytes pass as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from wasinn.backends.base import Execution, Graph
from wasinn.contracts.bound import Bound
from wasinn.contracts.contract import InputContract
from wasinn.contracts.quantization import dequantize, is_quantized, quantize
from wasinn.errors import unsupported
from wasinn.graphs.around import ExecutionAround
from wasinn.spec import TensorType
from wasinn.tensors import Quantization, Tensor, TensorSpec


class QuantizedGraph:
    """`graph` with f32 in the place of its quantized ports."""

    def __init__(self, graph: Graph) -> None:
        """Raises WasiNNError (unsupported_operation) if there is no such port."""
        if not any(is_quantized(spec) for spec in (*graph.inputs, *graph.outputs)):
            raise unsupported(
                'quantization = "affine" is set, but no input or output of this graph is quantized'
            )
        self._graph = graph
        self.inputs = tuple(_as_real(spec) for spec in graph.inputs)
        self.outputs = tuple(_as_real(spec) for spec in graph.outputs)

    def open(self) -> Execution:
        return _QuantizedExecution(self._graph.open(), self._graph.inputs, self._graph.outputs)


def _as_real(spec: TensorSpec) -> TensorSpec:
    return replace(spec, type=TensorType.F32, quantization=None) if is_quantized(spec) else spec


def real_bound(bound: Bound, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Bound:
    """The contract of a graph with these ports as it is for guests of the QuantizedGraph around it: of real
    numbers, such that the integers that the host makes of them are those that `bound` says."""
    return replace(
        bound,
        inputs={index: _real_input(each, inputs[index]) for index, each in bound.inputs.items()},
        outputs={
            index: replace(each, type=TensorType.F32, quantization="none")
            if is_quantized(outputs[index])
            else each
            for index, each in bound.outputs.items()
        },
    )


def _real_input(each: InputContract, spec: TensorSpec) -> InputContract:
    port = spec.quantization
    if port is None or not is_quantized(spec):
        return each
    image = each.image
    channels = 1 if image is None else image.channels
    own = each.quantization if isinstance(each.quantization, Quantization) else Quantization((1.0,), (0,))
    if image is not None and own != port and {len(own.scales), len(port.scales)} <= {1, channels}:
        # integer = value / own scale + own point, and the guest sends port scale * (integer - port point).
        rows = [
            np.broadcast_to(row, channels) for pair in (own, port) for row in (pair.scales, pair.zero_points)
        ]
        scale, point, port_scale, port_point = (np.asarray(row, np.float64) for row in rows)
        mean, std = np.asarray(image.mean), np.asarray(image.std)
        mean = mean + (port_point - point) * scale * std
        std = std * scale / port_scale
        image = replace(image, mean=tuple(mean.tolist()), std=tuple(std.tolist()))
    return replace(each, type=TensorType.F32, quantization="none", image=image)


class _QuantizedExecution(ExecutionAround):
    def __init__(
        self, execution: Execution, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
    ) -> None:
        super().__init__(execution)
        self._inputs = inputs
        self._outputs = outputs

    def set_input(self, index: int, tensor: Tensor) -> None:
        spec = self._inputs[index]
        if spec.quantization is not None and is_quantized(spec):
            tensor = Tensor.of(quantize(tensor.numpy(), spec.quantization, spec.type), spec.type)
        self._execution.set_input(index, tensor)

    def output(self, index: int) -> Tensor:
        spec, tensor = self._outputs[index], self._execution.output(index)
        if spec.quantization is not None and is_quantized(spec):
            return Tensor.of(dequantize(tensor.numpy(), spec.quantization))
        return tensor
