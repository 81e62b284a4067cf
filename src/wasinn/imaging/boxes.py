# SPDX-License-Identifier: Apache-2.0
"""A detector's outputs: boxes in pixels of the picture, with non-maximum suppression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wasinn.contracts.bound import find_port
from wasinn.contracts.contract import BoxesContract, Key, OutputContract
from wasinn.errors import ConfigError
from wasinn.imaging.preprocess import Placement
from wasinn.tensors import TensorSpec

Array = np.ndarray[Any, Any]

#: No more candidates, the best ones, go into the suppression: its time grows with their square.
MAX_CANDIDATES = 10_000


@dataclass(frozen=True)
class Box:
    """An object found: its edges in pixels of the original picture (left < right, top < bottom, all inside
    it), its score, class index and label (None without one)."""

    left: float
    top: float
    right: float
    bottom: float
    score: float
    index: int
    label: str | None

    @property
    def name(self) -> str:
        """The label, or "class 7"."""
        return self.label if self.label else f"class {self.index}"


@dataclass(frozen=True)
class Candidates:
    """Boxes as a model gives them: f64 [n, 4] in the contract's format, f64 [n], i64 [n]. `precision` is
    the type that the scores had."""

    boxes: Array
    scores: Array
    classes: Array
    precision: np.dtype[Any]


def find_boxes(
    outputs: Mapping[int, Any],
    specs: Sequence[TensorSpec],
    contract: OutputContract,
    input_size: tuple[int, int],
    placement: Placement | None = None,
) -> list[Box]:
    """The boxes of a detector's outputs, best score first.

    `outputs` are the model's outputs by index, as real numbers, and `specs` its output ports, by which the
    contract's `port`, `scores`, `classes` and `count` are found. `input_size` is the model's input's,
    (height, width), and `placement` says where the picture lies in it; None where the input is the picture.

    A box has its best class only. Classes below the first label (`label_offset` under 0) are background and
    give none, and so do numbers that are no class; boxes that are not finite or have no area within the
    picture are left out too. Raises ConfigError where the shapes cannot be the contract's form.
    """
    if contract.boxes is None:
        raise ConfigError(f'output {contract.name!r} is not of boxes: its kind is "{contract.kind}"')
    found = _candidates(outputs, specs, contract, contract.boxes)
    edges = to_edges(found.boxes, contract.boxes.format)
    height, width = input_size
    if contract.boxes.relative:
        edges = edges * (width, height, width, height)
    # 0.7 as f32 is below 0.7: the threshold is meant in the scores' own precision.
    threshold = contract.boxes.threshold
    if found.precision.kind == "f":
        threshold = float(found.precision.type(threshold))
    good = (found.scores >= threshold) & np.isfinite(found.scores) & np.isfinite(edges).all(axis=1)
    good &= (edges[:, 2:] > edges[:, :2]).all(axis=1)
    good &= (found.classes >= 0) & (found.classes + contract.label_offset >= 0)
    best = np.flatnonzero(good)
    best = best[np.argsort(-found.scores[best], kind="stable")][:MAX_CANDIDATES]
    best = best[suppress(edges[best], found.scores[best], found.classes[best], contract.boxes.iou)]
    placed = _in_picture(edges[best], placement or Placement(input_size, input_size, 1.0, 1.0, 0.0, 0.0))
    boxes = []
    for (left, top, right, bottom), at in zip(placed.tolist(), best.tolist(), strict=True):
        if right > left and bottom > top:
            index = int(found.classes[at])
            score = float(found.scores[at])
            boxes.append(Box(left, top, right, bottom, score, index, contract.label(index)))
    return boxes


def to_edges(boxes: Array, form: str) -> Array:
    """[n, 4] boxes of a format of `BOX_FORMATS` as left, top, right, bottom."""
    a, b, c, d = boxes.T
    if form == "yxyx":
        a, b, c, d = b, a, d, c
    elif form == "xywh":
        c, d = a + c, b + d
    elif form == "cxcywh":
        a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    return np.stack([a, b, c, d], axis=1)


def overlap(box: Array, boxes: Array) -> Array:
    """The intersection over union of one box [4] with each of [n, 4] (edges): f64 [n]; 0 where both have no
    area."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    common = np.clip(sides, 0, None).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - common
    result: Array = np.divide(common, union, out=np.zeros(len(boxes)), where=union > 0)
    return result


def suppress(edges: Array, scores: Array, classes: Array, iou: float) -> Array:
    """Non-maximum suppression: the indices that are left, best score first.

    From the best box down, each one takes out the weaker ones of its class whose intersection over union
    with it is above `iou`. Of equal scores the lower index is the better.
    """
    kept: list[int] = []
    for each in np.unique(classes):
        rest = np.flatnonzero(classes == each)
        rest = rest[np.argsort(-scores[rest], kind="stable")]
        while rest.size:
            kept.append(int(rest[0]))
            rest = rest[1:]
            rest = rest[overlap(edges[kept[-1]], edges[rest]) <= iou]
    indices = np.sort(np.array(kept, np.intp))
    return indices[np.argsort(-scores[indices], kind="stable")]


def _in_picture(edges: Array, placement: Placement) -> Array:
    """Edges in pixels of the model's input as those of the picture, cut off where it ends."""
    height, width = placement.picture
    start = np.array([placement.left, placement.top] * 2)
    scale = np.array([placement.scale_x, placement.scale_y] * 2)
    result: Array = np.clip((edges - start) / scale, 0, (width, height, width, height))
    return result


def _candidates(
    outputs: Mapping[int, Any], specs: Sequence[TensorSpec], contract: OutputContract, boxes: BoxesContract
) -> Candidates:
    where = f"output {contract.name!r}"

    def get(key: Key | None, role: str) -> Array:
        index = find_port(specs, key, contract.name, f"{where}: {role}", "output")
        if index not in outputs:
            raise ConfigError(f"{where}: {role} is the output {specs[index].name!r}, and it was not given")
        return np.asarray(outputs[index])

    first = get(contract.port, "port")
    if boxes.form == "ssd":
        return _ssd(first, where)
    if boxes.form == "yolo":
        return _yolo(first, contract, boxes.objectness, where)
    if boxes.scores is None:
        raise ConfigError(f'{where}: boxes of the form "separate" need `scores`, the port of their scores')
    return _separate(
        first,
        get(boxes.scores, "scores"),
        None if boxes.classes is None else get(boxes.classes, "class_port"),
        None if boxes.count is None else get(boxes.count, "count"),
        where,
    )


def _separate(
    first: Array, scores: Array, classes: Array | None, count: Array | None, where: str
) -> Candidates:
    boxes = _matrix(first)
    if boxes is not None and boxes.shape[1] != 4 and boxes.shape[0] == 4:
        boxes = boxes.T
    if boxes is None or boxes.shape[1] != 4:
        raise ConfigError(f"{where}: boxes are [1, N, 4], and the output is {list(first.shape)}")
    n = boxes.shape[0]
    precision = scores.dtype
    if scores.size == n:
        table = scores.reshape(n, 1)
    else:
        matrix = _matrix(scores)
        if matrix is not None and matrix.shape[0] != n and matrix.shape[1] == n:
            matrix = matrix.T
        if matrix is None or matrix.shape[0] != n or matrix.shape[1] == 0:
            raise ConfigError(
                f"{where}: {n} boxes need scores [1, {n}], [1, {n}, C] or [1, C, {n}], and the output of the "
                f"scores is {list(scores.shape)}"
            )
        table = matrix
    if classes is None:
        numbers, best = _best(table.astype(np.float64))
    elif table.shape[1] != 1 or classes.size != n:
        raise ConfigError(
            f"{where}: with `class_port` there is one score and one class for each of the {n} boxes, and the "
            f"scores are {list(scores.shape)}, the classes {list(classes.shape)}; leave `class_port` out "
            "where there is a score for each class"
        )
    else:
        numbers, best = table[:, 0].astype(np.float64), _whole(classes.reshape(-1))
    if count is not None:
        if count.size != 1:
            raise ConfigError(f"{where}: `count` is one number, and its output is {list(count.shape)}")
        n = int(np.clip(np.nan_to_num(float(count.reshape(-1)[0])), 0, n))
    return Candidates(boxes[:n].astype(np.float64), numbers[:n], best[:n], precision)


def _yolo(first: Array, contract: OutputContract, objectness: bool, where: str) -> Candidates:
    matrix = _matrix(first)
    head = 5 if objectness else 4
    shape = f"[1, {head} + C, N] or [1, N, {head} + C]"
    if matrix is None:
        raise ConfigError(f"{where}: a yolo head is {shape}, and the output is {list(first.shape)}")
    classes = contract.classes
    if classes is None and contract.labels is not None:
        labels = len(contract.labels) - contract.label_offset
        classes = labels if head + labels in matrix.shape else None
    if classes is None:
        # There are many more places than classes in every head that is known.
        width = min(matrix.shape) if matrix.shape[0] != matrix.shape[1] else 0
    else:
        width = head + classes if head + classes in matrix.shape else 0
    if width < head + (0 if objectness else 1):
        wanted = f"with C = {classes}" if classes is not None else "with fewer rows of C than of N"
        raise ConfigError(
            f"{where}: a yolo head is {shape} {wanted}, and the output is {list(first.shape)}; are `classes` "
            "and `objectness` right?"
        )
    rows = (matrix if matrix.shape[1] == width else matrix.T).astype(np.float64)
    scores, best = (
        _best(rows[:, head:]) if width > head else (np.ones(len(rows)), np.zeros(len(rows), np.int64))
    )
    if objectness:
        scores = scores * rows[:, 4]
    return Candidates(rows[:, :4], scores, best, first.dtype)


def _ssd(first: Array, where: str) -> Candidates:
    if first.ndim < 2 or first.shape[-1] != 7 or first.size != first.shape[-2] * 7:
        raise ConfigError(
            f"{where}: an ssd head is [1, 1, N, 7] (image, class, score and four edges), and the output is "
            f"{list(first.shape)}"
        )
    rows = first.reshape(-1, 7)
    # The first row of no image ends the list; what stands behind it is left over from before.
    ends = np.flatnonzero(~(rows[:, 0] >= 0))
    rows = rows[: ends[0]] if ends.size else rows
    if (rows[:, 0] > 0).any():
        raise ConfigError(f"{where}: boxes of {int(rows[:, 0].max()) + 1} pictures, and one is wanted")
    numbers = rows.astype(np.float64)
    return Candidates(numbers[:, 3:], numbers[:, 2], _whole(rows[:, 1]), first.dtype)


def _matrix(array: Array) -> Array | None:
    """An array of two dims that matter as [rows, columns]; None where there are more. Dims of 1 go from
    the front, as a batch has them, and then from the middle."""
    shape = list(array.shape)
    while len(shape) > 2 and 1 in shape[:-1]:
        shape.remove(1)
    if len(shape) == 1:
        shape = [1, *shape]
    return array.reshape(shape) if len(shape) == 2 else None


def _best(table: Array) -> tuple[Array, Array]:
    """The best score of each row and its class; a NaN is no score."""
    if table.shape[1] == 1:
        return table[:, 0], np.zeros(len(table), np.int64)
    table = np.where(np.isnan(table), -np.inf, table)
    classes = table.argmax(axis=1).astype(np.int64)
    return table[np.arange(len(table)), classes], classes


def _whole(classes: Array) -> Array:
    """Classes as i64, whatever the type; what is no class becomes -1."""
    numbers = np.nan_to_num(classes.astype(np.float64), nan=-1.0, posinf=-1.0, neginf=-1.0)
    return np.rint(np.clip(numbers, -1, np.iinfo(np.int32).max)).astype(np.int64)
