# SPDX-License-Identifier: Apache-2.0
"""What a tensor's numbers are like: statistics and their distribution."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Statistics:
    """`minimum` to `std` are of the finite numbers, and None where there is none; `count` is of all."""

    count: int
    minimum: float | None
    maximum: float | None
    mean: float | None
    std: float | None
    zeros: int
    nan: int
    infinite: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        if self.minimum is None or self.maximum is None:
            text = f"none of {self.count} numbers is finite" if self.count else "no numbers"
        else:
            text = (
                f"{number(self.minimum)} to {number(self.maximum)}, mean {number(self.mean)}, "
                f"deviation {number(self.std)}"
            )
        more = [f"{self.nan} NaN"] if self.nan else []
        if self.infinite:
            more.append(f"{self.infinite} infinite")
        return ", ".join([text, *more])


def statistics(values: Array) -> Statistics:
    """Of real numbers, integers or booleans, of any dims."""
    flat = values.reshape(-1)
    nan = infinite = 0
    finite = flat
    if flat.dtype.kind == "f":
        good = np.isfinite(flat)
        nan = int(np.isnan(flat).sum())
        infinite = flat.size - int(good.sum()) - nan
        finite = flat if nan + infinite == 0 else flat[good]
    zeros = int((flat == 0).sum())
    if not finite.size:
        return Statistics(flat.size, None, None, None, None, zeros, nan, infinite)
    wide = finite.astype(np.float64)
    # The sum of f64's largest numbers is beyond f64.
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = float(wide.mean()), float(wide.std())
    return Statistics(
        flat.size, float(wide.min()), float(wide.max()), _finite(mean), _finite(std), zeros, nan, infinite
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def histogram(values: Array, bins: int = 10) -> list[tuple[float, float, int]]:
    """The distribution of the finite numbers: (low, high, count). Few different integers are listed by
    themselves, low and high the same."""
    flat = values.reshape(-1)
    if flat.dtype.kind == "f":
        flat = flat[np.isfinite(flat)]
    elif flat.size:
        different, counts = np.unique(flat, return_counts=True)
        if len(different) <= bins + 2:
            return [(float(a), float(a), int(n)) for a, n in zip(different, counts, strict=True)]
    if not flat.size:
        return []
    wide = flat.astype(np.float64)
    low, high = float(wide.min()), float(wide.max())
    if low == high or not math.isfinite(high - low):
        return [(low, high, int(flat.size))]
    counts, edges = np.histogram(wide, bins, (low, high))
    return [(float(edges[at]), float(edges[at + 1]), int(n)) for at, n in enumerate(counts)]


def number(value: float | None) -> str:
    """Five digits that count; `-` for none. Whole numbers in full."""
    if value is None:
        return "-"
    if math.isfinite(value) and abs(value) < 1e9 and value == int(value):
        return str(int(value))
    return f"{value:.5g}"


def for_json(value: float) -> float | None:
    """JSON has no NaN and no infinity: None."""
    return value if math.isfinite(value) else None
