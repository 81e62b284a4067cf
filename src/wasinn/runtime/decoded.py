# SPDX-License-Identifier: Apache-2.0
"""What a graph's outputs say, by the contract: classes, a mask, boxes or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wasinn.contracts.contract import OutputContract
from wasinn.errors import ConfigError
from wasinn.imaging.boxes import Box, find_boxes
from wasinn.imaging.masks import class_counts, class_map
from wasinn.imaging.preprocess import Placement
from wasinn.imaging.scores import Scored, order, top_k
from wasinn.runtime.ports import Ports
from wasinn.runtime.statistics import Statistics, for_json, statistics
from wasinn.tensors import TensorSpec

Array = np.ndarray[Any, Any]

#: So many first numbers are shown of an output without a meaning.
FIRST = 10
#: The largest class of a mask.
MOST_CLASS = 1_000_000
EDGES = ("left", "top", "right", "bottom")


@dataclass(frozen=True)
class Decoded:
    """One output. `kind`: "classes" (`scored`), "mask" (`classes` [height, width] and the pixels of each
    class), "boxes", or "raw" (`largest` values with their indices, where it is one list of numbers). The
    classes of a batch are raw.

    `array` has the model's own type, `real` the real numbers; `first` are the first of these.
    """

    spec: TensorSpec
    index: int
    contract: OutputContract
    kind: str
    array: Array
    real: Array
    scored: list[Scored] = field(default_factory=list)
    classes: Array | None = None
    counts: list[int] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    largest: list[tuple[int, float]] = field(default_factory=list)
    statistics: Statistics | None = None

    @property
    def name(self) -> str:
        return self.contract.name

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        result: dict[str, Any] = {
            "name": self.name,
            "port": self.spec.name,
            "index": self.index,
            "type": self.spec.type.label,
            "dims": list(self.array.shape),
            "kind": self.contract.kind,
        }
        if self.kind == "classes":
            result["top"] = [
                {"index": each.index, "label": each.label, "score": for_json(each.score)}
                for each in self.scored
            ]
        elif self.kind == "mask":
            total = sum(self.counts) or 1
            result["size"] = list(self.classes.shape) if self.classes is not None else []
            result["classes"] = [
                {"index": at, "label": self.contract.label(at), "pixels": count, "share": count / total}
                for at, count in enumerate(self.counts)
            ]
        elif self.kind == "boxes":
            result["boxes"] = [
                {
                    "index": each.index,
                    "label": each.label,
                    "score": for_json(each.score),
                    **{edge: round(getattr(each, edge), 2) for edge in EDGES},
                }
                for each in self.boxes
            ]
        else:
            flat = self.real.reshape(-1)[:FIRST]
            result["first"] = [for_json(float(each)) for each in flat]
            result["largest"] = [{"index": at, "value": for_json(value)} for at, value in self.largest]
            result["statistics"] = None if self.statistics is None else self.statistics.as_dict()
        return result


def decode_outputs(
    graph: Ports,
    outputs: Sequence[Array],
    placement: Placement | None,
    top: int,
    chosen: Sequence[int] = (),
) -> list[Decoded]:
    """The outputs that are `chosen`; without a choice those that the contract names, or all where it names
    none. `placement` is where the picture lies in the input. Raises ConfigError where an output cannot be
    what the contract says."""
    real = {index: graph.real(index, array) for index, array in enumerate(outputs)}
    named = list(graph.bound.outputs) if graph.bound is not None else []
    return [
        _decode(graph, index, outputs[index], real, placement, top)
        for index in chosen or named or range(len(outputs))
    ]


def _decode(
    graph: Ports,
    index: int,
    array: Array,
    real: dict[int, Array],
    placement: Placement | None,
    top: int,
) -> Decoded:
    contract, spec, values = graph.output_contract(index), graph.outputs[index], real[index]
    batch = values.ndim == 2 and values.shape[0] > 1
    if contract.kind in ("logits", "probabilities") and not batch:
        scored = top_k(values, contract, top)
        return Decoded(spec, index, contract, "classes", array, values, scored=scored)
    if contract.kind == "mask":
        classes = class_map(values, contract)
        if classes.max(initial=0) > MOST_CLASS:  # a list of counts would be as long
            raise ConfigError(
                f"output {contract.name!r}: a mask with class {int(classes.max())}, and {MOST_CLASS} is the "
                "largest there may be; is its kind in the contract right?"
            )
        counts = class_counts(classes, contract.classes)
        return Decoded(spec, index, contract, "mask", array, values, classes=classes, counts=counts)
    if contract.kind == "boxes":
        size = _input_size(graph)
        if size is not None:
            boxes = find_boxes(real, graph.outputs, contract, size, placement)
            return Decoded(spec, index, contract, "boxes", array, values, boxes=boxes)
    largest: list[tuple[int, float]] = []
    if values.ndim and 1 < values.size == values.shape[-1]:
        flat = values.reshape(-1)
        largest = [(int(at), float(flat[at])) for at in order(flat)[:top]]
    return Decoded(
        spec, index, contract, "raw", array, values, largest=largest, statistics=statistics(values)
    )


def _input_size(graph: Ports) -> tuple[int, int] | None:
    """The height and width of the first input that is a picture."""
    if graph.bound is not None:
        for each in graph.bound.inputs.values():
            if each.image is not None:
                return each.image.size
    return None
