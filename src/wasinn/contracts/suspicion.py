# SPDX-License-Identifier: Apache-2.0
"""What the values of an input's tensor say about how it was made: the mistakes that a contract can show.

A picture may be dark, bright or of one colour: only what no picture gives is certain. Values that a picture
could give, but that another mistake explains far better, are findings that are not certain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from wasinn.contracts import transforms
from wasinn.contracts.affine import planes
from wasinn.contracts.bound import dims_fit
from wasinn.contracts.contract import ImageContract, InputContract
from wasinn.errors import ConfigError
from wasinn.tensors import FLOATS, INTEGERS, Tensor, format_dims

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Finding:
    """`cause` is a word for it; `certain` says that no picture gives such values."""

    cause: str
    text: str
    certain: bool


#: Ranges that pictures are commonly brought to.
_RANGES = {"0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0)}
#: As many different values show a pattern, and not chance.
MANY = 8

Examiner = Callable[[Tensor], Finding | None]

#: How far beyond black and white, as a part of their distance, resizing with floats can go: bicubic and
#: Lanczos overshoot at edges, by up to 0.2 with both directions.
OVERSHOOT = 0.3
#: Contracts of so many numbers from black to white are of levels; values within `SMALL` are then those of a
#: picture that was scaled.
WIDE, SMALL = 100, 5
#: How near to an end of a range values must come to be taken for touching it, as a part of the range.
TOUCH = 0.02


def form_examiner(contract: InputContract) -> Examiner:
    """What holds type and dims against the contract: for a port that leaves them open. It raises nothing."""
    name, wanted = contract.name, contract.type
    dims = contract.dims
    if contract.image is not None:
        letters = zip(contract.image.layout, contract.image.dims, strict=True)
        dims = tuple(None if letter == "N" else dim for letter, dim in letters)

    def examine(tensor: Tensor) -> Finding | None:
        if tensor.type not in (wanted, wanted.wire):
            text = f"input {name!r} is {tensor}, and the contract says {wanted.label}"
            return Finding("type", text, True)
        # A scalar may come as [1].
        if dims is not None and not dims_fit(dims, tensor.dims) and (dims or tensor.dims != (1,)):
            text = f"input {name!r} is {tensor}, and the contract says dims {format_dims(dims)}"
            return Finding("dims", text, True)
        return None

    return examine


def examiner(contract: InputContract) -> Examiner | None:
    """What examines an input's tensors; None where their values cannot be held against anything.

    It raises nothing: of a tensor of another type, or of other dims, it finds that.
    """
    if contract.image is None:
        return _numbers(contract) if contract.type in FLOATS else None
    if contract.type not in FLOATS and contract.type not in INTEGERS:
        return None
    try:
        return _ImageExaminer(contract)
    except ConfigError:  # a quantization that is not computed with
        return None


def _numbers(contract: InputContract) -> Examiner:
    """Of a tensor that is no picture: NaN alone is wrong. (-inf is common in masks of attention.)"""

    form = form_examiner(contract)

    def examine(tensor: Tensor) -> Finding | None:
        finding = form(tensor)
        if finding is not None:
            return finding
        values = tensor.numpy()
        if values.size and np.isnan(values.min()):
            return Finding("nan", f"input {contract.name!r} has values that are not a number (NaN)", True)
        return None

    return examine


class _ImageExaminer:
    def __init__(self, contract: InputContract) -> None:
        assert contract.image is not None
        self._form = form_examiner(contract)
        self._name, self._type = contract.name, contract.type
        self._image: ImageContract = contract.image
        scale, offset, zero_point = transforms.numbers(contract)
        black = offset + np.array(zero_point)
        self._black, self._white = black, black + 255 * scale
        self._low, self._high = np.minimum(black, self._white), np.maximum(black, self._white)
        self._span = self._high - self._low
        self._zero = zero_point[0]
        self._quantized = contract.quantization != "none"

    def __call__(self, tensor: Tensor) -> Finding | None:
        finding = self._form(tensor)
        if finding is not None:
            return finding
        values = tensor.numpy()
        if not values.size:
            return None
        low, high = _extremes(values, self._image.layout)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            what = "NaN" if np.isnan(low).any() or np.isnan(high).any() else "infinity"
            return Finding(
                "not finite", f"input {self._name!r} has values that are no numbers ({what})", True
            )
        far = OVERSHOOT * self._span
        if (low < self._low - far).any() or (high > self._high + far).any():
            return self._outside(low, high)
        return self._unlikely(values, low, high)

    # -- what no picture gives ----------------------------------------------------------------------

    def _outside(self, low: Array, high: Array) -> Finding:
        cause, remedy = self._guess(float(low.min()), float(high.max()))
        return Finding(cause, f"{self._got(low, high)}{remedy}", True)

    def _guess(self, least: float, most: float) -> tuple[str, str]:
        wanted = float(self._low.min()), float(self._high.max())
        then = ", then subtract mean and divide by std" if self._normalised else ""
        if least >= -1 and 2 < most <= 256 and wanted[1] < 128:
            if _near(wanted, (-1, 1)) and not self._normalised:
                return "0..255", "; it looks like 0..255: divide by 127.5 and subtract 1"
            return "0..255", f"; it looks like 0..255: divide by 255{then}"
        if -1.5 <= least < 0 and most <= 1.5:
            return "-1..1", f"; it looks like -1..1: add 1 and divide by 2{then}"
        if -3 <= least < 0 and most <= 3.5 and not self._normalised:
            return "mean and std", "; it looks as if mean and std were applied: leave them out"
        if -256 <= least < -3 and most <= 256 and self._normalised:
            return (
                "scaled",
                "; it looks as if mean was taken from 0..255: divide by 255 first, and by std last",
            )
        if least >= 0 and most > 256:
            return "too large", "; is it of another type, or was it scaled twice?"
        return "outside", "; no picture gives these numbers"

    # -- what a picture could give, but hardly does -------------------------------------------------

    def _unlikely(self, values: Array, low: Array, high: Array) -> Finding | None:
        least, most = float(low.min()), float(high.max())
        wanted = float(self._low.min()), float(self._high.max())
        if self._type in FLOATS and least == most == 0 and self._odd_zero():
            return Finding("zeros", f"{self._got(low, high)}; was the tensor filled?", False)
        if self._quantized:
            return self._quantized_twice(values, least, most)
        if wanted[1] >= 100 and least >= 0 and 0 < most <= 1:
            if self._type in FLOATS:
                return Finding("0..1", f"{self._got(low, high)}; it looks like 0..1: multiply by 255", False)
            return Finding(
                "cast", f"{self._got(low, high)}; was a picture of 0..1 cast to {self._type.label}?", False
            )
        if self._type in FLOATS and wanted[1] - wanted[0] >= WIDE and self._are_small(low, high):
            if least >= -1.001 and most <= 1.001:
                then = "multiply by 127.5" if wanted[0] <= -WIDE else "add 1 and multiply by 127.5"
                return Finding("-1..1", f"{self._got(low, high)}; it looks like -1..1: {then}", False)
            text = "it looks as if mean and std of 0..1 were applied: send what the contract gives"
            return Finding("mean and std", f"{self._got(low, high)}; {text}", False)
        if self._type in FLOATS and wanted[1] < 100:
            if self._fills_unit(low, high):
                text = "it looks like 0..1: mean and std were not applied"
                return Finding("0..1", f"{self._got(low, high)}; {text}", False)
            odd = not self._are_levels(low)
            for name, (start, end) in _RANGES.items():
                if not (least >= start - 1e-3 and most <= end + 1e-3):
                    continue
                if np.allclose((self._low, self._high), ([start], [end]), rtol=0, atol=0.02):
                    continue  # the contract's own
                touches = odd and _touches(low, high, start, end)
                if touches or self._are_of_bytes(values, start, end):
                    remedy = "mean and std were not applied" if self._normalised else "bring it to the range"
                    return Finding(name, f"{self._got(low, high)}; it looks like {name}: {remedy}", False)
        return None

    def _are_small(self, low: Array, high: Array) -> bool:
        """Whether values around 0 are those of a scaled picture, of a contract of at least a hundred numbers
        from black to white."""
        least, most = float(low.min()), float(high.max())
        if not (-SMALL <= least < 0 and most <= SMALL) or (low == high).all() or most - least < 0.5:
            return False
        if self._low.min() < 0:
            # A mean was subtracted: a picture of one colour, near that mean, is small too, but of levels.
            return not (self._are_levels(low) and self._are_levels(high))
        # Below black: more than overshoot of a dark picture.
        return -least > OVERSHOOT * max(most, 0.0)

    def _fills_unit(self, low: Array, high: Array) -> bool:
        """Whether values fill 0..1 in each channel, where that would be a picture without anything dark or
        bright: mean and std make black far below 0 and white far above 1."""
        if not self._normalised or (self._low > -0.3).any() or (self._high < 1.5).any():
            return False
        if (low < 0).any() or (high > 1 + 1e-3).any():
            return False
        # All channels from near 0: a gray picture that was normalised begins elsewhere in each.
        wide = (low <= 0.25).all() and (high - low >= 0.5).all()
        return bool(wide and low.min() <= 0.1 and high.max() >= 0.9)

    def _are_of_bytes(self, values: Array, start: float, end: float) -> bool:
        """Whether three rows of the picture are whole levels of 0 to 255 if these became start to end, and
        are not by the contract. Resized with floats they are neither."""
        picture = planes(values, self._image.layout)[0]
        rows = picture[:, [picture.shape[1] * at // 4 for at in (1, 2, 3)]].reshape(len(picture), -1)
        rows = rows.astype(np.float64)
        steps = 255 * (rows - start) / (end - start)
        if not _whole(steps) or len(np.unique(rows)) < MANY:
            return False
        black, white = self._black[:, None], self._white[:, None]
        return not _whole(255 * (rows - black) / (white - black))

    @property
    def _normalised(self) -> bool:
        return any(self._image.mean) or any(each != 1 for each in self._image.std)

    def _are_levels(self, values: Array) -> bool:
        """Whether these numbers, one for each channel, are what whole levels of 0 to 255 become."""
        steps = 255 * (values - self._black) / (self._white - self._black)
        return _whole(steps)

    def _odd_zero(self) -> bool:
        """Whether 0 is neither black nor white of the contract, in any channel."""
        near = np.minimum(np.abs(self._black), np.abs(self._white))
        return bool((near > 0.02 * self._span).all())

    def _quantized_twice(self, values: Array, least: float, most: float) -> Finding | None:
        top = float(np.iinfo(values.dtype).max) if values.dtype.kind in "iu" else most
        if self._zero <= np.iinfo(values.dtype).min or least < self._zero or most < top:
            return None
        if np.count_nonzero(values == top) < 0.9 * values.size or least == top:
            return None
        text = (
            f"input {self._name!r} is {int(top)} nearly everywhere, and never below the zero point "
            f"{self._zero}; was it quantized twice, or from 0..255 in the place of {self._image.range[0]:g}.."
            f"{self._image.range[1]:g}?"
        )
        return Finding("saturated", text, False)

    def _got(self, low: Array, high: Array) -> str:
        """`input 'image' has values from 0 to 255, and the contract gives a picture -2.12 to 2.64`."""
        got = _span(float(low.min()), float(high.max()))
        wanted = _span(float(self._low.min()), float(self._high.max()))
        return f"input {self._name!r} has values {got}, and the contract gives a picture {wanted}"


def _span(low: float, high: float) -> str:
    return f"{low:.4g} alone" if low == high else f"{low:.4g} to {high:.4g}"


def _near(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return abs(a[0] - b[0]) < 0.1 and abs(a[1] - b[1]) < 0.1


def _whole(values: Array) -> bool:
    return bool((np.abs(values - np.rint(values)) < 0.02).all())


def _touches(low: Array, high: Array, start: float, end: float) -> bool:
    """Whether the values of every channel fill start..end."""
    edge = TOUCH * (end - start)
    return bool((np.abs(low - start) <= edge).all() and (np.abs(high - end) <= edge).all())


def _extremes(values: Array, layout: str) -> tuple[Array, Array]:
    """The least and the largest number of each channel, f64; NaN where there is one."""
    with np.errstate(all="ignore"):
        if layout.endswith("C"):
            channels, width = values.shape[-1], values.shape[-2]
            rows = values.reshape(-1, width * channels)  # columns first: an inner loop of three is slow
            least, most = (
                pick(rows, axis=0).reshape(width, channels) for pick in (np.min, np.max)
            )  # fmt: skip
            return least.min(axis=0).astype(np.float64), most.max(axis=0).astype(np.float64)
        if "C" not in layout:
            return np.array([values.min()], np.float64), np.array([values.max()], np.float64)
        axes = tuple(at for at, letter in enumerate(layout) if letter != "C")
        return values.min(axis=axes).astype(np.float64), values.max(axis=axes).astype(np.float64)
