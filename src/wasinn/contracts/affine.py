# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of tensors that all conversions end in: scale, offset, round, saturate, in few passes.

One rule of rounding, that of `contracts/quantization.py`: halves away from zero, before the zero point is
added. What is too large or too small saturates, and NaN becomes the zero point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wasinn.spec import TensorType
from wasinn.tensors import FLOATS, INTEGERS, NUMPY

Array = np.ndarray[Any, Any]


@dataclass
class Buffers:
    """Arrays by name, made once and used again by every call: of one execution, so of one thread."""

    _arrays: dict[str, Array] = field(default_factory=dict)

    def get(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array of that shape with any content."""
        found = self._arrays.get(name)
        if found is None or found.shape != shape or found.dtype != dtype:
            found = self._arrays[name] = np.empty(shape, dtype)
        return found


class _NoBuffers(Buffers):
    def get(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        return np.empty(shape, dtype)


#: New arrays for every call.
NO_BUFFERS = _NoBuffers()


def planes(array: Array, layout: str) -> Array:
    """A tensor of `layout` as [N, C, H, W]; a view."""
    if "N" not in layout:
        array, layout = array[None], "N" + layout
    if "C" not in layout:
        return array[:, None]
    return array if layout == "NCHW" else array.transpose(0, 3, 1, 2)


def from_planes(array: Array, layout: str) -> Array:
    """[N, C, H, W] as `layout`; a view. Without an N it is the first of the batch."""
    if "C" not in layout:
        array = array[:, 0]
    elif layout.endswith("C"):
        array = array.transpose(0, 2, 3, 1)
    return array if "N" in layout else array[0]


class Affine:
    """From the numbers of one image tensor to those of another: scale * number + offset, rounded and plus the
    zero point where the type is an integer.

    `scale`, `offset` and `zero_point` have one number for each channel of the result. `source` is the type
    that comes.
    """

    def __init__(
        self,
        source: TensorType,
        to: TensorType,
        layout: str,
        scale: Sequence[float] | Array,
        offset: Sequence[float] | Array,
        zero_point: Sequence[int],
    ) -> None:
        self._layout = layout
        self._dtype = NUMPY[to]
        self._work = working_type(source, to)
        self._may_be_nan = source in FLOATS
        whole = to in INTEGERS
        shift = np.array(zero_point, np.float64) if whole else np.zeros(len(zero_point))
        # What rounding errors of f64 made is not there: bytes that need no arithmetic stay as they are.
        scale = np.array([1.0 if abs(each - 1) < 1e-9 else each for each in scale])
        offset = np.array([0.0 if abs(each) < 1e-9 else each for each in offset])
        total = offset + shift
        if whole and np.all(np.abs(total - np.rint(total)) < 1e-6) and np.all(scale == 1):
            offset, shift = np.zeros_like(total), np.rint(total)
        self._scale = _Step(np.multiply, scale, 1.0, self._work)
        self._offset = _Step(np.add, offset, 0.0, self._work)
        self._shift = _Step(np.add, shift, 0.0, self._work)
        self._trivial = not (self._scale.needed or self._offset.needed or self._shift.needed) and np.can_cast(
            NUMPY[source], self._dtype, "safe"
        )

    def __call__(self, source: Array, buffers: Buffers = NO_BUFFERS) -> Array:
        """`source` [N, C, H, W], with the result's channels; the result has the layout. It is good until the
        next call with these buffers, and may be `source` itself where nothing changes."""
        if not self._trivial:
            return self.run([(source, 1.0)], buffers)
        same = from_planes(source, self._layout)
        if source.dtype == self._dtype and same.flags.c_contiguous:
            return same
        result = buffers.get("result", same.shape, self._dtype)
        np.copyto(result, same)
        return result

    def run(self, parts: Sequence[tuple[Array, float]], buffers: Buffers) -> Array:
        """The sum of `parts`, arrays [N, C, H, W] each times its number (of the first it is 1), through the
        map."""
        source = parts[0][0]
        result = buffers.get("result", from_planes(source, self._layout).shape, self._dtype)
        target = planes(result, self._layout)
        # Floats are computed where they are to lie; what becomes smaller is moved when it is small.
        n, c, h, w = source.shape
        if self._work == self._dtype:
            work = target
        elif abs(source.strides[1]) < abs(source.strides[3]):
            work = planes(buffers.get("work", (n, h, w, c), self._work), "NHWC")
        else:
            work = buffers.get("work", (n, c, h, w), self._work)
        with np.errstate(all="ignore"):  # guests send what they like
            np.copyto(work, source, casting="unsafe")
            for array, factor in parts[1:]:
                more = buffers.get("more", work.shape, self._work)
                work += np.multiply(array, factor, out=more, casting="unsafe", dtype=self._work)
            self._scale(work)
            self._offset(work)
            if work is target:
                return result
            if self._dtype.kind == "f":
                np.copyto(target, work, casting="unsafe")
                return result
            memory = work.transpose(0, 2, 3, 1) if work.strides[1] < work.strides[3] else work
            if self._dtype.kind == "u" and not self._shift.needed:
                no_nan(memory, self._may_be_nan)
                memory += below_half(self._work)  # what is negative becomes 0 anyway; the cast cuts off
            else:
                round_half_away(memory, self._may_be_nan)
                self._shift(work)
            saturate(work, target)
            return result


class _Step:
    """An operation with a number for each channel, in place on [N, C, H, W] of either order in memory."""

    def __init__(self, operation: Any, numbers: Array, neutral: float, dtype: np.dtype[Any]) -> None:
        self._operation = operation
        self.needed = bool(np.any(numbers != neutral))
        self._numbers = numbers.astype(dtype)
        self._columns = self._numbers.reshape(-1, 1, 1)
        self._row: Array | None = None

    def __call__(self, values: Array) -> None:
        if not self.needed:
            return
        if values.strides[1] < values.strides[3]:
            # Along whole rows: an inner loop over three channels would be ten times slower.
            memory = values.transpose(0, 2, 3, 1)
            row = self._row
            if row is None or row.size != memory.shape[2] * memory.shape[3]:
                row = self._row = np.tile(self._numbers, memory.shape[2])
            rows = memory.reshape(-1, row.size)
            self._operation(rows, row, out=rows)
        else:
            self._operation(values, self._columns, out=values)


def working_type(*types: TensorType) -> np.dtype[Any]:
    """What the numbers of these types are computed in: f32, which holds all integers of 16 bits, or f64."""
    wide = any(each not in (TensorType.F16, TensorType.F32) and each.size > 2 for each in types)
    return np.dtype(np.float64 if wide else np.float32)


def to_integers(values: Array, tensor_type: TensorType) -> Array:
    """Real numbers, rounded and saturated; `values` are written over."""
    with np.errstate(all="ignore"):
        round_half_away(values, True)
        return saturate(values, np.empty(values.shape, NUMPY[tensor_type]))


def no_nan(values: Array, may_be_nan: bool) -> None:
    """Makes 0 of NaN, in place."""
    if may_be_nan and values.size and np.isnan(values.min()):
        np.copyto(values, 0, where=np.isnan(values))


def below_half(dtype: np.dtype[Any]) -> Any:
    """A half but for the last bit: with a whole half 0.49999997 would become 1."""
    return np.nextafter(dtype.type(0.5), dtype.type(0))


def round_half_away(values: Array, may_be_nan: bool) -> None:
    """In place; NaN becomes 0."""
    no_nan(values, may_be_nan)
    values += np.copysign(below_half(values.dtype), values)
    np.trunc(values, out=values)


def saturate(values: Array, result: Array) -> Array:
    """Numbers without NaN, cut off to the type of `result`; `values` are written over."""
    limits = np.iinfo(result.dtype)
    low, high = values.dtype.type(limits.min), values.dtype.type(limits.max)
    if int(high) > limits.max:
        # f64 has no 2^63 - 1: the float is one too many, and would wrap.
        too_large = values >= high
        np.clip(values, low, np.nextafter(high, 0), out=values)
        np.copyto(result, values, casting="unsafe")
        result[too_large] = limits.max
        return result
    np.clip(values, low, high, out=values)
    np.copyto(result, values, casting="unsafe")
    return result
