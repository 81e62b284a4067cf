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

from wasinn.spec import TensorType
from wasinn.tensors import Quantization

Array = np.ndarray[Any, Any]

#: The integers that are quantized to, by their NumPy types.
_INTEGERS: dict[TensorType, Any] = {
    TensorType.U8: np.uint8,
    TensorType.I8: np.int8,
    TensorType.U16: np.uint16,
    TensorType.I16: np.int16,
    TensorType.I32: np.int32,
}


def is_quantizable(tensor_type: TensorType) -> bool:
    """Whether tensors of this type stand for real numbers where they carry a quantization."""
    return tensor_type in _INTEGERS


def quantize(values: Array, quantization: Quantization, tensor_type: TensorType) -> Array:
    """The integers of `tensor_type` for real numbers: `values` f32, of the tensor's dims."""
    scale, zero_point = _parameters(quantization, values.ndim, _working_type(tensor_type))
    with np.errstate(all="ignore"):  # infinities and NaN are settled below
        scaled = values.astype(scale.dtype, copy=False) / scale
        return _saturate(_round_half_away(scaled), zero_point, tensor_type)


def quantize_truncating(values: Array, quantization: Quantization, tensor_type: TensorType) -> Array:
    """As `quantize`, but the way WAMR's host does it: x / scale + zero_point, cut off towards zero.

    Source: set_input of wasi_nn_tensorflowlite.cpp in WAMR. What is out of range is undefined there,
    and saturates here.
    """
    scale, zero_point = _parameters(quantization, values.ndim, _working_type(tensor_type))
    with np.errstate(all="ignore"):
        shifted = values.astype(scale.dtype, copy=False) / scale + zero_point
        return _saturate(np.trunc(shifted) - zero_point, zero_point, tensor_type)


def dequantize(values: Array, quantization: Quantization) -> Array:
    """The real numbers, f32, that integers stand for."""
    wide = np.float64 if values.dtype.itemsize > 2 else np.float32
    scale, zero_point = _parameters(quantization, values.ndim, np.dtype(wide))
    result: Array = ((values.astype(wide) - zero_point) * scale).astype(np.float32, copy=False)
    return result


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
    # Adding 0.5 and cutting off would make 1 of the number below 0.5; rint rounds halves to even.
    rounded = np.rint(values)
    rest = values - rounded
    rounded += (rest == 0.5) & (values > 0)
    rounded -= (rest == -0.5) & (values < 0)
    return rounded


def _saturate(rounded: Array, zero_point: Array, tensor_type: TensorType) -> Array:
    kind = _INTEGERS[tensor_type]
    limits = np.iinfo(kind)
    np.nan_to_num(rounded, copy=False, nan=0.0, posinf=np.inf, neginf=-np.inf)
    rounded += zero_point
    np.clip(rounded, limits.min, limits.max, out=rounded)
    result: Array = rounded.astype(kind)
    return result
