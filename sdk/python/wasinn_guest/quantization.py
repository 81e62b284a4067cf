# SPDX-License-Identifier: Apache-2.0
"""Between real numbers and the integers that stand for them: real = scale * (integer - zero_point)."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import invalid
from .tensor import Tensor, TensorType

#: The least and the largest number of each integer type.
LIMITS = {
    TensorType.U8: (0, 255),
    TensorType.I8: (-128, 127),
    TensorType.U16: (0, 65535),
    TensorType.I16: (-32768, 32767),
    TensorType.U32: (0, (1 << 32) - 1),
    TensorType.I32: (-(1 << 31), (1 << 31) - 1),
    TensorType.U64: (0, (1 << 64) - 1),
    TensorType.I64: (-(1 << 63), (1 << 63) - 1),
}


@dataclass(frozen=True)
class Quantization:
    """One scale and zero point for the whole tensor (`axis` None), or one for each place along `axis`."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...] = (0,)
    axis: int | None = None

    def __post_init__(self) -> None:
        counts = (len(self.scales), len(self.zero_points))
        if not counts[0] or counts[1] not in (1, counts[0]) or (self.axis is None and counts[0] > 1):
            raise invalid(
                f"a quantization has a scale, or one for each place along its axis, and as many zero points; "
                f"here are {counts[0]} scales, {counts[1]} zero points and the axis {self.axis}"
            )

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Quantization:
        """As the metadata has it: {"scale": [S, ...], "zero_point": [Z, ...], "axis": A}."""
        scales, points = value["scale"], value.get("zero_point", 0)
        return cls(
            tuple(map(float, scales)) if isinstance(scales, list) else (float(scales),),
            tuple(map(int, points)) if isinstance(points, list) else (int(points),),
            value.get("axis"),
        )


def dequantize(tensor: Tensor, quantization: Quantization | None) -> Sequence[float]:
    """The real numbers, flat; those of the tensor itself without a quantization or where it has floats."""
    if quantization is None or tensor.type.is_float:
        return tensor.values()
    values = tensor.integers()
    if quantization.axis is None:
        (scale,), (point,) = quantization.scales, quantization.zero_points
        return array("f", ((value - point) * scale for value in values))
    return array(
        "f",
        (
            (value - point) * scale
            for value, (scale, point) in zip(values, _places(quantization, tensor.dims), strict=True)
        ),
    )


def quantize(
    values: Sequence[float], quantization: Quantization, type: TensorType | str, dims: Sequence[int]
) -> Tensor:
    """The tensor that stands for real numbers: rounded (halves away from zero) and saturated; NaN is the
    zero point. Raises NnError for a type that is no integer."""
    kind = TensorType.of(type)
    if kind not in LIMITS:
        raise invalid(f"{kind.value} is no type that numbers are quantized to", "quantize")
    if 0.0 in quantization.scales:
        raise invalid("a scale is 0, and is divided by", "quantize")
    low, high = LIMITS[kind]
    numbers = [
        min(max(rounded(value / scale, low, high) + point, low), high)
        for value, (scale, point) in zip(values, _places(quantization, tuple(dims)), strict=True)
    ]
    return Tensor.of(numbers, kind, dims)


def rounded(value: float, low: int, high: int) -> int:
    """To the nearest, halves away from zero; NaN is 0, and infinities are beyond the limits."""
    if math.isnan(value):
        return 0
    if math.isinf(value):
        return 2 * high + 1 if value > 0 else 2 * low - high
    return int(value + math.copysign(0.49999999999999994, value))


def _places(quantization: Quantization, dims: tuple[int, ...]) -> Iterator[tuple[float, int]]:
    """The scale and zero point of each element."""
    count = len(quantization.scales)
    points = quantization.zero_points * (count if len(quantization.zero_points) == 1 else 1)
    pairs = list(zip(quantization.scales, points, strict=True))
    if quantization.axis is None:
        return iter(pairs * math.prod(dims))
    if not 0 <= quantization.axis < len(dims) or dims[quantization.axis] != count:
        raise invalid(
            f"{count} scales along axis {quantization.axis} do not fit dims {list(dims)}", "quantize"
        )
    inner = math.prod(dims[quantization.axis + 1 :])
    row = [pair for pair in pairs for _ in range(inner)]
    return iter(row * math.prod(dims[: quantization.axis]))
