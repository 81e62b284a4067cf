# SPDX-License-Identifier: Apache-2.0
"""A graph around a graph that holds what guests send against the contract, as far as bytes can tell.

Type and dims are held against the ports by the host, and here the values: a warning with the likely cause,
once for each input and cause of a graph. With `strict`, values that cannot be right are refused
(invalid_argument); what is only unlikely (contracts/suspicion.py) stays a warning.

A type or dims that the model leaves open are those of the contract with `strict`. Without, others are warned
about.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from wasinn.backends.base import Bindable, Execution, Graph
from wasinn.contracts.bound import Bound
from wasinn.contracts.contract import InputContract
from wasinn.contracts.suspicion import Examiner, examiner, form_examiner
from wasinn.errors import invalid_argument
from wasinn.graphs.around import ExecutionAround
from wasinn.tensors import SpecDims, Tensor, TensorSpec

logger = logging.getLogger("wasinn.graph")


class CheckedGraph:
    """`graph`, whose inputs are held against `bound`.

    Without `strict` a loop's first inputs are looked at: the hot path, which passes the host by, stays open.
    With it every input is, and there is no hot path.
    """

    def __init__(self, graph: Graph, bound: Bound, strict: bool = False) -> None:
        self._graph = graph
        self._strict = strict
        self.inputs = tuple(
            _narrowed(spec, bound.inputs.get(index)) if strict else spec
            for index, spec in enumerate(graph.inputs)
        )
        self.outputs = graph.outputs
        self._examiners: dict[int, Examiner] = {}
        for index, each in bound.inputs.items():
            found = examiner(each)
            if found is None and strict:
                logger.info(
                    "input %r: strict holds its type and dims against the contract, and no values: nothing "
                    "is known of those of %s%s",
                    each.name,
                    each.type.label,
                    "" if each.image is None else f" with {each.quantization}",
                )
            if found is None and not strict and _is_open(graph.inputs[index]):
                found = form_examiner(each)
            if found is not None:
                self._examiners[index] = found
        self._warned: set[tuple[int, str]] = set()

    def open(self) -> Execution:
        execution = self._graph.open()
        if not self._examiners:
            return execution
        kind = _CheckedExecution
        if not self._strict and isinstance(execution, Bindable):
            kind = _BindableCheckedExecution
        return kind(execution, self._examiners, self._strict, self._warned)


def _is_open(spec: TensorSpec) -> bool:
    return spec.any_type or (spec.static_dims is None and not spec.any_size)


def _narrowed(spec: TensorSpec, contract: InputContract | None) -> TensorSpec:
    """The port with what the model leaves open as the contract says it; a batch may stay open."""
    if contract is None:
        return spec
    dims: SpecDims | None = contract.dims
    if contract.image is not None:
        letters = zip(contract.image.layout, contract.image.dims, strict=True)
        dims = tuple(None if letter == "N" else dim for letter, dim in letters)
    if spec.any_size or dims is None:
        dims = spec.dims
    elif spec.dims is not None and len(spec.dims) == len(dims):
        dims = tuple(mine if mine is not None else dim for mine, dim in zip(spec.dims, dims, strict=True))
    return replace(spec, dims=dims, type=contract.type, any_type=False)


class _CheckedExecution(ExecutionAround):
    def __init__(
        self,
        execution: Execution,
        examiners: Mapping[int, Examiner],
        strict: bool,
        warned: set[tuple[int, str]],
    ) -> None:
        super().__init__(execution)
        self._examiners = examiners
        self._strict = strict
        #: The inputs and causes that a line was written about, of all executions: a guest opens many.
        self._warned = warned

    def set_input(self, index: int, tensor: Tensor) -> None:
        examine = self._examiners.get(index)
        finding = examine(tensor) if examine is not None else None
        if finding is not None:
            if finding.certain and self._strict:
                raise invalid_argument(finding.text)
            if (index, finding.cause) not in self._warned:
                self._warned.add((index, finding.cause))
                logger.warning("%s", finding.text)
        self._execution.set_input(index, tensor)


class _BindableCheckedExecution(_CheckedExecution):
    """One that lets the hot path take over."""

    def bind(self, inputs: Sequence[int], outputs: Sequence[int]) -> Callable[[], object] | None:
        assert isinstance(self._execution, Bindable)
        return self._execution.bind(inputs, outputs)
