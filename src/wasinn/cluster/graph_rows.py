# SPDX-License-Identifier: Apache-2.0
"""Rows answered by a graph: a tensor is made of each, and its outputs become columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wasinn.cluster.rows import Answer, Column, Failure, Row
from wasinn.cluster.values import feed_numbers, feed_value
from wasinn.contracts.contract import OutputContract
from wasinn.errors import ConfigError, WasiNNError, runtime_error
from wasinn.graphs.source import GraphSource
from wasinn.imaging.boxes import find_boxes
from wasinn.imaging.masks import class_map, place_classes
from wasinn.imaging.preprocess import Placement
from wasinn.imaging.scores import top_k
from wasinn.runtime.direct import DirectGraph
from wasinn.tensors import NUMPY, Quantization, Tensor, TensorSpec

Array = np.ndarray[Any, Any]

#: The columns of each input: the only input's, or by name. One column, or several with a number each.
Inputs = str | Sequence[str] | Mapping[str, str | Sequence[str]] | None

EDGES = ("left", "top", "right", "bottom")


@dataclass(frozen=True)
class _Ready:
    """A row's tensors by input, and where its picture lies in the first that is one."""

    tensors: dict[int, Tensor]
    placement: Placement | None

    @property
    def group(self) -> Any:
        """What is equal in rows that can share a compute."""
        return tuple((index, each.type, each.dims[1:]) for index, each in self.tensors.items())

    @property
    def rows(self) -> int:
        return next(iter(self.tensors.values())).dims[0]


class GraphRows:
    """Answers rows with one graph and one execution of it. Used by one thread.

    `inputs` says which columns feed which input; None: the column that is called like each input. `outputs`
    are the ones that become columns; none given: those that the contract names, or all. With `decode` an
    output becomes what its contract says it is, else lists of numbers. Up to `together` rows share a compute,
    where every port of the model has a dynamic first dimension.

    Raises WasiNNError for a graph that cannot be loaded, and ConfigError for names that it does not have.
    """

    def __init__(
        self,
        name: str,
        source: GraphSource,
        inputs: Inputs = None,
        outputs: Sequence[str] = (),
        decode: bool = True,
        together: int = 1,
    ) -> None:
        self._graph = DirectGraph(name, source)
        try:
            if self._graph.generates:
                raise ConfigError(
                    f"graph {name!r} is a language model, which has no answer of one compute; run a guest "
                    "over the rows (@chat is one)"
                )
            self._inputs = _input_columns(self._graph, inputs)
            self._outputs = _chosen(self._graph, outputs)
            self._decode = decode
            self._together = together
            if together > 1:
                _check_open(self._graph)
            contracts = [(index, self._graph.output_contract(index)) for index in self._outputs]
            self.columns = tuple(each for pair in contracts for each in self._columns(*pair))
        except BaseException:
            self._graph.close()
            raise
        self.needed = tuple(
            dict.fromkeys(column for columns, _ in self._inputs.values() for column in columns)
        )

    def close(self) -> None:
        self._graph.close()

    def answer(self, rows: Sequence[Row]) -> list[tuple[Answer, Failure | None]]:
        answers: list[tuple[Answer, Failure | None] | None] = [None] * len(rows)
        waiting: list[tuple[int, _Ready]] = []
        for at, row in enumerate(rows):
            try:
                ready = self._ready(row)
            except ConfigError as error:
                answers[at] = ({}, Failure("input", str(error)))
                continue
            if waiting and (len(waiting) >= self._together or waiting[0][1].group != ready.group):
                self._compute(waiting, answers)
                waiting = []
            waiting.append((at, ready))
        if waiting:
            self._compute(waiting, answers)
        return [each for each in answers if each is not None]

    def _ready(self, row: Row) -> _Ready:
        """Raises ConfigError, which names the column."""
        tensors, placement = {}, None
        for index, (columns, several) in self._inputs.items():
            values = [row[column] for column in columns]
            try:
                if several:
                    feed = feed_numbers(self._graph, index, values)
                else:
                    feed = feed_value(self._graph, index, values[0])
            except ConfigError as error:
                raise ConfigError(f"column {', '.join(map(repr, columns))}: {error}") from None
            tensors[index] = feed.tensor
            if placement is None and feed.prepared is not None:
                placement = feed.prepared.placement
        return _Ready(tensors, placement)

    def _compute(
        self,
        ready: Sequence[tuple[int, _Ready]],
        answers: list[tuple[Answer, Failure | None] | None],
    ) -> None:
        """Fills in the answers of rows that share a compute; where that fails each computes alone, so that it
        costs only the row that is to blame."""
        try:
            found = self._infer([each for _, each in ready])
        except WasiNNError as error:
            if len(ready) > 1:
                for one in ready:
                    self._compute([one], answers)
            else:
                answers[ready[0][0]] = ({}, Failure(error.code.label, error.reason))
            return
        for (at, each), outputs in zip(ready, found, strict=True):
            try:
                answers[at] = (self._answer(outputs, each.placement), None)
            except ConfigError as error:
                answers[at] = ({}, Failure("contract", str(error)))

    def _infer(self, ready: Sequence[_Ready]) -> list[list[Array]]:
        """The outputs of each row. Raises WasiNNError."""
        if len(ready) == 1:
            return [list(self._graph.infer(ready[0].tensors).outputs)]
        joined = {
            index: Tensor.of(np.concatenate([each.tensors[index].numpy() for each in ready]), tensor.type)
            for index, tensor in ready[0].tensors.items()
        }
        outputs = self._graph.infer(joined).outputs
        ends = np.cumsum([each.rows for each in ready])
        for spec, output in zip(self._graph.outputs, outputs, strict=True):
            if not output.ndim or output.shape[0] != ends[-1]:
                raise runtime_error(
                    f"output {spec.name!r} is {list(output.shape)} where {ends[-1]} rows were given: rows of "
                    "this model cannot share a compute"
                )
        return [
            [output[end - each.rows : end] for output in outputs]
            for each, end in zip(ready, ends, strict=True)
        ]

    # -- outputs as columns ------------------------------------------------------------------------------

    def _columns(self, index: int, contract: OutputContract) -> list[Column]:
        name, kind = contract.name, contract.kind if self._decode else "raw"
        if kind in ("logits", "probabilities"):
            return [Column(name, "int"), Column(f"{name}_label", "text"), Column(f"{name}_score", "float")]
        if kind == "boxes":
            return [Column(name, "boxes")]
        if kind == "mask":
            return [_list(name, np.int32), _list(f"{name}_shape", np.int64)]
        spec = self._graph.outputs[index]
        numbers = [_list(name, _number_type(spec, contract))]
        return numbers if _is_vector(spec) else [*numbers, _list(f"{name}_shape", np.int64)]

    def _answer(self, outputs: Sequence[Array], placement: Placement | None) -> Answer:
        """Raises ConfigError where an output is not what its contract says."""
        real = {index: self._graph.real(index, array) for index, array in enumerate(outputs)}
        answer: Answer = {}
        for index in self._outputs:
            contract, values = self._graph.output_contract(index), real[index]
            name, kind = contract.name, contract.kind if self._decode else "raw"
            if kind in ("logits", "probabilities"):
                (best,) = top_k(values, contract, 1)
                answer |= {name: best.index, f"{name}_label": best.label, f"{name}_score": best.score}
            elif kind == "boxes":
                boxes = find_boxes(real, self._graph.outputs, contract, self._picture_size(), placement)
                answer[name] = [
                    {"label": box.label, "index": box.index, "score": box.score}
                    | {edge: getattr(box, edge) for edge in EDGES}
                    for box in boxes
                ]
            else:
                if kind == "mask":
                    values = class_map(values, contract)
                    values = values if placement is None else place_classes(values, placement)
                elif values.ndim > 1 and values.shape[0] == 1:
                    values = values[0]  # a row is a batch of one
                answer |= {name: values.reshape(-1), f"{name}_shape": np.array(values.shape, np.int64)}
        return answer

    def _picture_size(self) -> tuple[int, int]:
        """The height and width of the first input that is a picture. Raises ConfigError."""
        found = self._graph.bound.inputs.values() if self._graph.bound is not None else ()
        for each in found:
            if each.image is not None:
                return each.image.size
        raise ConfigError("boxes need an input whose contract says the picture's size; or give decode=False")


def _list(name: str, dtype: Any) -> Column:
    return Column(name, "list", np.dtype(dtype))


def _number_type(spec: TensorSpec, contract: OutputContract) -> np.dtype[Any]:
    """The type of an output's real numbers, as `DirectGraph.real` gives them."""
    own = NUMPY.get(spec.type)
    if own is None or (isinstance(contract.quantization, Quantization) and own.kind in "iu"):
        return np.dtype(np.float32)
    return own


def _is_vector(spec: TensorSpec) -> bool:
    """Whether a row's output is one list of numbers, whose shape says nothing more."""
    return spec.dims is not None and len(spec.dims) == 2 and spec.dims[0] in (1, None)


def _check_open(graph: DirectGraph) -> None:
    for spec in (*graph.inputs, *graph.outputs):
        if not spec.optional and (not spec.dims or spec.dims[0] is not None):
            raise ConfigError(
                f"rows share a compute where every port has a dynamic first dimension, and {spec.name!r} of "
                f"graph {graph.name!r} is {spec}; leave out `together`"
            )


def _input_columns(graph: DirectGraph, inputs: Inputs) -> dict[int, tuple[tuple[str, ...], bool]]:
    """By input: its columns, and whether they are features of one number each. Raises ConfigError."""
    needed = [index for index, spec in enumerate(graph.inputs) if not spec.optional]
    if inputs is None:
        chosen: dict[int, str | Sequence[str]] = {}
        for index in needed:
            contract = graph.input_contract(index)
            chosen[index] = contract.name if contract is not None else graph.inputs[index].name
    elif isinstance(inputs, Mapping):
        chosen = {graph.input_index(key): columns for key, columns in inputs.items()}
    else:
        chosen = {graph.input_index(None): inputs}
    missing = [graph.inputs[index].name for index in needed if index not in chosen]
    if missing:
        raise ConfigError(f"graph {graph.name!r} wants the input {', '.join(map(repr, missing))} as well")
    found = {}
    for index, columns in chosen.items():
        several = not isinstance(columns, str)
        names = (
            (columns,) if isinstance(columns, str) or not isinstance(columns, Sequence) else tuple(columns)
        )
        if not names or not all(isinstance(name, str) for name in names):
            raise ConfigError(
                f"input {graph.inputs[index].name!r} takes the name of a column, not {columns!r}"
            )
        found[index] = (names, several)
    return found


def _chosen(graph: DirectGraph, outputs: Sequence[str]) -> tuple[int, ...]:
    if isinstance(outputs, str):
        raise ConfigError(f"outputs is a list of names, not the text {outputs!r}")
    if outputs:
        return tuple(dict.fromkeys(graph.output_index(each) for each in outputs))
    named = tuple(graph.bound.outputs) if graph.bound is not None else ()
    return named or tuple(range(len(graph.outputs)))
