# SPDX-License-Identifier: Apache-2.0
"""Between real numbers and the integers that stand for them.

As TensorFlow Lite defines it (the 8-bit quantization specification; `AffineQuantize` and `Dequantize` of
its reference kernels): real = scale * (integer - zero_point); quantizing divides in f32, rounds halves
away from zero, adds the zero point and saturates. What that leaves open is settled here: infinities
saturate, and NaN, which no integer stands for, becomes the zero point (the real number 0).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wasinn.contracts.keys import QUANTIZED
from wasinn.errors import unsupported
from wasinn.spec import TensorType
from wasinn.tensors import NUMPY, Quantization, TensorSpec

Array = np.ndarray[Any, Any]


def is_quantized(spec: TensorSpec) -> bool:
    """Whether the integers of a port stand for real numbers that the model names.

    Raises WasiNNError (unsupported_operation) for a quantization that does not fit the port.
    """
    if spec.quantization is None or spec.type not in QUANTIZED:
        return False
    axis, count = spec.quantization.axis, len(spec.quantization.scales)
    if axis is None:
        fits = count == 1
    else:
        fits = spec.dims is not None and 0 <= axis < len(spec.dims) and spec.dims[axis] in (None, count)
    if not fits or not all(abs(point) < 1 << 31 for point in spec.quantization.zero_points):
        raise unsupported(f"the quantization of {spec.name!r} ({spec.quantization}) does not fit {spec}")
    return True


def quantize(values: Array, quantization: Quantization, tensor_type: TensorType) -> Array:
    """The integers of `tensor_type` for real numbers: `values` f32, of the tensor's dims."""
    with np.errstate(all="ignore"):  # infinities and NaN are settled below
        scale, zero_point = _parameters(quantization, values.ndim, _working_type(tensor_type))
        scaled = values.astype(scale.dtype, copy=False) / scale
        return _saturate(_round_half_away(scaled), zero_point, tensor_type)


def quantize_truncating(values: Array, quantization: Quantization, tensor_type: TensorType) -> Array:
    """As `quantize`, but the way WAMR's host does it: x / scale + zero_point, cut off towards zero.

    Source: set_input of wasi_nn_tensorflowlite.cpp in WAMR. What is out of range is undefined there,
    and saturates here.
    """
    with np.errstate(all="ignore"):
        scale, zero_point = _parameters(quantization, values.ndim, _working_type(tensor_type))
        shifted = values.astype(scale.dtype, copy=False) / scale + zero_point
        return _saturate(np.trunc(shifted) - zero_point, zero_point, tensor_type)


def dequantize(values: Array, quantization: Quantization) -> Array:
    """The real numbers, f32, that integers stand for."""
    wide = np.float64 if values.dtype.itemsize > 2 else np.float32
    with np.errstate(all="ignore"):  # a scale may be anything
        scale, zero_point = _parameters(quantization, values.ndim, np.dtype(wide))
        result: Array = values.astype(wide)
        result -= zero_point
        result *= scale
        return result.astype(np.float32, copy=False)


def _working_type(tensor_type: TensorType) -> np.dtype[Any]:
    # f32 is what TensorFlow Lite divides in; it cannot hold every i32.
    return np.dtype(np.float64 if tensor_type is TensorType.I32 else np.float32)


def _parameters(quantization: Quantization, rank: int, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """Scale and zero point, of a shape that broadcasts along the axis."""
    shape = [1] * rank
    if quantization.axis is not None and rank:
        shape[quantization.axis] = len(quantization.scales)
    scales = np.array(quantization.scales, dtype).reshape(shape)
    return scales, np.array(quantization.zero_points, dtype).reshape(shape)


def _round_half_away(values: Array) -> Array:
    # Half of the way to the next number, but for the last bit: adding a whole half and cutting off would
    # make 1 of the number below 0.5. All of f32 was tried against the definition.
    half = np.nextafter(values.dtype.type(0.5), values.dtype.type(0))
    rounded: Array = np.copysign(half, values)
    rounded += values
    np.trunc(rounded, out=rounded)
    return rounded


def _saturate(rounded: Array, zero_point: Array, tensor_type: TensorType) -> Array:
    kind = NUMPY[tensor_type]
    limits = np.iinfo(kind)
    np.nan_to_num(rounded, copy=False, nan=0.0, posinf=np.inf, neginf=-np.inf)
    rounded += zero_point
    np.clip(rounded, limits.min, limits.max, out=rounded)
    result: Array = rounded.astype(kind)
    return result
