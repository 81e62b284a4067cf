# SPDX-License-Identifier: Apache-2.0
"""A graph around a graph for guests that label the right bytes with the wrong dims.

Some older guests do. With `dims = "reshape"` only the byte count must fit; the first time that dims
are reinterpreted a warning says how. Never the default: a wrong layout would pass unseen.
"""

from __future__ import annotations

import logging

from wasinn.backends.base import Execution, Graph
from wasinn.errors import invalid_argument
from wasinn.graphs.around import ExecutionAround
from wasinn.spec import TensorType
from wasinn.tensors import Tensor, TensorSpec, element_count, format_dims

logger = logging.getLogger("wasinn.graph")


class ReshapedGraph:
    """`graph`, whose inputs take any dims whose byte count fits."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.inputs = tuple(spec.without_size_check() for spec in graph.inputs)
        self.outputs = graph.outputs
        self._warned: set[int] = set()

    def open(self) -> Execution:
        return _ReshapedExecution(self._graph.open(), self._graph.inputs, self._warned)


class _ReshapedExecution(ExecutionAround):
    def __init__(self, execution: Execution, inputs: tuple[TensorSpec, ...], warned: set[int]) -> None:
        super().__init__(execution)
        self._inputs = inputs
        #: The inputs that a line was written about, of all executions: a guest can open any number.
        self._warned = warned

    def set_input(self, index: int, tensor: Tensor) -> None:
        spec = self._inputs[index]
        dims = _dims_for(spec, tensor)
        if dims != tensor.dims and index not in self._warned:
            self._warned.add(index)
            logger.warning(
                "input %r: %d bytes labelled %s are taken as %s",
                spec.name,
                len(tensor.data),
                format_dims(tensor.dims),
                format_dims(dims),
            )
        self._execution.set_input(index, Tensor(dims, _type(spec, tensor), tensor.data))


def _type(spec: TensorSpec, tensor: Tensor) -> TensorType:
    return tensor.type if spec.any_type else spec.type


def _dims_for(spec: TensorSpec, tensor: Tensor) -> tuple[int, ...]:
    """The dims of `spec` that hold exactly the tensor's bytes. Raises WasiNNError."""
    length, width = len(tensor.data), _type(spec, tensor).size
    if spec.dims is None:
        if element_count(tensor.dims) * width == length:
            return tensor.dims
    else:
        fixed = element_count([dim for dim in spec.dims if dim is not None]) * width
        dynamic = spec.dims.count(None)
        if dynamic == 0 and fixed == length:
            return tuple(dim for dim in spec.dims if dim is not None)
        if dynamic == 1 and fixed and length % fixed == 0:
            return tuple(length // fixed if dim is None else dim for dim in spec.dims)
        if (
            dynamic > 1
            and len(tensor.dims) == len(spec.dims)
            and element_count(tensor.dims) * width == length
        ):
            return tensor.dims
    raise invalid_argument(f"wanted {spec}, got {length} bytes, which no dims of that shape hold")
