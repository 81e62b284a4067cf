# SPDX-License-Identifier: Apache-2.0
"""What a tensor's numbers look like: guesses from their range, their dims and their neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wasinn.contracts.contract import ImageContract

Array = np.ndarray[Any, Any]

#: The mean and deviation of ImageNet's pictures, RGB, 0 to 1, by which torchvision's models are trained.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

#: A mask of more classes looks like a picture.
_MOST_CLASSES = 64


@dataclass(frozen=True)
class Looks:
    """`layout`: by the dims, None where they are not a picture's. `range`: what 0..255 seems to have become,
    None where no known range fits; `normalised`: by ImageNet's mean and deviation, and in which `colour`
    order, if that can be told. `swapped`: the numbers lie as if the layout were the other one. `mask`: few
    small whole numbers, as the classes of pixels are."""

    layout: str | None
    range: tuple[float, float] | None = None
    normalised: bool = False
    colour: str | None = None
    swapped: bool = False
    sums_to_one: bool = False
    mask: bool = False

    def sentences(self) -> list[str]:
        """What there is to say, carefully."""
        found = []
        if self.layout:
            order = "channels first" if _planar(self.layout) else "channels last, interleaved"
            if "C" not in self.layout:
                order = "one channel"
            found.append(f"dims of a picture, {self.layout} ({order})")
        if self.mask:
            found.append("few small whole numbers, as of a mask (--mask)")
        elif self.sums_to_one:
            found.append("0 to 1 with the sum 1: probabilities")
        elif self.normalised:
            order = f", channels in the order {self.colour}" if self.colour else ""
            found.append(f"as normalised by ImageNet's mean and deviation{order}")
        elif self.range:
            low, high = self.range
            found.append(f"values as of a picture in {low:g}..{high:g}")
        if self.swapped and self.layout:
            other = "interleaved (NHWC)" if _planar(self.layout) else "planar (NCHW)"
            found.append(
                f"but neighbours differ as if the numbers lay {other}: are the dims of another layout than "
                "the data?"
            )
        return found

    def image(self, dims: tuple[int, ...]) -> ImageContract | None:
        """A contract by which the tensor can be drawn; None where it is no picture."""
        if self.layout is None:
            return None
        sizes = dict(zip(self.layout, dims, strict=True))
        colour = "RGB" if sizes.get("C", 1) == 3 else "GRAY"
        size = (sizes["H"], sizes["W"])
        if self.normalised and colour == "RGB":
            mean, std = IMAGENET
            if self.colour == "BGR":
                mean, std = mean[::-1], std[::-1]
            return ImageContract(self.layout, size, self.colour or colour, (0.0, 1.0), mean, std)
        zero = (0.0,) * (3 if colour == "RGB" else 1)
        one = (1.0,) * len(zero)
        return ImageContract(self.layout, size, colour, self.range or (0.0, 255.0), zero, one)


def layout_of(dims: tuple[int, ...]) -> str | None:
    """The layout that dims suggest; None where they are not a picture's: one of 1 or 3 channels and at least
    4x4 pixels, in a batch of any size."""
    for layout in ("NCHW", "NHWC", "CHW", "HWC", "HW"):
        if len(layout) != len(dims):
            continue
        sizes = dict(zip(layout, dims, strict=True))
        if min(sizes["H"], sizes["W"]) >= 4 and sizes.get("C", 1) in (1, 3) and sizes.get("N", 1) >= 1:
            return layout
    return None


def looks(values: Array) -> Looks:
    """What real numbers (already dequantized) or bytes of any dims look like."""
    layout = layout_of(values.shape)
    flat = values.reshape(-1)
    if flat.size < 2 or (flat.dtype.kind == "f" and not np.isfinite(flat).all()):
        return Looks(layout)
    low, high = float(flat.min()), float(flat.max())
    if flat.dtype.kind == "f" and layout is None:
        total = float(flat.sum(dtype=np.float64))
        if low >= 0 and high <= 1 and abs(total - 1) < 1e-3:
            return Looks(None, sums_to_one=True)
    if _mask(values, low, high):
        return Looks(layout, mask=True)
    if layout is None:
        return Looks(None)
    swapped = _swapped(flat, layout, values.shape)
    normalised, colour = _normalised(values, layout, low, high)
    if normalised:
        return Looks(layout, None, True, colour, swapped)
    return Looks(layout, _range(low, high, flat.dtype), swapped=swapped)


def _mask(values: Array, low: float, high: float) -> bool:
    """Whether the numbers can be the classes of pixels: a plane of few different small whole numbers."""
    dims = values.shape
    if len(dims) not in (2, 3) or (len(dims) == 3 and dims[0] != 1) or min(dims[-2:]) < 4:
        return False
    if low < 0 or not 1 <= high < _MOST_CLASSES or (values.dtype.kind == "f" and (values % 1).any()):
        return False
    return 8 * len(np.unique(values)) <= values.size


def _range(low: float, high: float, dtype: np.dtype[Any]) -> tuple[float, float] | None:
    """The narrowest of the usual ranges that the numbers fill at least in part."""
    if dtype.kind in "iub":
        return (0.0, 255.0) if low >= 0 and 1 < high <= 255 else (-128.0, 127.0) if high <= 127 else None
    if low >= 0:
        return (0.0, 1.0) if high <= 1 else (0.0, 255.0) if high <= 255 else None
    if low >= -1 and high <= 1:
        return -1.0, 1.0
    return (-128.0, 127.0) if low >= -128 and high <= 128 and high - low > 32 else None


def _normalised(values: Array, layout: str, low: float, high: float) -> tuple[bool, str | None]:
    """Whether every channel is within what ImageNet's mean and deviation make of 0..1, and beyond -1..1."""
    if values.dtype.kind != "f" or "C" not in layout or values.shape[layout.index("C")] != 3:
        return False, None
    if low >= 0 or (low >= -1 and high <= 1) or low < -2.2 or high > 2.7:
        return False, None
    channels = np.moveaxis(values, layout.index("C"), 0).reshape(3, -1)
    orders = []
    for colour, step in (("RGB", 1), ("BGR", -1)):
        mean, std = (np.array(each[::step]) for each in IMAGENET)
        least, most = (0 - mean) / std - 0.01, (1 - mean) / std + 0.01
        if (channels.min(axis=1) >= least).all() and (channels.max(axis=1) <= most).all():
            orders.append(colour)
    return bool(orders), orders[0] if len(orders) == 1 else None


def _swapped(flat: Array, layout: str, dims: tuple[int, ...]) -> bool:
    """Whether three-channel numbers lie in the other order than the layout: a pixel is like the one beneath
    it, which is one row of single numbers away in planes, and one of triples where they are interleaved."""
    if "C" not in layout or dims[layout.index("C")] != 3:
        return False
    width = dims[layout.index("W")]
    one = flat[: 3 * dims[layout.index("H")] * width].astype(np.float64)
    if len(one) <= 6 * width:
        return False
    planes, interleaved = (float(np.abs(one[step:] - one[:-step]).mean()) for step in (width, 3 * width))
    own, other = (planes, interleaved) if _planar(layout) else (interleaved, planes)
    return other < 0.6 * own


def _planar(layout: str) -> bool:
    return "C" in layout and layout.index("C") < layout.index("H")
