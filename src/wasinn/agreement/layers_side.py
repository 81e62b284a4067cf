# SPDX-License-Identifier: Apache-2.0
"""One side of a comparison of layers: the model on one runtime, with tensors exposed or without."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wasinn.agreement.layers_model import Structure, with_outputs
from wasinn.errors import WasiNNError, runtime_error
from wasinn.graphs.source import GraphSource
from wasinn.runtime.direct import DirectGraph
from wasinn.spec import Encoding, TensorType
from wasinn.tensors import Tensor, TensorSpec, element_count

Array = np.ndarray[Any, Any]


def as_it_is(source: GraphSource) -> GraphSource:
    """The source without what stands between the model and its callers: tensors are the model's own."""
    return replace(
        source, encoding=Encoding.ONNX, contract=None, guests=None, strict=False, dims="strict",
        quantization="raw",
    )  # fmt: skip


@dataclass(frozen=True)
class Exposed:
    """What a run gave: the model's outputs, then the exposed tensors; in the model's own types."""

    names: tuple[str, ...]
    arrays: tuple[Array, ...]
    types: tuple[TensorType, ...]


class LayersSide:
    """A source and its inputs, by index. `name`: what runs it, for people."""

    def __init__(self, source: GraphSource, structure: Structure, tensors: Mapping[int, Tensor]) -> None:
        self._source = as_it_is(source)
        self._structure = structure
        self._tensors = tensors
        self.backend = ""

    @property
    def name(self) -> str:
        precision = self._source.options.precision
        return f"{self.backend} ({precision})" if precision else self.backend

    def run(self, names: Sequence[str]) -> Exposed:
        """Loads the model with the tensors `names` exposed, and computes once. Raises WasiNNError."""
        with self._loaded(names) as graph:
            found = graph.infer(self._tensors)
            types = tuple(spec.type for spec in graph.outputs)
            return Exposed((*self._structure.outputs, *self._added(names)), found.outputs, types)

    def chunks(self, names: Sequence[str], most_bytes: int) -> Iterator[list[str]]:
        """`names` in parts whose tensors have `most_bytes` or so; a dynamic dimension is taken to be as
        large as the largest that the inputs have in such a place."""
        try:
            with self._loaded(names) as graph:
                sizes = self._sizes(graph, names)
        except WasiNNError:  # a tensor among them is refused: how large the others are is not known
            sizes = dict.fromkeys(names, most_bytes // 64)
        part: list[str] = []
        held = 0
        for name in names:
            size = sizes[name]
            if part and held + size > most_bytes:
                yield part
                part, held = [], 0
            part.append(name)
            held += size
        if part:
            yield part

    def _sizes(self, graph: DirectGraph, names: Sequence[str]) -> dict[str, int]:
        dynamic = [
            given
            for index, spec in enumerate(graph.inputs)
            if index in self._tensors and spec.dims is not None
            for dim, given in zip(spec.dims, self._tensors[index].dims, strict=False)
            if dim is None
        ]
        guess = max(dynamic, default=1)
        every = (*self._structure.outputs, *self._added(names))
        return {name: _size(spec, guess) for name, spec in zip(every, graph.outputs, strict=True)}

    def _added(self, names: Sequence[str]) -> list[str]:
        own = set(self._structure.outputs)
        return [name for name in names if name not in own]

    @contextlib.contextmanager
    def _loaded(self, names: Sequence[str]) -> Iterator[DirectGraph]:
        added = self._added(names)
        wanted = len(self._structure.outputs) + len(added)
        with (
            with_outputs(self._source.model, added) as model,
            _quiet(bool(added)),
            DirectGraph("model", replace(self._source, model=model)) as graph,
        ):
            self.backend = graph.backend
            if len(graph.outputs) != wanted:
                raise runtime_error(f"the runtime has {len(graph.outputs)} outputs, and not {wanted}")
            yield graph


def _size(spec: TensorSpec, guess: int) -> int:
    if spec.dims is None:
        return 1 << 20
    return element_count([guess if dim is None else dim for dim in spec.dims]) * spec.type.size


@contextlib.contextmanager
def _quiet(really: bool) -> Iterator[None]:
    """No warnings about outputs that only a comparison has asked for."""
    logger = logging.getLogger("wasinn.graph")
    before = logger.disabled
    logger.disabled = before or really
    try:
        yield
    finally:
        logger.disabled = before
