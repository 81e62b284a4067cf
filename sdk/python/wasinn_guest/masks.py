# SPDX-License-Identifier: Apache-2.0
"""A segmenter's output: the class of each pixel, and the colours that the host draws classes in."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import invalid
from .metadata import OutputContract
from .quantization import dequantize
from .tensor import Tensor

#: Okabe and Ito's colours (https://jfly.uni-koeln.de/color/) after a dark gray for class 0.
_FIRST = (
    (64, 64, 64),
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Mask:
    """The class of each pixel, row by row."""

    width: int
    height: int
    classes: Sequence[int]

    def counts(self) -> dict[int, int]:
        """How many pixels each class has that occurs, the lowest class first."""
        found: dict[int, int] = {}
        for each in self.classes:
            found[each] = found.get(each, 0) + 1
        return dict(sorted(found.items()))


def palette(count: int) -> list[tuple[int, int, int]]:
    """A colour (RGB) for each class, always the same for one class, as src/wasinn/imaging/masks.py has
    them."""
    colours = list(_FIRST[:count])
    for step in range(count - len(colours)):
        hue = (0.03 + step * _GOLDEN) % 1.0
        saturation = (0.75, 0.5, 0.95)[step % 3]
        value = (0.92, 0.68, 0.5)[(step // 3) % 3]
        red, green, blue = (round(255 * each) for each in colorsys.hsv_to_rgb(hue, saturation, value))
        colours.append((red, green, blue))
    return colours


def class_map(tensor: Tensor, contract: OutputContract) -> Mask:
    """The class of each pixel. Layouts with C hold a score for each class, of which the largest counts (of
    equal ones the lowest class, a NaN never); a single channel is the probability of class 1. Layouts without
    C hold the class itself. Without a layout the dims tell. Raises NnError for dims that are no mask's.
    """
    layout = contract.layout or likely_layout(tensor)
    dims, letters = list(tensor.dims), layout.removeprefix("N")
    if len(dims) == len(letters) + 1 and dims[0] == 1:
        dims = dims[1:]
    if len(dims) != len(letters):
        raise invalid(
            f"a mask of layout {layout} of one picture is no {tensor}: write its layout into the contract"
        )
    height, width = dims[letters.index("H")], dims[letters.index("W")]
    channels = dims[letters.index("C")] if "C" in letters else 1
    if 0 in (height, width, channels):
        raise invalid(f"the mask {tensor} has no pixels")
    if "C" not in letters:
        if tensor.type.is_float:
            try:
                return Mask(width, height, [round(value) for value in tensor.values()])
            except (ValueError, OverflowError):
                raise invalid("a mask without C holds classes, and here is NaN or infinity") from None
        return Mask(width, height, tensor.integers())
    scale = contract.quantization
    # Of one scale for all the largest integer is the largest number.
    real = scale is not None and (channels == 1 or scale.axis is not None or scale.scales[0] <= 0)
    values = dequantize(tensor, scale) if real else tensor.values()
    if channels == 1:
        return Mask(width, height, [1 if value > 0.5 else 0 for value in values])
    classes: list[int] = []
    area = width * height
    for start in range(0, area, width):  # by rows, so that few numbers are objects at one time
        if letters == "CHW":
            pixels = zip(
                *(values[at * area + start : at * area + start + width] for at in range(channels)),
                strict=True,
            )
        else:
            row = values[start * channels : (start + width) * channels]
            pixels = zip(*(row[at::channels] for at in range(channels)), strict=True)
        classes.extend(map(_best, pixels))
    return Mask(width, height, classes)


def likely_layout(tensor: Tensor) -> str:
    """By the dims: of integers without a batch the classes, else scores where the fewest are."""
    dims = tensor.dims
    if len(dims) == 4:
        return "NCHW" if dims[1] <= dims[3] else "NHWC"
    if len(dims) == 3:
        if dims[0] == 1:
            return "NHW"
        return "CHW" if dims[0] <= dims[2] else "HWC"
    if len(dims) == 2:
        return "HW"
    raise invalid(f"the output {tensor} is no mask: it has 2 to 4 dims")


def _best(scores: Sequence[float]) -> int:
    most = max(scores)
    if not (math.isnan(most) or math.isnan(scores[0])):
        return scores.index(most)
    # A NaN before all others makes `max` answer NaN.
    return max(range(len(scores)), key=lambda at: -float("inf") if math.isnan(scores[at]) else scores[at])
