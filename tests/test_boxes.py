# SPDX-License-Identifier: Apache-2.0
"""Boxes out of a detector's outputs: forms, formats, suppression, and the way back to the picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasinn.contracts.contract import BOX_FORMATS, BoxesContract, OutputContract
from wasinn.errors import ConfigError
from wasinn.imaging import boxes as boxes_module
from wasinn.imaging.boxes import Box, find_boxes, suppress, to_edges
from wasinn.imaging.preprocess import Placement
from wasinn.spec import TensorType
from wasinn.tensors import TensorSpec

SIZE = (100, 200)
EDGES = np.array([[10, 20, 50, 60], [100, 10, 180, 90], [0, 0, 20, 20]], np.float64)
SCORES = np.array([[0.1, 0.8], [0.9, 0.05], [0.2, 0.6]])


def contract(**options: Any) -> OutputContract:
    options = {"scores": 1, "relative": False, **options}
    return OutputContract("boxes", 0, "boxes", labels=("cat", "dog"), boxes=BoxesContract(**options))


def find(
    wanted: OutputContract, *outputs: Any, size: tuple[int, int] = SIZE, at: Placement | None = None
) -> list[Box]:
    arrays = [np.asarray(each, np.float32) for each in outputs]
    specs = [TensorSpec(f"out{index}", TensorType.F32, each.shape) for index, each in enumerate(arrays)]
    return find_boxes(dict(enumerate(arrays)), specs, wanted, size, at)


def in_format(edges: np.ndarray, form: str) -> np.ndarray:
    left, top, right, bottom = edges.T
    return np.stack(
        {
            "xyxy": (left, top, right, bottom),
            "yxyx": (top, left, bottom, right),
            "xywh": (left, top, right - left, bottom - top),
            "cxcywh": ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top),
        }[form],
        axis=1,
    )


WANTED = [
    ("cat", 0.9, (100, 10, 180, 90)),
    ("dog", 0.8, (10, 20, 50, 60)),
    ("dog", 0.6, (0, 0, 20, 20)),
]


def agree(found: list[Box]) -> None:
    assert [each.label for each in found] == [each[0] for each in WANTED]
    assert [each.score for each in found] == pytest.approx([each[1] for each in WANTED])
    for box, (_, _, edges) in zip(found, WANTED, strict=True):
        assert (box.left, box.top, box.right, box.bottom) == pytest.approx(edges, abs=1e-3)


@pytest.mark.parametrize("form", BOX_FORMATS)
@pytest.mark.parametrize("relative", [False, True])
def test_forms_and_formats_agree(form: str, relative: bool) -> None:
    edges = EDGES / (200, 100, 200, 100) if relative else EDGES
    boxes = in_format(edges, form)
    options = {"format": form, "relative": relative}
    agree(find(contract(**options), boxes[None], SCORES[None]))
    agree(find(contract(**options), boxes[None, :, None], SCORES.T[None]))
    best, classes = SCORES.max(axis=1), SCORES.argmax(axis=1)
    agree(find(contract(**options, classes="out2"), boxes, best[None], classes[None]))
    agree(find(contract(**options, classes=2, count=3), boxes, best, classes, [[3]]))

    yolo = replace(contract(form="yolo", scores=None, **options), classes=2)
    head = np.concatenate([boxes, SCORES], axis=1)
    agree(find(yolo, head[None]))
    agree(find(yolo, head.T[None]))
    with_objectness = np.concatenate([boxes, np.full((3, 1), 0.5), SCORES * 2], axis=1)
    agree(
        find(replace(contract(form="yolo", objectness=True, **options), classes=2), with_objectness.T[None])
    )

    rows = np.concatenate([np.zeros((3, 1)), classes[:, None], best[:, None], boxes], axis=1)
    ended = np.concatenate([rows, [[-1, 0, 0, 0, 0, 0, 0]], rows])
    agree(find(contract(form="ssd", **options), ended[None, None]))


def test_yolo_without_classes_takes_the_shorter_side_for_them() -> None:
    head = np.zeros((1, 6, 50))
    head[0, :, 7] = [100, 50, 20, 20, 0.1, 0.9]
    wanted = contract(form="yolo", format="cxcywh")
    for array in (head, head.transpose(0, 2, 1)):
        (box,) = find(replace(wanted, labels=None), array)
        assert (box.left, box.top, box.index, box.name) == (90, 40, 1, "class 1")


def naive(edges: np.ndarray, scores: np.ndarray, classes: np.ndarray, iou: float) -> list[int]:
    kept: list[int] = []
    for index in sorted(range(len(scores)), key=lambda each: (-scores[each], each)):
        for other in kept:
            if classes[other] != classes[index]:
                continue
            a, b = edges[index], edges[other]
            wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
            common = max(wide, 0) * max(high, 0)
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
            if common / union > iou:
                break
        else:
            kept.append(index)
    return kept


@given(st.integers(0, 40), st.integers(0, 2**31), st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]))
def test_suppression_is_the_naive_one(count: int, seed: int, iou: float) -> None:
    random = np.random.default_rng(seed)
    corners = random.integers(0, 12, (count, 2)).astype(float)
    edges = np.concatenate([corners, corners + random.integers(1, 8, (count, 2))], axis=1)
    scores, classes = random.integers(0, 6, count) / 5, random.integers(0, 3, count)
    assert suppress(edges, scores, classes, iou).tolist() == naive(edges, scores, classes, iou)


@given(st.integers(0, 2**31))
def test_formats_hold_the_same_edges(seed: int) -> None:
    edges = np.sort(np.random.default_rng(seed).integers(0, 99, (5, 2, 2)), axis=1).reshape(5, 4)
    for form in BOX_FORMATS:
        np.testing.assert_array_equal(to_edges(in_format(edges, form).astype(float), form), edges)


def test_of_two_of_one_class_the_weaker_goes_and_other_classes_stay() -> None:
    edges = [[0, 0, 100, 100], [0, 0, 100, 90], [0, 0, 100, 95]]
    found = find(contract(), edges, [[0.7, 0], [0.8, 0], [0, 0.75]])
    assert [(each.index, each.score) for each in found] == [
        (0, pytest.approx(0.8)),
        (1, pytest.approx(0.75)),
    ]
    assert len(find(contract(iou=1.0), edges, [[0.7, 0], [0.8, 0], [0, 0.75]])) == 3


def test_what_is_no_box_is_left_out() -> None:
    nan, inf = float("nan"), float("inf")
    edges = [
        [0, 0, 10, 10],
        [nan, 0, 5, 5],
        [0, 0, inf, 5],
        [5, 5, 5, 9],
        [9, 9, 3, 3],
        [300, 10, 400, 20],
        [0, 30, 10, 40],
        [0, 50, 10, 60],
    ]
    scores = [0.9, 0.9, 0.9, 0.9, 0.9, 0.9, nan, 0.4]
    assert [(each.left, each.bottom) for each in find(contract(), edges, scores)] == [(0, 10)]
    found = find(contract(), [[-10, 10, 250, 20]], [1.0])
    assert [(each.left, each.right) for each in found] == [(0, 200)]


def test_the_threshold_is_meant_in_the_precision_of_the_scores() -> None:
    # f32 0.7 is 0.69999999.
    assert len(find(contract(threshold=0.7), [[0, 0, 9, 9]], [0.7])) == 1
    assert find(contract(threshold=0.7), [[0, 0, 9, 9]], [0.6999]) == []


def test_classes_below_the_first_label_are_background() -> None:
    shifted = replace(contract(), label_offset=-1)
    found = find(shifted, [[0, 0, 9, 9], [20, 20, 30, 30]], [[0.9, 0.0, 0.1], [0.0, 0.1, 0.9]])
    assert [(each.index, each.label) for each in found] == [(2, "dog")]


@pytest.mark.parametrize("offset", [0, 1, 5])
def test_what_is_no_class_is_no_box(offset: int) -> None:
    rows = np.array([[[[0, each, 0.9, 0.1, 0.1, 0.5, 0.5] for each in (float("nan"), -1, 0)]]], "f4")
    found = OutputContract(
        "o", 0, "boxes", labels=tuple("abcdefg"), label_offset=offset, boxes=BoxesContract("ssd")
    )
    boxes = find_boxes({0: rows}, [TensorSpec("o", TensorType.F32, rows.shape)], found, (100, 100))
    assert [box.label for box in boxes] == ["abcdefg"[offset]]


def test_the_count_ends_the_list() -> None:
    edges, scores, classes = [[0, 0, 9, 9], [20, 20, 30, 30]], [0.6, 0.9], [0, 1]
    wanted = contract(classes=2, count=3)
    for count, left in ((0, 0), (1, 1), (2, 2), (7, 2), (float("nan"), 0)):
        assert len(find(wanted, edges, scores, classes, [count])) == left


def test_no_boxes_and_one_box() -> None:
    assert find(contract(), np.zeros((1, 0, 4)), np.zeros((1, 0, 2))) == []
    assert find(contract(form="ssd"), np.zeros((1, 1, 0, 7))) == []
    (box,) = find(contract(), [[[1, 2, 3, 4]]], [[[0.2, 0.7]]])
    assert (box.left, box.label) == (1, "dog")


def test_boxes_go_back_to_where_the_picture_was() -> None:
    # A picture of 400 x 100 shown whole on 200 x 100: half the size, 25 rows of bar above.
    at = Placement((100, 400), SIZE, 0.5, 0.5, 0.0, 25.0)
    (box,) = find(contract(), [[50, 35, 100, 100]], [1.0], at=at)
    assert (box.left, box.top, box.right, box.bottom) == (100, 20, 200, 100)


def test_no_more_than_the_best_candidates_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes_module, "MAX_CANDIDATES", 2)
    edges = np.arange(5)[:, None] * 10 + [0, 0, 5, 5]
    assert [each.left for each in find(contract(), edges, [0.5, 0.9, 0.6, 0.8, 0.7])] == [10, 30]


@pytest.mark.parametrize(
    ("wanted", "outputs", "message"),
    [
        (
            contract(),
            [np.zeros((1, 5, 3)), np.zeros(5)],
            r"boxes are \[1, N, 4\], and the output is \[1, 5, 3\]",
        ),
        (contract(), [np.zeros((2, 5, 4)), np.zeros((2, 5))], r"the output is \[2, 5, 4\]"),
        (contract(), [np.zeros((5, 4)), np.zeros(7)], "5 boxes need scores"),
        (contract(scores=None), [np.zeros((5, 4))], "need `scores`"),
        (contract(scores="nothing"), [np.zeros((5, 4))], "has no output 'nothing'"),
        (contract(classes=2), [np.zeros((5, 4)), np.zeros((5, 3)), np.zeros(5)], "leave `class_port` out"),
        (contract(count=2), [np.zeros((5, 4)), np.zeros(5), np.zeros(2)], "`count` is one number"),
        (contract(form="yolo"), [np.zeros((1, 4, 50))], r"a yolo head is \[1, 4 \+ C, N\]"),
        (contract(form="yolo"), [np.zeros((2, 6, 50))], r"the output is \[2, 6, 50\]"),
        (replace(contract(form="yolo"), classes=80), [np.zeros((1, 85, 9))], "with C = 80"),
        (contract(form="ssd"), [np.zeros((1, 5, 6))], r"an ssd head is \[1, 1, N, 7\]"),
        (contract(form="ssd"), [np.ones((1, 1, 2, 7))], "boxes of 2 pictures"),
    ],
)
def test_shapes_that_cannot_be_the_form_are_refused(
    wanted: OutputContract, outputs: list[np.ndarray], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        find(wanted, *outputs)


def test_an_output_that_is_not_of_boxes_is_refused() -> None:
    with pytest.raises(ConfigError, match='its kind is "logits"'):
        find(OutputContract("o", 0, "logits"), np.zeros(3))
