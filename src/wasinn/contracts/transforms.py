# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of a contract on tensors: from 8-bit pixels to an input's numbers, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from wasinn.contracts.contract import ImageContract, InputContract
from wasinn.contracts.quantization import dequantize, quantize
from wasinn.spec import TensorType
from wasinn.tensors import Quantization

Array = np.ndarray[Any, Any]

_FLOATS = {TensorType.F16: np.float16, TensorType.F32: np.float32, TensorType.F64: np.float64}


def levels(image: ImageContract) -> tuple[Array, Array]:
    """Scale and offset of each channel, f64, in the tensor's order: value = scale * p + offset for the level
    p, 0 to 255, of a picture."""
    low, high = image.range
    scale, offset = (high - low) / 255.0, low
    if image.invert:
        scale, offset = -scale, high
    std, mean = np.array(image.std, np.float64), np.array(image.mean, np.float64)
    return scale / std, (offset - mean) / std


def encode(pixels: Array, contract: InputContract) -> Array:
    """A picture of the contract's size, u8 [height, width, 3] RGB, as the input's tensor."""
    image = contract.image
    assert image is not None
    if image.colour == "GRAY":
        channels = to_gray(pixels)[..., None]
    else:
        channels = pixels if image.colour == "RGB" else pixels[..., ::-1]
    scale, offset = levels(image)
    values = (channels.astype(np.float32) * scale.astype(np.float32)) + offset.astype(np.float32)
    return to_type(np.ascontiguousarray(from_hwc(values, image.layout)), contract)


def to_type(values: Array, contract: InputContract) -> Array:
    """Real numbers, f32, as the numbers of the input's type: quantized, rounded, saturated."""
    if isinstance(contract.quantization, Quantization):
        return quantize(values, contract.quantization, contract.type)
    if contract.type in _FLOATS:
        return values.astype(_FLOATS[contract.type], copy=False)
    kind = np.dtype(_integer(contract.type))
    limits = np.iinfo(kind)
    return np.clip(np.rint(values), limits.min, limits.max).astype(kind)


def _integer(tensor_type: TensorType) -> str:
    return f"{'u' if tensor_type.label[0] == 'u' else ''}int{8 * tensor_type.size}"


def decode(array: Array, contract: InputContract) -> Array:
    """The picture that an input's tensor shows: f32 [height, width, 3] RGB, 0 to 255 where the tensor is as
    the contract says (not clipped); gray in all three channels."""
    image = contract.image
    assert image is not None
    if isinstance(contract.quantization, Quantization):
        array = dequantize(array, contract.quantization)
    scale, offset = levels(image)
    values = to_hwc(array, image.layout).astype(np.float32)
    pixels: Array = (values - offset.astype(np.float32)) / scale.astype(np.float32)
    if image.colour == "BGR":
        return pixels[..., ::-1]
    return np.repeat(pixels, 3, axis=2) if image.colour == "GRAY" else pixels


def to_gray(pixels: Array) -> Array:
    """ITU-R 601 luma of u8 [..., 3] RGB, as Pillow's mode L: 16 bits of fraction, rounded."""
    red, green, blue = (pixels[..., at].astype(np.uint32) for at in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)


def from_hwc(values: Array, layout: str) -> Array:
    """[height, width, channels] as `layout`; a view."""
    if "C" not in layout:
        values = values[..., 0]
    elif layout.lstrip("N").startswith("C"):
        values = values.transpose(2, 0, 1)
    return values[None] if layout.startswith("N") else values


def to_hwc(values: Array, layout: str) -> Array:
    """The first picture of a tensor of `layout`, as [height, width, channels]; a view."""
    if layout.startswith("N"):
        values = values[0]
    if "C" not in layout:
        return values[..., None]
    return values.transpose(1, 2, 0) if layout.lstrip("N").startswith("C") else values
