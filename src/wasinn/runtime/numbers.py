# SPDX-License-Identifier: Apache-2.0
"""The numbers that a tensor's bits stand for, also of the types that NumPy does not have."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from wasinn.spec import TensorType

Array = np.ndarray[Any, Any]

#: The 8-bit floats: bits of the exponent, its bias, and whether infinities are there. The types of the
#: second pair ("uz") have one NaN in the place of -0. Source: ONNX's documentation of float8.
_SMALL = {
    TensorType.F8E4M3FN: (4, 7, False),
    TensorType.F8E4M3FNUZ: (4, 8, False),
    TensorType.F8E5M2: (5, 15, True),
    TensorType.F8E5M2FNUZ: (5, 16, False),
}


def numbers(array: Array, tensor_type: TensorType) -> Array:
    """A tensor's array as numbers: bf16 and f8, whose bits are unsigned integers there, as f32; others as
    they are."""
    if tensor_type is TensorType.BF16 and array.dtype.itemsize == 2:
        return (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    if tensor_type in _SMALL and array.dtype.itemsize == 1:
        result: Array = _table(tensor_type)[array.view(np.uint8)]
        return result
    return array


@functools.cache
def _table(tensor_type: TensorType) -> Array:
    """The number of each of the 256 bytes, f32."""
    exponent_bits, bias, infinities = _SMALL[tensor_type]
    fraction_bits = 7 - exponent_bits
    codes = np.arange(256)
    fraction = codes & ((1 << fraction_bits) - 1)
    exponent = (codes >> fraction_bits) & ((1 << exponent_bits) - 1)
    normal = (1 + fraction / (1 << fraction_bits)) * 2.0 ** (exponent - bias)
    subnormal = fraction / (1 << fraction_bits) * 2.0 ** (1 - bias)
    values = np.where(exponent > 0, normal, subnormal)
    values = np.where(codes & 0x80, -values, values)
    if tensor_type.label.endswith("uz"):
        values[0x80] = np.nan
    elif infinities:
        top = exponent == (1 << exponent_bits) - 1
        values[top] = np.where(fraction[top] == 0, np.copysign(np.inf, values[top]), np.nan)
    else:
        values[(codes & 0x7F) == 0x7F] = np.nan
    return values.astype(np.float32)
