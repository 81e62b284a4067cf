# SPDX-License-Identifier: Apache-2.0
"""A graph's inputs and outputs, and what its contract says of them: whether it is computed here or served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from wasinn.contracts.bound import Bound
from wasinn.contracts.contract import InputContract, OutputContract
from wasinn.contracts.quantization import dequantize
from wasinn.graphs.loader import LoadedGraph
from wasinn.runtime.numbers import numbers
from wasinn.tensors import Quantization, TensorSpec

Array = np.ndarray[Any, Any]


class Ports(Protocol):
    """What decoding an answer needs."""

    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    bound: Bound | None

    def output_contract(self, index: int) -> OutputContract:
        """What the contract says of an output; "raw" where it says nothing."""

    def real(self, index: int, array: Array) -> Array:
        """An output as real numbers."""


class LoadedPorts:
    """Those of a loaded graph, with the contract that holds for its callers or, else, the one beside it."""

    def __init__(self, loaded: LoadedGraph) -> None:
        self.inputs: Sequence[TensorSpec] = loaded.graph.inputs
        self.outputs: Sequence[TensorSpec] = loaded.graph.outputs
        self.bound = loaded.told

    def input_contract(self, index: int) -> InputContract | None:
        return None if self.bound is None else self.bound.inputs.get(index)

    def output_contract(self, index: int) -> OutputContract:
        return output_contract(self.outputs[index], index, self.bound)

    def real(self, index: int, array: Array) -> Array:
        return real(array, self.outputs[index], self.output_contract(index))


def output_contract(spec: TensorSpec, index: int, bound: Bound | None) -> OutputContract:
    """What a contract says of the output `index`; "raw" where it says nothing."""
    if bound is not None and index in bound.outputs:
        return bound.outputs[index]
    return OutputContract(spec.name, index, quantization=spec.quantization or "none")


def real(array: Array, spec: TensorSpec, contract: OutputContract) -> Array:
    """An output as real numbers: f32 where it is quantized (as the contract says), bf16 or f8, else as it
    is."""
    array = numbers(array, spec.type)
    # The graph's option quantization = "affine" has made real numbers of it already.
    if isinstance(contract.quantization, Quantization) and array.dtype.kind in "iu":
        return dequantize(array, contract.quantization)
    return array
