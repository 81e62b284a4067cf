# SPDX-License-Identifier: Apache-2.0
"""A segmenter's output: the class of each pixel, counts, colours, and the way back to the picture's size."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np

from wasinn.contracts.contract import OutputContract
from wasinn.errors import ConfigError
from wasinn.imaging.preprocess import Placement

Array = np.ndarray[Any, Any]

#: Okabe and Ito's colours, which people with the common kinds of colour blindness tell apart
#: (https://jfly.uni-koeln.de/color/), after a dark gray for class 0, most often the background.
FIRST_COLOURS = (
    (64, 64, 64),
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
#: The golden section of the colour circle: each hue falls into the widest gap between the ones before.
GOLDEN_ANGLE = 0.6180339887498949


def class_map(values: Any, contract: OutputContract) -> Array:
    """The class of each pixel, [height, width], in the smallest of u8, u16 and i32 that holds all classes.

    Layouts with C hold a score for each class: the largest counts, of equal ones the lowest class, and a
    NaN never. A single channel is the probability of class 1: it is where that is above 0.5. Layouts
    without C hold the class itself: a fraction is rounded. Raises ConfigError for a shape that is not the
    layout's, a batch of more than one, and for values without C that are no class.
    """
    array = np.asarray(values)
    name = f"output {contract.name!r}"
    layout = contract.layout
    array = _without_batch(array, layout, name)
    letters = layout.removeprefix("N")
    if "C" not in letters:
        return _classes_themselves(array, name)
    scores = array if letters == "CHW" else np.moveaxis(array, -1, 0)
    channels = scores.shape[0]
    if channels == 0:
        raise ConfigError(f"{name}: layout {layout} with no channel: {list(np.asarray(values).shape)}")
    if channels == 1:
        foreground: Array = scores[0] > 0.5
        return foreground.astype(np.uint8)
    return _argmax(scores).astype(_type_for(channels - 1), copy=False)


def _without_batch(array: Array, layout: str, name: str) -> Array:
    letters = layout.removeprefix("N")
    if array.ndim == len(letters) + 1 and (layout.startswith("N") or array.shape[0] == 1):
        if array.shape[0] != 1:
            raise ConfigError(
                f"{name}: a batch of {array.shape[0]} masks, and one is wanted: give one element"
            )
        return array.reshape(array.shape[1:])
    if array.ndim == len(letters):
        return array
    raise ConfigError(
        f"{name}: a mask of layout {layout} has {len(layout)} dims, and the output is {list(array.shape)}: "
        f"write its `layout` into the contract ({_likely(array)})"
    )


def _likely(array: Array) -> str:
    return {2: "HW", 3: "CHW, HWC or NHW", 4: "NCHW or NHWC"}.get(array.ndim, "a mask has 2 to 4 dims")


def _argmax(scores: Array) -> Array:
    """The lowest channel of the largest score; a NaN loses against every number."""
    if scores.dtype.kind == "f" and np.isnan(scores).any():
        scores = np.where(np.isnan(scores), -np.inf, scores)
    # Several times as fast as argmax along the first axis: it runs over whole rows.
    best = scores[0].copy()
    classes = np.zeros(best.shape, np.int32)
    for channel in range(1, scores.shape[0]):
        better = scores[channel] > best
        np.copyto(best, scores[channel], where=better)
        classes[better] = channel
    return classes


def _classes_themselves(array: Array, name: str) -> Array:
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise ConfigError(f"{name}: a mask without C holds classes, and here is NaN or infinity")
        array = np.rint(array)
    if array.size == 0:
        return array.astype(np.uint8)
    low, high = array.min(), array.max()
    if low < 0 or high > np.iinfo(np.int32).max:
        raise ConfigError(
            f"{name}: a mask without C holds classes, and the values go from {low} to {high}. Are these "
            "scores, so that the layout has a C?"
        )
    return array.astype(_type_for(int(high)), copy=False)


def _type_for(largest: int) -> type[np.generic]:
    if largest <= np.iinfo(np.uint8).max:
        return np.uint8
    return np.uint16 if largest <= np.iinfo(np.uint16).max else np.int32


def class_counts(classes: Array, count: int | None = None) -> list[int]:
    """How many pixels each class has: `count` numbers, or up to the largest class that occurs where that is
    more (or `count` None)."""
    return [int(each) for each in np.bincount(classes.reshape(-1), minlength=count or 0)]


def palette(count: int) -> Array:
    """u8 [count, 3] RGB: a colour for each class, always the same for one class.

    The first eight are told apart with the common kinds of colour blindness; the others go around the
    colour circle by the golden section, in three brightnesses.
    """
    colours: list[tuple[int, ...]] = list(FIRST_COLOURS[:count])
    for index in range(len(colours), count):
        step = index - len(FIRST_COLOURS)
        hue = (0.03 + step * GOLDEN_ANGLE) % 1.0
        saturation = (0.75, 0.5, 0.95)[step % 3]
        value = (0.92, 0.68, 0.5)[(step // 3) % 3]
        colours.append(tuple(round(255 * each) for each in colorsys.hsv_to_rgb(hue, saturation, value)))
    return np.array(colours, np.uint8).reshape(count, 3)


def resize_classes(classes: Array, size: tuple[int, int]) -> Array:
    """A class map at another size (height, width), each pixel of the nearest one of the map."""
    height, width = classes.shape
    rows = np.minimum((np.arange(size[0]) + 0.5) * height / size[0], height - 1).astype(np.intp)
    columns = np.minimum((np.arange(size[1]) + 0.5) * width / size[1], width - 1).astype(np.intp)
    result: Array = classes[rows[:, None], columns]
    return result


def place_classes(classes: Array, placement: Placement, outside: int = 0) -> Array:
    """A class map of the model's input, of any resolution, as one of the whole picture: a letterbox's bars
    go, and what a crop cut off gets the class `outside`."""
    rows, rows_in = _back(
        classes.shape[0], placement.picture[0], placement.size[0], placement.scale_y, placement.top
    )
    columns, columns_in = _back(
        classes.shape[1], placement.picture[1], placement.size[1], placement.scale_x, placement.left
    )
    result: Array = classes[rows[:, None], columns]
    if not rows_in.all():
        result[~rows_in] = outside
    if not columns_in.all():
        result[:, ~columns_in] = outside
    return result


def _back(cells: int, picture: int, size: int, scale: float, offset: float) -> tuple[Array, Array]:
    """For each pixel of the picture along one side: the map's cell there, and whether the input has it."""
    place = (np.arange(picture) + 0.5) * scale + offset
    cell = np.floor(place * cells / size).astype(np.intp)
    return np.clip(cell, 0, cells - 1), (place >= 0) & (place <= size)
