# SPDX-License-Identifier: Apache-2.0
"""The class of each pixel, and its way back to the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import require_backend
from wasinn.contracts.contract import Contract, ImageContract, InputContract, OutputContract
from wasinn.errors import ConfigError
from wasinn.graphs.source import GraphSource
from wasinn.imaging.masks import class_counts, class_map, palette, place_classes, resize_classes
from wasinn.imaging.preprocess import Placement, prepare, preprocess
from wasinn.runtime.direct import DirectGraph


def mask(layout: str) -> OutputContract:
    return OutputContract("mask", kind="mask", layout=layout)


def test_layouts_with_channels_agree() -> None:
    scores = np.random.default_rng(1).normal(size=(5, 4, 6)).astype(np.float32)
    wanted = scores.argmax(axis=0)
    for layout, array in {
        "NCHW": scores[None],
        "CHW": scores,
        "NHWC": scores.transpose(1, 2, 0)[None],
        "HWC": scores.transpose(1, 2, 0),
    }.items():
        found = class_map(array, mask(layout))
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, wanted, layout)
    # A batch of one may be there or not, whatever the layout says.
    np.testing.assert_array_equal(class_map(scores, mask("NCHW")), wanted)
    np.testing.assert_array_equal(class_map(scores[None], mask("CHW")), wanted)


def test_ties_go_to_the_lowest_class_and_nan_never_counts() -> None:
    nan = float("nan")
    scores = np.array([[[1.0, nan, nan, -5.0]], [[1.0, -2.0, nan, nan]], [[0.0, -3.0, nan, -4.0]]])
    assert class_map(scores, mask("CHW")).tolist() == [[0, 1, 0, 2]]


@given(st.integers(1, 6), st.integers(0, 2**31))
def test_the_largest_score_counts(channels: int, seed: int) -> None:
    scores = np.random.default_rng(seed).integers(-2, 3, (channels, 3, 4))
    wanted = scores.argmax(axis=0) if channels > 1 else (scores[0] > 0.5)
    np.testing.assert_array_equal(class_map(scores, mask("CHW")), wanted)


def test_one_channel_is_foreground_above_a_half() -> None:
    assert class_map(np.array([[[0.5, 0.51], [0.0, float("nan")]]]), mask("CHW")).tolist() == [[0, 1], [0, 0]]


def test_layouts_without_channels_hold_the_class() -> None:
    values = np.array([[0.0, 1.9], [3.0, 2.2]], np.float32)
    for layout, array in {"HW": values, "NHW": values[None]}.items():
        found = class_map(array, mask(layout))
        assert found.dtype == np.uint8
        assert found.tolist() == [[0, 2], [3, 2]]
    assert class_map(np.array([[300]], np.int64), mask("HW")).dtype == np.uint16
    assert class_map(np.array([[70000]], np.int64), mask("HW")).dtype == np.int32
    assert class_map(np.zeros((300, 1, 1)), mask("CHW")).dtype == np.uint16


@pytest.mark.parametrize(
    ("layout", "values", "message"),
    [
        ("NCHW", np.zeros((2, 3, 4, 4)), "a batch of 2 masks"),
        ("NHW", np.zeros((2, 4, 4)), "a batch of 2 masks"),
        ("NCHW", np.zeros((4, 4)), r"layout NCHW has 4 dims, and the output is \[4, 4\]"),
        ("HW", np.zeros((3, 4, 4)), "write its `layout`"),
        ("HW", np.full((2, 2), -1.0), "go from -1.0 to -1.0"),
        ("HW", np.full((2, 2), np.inf), "NaN or infinity"),
        ("CHW", np.zeros((0, 4, 4)), "no channel"),
    ],
)
def test_what_is_no_mask_is_refused(layout: str, values: np.ndarray, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        class_map(values, mask(layout))


def test_counts() -> None:
    classes = np.array([[0, 2], [2, 2]], np.uint8)
    assert class_counts(classes) == [1, 0, 3]
    assert class_counts(classes, 5) == [1, 0, 3, 0, 0]
    assert class_counts(classes, 2) == [1, 0, 3]


def test_the_palette_is_stable_and_its_colours_differ() -> None:
    colours = palette(64)
    assert colours.shape == (64, 3)
    assert colours.dtype == np.uint8
    np.testing.assert_array_equal(palette(5), colours[:5])
    assert len(np.unique(palette(256), axis=0)) == 256
    assert palette(0).shape == (0, 3)


def test_a_map_is_brought_to_another_size() -> None:
    classes = np.array([[1, 2], [3, 4]], np.uint8)
    assert resize_classes(classes, (4, 2)).tolist() == [[1, 2], [1, 2], [3, 4], [3, 4]]
    assert resize_classes(resize_classes(classes, (34, 50)), (2, 2)).tolist() == classes.tolist()


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("shape", [(60, 100), (100, 60), (31, 31)])
def test_a_map_goes_back_to_where_the_picture_was(fit: str, shape: tuple[int, int]) -> None:
    """A picture of two colours, and the map that a perfect network would give for it."""
    picture = np.zeros((*shape, 3), np.uint8)
    picture[shape[0] // 3 :, shape[1] // 4 :] = 255
    contract = ImageContract("NHWC", (64, 64), fit=fit, fill=(128, 128, 128))
    prepared = prepare(picture, contract)
    perfect = (prepared.pixels[..., 0] > 150).astype(np.uint8)
    back = place_classes(perfect, prepared.placement, outside=9)
    assert back.shape == shape
    seen = back != 9
    wrong = (back != (picture[..., 0] > 150))[seen].mean()
    # Only the pixels at the border of the two colours may differ.
    assert wrong < 0.06
    if fit == "crop" and shape != (31, 31):
        assert 0.5 < seen.mean() < 0.75
    else:
        assert seen.all()


def test_a_map_of_lower_resolution_than_the_input_is_placed() -> None:
    # 8 x 4 shown whole on 8 x 8, two rows of bars above and beneath; the map is half as fine.
    placement = Placement((4, 8), (8, 8), 1.0, 1.0, 0.0, 2.0)
    classes = np.arange(16, dtype=np.uint8).reshape(4, 4)
    wanted = classes[1:3].repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(place_classes(classes, placement), wanted)


def test_roadseg_gives_the_known_counts(data: Path) -> None:
    require_backend("openvino")
    folder = data / "roadseg"
    picture = InputContract("data", image=ImageContract("NCHW", (512, 896), "BGR", (0.0, 255.0)))
    classes = OutputContract("classes", 0, "mask", classes=4, layout="NCHW")
    contract = Contract({"data": picture}, {"classes": classes})
    model = "road-segmentation-adas-0001"
    source = GraphSource.from_files(folder / f"{model}.xml", folder / f"{model}.bin", encoding="openvino")
    with DirectGraph("roadseg", source, contract=contract) as graph:
        tensor = preprocess(folder / "empty_road_mapillary.jpg", contract)
        found = class_map(graph.real(0, graph.infer({0: tensor}).outputs[0]), graph.output_contract(0))
    assert found.shape == (512, 896)
    wanted = [356434, 88052, 9992, 4274]
    moved = sum(abs(a - b) for a, b in zip(class_counts(found, 4), wanted, strict=True)) / 2
    assert moved / (512 * 896) < 0.001
