# SPDX-License-Identifier: Apache-2.0
"""A graph around a graph whose guests pass and get real numbers where the model has integers.

`quantization = "affine"`, the operator's choice for a graph: every port that carries a scale and a zero
point is f32 for the guest. By default, and without it, bytes pass as they are.
"""

from __future__ import annotations

from dataclasses import replace

from wasinn.backends.base import Execution, Graph, Interruptible
from wasinn.contracts.quantization import dequantize, is_quantized, quantize
from wasinn.errors import unsupported
from wasinn.spec import TensorType
from wasinn.tensors import Tensor, TensorSpec


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


class _QuantizedExecution:
    def __init__(
        self, execution: Execution, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
    ) -> None:
        self._execution = execution
        self._inputs = inputs
        self._outputs = outputs

    def set_input(self, index: int, tensor: Tensor) -> None:
        spec = self._inputs[index]
        if spec.quantization is not None and is_quantized(spec):
            tensor = Tensor.of(quantize(tensor.numpy(), spec.quantization, spec.type), spec.type)
        self._execution.set_input(index, tensor)

    def compute(self) -> None:
        self._execution.compute()

    def output(self, index: int) -> Tensor:
        spec, tensor = self._outputs[index], self._execution.output(index)
        if spec.quantization is not None and is_quantized(spec):
            return Tensor.of(dequantize(tensor.numpy(), spec.quantization))
        return tensor

    def close(self) -> None:
        self._execution.close()

    def interrupt(self) -> None:
        if isinstance(self._execution, Interruptible):
            self._execution.interrupt()
