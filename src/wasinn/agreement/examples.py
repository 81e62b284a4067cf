# SPDX-License-Identifier: Apache-2.0
"""What a report shows of one input: small pictures and few numbers in the place of whole outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wasinn.agreement.answers import Answer, Difference, difference
from wasinn.agreement.sides import Run
from wasinn.agreement.words import figure, mask_shares
from wasinn.imaging.boxes import Box
from wasinn.imaging.decode import pillow
from wasinn.imaging.masks import place_classes, resize_classes
from wasinn.imaging.preprocess import Placement
from wasinn.tensors import format_dims

Array = np.ndarray[Any, Any]

#: The longer side of a picture in a report, in pixels, and the class of pixels that no mask covers.
SIDE, OUTSIDE = 640, -1
_BINS = 41


@dataclass(frozen=True)
class View:
    """One side's answer for one output, and its difference from the first side's (None of that itself).

    `best`: label line, label and score. `classes`: i32 [height, width] at the size of the example's
    picture, OUTSIDE where there is none; `differs`: where it is not the first side's. `shares`: of a mask,
    class, label and share. `facts`: of raw numbers, name and value. `histogram`: the edges and counts of the
    differences of raw numbers.
    """

    kind: str
    difference: Difference | None = None
    best: tuple[tuple[int, str, float], ...] = ()
    classes: Array | None = None
    differs: Array | None = None
    shares: tuple[tuple[int, str, float], ...] = ()
    boxes: tuple[Box, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    histogram: tuple[Array, Array] | None = None


@dataclass(frozen=True)
class OutputExample:
    """One output. `views` by side, None where a side has none. `gaps`: label line, label, and by side the
    score less the first side's."""

    name: str
    kind: str
    views: tuple[View | None, ...]
    gaps: tuple[tuple[int, str, tuple[float | None, ...]], ...] = ()


@dataclass(frozen=True)
class Example:
    """One input. `picture`: u8 RGB, at most SIDE long, None of a tensor; `size` is the whole picture's
    (height, width). `reasons` by side: why it does not count as the same, or failed."""

    name: str
    picture: Array | None
    size: tuple[int, int] | None
    outputs: tuple[OutputExample, ...]
    reasons: tuple[tuple[str, ...], ...]


def pair(first: Sequence[Answer], other: Sequence[Answer]) -> list[tuple[Answer, Answer]]:
    """The outputs that belong together: of one name where all names are the same, else in their order."""
    by_name = {each.name: each for each in other}
    if all(each.name in by_name for each in first):
        return [(each, by_name[each.name]) for each in first]
    return list(zip(first, other, strict=False))


def make_example(
    name: str,
    runs: Sequence[Run | str],
    reasons: Sequence[tuple[str, ...]],
    pixels: Array | None,
    top: int,
) -> Example:
    """What is kept of one input. `runs` by side; a text is a failure."""
    picture = shrunk(pixels) if pixels is not None else None
    base = next((run for run in runs if isinstance(run, Run)), None)
    outputs = []
    for number, answer in enumerate(base.answers if base is not None else ()):
        column: list[tuple[Answer, Run] | None] = []
        for run in runs:
            pairs = pair(base.answers, run.answers) if base is not None and isinstance(run, Run) else []
            fits = number < len(pairs) and isinstance(run, Run)
            column.append((pairs[number][1], run) if fits and isinstance(run, Run) else None)
        outputs.append(_output(answer, column, picture, top, has_first=isinstance(runs[0], Run)))
    size = (pixels.shape[0], pixels.shape[1]) if pixels is not None else None
    return Example(name, picture, size, tuple(outputs), tuple(reasons))


def shrunk(pixels: Array) -> Array:
    """A picture at the size of a report's."""
    height, width = pixels.shape[:2]
    factor = SIDE / max(height, width)
    if factor >= 1:
        return pixels
    image = pillow().fromarray(np.ascontiguousarray(pixels))
    small = image.resize((max(1, round(width * factor)), max(1, round(height * factor))), resample=4)
    return np.asarray(small)


def _output(
    answer: Answer,
    column: Sequence[tuple[Answer, Run] | None],
    picture: Array | None,
    top: int,
    has_first: bool,
) -> OutputExample:
    views: list[View | None] = []
    for at, found in enumerate(column):
        if found is None:
            views.append(None)
            continue
        own, run = found
        gap = difference(answer, own, top) if at and has_first else None
        views.append(_view(own, answer if gap is not None else None, gap, run.placement, picture, top))
    gaps = _gaps([found[0] if found else None for found in column], top) if has_first else ()
    return OutputExample(answer.name, answer.kind, tuple(views), gaps)


def _view(
    own: Answer,
    first: Answer | None,
    gap: Difference | None,
    placement: Placement | None,
    picture: Array | None,
    top: int,
) -> View:
    view = View(own.kind, gap)
    if own.top is not None:
        view = replace(view, best=tuple((line, own.label(line), score) for line, score in own.best(top)))
    if own.kind == "mask":
        view = replace(
            view, shares=tuple(mask_shares(own)), classes=_placed(own.values, placement, picture, OUTSIDE)
        )
        if first is not None and first.kind == "mask" and first.values.shape == own.values.shape:
            view = replace(view, differs=_placed_differences(first.values != own.values, placement, picture))
    elif own.kind == "boxes":
        view = replace(view, boxes=own.boxes)
    elif own.kind == "raw":
        view = replace(view, facts=_facts(own.values))
        if first is not None and gap is not None and not gap.note and own.values.size:
            gaps = own.values.reshape(-1).astype(np.float64) - first.values.reshape(-1).astype(np.float64)
            largest = float(np.abs(gaps).max())
            if largest > 0:
                counts, edges = np.histogram(gaps, _BINS, (-largest, largest))
                view = replace(view, histogram=(edges, counts))
    return view


def _placed(classes: Array, placement: Placement | None, picture: Array | None, outside: int) -> Array:
    """A class map where it lies on the example's picture, at its size."""
    wide = classes.astype(np.int32)
    if placement is None or picture is None:
        factor = min(1.0, SIDE / max(wide.shape))
        return resize_classes(
            wide, (max(1, round(wide.shape[0] * factor)), max(1, round(wide.shape[1] * factor)))
        )
    return place_classes(wide, _for_size(placement, (picture.shape[0], picture.shape[1])), outside)


def _placed_differences(differs: Array, placement: Placement | None, picture: Array | None) -> Array:
    """Where two masks differ, on the example's picture: a pixel of it does if any part of it does."""
    if placement is None or picture is None:
        return _placed(differs, placement, picture, 0) > 0
    height, width = picture.shape[:2]
    times = min(4, max(1, -(-max(differs.shape) // max(height, width))))
    fine = place_classes(differs.astype(np.int32), _for_size(placement, (height * times, width * times)), 0)
    return np.asarray(fine.reshape(height, times, width, times).any(axis=(1, 3)))


def _for_size(placement: Placement, size: tuple[int, int]) -> Placement:
    """The same place, for the picture at another size."""
    return replace(
        placement,
        picture=size,
        scale_x=placement.scale_x * placement.picture[1] / size[1],
        scale_y=placement.scale_y * placement.picture[0] / size[0],
    )


def _facts(values: Array) -> tuple[tuple[str, str], ...]:
    found = [("dims", format_dims(values.shape)), ("type", str(values.dtype))]
    if values.size:
        real = values.astype(np.float64)
        found += [
            ("least", figure(float(real.min()))),
            ("largest", figure(float(real.max()))),
            ("mean", figure(float(real.mean()))),
            ("deviation", figure(float(real.std()))),
        ]
    return tuple(found)


def _gaps(
    answers: Sequence[Answer | None], top: int
) -> tuple[tuple[int, str, tuple[float | None, ...]], ...]:
    """For the best classes of all sides, by how much each side's score is above the first side's."""
    first = answers[0]
    if first is None or first.top is None:
        return ()
    lines: dict[int, str] = {}
    for answer in answers:
        if answer is not None and answer.top is not None:
            for line, _ in answer.best(top):
                lines.setdefault(line, answer.label(line))
    result = []
    for line, label in lines.items():
        base = _score(first, line)
        scores = [_score(answer, line) for answer in answers]
        result.append(
            (line, label, tuple(None if base is None or each is None else each - base for each in scores))
        )
    result.sort(key=lambda each: -max((abs(gap) for gap in each[2] if gap is not None), default=0.0))
    return tuple(result[: top + 3])


def _score(answer: Answer | None, line: int) -> float | None:
    if answer is None or answer.top is None or not 0 <= line - answer.first < answer.values.size:
        return None
    return float(answer.values.reshape(-1)[line - answer.first])
