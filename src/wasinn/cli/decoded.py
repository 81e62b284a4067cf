# SPDX-License-Identifier: Apache-2.0
"""What a graph's outputs say, by the contract: classes, a mask, boxes or numbers; as text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wasinn.backends.common import one_line
from wasinn.cli.common import table
from wasinn.cli.statistics import Statistics, for_json, number, statistics
from wasinn.contracts.contract import OutputContract
from wasinn.imaging.boxes import Box, find_boxes
from wasinn.imaging.masks import class_counts, class_map
from wasinn.imaging.preprocess import Placement
from wasinn.imaging.scores import Scored, order, top_k
from wasinn.runtime.direct import DirectGraph
from wasinn.tensors import TensorSpec, format_dims

Array = np.ndarray[Any, Any]

#: So many first numbers are shown of an output without a meaning, and so many classes of a mask.
FIRST, MOST_CLASSES = 10, 20
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

    def text(self) -> str:
        """A line of what it is, and its answer below."""
        what = "" if self.kind == "raw" else f"  {self.contract.kind}"
        head = f"  {one_line(self.name)}  {self.spec.type.label} {format_dims(self.array.shape)}{what}"
        body = self._body()
        return f"{head}\n{body}" if body else head

    def _body(self) -> str:
        if self.kind == "classes":
            share = all(0 <= each.score <= 1 for each in self.scored)
            width = len(str(len(self.scored)))
            return table(
                [
                    (
                        f"    {rank:>{width}}",
                        _percent(each.score, share),
                        f"{each.index:>4}",
                        one_line(name, 60),
                    )
                    for rank, each in enumerate(self.scored, 1)
                    for name in [each.label or ""]
                ]
            )
        if self.kind == "mask":
            return self._mask_body()
        if self.kind == "boxes":
            if not self.boxes:
                return "    no box"
            rows: list[tuple[str, ...]] = [("", f"{'score':>9}", *(f"{edge:>6}" for edge in EDGES), "class")]
            for rank, box in enumerate(self.boxes, 1):
                edges = (f"{getattr(box, edge):6.0f}" for edge in EDGES)
                name = one_line(box.label or f"class {box.index}", 60)
                rows.append((f"    {rank}", _percent(box.score, True), *edges, name))
            return table(rows)
        # One number is its own statistics.
        lines = [] if self.statistics is None or self.real.size == 1 else [f"    {self.statistics}"]
        if self.largest:
            lines.append("    largest  " + ", ".join(f"{at}: {number(value)}" for at, value in self.largest))
        elif self.real.size:
            first = self.real.reshape(-1)[:FIRST]
            more = " ..." if self.real.size > FIRST else ""
            lines.append("    " + " ".join(number(float(each)) for each in first) + more)
        return "\n".join(lines)

    def _mask_body(self) -> str:
        total = sum(self.counts) or 1
        found = sorted((at for at, count in enumerate(self.counts) if count), key=lambda at: -self.counts[at])
        rows = [
            (
                f"    {_percent(self.counts[at] / total, True)}",
                f"{self.counts[at]:>{len(str(total))}} pixels",
                f"{at:>3}",
                one_line(self.contract.label(at) or f"class {at}", 60),
            )
            for at in found[:MOST_CLASSES]
        ]
        more = len(found) - MOST_CLASSES
        return table(rows) + (f"\n    and {more} more classes" if more > 0 else "")


def _percent(value: float, share: bool) -> str:
    if not share or math.isnan(value):
        return f"{number(value):>9}"
    return f"{100 * value:7.2f} %"


def decode_outputs(
    graph: DirectGraph,
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
    graph: DirectGraph,
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


def _input_size(graph: DirectGraph) -> tuple[int, int] | None:
    """The height and width of the first input that is a picture."""
    if graph.bound is not None:
        for each in graph.bound.inputs.values():
            if each.image is not None:
                return each.image.size
    return None
