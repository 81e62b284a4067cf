# SPDX-License-Identifier: Apache-2.0
"""Outputs brought to one form, in which two graphs can be compared.

Classes become probabilities over the lines of a label file, masks the class of each pixel, boxes a list in
pixels of the picture; everything else stays real numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wasinn.contracts.class_order import class_order
from wasinn.contracts.contract import OutputContract
from wasinn.errors import ConfigError
from wasinn.imaging.boxes import Box, find_boxes
from wasinn.imaging.masks import class_map
from wasinn.imaging.preprocess import Placement
from wasinn.imaging.scores import probabilities
from wasinn.runtime.direct import DirectGraph
from wasinn.tensors import format_dims

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Answer:
    """One output. `values`: of "classes" f64 probabilities [classes], of a "mask" the class ids [height,
    width], of "raw" the real numbers in the output's own dims, of "boxes" empty.

    `first` is the label line of `values[0]`, where the kind is "classes".
    """

    name: str
    kind: str
    values: Array
    contract: OutputContract
    first: int = 0
    boxes: tuple[Box, ...] = ()

    @property
    def top(self) -> int | None:
        """The label line of the largest value; of raw numbers, its index; None where that means nothing."""
        if self.kind == "classes" or (self.kind == "raw" and _is_list(self.values)):
            return self.first + int(np.argmax(np.nan_to_num(self.values.reshape(-1), nan=-np.inf)))
        return None

    def label(self, line: int) -> str:
        """What a label line is called; `class N` where the contract has no labels."""
        return self.contract.label(line - self.first) or f"class {line}"

    def best(self, count: int) -> list[tuple[int, float]]:
        """The largest values with their label lines, of "classes" and lists of raw numbers."""
        flat = self.values.reshape(-1)
        order = np.argsort(-np.nan_to_num(flat, nan=-np.inf), kind="stable")[:count]
        return [(self.first + int(at), float(flat[at])) for at in order]


@dataclass(frozen=True)
class Difference:
    """How two answers differ.

    `distance` is 0 for equal answers and 1 for ones that have nothing in common: of classes the total
    variation (half of the sum of the differences), of a mask the share of pixels that differ, of boxes the
    share without a partner, of raw numbers the relative root mean square. `largest` and `mean` are of the
    probabilities or numbers; of a mask and boxes, the distance again. `top1` and `overlap` (of the best k,
    0 to 1) are None where they mean nothing. `note` says why two answers cannot be compared; then `distance`
    is 1.
    """

    distance: float
    largest: float
    mean: float
    top1: bool | None = None
    overlap: float | None = None
    note: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


def answer_of(
    values: Array,
    contract: OutputContract,
    boxes: Sequence[Box] | None = None,
) -> Answer:
    """An output's real numbers (dequantized) in the common form. Raises ConfigError where they cannot be what
    the contract says."""
    if values.size == 0:
        raise ConfigError(f"the output {contract.name!r} is empty, {format_dims(values.shape)}")
    # Softmax of one number is 1 whatever it is.
    if contract.kind == "probabilities" or (contract.kind == "logits" and values.size > 1):
        shares = probabilities(values, contract).astype(np.float64)
        return Answer(contract.name, "classes", shares, contract, contract.label_offset)
    if contract.kind == "mask":
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            wrong = int(values.size - np.isfinite(values).sum())
            raise ConfigError(
                f"{wrong} of the {values.size} numbers of the mask {contract.name!r} are NaN or infinite"
            )
        return Answer(contract.name, "mask", class_map(values, contract), contract)
    if contract.kind == "boxes" and boxes is not None:
        return Answer(contract.name, "boxes", np.empty(0), contract, boxes=tuple(boxes))
    return Answer(contract.name, "raw", values, contract)


def answers_of(
    graph: DirectGraph, outputs: Sequence[Array], placement: Placement | None = None
) -> list[Answer]:
    """The outputs of a graph's inference: those of its contract in its order, or all of them where it says
    nothing of outputs. `placement` is where the picture lay: without it there are no boxes."""
    real = {index: graph.real(index, array) for index, array in enumerate(outputs)}
    named = dict(graph.bound.outputs) if graph.bound is not None else {}
    found = []
    for index in named or range(len(outputs)):
        contract = graph.output_contract(index)
        boxes = None
        if contract.kind == "boxes" and placement is not None:
            boxes = find_boxes(real, graph.outputs, contract, placement.size, placement)
        found.append(answer_of(real[index], contract, boxes))
    return found


def difference(a: Answer, b: Answer, k: int = 5) -> Difference:
    """How `b` differs from `a`."""
    if a.kind != b.kind:
        return _not_comparable(f"one is {a.kind}, the other {b.kind}: give both a contract")
    if a.kind == "classes":
        return _classes(a, b, k)
    if a.kind == "mask":
        return _masks(a, b)
    if a.kind == "boxes":
        return _boxes(a.boxes, b.boxes)
    return _raw(a, b, k)


def _not_comparable(why: str) -> Difference:
    return Difference(1.0, 1.0, 1.0, None, None, why)


def aligned(a: Answer, b: Answer) -> tuple[Array, Array]:
    """The probabilities of two answers over the label lines of either, in the lines of `a`; 0 for a class
    that one of them does not have.

    Where both have label lists and these differ, classes belong together by their labels, as in adapting.
    """
    values, first = b.values, b.first
    one, other = a.contract.labels, b.contract.labels
    if one is not None and other is not None and one != other:
        places = _places(a.contract, b.contract, len(b.values))
        if places is not None:
            first = a.first
            values = np.where(places >= 0, b.values[places], 0.0)
            lost = float(np.delete(b.values, places[places >= 0]).sum())
            if lost > 0:  # what only `b` knows goes to a line of its own, after all others
                end = max(a.first + len(a.values), first + len(values))
                values = np.concatenate([values, np.zeros(end - first - len(values)), [lost]])
    low = min(a.first, first)
    high = max(a.first + len(a.values), first + len(values))
    left, right = np.zeros(high - low), np.zeros(high - low)
    left[a.first - low : a.first - low + len(a.values)] = a.values
    right[first - low : first - low + len(values)] = values
    return left, right


@functools.lru_cache(maxsize=64)  # a search asks for the same few thousands of times
def _places(one: OutputContract, other: OutputContract, count: int) -> Array | None:
    """For each class of `one` the place among the `count` values of `other`, -1 where it has none; None where
    the two have nothing in common, and their lines are all there is."""
    try:
        order = class_order(one, other, count, "labels")
    except ConfigError:
        return None
    return np.array(range(count) if order is None else order, np.intp)


def _classes(a: Answer, b: Answer, k: int) -> Difference:
    left, right = aligned(a, b)
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        return Difference(1.0, 1.0, 1.0, False, 0.0, "not all probabilities are numbers")
    gaps = np.abs(left - right)
    order_a, order_b = np.argsort(-left, kind="stable"), np.argsort(-right, kind="stable")
    count = min(k, len(a.values), len(b.values))
    overlap = len(set(order_a[:count].tolist()) & set(order_b[:count].tolist())) / count
    # Of probabilities that sum to 1 this is the total variation.
    total = float(np.abs(left).sum() + np.abs(right).sum())
    return Difference(
        distance=min(1.0, float(gaps.sum()) / total) if total > 0 else 0.0,
        largest=float(gaps.max()),
        mean=float(gaps.mean()),
        top1=bool(order_a[0] == order_b[0]),
        overlap=overlap,
        note=other_networks(a, b),
    )


def other_networks(a: Answer, b: Answer) -> str:
    """A doubt about two answers whose numbers of classes differ by more than a background."""
    if a.contract.labels is not None and b.contract.labels is not None:
        return ""
    if abs(len(a.values) - len(b.values)) <= 2:
        return ""
    return f"they have {len(a.values)} and {len(b.values)} classes: are they the same network?"


def _masks(a: Answer, b: Answer) -> Difference:
    if a.values.shape != b.values.shape:
        return _not_comparable(
            f"the masks are {format_dims(a.values.shape)} and {format_dims(b.values.shape)} pixels"
        )
    share = float(np.mean(a.values != b.values))
    return Difference(share, share, share)


def _boxes(a: Sequence[Box], b: Sequence[Box]) -> Difference:
    """Boxes pair up, the best first, where the class is the same and they share half of their union."""
    free = list(b)
    pairs = []
    for box in sorted(a, key=lambda each: -each.score):
        fitting = [other for other in free if other.index == box.index and _iou(box, other) >= 0.5]
        if fitting:
            other = max(fitting, key=lambda each: _iou(box, each))
            free.remove(other)
            pairs.append((box, other))
    total = len(a) + len(b)
    distance = 1 - 2 * len(pairs) / total if total else 0.0
    gaps = [abs(one.score - other.score) for one, other in pairs]
    return Difference(
        distance,
        max(gaps, default=distance),
        sum(gaps) / len(gaps) if gaps else distance,
        detail={"paired": len(pairs), "first": len(a), "second": len(b)},
    )


def _iou(a: Box, b: Box) -> float:
    width = min(a.right, b.right) - max(a.left, b.left)
    height = min(a.bottom, b.bottom) - max(a.top, b.top)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    union = (a.right - a.left) * (a.bottom - a.top) + (b.right - b.left) * (b.bottom - b.top) - shared
    return shared / union if union > 0 else 0.0


def _raw(a: Answer, b: Answer, k: int) -> Difference:
    if a.values.size != b.values.size:
        return _not_comparable(
            f"the outputs have {a.values.size} and {b.values.size} numbers: a contract can say what they mean"
        )
    if a.values.size == 0:
        return Difference(0.0, 0.0, 0.0)
    left, right = a.values.reshape(-1).astype(np.float64), b.values.reshape(-1).astype(np.float64)
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        same = bool(np.array_equal(left, right, equal_nan=True))
        return Difference(float(not same), float(not same), float(not same), note="not all are numbers")
    gaps = np.abs(left - right)
    # Divided first: squares of very large or small numbers are none that a float can hold.
    largest = float(max(np.abs(left).max(), np.abs(right).max()))
    scale = largest or 1.0
    sizes = [float(np.sqrt(np.mean((each / scale) ** 2))) for each in (left, right, gaps)]
    relative = sizes[2] / (sizes[0] + sizes[1]) * 2 if largest > 0 else 0.0
    if not np.isfinite(relative):
        relative = 1.0
    top1 = overlap = None
    if _is_list(a.values) and _is_list(b.values):
        count = min(k, left.size)
        top1 = bool(np.argmax(left) == np.argmax(right))
        best = [set(np.argsort(-each, kind="stable")[:count].tolist()) for each in (left, right)]
        overlap = len(best[0] & best[1]) / count
    return Difference(min(relative, 1.0), float(gaps.max()), float(gaps.mean()), top1, overlap)


def _is_list(values: Array) -> bool:
    """Whether an output is one list of numbers, as a classifier's is: all in the last dimension."""
    return values.ndim >= 1 and values.shape[-1] == values.size and values.size > 1
