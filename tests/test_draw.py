# SPDX-License-Identifier: Apache-2.0
"""Pictures of answers. What they look like was judged by eye; here is what can be told without one."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasinn.contracts.contract import OutputContract
from wasinn.errors import ConfigError
from wasinn.imaging.boxes import Box
from wasinn.imaging.draw import _tag_place, draw_boxes, draw_mask, draw_scores, mask_picture, save
from wasinn.imaging.lettering import ink_on
from wasinn.imaging.masks import palette
from wasinn.imaging.preprocess import Placement
from wasinn.imaging.scores import Scored

pil = pytest.importorskip("PIL.Image")

GRAY = np.full((400, 600, 3), 128, np.uint8)


def test_a_mask_is_mixed_with_the_picture_over_a_legend() -> None:
    classes = np.zeros((400, 600), np.uint8)
    classes[200:] = 2
    drawn = draw_mask(GRAY, classes, ["sky", "nothing", "road"], opacity=0.5)
    assert drawn.dtype == np.uint8
    assert drawn.shape[1] == 600
    assert drawn.shape[0] > 420
    for row, colour in ((50, palette(3)[0]), (300, palette(3)[2])):
        np.testing.assert_allclose(drawn[row, 300], 64 + colour / 2, atol=1)
    legend = drawn[400:].reshape(-1, 3)
    assert (legend == palette(3)[2]).all(axis=1).sum() > 50
    assert not (legend == palette(3)[1]).all(axis=1).any(), "a class that does not occur is in the legend"
    np.testing.assert_array_equal(draw_mask(GRAY, classes[:1] * 0, opacity=0.0)[:400], GRAY)


def test_a_map_of_another_size_is_stretched_or_placed() -> None:
    classes = np.array([[0, 1]], np.uint8)
    drawn = draw_mask(GRAY, classes, opacity=1.0)
    np.testing.assert_array_equal(drawn[200, 100], palette(2)[0])
    np.testing.assert_array_equal(drawn[200, 500], palette(2)[1])
    # The right half of the input is a bar.
    placed = draw_mask(
        GRAY, classes, opacity=1.0, placement=Placement((400, 600), (10, 20), 1 / 60, 1 / 40, 0, 0)
    )
    np.testing.assert_array_equal(placed[200, 500], palette(2)[0])


def test_many_classes_end_in_a_line_for_the_rest() -> None:
    few = draw_mask(GRAY, np.arange(600)[None].repeat(400, 0) % 30)
    many = draw_mask(GRAY, np.arange(600)[None].repeat(400, 0) % 300)
    assert many.shape[0] <= few.shape[0] + 60


def test_labels_may_be_a_contract_or_too_few() -> None:
    classes = np.ones((400, 600), np.uint8)
    labels = OutputContract("m", labels=("a", "b"), label_offset=-1)
    np.testing.assert_array_equal(draw_mask(GRAY, classes, labels), draw_mask(GRAY, classes, ["", "a"]))
    np.testing.assert_array_equal(draw_mask(GRAY, classes), draw_mask(GRAY, classes, ["only one"]))


@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (2, 700), (700, 2)])
def test_pictures_of_any_shape_are_drawn_on(shape: tuple[int, int]) -> None:
    picture = np.zeros((*shape, 3), np.uint8)
    box = Box(0, 0, shape[1], shape[0], 0.5, 400, "a label that is far too long for it\nin two lines")
    results = [
        draw_mask(picture, np.zeros(shape, np.uint8)),
        draw_boxes(picture, [box]),
        draw_scores(picture, [Scored(0, "x" * 500, 0.5), Scored(1, "\u6f22\u5b57", float("nan"))]),
    ]
    for result in results:
        assert result.dtype == np.uint8
        assert max(result.shape[:2]) >= 360


def test_boxes_stand_where_they_are() -> None:
    box = Box(100, 150, 300, 350, 0.9, 0, "cat")
    drawn = draw_boxes(GRAY, [box])
    assert drawn.shape == GRAY.shape
    colour = palette(2)[1]
    for row, column in ((151, 200), (348, 200), (250, 101), (250, 298)):
        np.testing.assert_array_equal(drawn[row, column], colour)
    np.testing.assert_array_equal(drawn[250, 200], [128] * 3)
    np.testing.assert_array_equal(draw_boxes(GRAY, []), GRAY)


def crossing(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


@given(st.lists(st.tuples(*[st.floats(0, 200)] * 4), min_size=1, max_size=6))
def test_tags_stay_inside_the_picture(boxes: list[tuple[float, float, float, float]]) -> None:
    placed: list[tuple[float, float, float, float]] = []
    for a, b, c, d in boxes:
        edges = (min(a, c), min(b, d) / 2, max(a, c), max(b, d) / 2)
        placed.append(_tag_place(edges, (50.0, 12.0), (100, 200), placed))
    for at in placed:
        assert at[0] >= 0
        assert at[1] >= 0
        assert at[2] <= 200
        assert at[3] <= 100


def test_tags_of_one_place_do_not_hide_each_other() -> None:
    placed: list[tuple[float, float, float, float]] = []
    for _ in range(4):
        placed.append(_tag_place((50, 50, 120, 90), (40.0, 10.0), (100, 200), placed))
    assert all(crossing(a, b) == 0 for index, a in enumerate(placed) for b in placed[:index])


def test_bars_are_as_long_as_their_scores() -> None:
    drawn = draw_scores(GRAY, [Scored(0, "a", 0.8), Scored(1, "b", 0.2)])
    assert drawn.shape[1] == 600
    bars = (drawn[400:] == (0, 114, 178)).all(axis=2).sum(axis=1)
    lengths = [int(bars[: len(bars) // 2].max()), int(bars[len(bars) // 2 :].max())]
    assert lengths[0] / lengths[1] == pytest.approx(4, rel=0.05)


def test_text_is_readable_on_every_colour() -> None:
    def luminance(colour: tuple[int, int, int]) -> float:
        linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for red, green, blue in palette(256).tolist():
        both = sorted((luminance((red, green, blue)), luminance(ink_on((red, green, blue)))))
        assert (both[1] + 0.05) / (both[0] + 0.05) >= 4.5


@pytest.mark.parametrize("largest", [3, 255, 300, 65535])
def test_a_saved_mask_keeps_its_classes(tmp_path: Path, largest: int) -> None:
    classes = np.arange(24, dtype=np.int32).reshape(4, 6)
    classes[0, 0] = largest
    classes = np.minimum(classes, largest)
    save(mask_picture(classes), tmp_path / "mask.png")
    with pil.open(tmp_path / "mask.png") as image:
        np.testing.assert_array_equal(np.asarray(image), classes)
        assert image.mode == ("P" if largest < 256 else "I;16")
        if largest == 3:
            assert tuple(np.asarray(image.convert("RGB"))[0, 1]) == tuple(palette(2)[1])


def test_what_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"suffix '\.xyz'; use \.png"):
        save(GRAY, tmp_path / "a.xyz")
    with pytest.raises(ConfigError, match="suffix ''"):
        save(GRAY, tmp_path / "a")
    with pytest.raises(ConfigError, match=r"\.jpg does not keep the classes"):
        save(mask_picture(np.zeros((2, 2), np.uint8)), tmp_path / "a.jpg")
    with pytest.raises(ConfigError, match="cannot be written"):
        save(GRAY, tmp_path / "none" / "a.png")
    with pytest.raises(ConfigError, match="70000 fits no picture"):
        mask_picture(np.array([[70000]]))
    with pytest.raises(ConfigError, match=r"and this is float32 \[2, 2\]"):
        draw_boxes(np.zeros((2, 2), np.float32), [])


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_pictures_are_saved_by_their_suffix(tmp_path: Path, suffix: str) -> None:
    save(GRAY, tmp_path / f"a{suffix}")
    with pil.open(tmp_path / f"a{suffix}") as image:
        np.testing.assert_allclose(np.asarray(image.convert("RGB")), GRAY, atol=3)


def test_without_pillow_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ConfigError, match=r'pip install "wasinn\[imaging\]"'):
        draw_boxes(GRAY, [])
