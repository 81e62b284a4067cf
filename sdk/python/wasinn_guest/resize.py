# SPDX-License-Identifier: Apache-2.0
"""Pictures of another size, as the host resizes them (src/wasinn/imaging/resize.py), without NumPy.

A column of the picture is held as one large integer, each pixel in a lane of 32 or 64 bits. A filter is then
a few multiplications and additions of large integers, which run at the speed of C: one weighted sum for each
column of the result, then the same for its rows.

With `antialias` this is Pillow's arithmetic, bit by bit: weights of 22 bits and a rounding to bytes after
each of the two passes. Which comes first is Pillow 13's choice too; older ones start with the columns, which
changes a level here and there. Without, sums stay whole between the passes, in 64 bits, and are rounded at
the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .errors import ErrorCode, NnError, invalid
from .image import Image

#: The bits of a weight's fraction.
_FRACTION = 22
_ONE = 1 << _FRACTION
#: Where in each picture's axis a result begins and ends, in pixels with fractions.
Span = tuple[float, float]
#: For each pixel of a result: the first of the source's that it is made from, and their weights.
Taps = list[tuple[int, list[int]]]

FILTERS = ("bilinear", "bicubic", "nearest", "area")
#: Planes of red, green and blue.
Planes = tuple[bytes, bytes, bytes]


def resize(
    image: Image,
    width: int,
    height: int,
    filter: str = "bilinear",
    antialias: bool = True,
    across: Span | None = None,
    down: Span | None = None,
    cut: tuple[int, int, int, int] | None = None,
) -> Planes:
    """The picture, or its part `across` (left, right) and `down` (top, bottom), at another size.

    `cut` (left, top, width, height): of the result only that. Raises NnError for another filter, a size below
    1, and where memory does not suffice.
    """
    if filter not in FILTERS:
        raise NnError(
            ErrorCode.UNSUPPORTED_OPERATION,
            f"there is no resize filter {filter!r}; there are {', '.join(FILTERS)}",
        )
    if width < 1 or height < 1:
        raise invalid(f"a picture cannot be resized to {width}x{height} pixels")
    left, top, kept_width, kept_height = cut or (0, 0, width, height)
    across, down = across or (0.0, float(image.width)), down or (0.0, float(image.height))
    try:
        if filter == "nearest":
            xs = _nearest(across, image.width, width)[left : left + kept_width]
            ys = _nearest(down, image.height, height)[top : top + kept_height]
            return _picked(image, xs, ys)
        make = _smooth(filter, antialias)
        # A side that stays as it is needs no pass.
        whole_x = (width, across) == (image.width, (0.0, float(image.width)))
        whole_y = (height, down) == (image.height, (0.0, float(image.height)))
        if whole_x and whole_y:
            return _picked(image, range(left, left + kept_width), range(top, top + kept_height))
        xs_taps = make(across, image.width, width)[left : left + kept_width]
        ys_taps = make(down, image.height, height)[top : top + kept_height]
        if antialias:
            fewer_rows, fewer_columns = image.height - height, image.width - width
            rows_first = fewer_rows > max(0, 2 * fewer_columns) and not (whole_x or whole_y)
            return _twice_rounded(image, xs_taps, ys_taps, (whole_x, whole_y), rows_first)
        return _once_rounded(image, xs_taps, ys_taps)
    except MemoryError:
        raise NnError(
            ErrorCode.TOO_LARGE,
            f"there is not enough memory to resize {image.width}x{image.height} pixels to {width}x{height}",
        ) from None


# -- which pixels, with which weights
# -------------------------------------------------------------------------


def _nearest(span: Span, length: int, count: int) -> list[int]:
    """As Pillow adds it up, so that a centre between two pixels falls to the same side."""
    step = (span[1] - span[0]) / count
    at = span[0] + step * 0.5
    found = []
    for _ in range(count):
        found.append(min(max(int(at), 0), length - 1))
        at += step
    return found


def _smooth(filter: str, antialias: bool) -> Callable[[Span, int, int], Taps]:
    if antialias:
        return lambda span, length, count: _weighing(_KERNELS[filter], span, length, count)
    if filter == "area":
        return _covering
    return lambda span, length, count: _sampling(filter == "bicubic", span, length, count)


def _box(x: float) -> float:
    return 1.0 if -0.5 < x <= 0.5 else 0.0


def _triangle(x: float) -> float:
    return max(0.0, 1.0 - abs(x))


def _cubic(x: float, a: float = -0.5) -> float:
    """The cubic convolution kernel (R. Keys, 1981)."""
    x = abs(x)
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    return (((x - 5.0) * x + 8.0) * x - 4.0) * a if x < 2.0 else 0.0


#: The kernels and how far they reach.
_KERNELS: dict[str, tuple[Callable[[float], float], float]] = {
    "bilinear": (_triangle, 1.0),
    "bicubic": (_cubic, 2.0),
    "area": (_box, 0.5),
}


def _weighing(kernel: tuple[Callable[[float], float], float], span: Span, length: int, count: int) -> Taps:
    """Kernels that are widened when shrinking, as in Pillow."""
    function, reach = kernel
    scale = (span[1] - span[0]) / count
    wide = max(scale, 1.0)
    taps: Taps = []
    for index in range(count):
        centre = span[0] + (index + 0.5) * scale
        first = max(0, int(centre - reach * wide + 0.5))
        last = min(length, int(centre + reach * wide + 0.5))
        weights = [function((at - centre + 0.5) * (1.0 / wide)) for at in range(first, last)]
        total = 0.0
        for weight in weights:  # in this order, and not as `sum` adds floats from Python 3.12 on
            total += weight
        taps.append((first, [_fixed(weight / total if total else weight) for weight in weights]))
    return taps


def _sampling(cubic: bool, span: Span, length: int, count: int) -> Taps:
    """One place for each pixel, between 2 or 4 neighbours; beyond the border is the border."""
    step = (span[1] - span[0]) / count
    taps: Taps = []
    for index in range(count):
        place = span[0] + (index + 0.5) * step - 0.5
        first = math.floor(place)
        away = place - first
        if cubic:
            near = [(at, _cubic(away - at, -0.75)) for at in (-1, 0, 1, 2)]
        else:
            near = [(0, 1.0 - away), (1, away)]
        taps.append(_gathered([(min(max(first + at, 0), length - 1), weight) for at, weight in near]))
    return taps


def _covering(span: Span, length: int, count: int) -> Taps:
    """The mean of what the result's pixel covers, where a pixel that is covered in part counts in part."""
    step = (span[1] - span[0]) / count
    taps: Taps = []
    for index in range(count):
        start, end = span[0] + index * step, span[0] + (index + 1) * step
        first, last = min(int(start), length - 1), min(max(math.ceil(end), int(start) + 1), length)
        near = [
            (at, max(0.0, min(end, at + 1) - max(start, at)) / step)
            for at in range(first, max(last, first + 1))
        ]
        taps.append(_gathered(near))
    return taps


def _gathered(near: list[tuple[int, float]]) -> tuple[int, list[int]]:
    """Weights side by side, which add up to 1 exactly."""
    first = near[0][0]
    weights = [0.0] * (near[-1][0] - first + 1)
    for at, weight in near:
        weights[at - first] += weight
    fixed = [_fixed(weight) for weight in weights]
    largest = max(range(len(fixed)), key=fixed.__getitem__)
    fixed[largest] += _ONE - sum(fixed)
    return first, fixed


def _fixed(weight: float) -> int:
    return int(weight * _ONE + (0.5 if weight >= 0 else -0.5))


# -- the passes ----------------------------------------------------------------------------------------------


def _picked(image: Image, xs: Sequence[int], ys: Sequence[int]) -> Planes:
    """The pixels where these columns and rows meet."""
    stride = 3 * image.width
    run = list(xs) == list(range(xs[0], xs[0] + len(xs)))
    planes = []
    for channel in range(3):
        rows = []
        for y in ys:
            row = image.rgb[y * stride + channel : (y + 1) * stride : 3]
            rows.append(row[xs[0] : xs[0] + len(xs)] if run else bytes([row[x] for x in xs]))
        planes.append(b"".join(rows))
    return planes[0], planes[1], planes[2]


class _Lines:
    """The columns (or rows) of a picture as integers, made when they are needed and dropped after."""

    def __init__(self, line: Callable[[int], int]) -> None:
        self._line = line
        self._kept: dict[int, int] = {}

    def weighted(self, first: int, weights: list[int]) -> int:
        """The sum of lines from `first` on, each times its weight."""
        kept = self._kept
        for passed in [at for at in kept if at < first]:
            del kept[passed]
        total = 0
        for at, weight in enumerate(weights, first):
            if at not in kept:
                kept[at] = self._line(at)
            if weight:
                total += kept[at] * weight
        return total


def _lanes(line: bytes, size: int) -> int:
    """Bytes as an integer, each in a lane of `size` bytes."""
    wide = bytearray(size * len(line))
    wide[::size] = line
    return int.from_bytes(wide, "little")


def _repeated(value: int, count: int, size: int) -> int:
    return int.from_bytes(value.to_bytes(size, "little") * count, "little")


def _column(image: Image) -> Callable[[int], bytes]:
    """Column x: its red, then its green, then its blue pixels."""
    stride, rgb = 3 * image.width, image.rgb
    return lambda x: rgb[3 * x :: stride] + rgb[3 * x + 1 :: stride] + rgb[3 * x + 2 :: stride]


def _row(image: Image) -> Callable[[int], bytes]:
    """As `_column`, row y."""
    stride, rgb = 3 * image.width, image.rgb
    return lambda y: b"".join(rgb[y * stride + channel : (y + 1) * stride : 3] for channel in range(3))


#: What is added so that a lane is never below 0, where weights are: bytes times the weights of a bicubic
#: filter lie between -1 and 2 times 256.
_BIAS = 256
_CUT = [min(max(value - _BIAS, 0), 255) for value in range(1024)]


def _twice_rounded(image: Image, xs: Taps, ys: Taps, kept: tuple[bool, bool], rows_first: bool) -> Planes:
    """Both passes; `kept`: whether the columns and the rows stay as they are."""
    line = (_row if rows_first else _column)(image)
    first, second = (ys, xs) if rows_first else (xs, ys)
    kept_first, kept_second = kept[::-1] if rows_first else kept
    across = image.width if rows_first else image.height
    if kept_first:
        lines = [line(at) for at in _unchanged(first)]
    else:
        lines = _rounded_lines(lambda at: _lanes(line(at), 4), first, 3 * across)
    # One piece, in which a line of the other direction is every so manieth byte.
    everything, stride = b"".join(lines), 3 * across

    def other(at: int) -> bytes:
        return b"".join(everything[channel * across + at :: stride] for channel in range(3))

    if kept_second:
        lines = [other(at) for at in _unchanged(second)]
    else:
        lines = _rounded_lines(lambda at: _lanes(other(at), 4), second, 3 * len(first))
    planes = _planes_of(lines, len(first))
    if not rows_first:
        return planes
    height = len(ys)
    red, green, blue = (b"".join(plane[y::height] for y in range(height)) for plane in planes)
    return red, green, blue


def _unchanged(taps: Taps) -> list[int]:
    """The pixels that a pass takes as they are: each is the one of the largest weight."""
    return [first + max(range(len(weights)), key=weights.__getitem__) for first, weights in taps]


def _rounded_lines(line: Callable[[int], int], taps: Taps, count: int) -> list[bytes]:
    """Weighted sums of lines of `count` lanes, rounded to bytes (halves up) and cut off."""
    lines = _Lines(line)
    negative = any(weight < 0 for _, weights in taps for weight in weights)
    bias = _BIAS * _ONE if negative else 0
    half = _repeated(_ONE // 2 + bias, count, 4)
    found = []
    for first, weights in taps:
        total = (lines.weighted(first, weights) + half) >> _FRACTION
        data = total.to_bytes(4 * count, "little")
        if negative:
            # 10 bits of each lane; what is above is the next lane's.
            low, high = data[0::4], data[1::4]
            data = bytes([_CUT[a | (b & 3) << 8] for a, b in zip(low, high, strict=True)])
            found.append(data)
        else:
            found.append(data[::4])
    return found


def _once_rounded(image: Image, xs: Taps, ys: Taps) -> Planes:
    column = _column(image)
    height, width = image.height, len(xs)
    # Lanes of 64 bits: 22 for each pass's fraction, and up to 12 for the number. The first pass's sums are
    # biased too, for the second takes them as bytes.
    bias = _BIAS * _ONE
    lines = _Lines(lambda at: _lanes(column(at), 8))
    offset = _repeated(bias, 3 * height, 8)
    everything = b"".join(
        (lines.weighted(first, weights) + offset).to_bytes(24 * height, "little") for first, weights in xs
    )
    words = memoryview(everything).cast("Q")
    stride = 3 * height

    def row(y: int) -> int:
        planes = (words[channel * height + y :: stride].tobytes() for channel in range(3))
        return int.from_bytes(b"".join(planes), "little")

    # The bias of the first pass has become that of the result, for the weights add up to 1; another makes
    # sure that the second pass's own negative weights do no harm.
    half = _repeated((_ONE * _ONE // 2) + _BIAS * _ONE * _ONE, 3 * width, 8)
    second = _Lines(row)
    cut = [min(max(value - 2 * _BIAS, 0), 255) for value in range(2048)]
    rows = []
    for first, weights in ys:
        total = (second.weighted(first, weights) + half) >> 2 * _FRACTION
        data = total.to_bytes(24 * width, "little")
        rows.append(bytes([cut[a | (b & 7) << 8] for a, b in zip(data[0::8], data[1::8], strict=True)]))
    return _planes_of(rows, width)


def _planes_of(rows: list[bytes], width: int) -> Planes:
    """From rows of red, then green, then blue to planes."""
    red, green, blue = (
        b"".join(row[channel * width : (channel + 1) * width] for row in rows) for channel in range(3)
    )
    return red, green, blue
