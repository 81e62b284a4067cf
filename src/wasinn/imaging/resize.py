# SPDX-License-Identifier: Apache-2.0
"""Pictures of another size. Two libraries that say "bilinear" give different pixels, so there are two kinds.

With `antialias`, Pillow does it: when shrinking, its filters weigh every pixel that goes into one of the
result. bilinear, bicubic (a = -0.5), nearest and area are its BILINEAR, BICUBIC, NEAREST and BOX, bit by bit.
This is also torchvision's resize of Pillow pictures, and of tensors with antialias=True up to rounding.

Without, each pixel of the result is one sample of the picture, at its own centre (half-pixel centres):

- bilinear: of 2x2 pixels; OpenCV's INTER_LINEAR, TensorFlow's resize_bilinear with half_pixel_centers and
  PyTorch's interpolate with align_corners=False, up to their rounding.
- bicubic: of 4x4 pixels, with a = -0.75, the picture's border repeated; OpenCV's INTER_CUBIC and PyTorch's
  interpolate. (TensorFlow takes a = -0.5.)
- nearest: the pixel under the centre, the same as with `antialias`: Pillow's, also where a centre lies on the
  border of two and Pillow's rounding decides. Up to that, OpenCV's INTER_NEAREST_EXACT and TensorFlow's
  resize_nearest_neighbor with half_pixel_centers. (OpenCV's INTER_NEAREST takes the pixel under the corner.)
- area: never one sample, because that would be "nearest". It is the mean of what the result's pixel covers,
  where a pixel that is covered in part counts in part: OpenCV's INTER_AREA when shrinking, TensorFlow's
  resize_area. Pillow's BOX counts such a pixel whole or not at all; where sizes divide evenly, they agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wasinn.errors import ConfigError
from wasinn.imaging.decode import Pixels, pillow

#: (left, top, right, bottom) in pixels of the picture; fractions are allowed.
Box = tuple[float, float, float, float]

_PILLOW = {"bilinear": "BILINEAR", "bicubic": "BICUBIC", "nearest": "NEAREST", "area": "BOX"}
_CUBIC = -0.75

Array = np.ndarray[Any, Any]


def resize(
    pixels: Pixels,
    size: tuple[int, int],
    filter: str = "bilinear",
    antialias: bool = True,
    box: Box | None = None,
) -> Pixels:
    """u8 [height, width, 3] at `size` = (height, width); `filter` is one of contracts' RESIZES.

    With `box`, only that part of the picture, brought to `size`. Raises ConfigError for another filter, for a
    size below 1, and where memory or Pillow is missing.
    """
    if filter not in _PILLOW:
        raise ConfigError(f"there is no resize filter {filter!r}; there are {', '.join(_PILLOW)}")
    height, width = size
    if height < 1 or width < 1:
        raise ConfigError(f"a picture cannot be resized to {height}x{width} pixels")
    rows, columns = pixels.shape[:2]
    whole = (0.0, 0.0, float(columns), float(rows))
    box = whole if box is None else box
    if box == whole and (rows, columns) == size:
        return pixels  # no filter changes a picture that stays as large as it is
    try:
        if antialias or filter == "nearest":
            image = pillow().fromarray(np.ascontiguousarray(pixels))
            resampling = getattr(pillow().Resampling, _PILLOW[filter])
            return np.asarray(image.resize((width, height), resampling, box=box))
        left, top, right, bottom = box
        if filter == "area":
            means = _cover(_cover(pixels, top, bottom, height).swapaxes(0, 1), left, right, width)
            return _round(means.swapaxes(0, 1))
        down = (_positions(top, bottom, height), rows, filter)
        across = (_positions(left, right, width), columns, filter)
        # The axis that loses more comes first: the other then has less to do. The order changes nothing else.
        if height * columns <= width * rows:
            values = _sample(_sample(pixels, 0, *down), 1, *across)
        else:
            values = _sample(_sample(pixels, 1, *across), 0, *down)
        return _round(values)
    except MemoryError as error:
        raise ConfigError(
            f"there is not enough memory to resize {columns}x{rows} pixels to {width}x{height}"
        ) from error


def _round(values: Array) -> Pixels:
    """To the nearest level, halves up, as OpenCV's fixed point does; bicubic overshoots and is cut."""
    return np.ascontiguousarray(np.clip(np.floor(values + np.float32(0.5)), 0, 255).astype(np.uint8))


def _positions(start: float, end: float, count: int) -> Array:
    """Where the centres of the result's pixels lie, counted from the centre of the picture's first."""
    return start + (np.arange(count) + 0.5) * ((end - start) / count) - 0.5


def _sample(values: Array, axis: int, positions: Array, length: int, filter: str) -> Array:
    """f32: a weighted sum of 2 or 4 neighbours along `axis`; beyond the border is the border."""
    first = np.floor(positions)
    away = positions - first
    if filter == "bilinear":
        taps = [(0, 1.0 - away), (1, away)]
    else:
        taps = [(at, _cubic(np.abs(away - at))) for at in (-1, 0, 1, 2)]
    shape = [1, 1, 1]
    shape[axis] = len(positions)
    total: Array | None = None
    for offset, weights in taps:
        index = np.clip(first.astype(np.int64) + offset, 0, length - 1)
        part = np.take(values, index, axis=axis) * weights.astype(np.float32).reshape(shape)
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None
    return total


def _cubic(away: Array) -> Array:
    """The cubic convolution kernel (R. Keys, 1981) at distances 0 to 2."""
    a = _CUBIC
    near = ((a + 2.0) * away - (a + 3.0)) * away * away + 1.0
    far = ((a * away - 5.0 * a) * away + 8.0 * a) * away - 4.0 * a
    return np.where(away <= 1.0, near, far)


def _cover(values: Array, start: float, end: float, count: int) -> Array:
    """f64: the means along axis 0 of `count` equal parts of [start, end), which may begin inside a pixel."""
    length = values.shape[0]
    edges = start + np.arange(count + 1) * ((end - start) / count)
    whole = np.clip(np.floor(edges).astype(np.int64), 0, length - 1)
    fraction = np.clip(edges - whole, 0.0, 1.0)[:, None, None]
    # Of bytes, the sum of 16 million still fits 32 bits.
    kind = np.uint32 if values.dtype == np.uint8 else np.float64
    sums = np.empty((count, *values.shape[1:]), np.float64)
    # One sum a part: many times as fast as differences of one running sum.
    for part in range(count):
        sums[part] = values[whole[part] : whole[part + 1]].sum(axis=0, dtype=kind)
    begun = values[whole] * fraction
    means: Array = (sums - begun[:-1] + begun[1:]) / ((end - start) / count)
    return means
