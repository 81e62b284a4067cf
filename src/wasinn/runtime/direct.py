# SPDX-License-Identifier: Apache-2.0
"""A graph used without a guest: what `wasinn infer`, `compare` and `diagnose` stand on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from wasinn.backends.base import Execution
from wasinn.contracts.bound import Bound, bind, find_port
from wasinn.contracts.contract import Contract, OutputContract
from wasinn.contracts.parse import read_contract
from wasinn.contracts.quantization import dequantize
from wasinn.errors import ConfigError, WasiNNError, invalid_argument
from wasinn.graphs.loader import LoadedGraph, Loader
from wasinn.graphs.source import GraphSource
from wasinn.tensors import Quantization, Tensor, TensorSpec, fit

Array = np.ndarray[Any, Any]

#: A contract of this name beside a model is the model's own, for the tools that have no guest.
BESIDE = ".contract.toml"


def contract_beside(source: GraphSource) -> Path | None:
    """The contract's file beside a model, `MODEL.contract.toml`; None where there is none."""
    if not source.model.files:
        return None
    first = source.model.files[0]
    path = first.with_name(first.name + BESIDE)
    return path if path.is_file() else None


@dataclass(frozen=True)
class Inference:
    """What one compute gave: copies of the outputs by index, in the model's own types, and its time."""

    outputs: tuple[Array, ...]
    seconds: float


class DirectGraph:
    """A loaded graph with one execution context, and the contract that holds for its callers.

    `contract` given here takes the place of the source's; without either, one beside the model counts.
    Raises WasiNNError for a graph that cannot be loaded and ConfigError for a contract that does not fit.
    """

    def __init__(
        self,
        name: str,
        source: GraphSource,
        loader: Loader | None = None,
        contract: Contract | None = None,
    ) -> None:
        self.name = name
        self.source = source
        try:
            self.loaded: LoadedGraph = (loader or Loader()).load(source)
        except WasiNNError as error:
            raise WasiNNError(error.code, f"graph {name!r}: {error.reason}") from error
        self.inputs: Sequence[TensorSpec] = self.loaded.graph.inputs
        self.outputs: Sequence[TensorSpec] = self.loaded.graph.outputs
        bound = self.loaded.bound
        if contract is None and bound is None:
            beside = contract_beside(source)
            contract = read_contract(beside) if beside is not None else None
        if contract is not None:
            bound = bind(contract, self.inputs, self.outputs)
        self.bound: Bound | None = bound
        self._execution: Execution | None = None

    @property
    def backend(self) -> str:
        return self.loaded.backend

    def input_index(self, key: str | None) -> int:
        """An input by its name in the contract, its port's name or index; None is the only one. Raises
        ConfigError."""
        if key is None:
            if len(self.inputs) == 1:
                return 0
            known = ", ".join(spec.name for spec in self.inputs)
            raise ConfigError(f"graph {self.name!r} has {len(self.inputs)} inputs ({known}): name them")
        if self.bound is not None and (index := self.bound.input_index(key)) is not None:
            return index
        number = int(key) if key.isascii() and key.isdecimal() else key
        known_names = {name for spec in self.inputs for name in (spec.name, *spec.aliases)}
        return find_port(
            self.inputs, key if key in known_names else number, key, f"graph {self.name!r}", "input"
        )

    def infer(self, tensors: Mapping[int, Tensor]) -> Inference:
        """Computes once. Raises WasiNNError as the host does: for what does not fit, or is missing."""
        if self._execution is None:
            self._execution = self.loaded.graph.open()
        for index, spec in enumerate(self.inputs):
            if index not in tensors:
                raise invalid_argument(f"graph {self.name!r}: input {spec.name!r} ({spec}) was not given")
            try:
                tensor = tensors[index] if spec.any_size else fit(spec, tensors[index])
                self._execution.set_input(index, tensor)
            except WasiNNError as error:
                raise WasiNNError(
                    error.code, f"graph {self.name!r}, input {spec.name!r}: {error.reason}"
                ) from error
        start = time.perf_counter()
        self._execution.compute()
        seconds = time.perf_counter() - start
        outputs = tuple(self._execution.output(index).numpy().copy() for index in range(len(self.outputs)))
        return Inference(outputs, seconds)

    def output_contract(self, index: int) -> OutputContract:
        """What the contract says of an output; "raw" where it says nothing."""
        if self.bound is not None and index in self.bound.outputs:
            return self.bound.outputs[index]
        spec = self.outputs[index]
        return OutputContract(spec.name, index, quantization=spec.quantization or "none")

    def real(self, index: int, array: Array) -> Array:
        """An output as real numbers (f32, f64 or integers as they are): dequantized as the contract says."""
        quantization = self.output_contract(index).quantization
        return dequantize(array, quantization) if isinstance(quantization, Quantization) else array

    def close(self) -> None:
        if self._execution is not None:
            self._execution.close()
            self._execution = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
