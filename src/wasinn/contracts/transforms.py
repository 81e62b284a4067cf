# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of a contract on tensors: from 8-bit pixels to an input's numbers, and back."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from wasinn.contracts.affine import Affine, planes, to_integers, working_type
from wasinn.contracts.contract import ImageContract, InputContract
from wasinn.contracts.quantization import dequantize, quantize
from wasinn.errors import ConfigError
from wasinn.spec import TensorType
from wasinn.tensors import FLOATS, NUMPY, Quantization

Array = np.ndarray[Any, Any]


def levels(image: ImageContract) -> tuple[Array, Array]:
    """Scale and offset of each channel, f64, in the tensor's order: value = scale * p + offset for the level
    p, 0 to 255, of a picture."""
    low, high = image.range
    scale, offset = (high - low) / 255.0, low
    if image.invert:
        scale, offset = -scale, high
    std, mean = np.array(image.std, np.float64), np.array(image.mean, np.float64)
    return scale / std, (offset - mean) / std


def numbers(contract: InputContract) -> tuple[Array, Array, list[int]]:
    """As `levels`, in the tensor's own numbers: scale, offset and zero point of each channel, where number =
    round(scale * p + offset) + zero point.

    Raises ConfigError for a quantization along another dimension than the channels, and for "model", which
    only `bind` can turn into numbers.
    """
    image = contract.image
    assert image is not None
    _check_bound(contract)
    scale, offset = levels(image)
    quantization = contract.quantization
    if not isinstance(quantization, Quantization):
        return scale, offset, [0] * image.channels
    if quantization.axis is not None and (
        "C" not in image.layout
        or quantization.axis != image.layout.index("C")
        or len(quantization.scales) != image.channels
    ):
        raise ConfigError(
            f"[input.{contract.name}]: quantization has {quantization}, and only one for the whole tensor or "
            f"one for each channel of the layout {image.layout} can be computed"
        )
    each = np.array(quantization.scales, np.float64)
    points = list(quantization.zero_points)
    return scale / each, offset / each, points if len(points) > 1 else points * image.channels


def encode(pixels: Array, contract: InputContract) -> Array:
    """A picture of the contract's size, u8 [height, width, 3] RGB, as the input's tensor: a new array, or
    `pixels` themselves where they are the tensor already. Raises ConfigError as `numbers` does."""
    image = contract.image
    assert image is not None
    if image.colour == "GRAY":
        channels = to_gray(pixels)[..., None]
    else:
        channels = pixels if image.colour == "RGB" else pixels[..., ::-1]
    return _encoder(contract)(planes(channels, "HWC"))


@lru_cache(64)
def _encoder(contract: InputContract) -> Affine:
    assert contract.image is not None
    scale, offset, zero_point = numbers(contract)
    return Affine(TensorType.U8, contract.type, contract.image.layout, scale, offset, zero_point)


def _check_bound(contract: InputContract) -> None:
    """Raises ConfigError for a quantization that is still the model's to say."""
    if contract.quantization == "model":
        raise ConfigError(
            f'[input.{contract.name}]: quantization is "model", and the contract alone does not say which '
            "that is; write quantization = { scale = S, zero_point = Z }, or use the contract with its model "
            "(DirectGraph, or bind(contract, inputs, outputs))"
        )


def to_type(values: Array, contract: InputContract) -> Array:
    """Real numbers as the numbers of the input's type: quantized, rounded (halves away from zero) and
    saturated; NaN as an integer is 0, or the zero point. Raises ConfigError for a quantization "model"."""
    _check_bound(contract)
    if isinstance(contract.quantization, Quantization):
        return quantize(values, contract.quantization, contract.type)
    if contract.type in FLOATS:
        with np.errstate(over="ignore"):
            return values.astype(NUMPY[contract.type], copy=False)
    source = TensorType.F64 if values.dtype.itemsize > 4 else TensorType.F32
    return to_integers(values.astype(working_type(source, contract.type)), contract.type)


def decode(array: Array, contract: InputContract) -> Array:
    """The picture that an input's tensor shows: f32 [height, width, 3] RGB, 0 to 255 where the tensor is as
    the contract says (not clipped); gray in all three channels. Raises ConfigError for a quantization
    "model"."""
    image = contract.image
    assert image is not None
    _check_bound(contract)
    if isinstance(contract.quantization, Quantization):
        array = dequantize(array, contract.quantization)
    scale, offset = levels(image)
    values = to_hwc(array, image.layout).astype(np.float32)
    values -= offset.astype(np.float32)
    values /= scale.astype(np.float32)
    if image.colour == "GRAY":
        return np.repeat(values, 3, axis=2)
    rgb: Array = values[..., ::-1] if image.colour == "BGR" else values
    return rgb


def to_gray(pixels: Array) -> Array:
    """ITU-R 601 luma of u8 [..., 3] RGB, as Pillow's mode L: 16 bits of fraction, rounded."""
    red, green, blue = (pixels[..., at].astype(np.uint32) for at in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)


def to_hwc(values: Array, layout: str) -> Array:
    """The first picture of a tensor of `layout`, as [height, width, channels]; a view."""
    picture: Array = planes(values, layout)[0].transpose(1, 2, 0)
    return picture
