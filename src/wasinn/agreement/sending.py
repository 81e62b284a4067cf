# SPDX-License-Identifier: Apache-2.0
"""The tensor that an assumption makes of a picture, wrong or right, as bytes that the port takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from wasinn.agreement.hypotheses import CAST, SIZE_SWAPPED, TRANSPOSED, TWICE, Assumption
from wasinn.contracts import transforms
from wasinn.contracts.contract import ImageContract, InputContract
from wasinn.contracts.quantization import quantize
from wasinn.imaging.decode import Pixels
from wasinn.imaging.preprocess import prepare
from wasinn.spec import TensorType
from wasinn.tensors import FLOATS, NUMPY, Quantization, TensorSpec

Array = np.ndarray[Any, Any]


class Scene:
    """A picture, or the pixels of a tensor that is known to be right; resized once for each way."""

    def __init__(self, name: str, picture: Pixels | None, pixels: Array | None = None) -> None:
        """`picture`: u8 [height, width, 3] RGB of any size. `pixels`: f32 or u8 in the input's size."""
        self.name = name
        self.picture = picture
        self._pixels = pixels
        self._prepared: dict[ImageContract, Array] = {}

    def pixels(self, image: ImageContract) -> Array:
        """[height, width, 3] RGB, 0 to 255, at the contract's size."""
        if self.picture is None:
            assert self._pixels is not None
            return self._pixels
        # What happens after the resizing makes no other picture.
        key = ImageContract(
            "HWC",
            image.size,
            resize=image.resize,
            antialias=image.antialias,
            fit=image.fit,
            crop=image.crop,
            fill=image.fill,
        )
        if key not in self._prepared:
            self._prepared[key] = prepare(self.picture, key).pixels
        return self._prepared[key]


def send(scene: Scene, assumption: Assumption, spec: TensorSpec) -> Array | None:
    """The tensor as the port would get it: the bytes that the assumption makes, labelled with the port's own
    dims and type. None where they are too many or too few, or of another rank: a host refuses that."""
    contract, slips = assumption.input, assumption.slips
    image = contract.image
    assert image is not None
    if SIZE_SWAPPED in slips:
        image = replace(image, size=(image.size[1], image.size[0]))
        contract = replace(contract, image=image)
    pixels = scene.pixels(image)
    if TRANSPOSED in slips:
        pixels = np.ascontiguousarray(pixels.transpose(1, 0, 2))
    return _labelled(_numbers(pixels, contract, slips, spec), contract, spec)


def _numbers(pixels: Array, contract: InputContract, slips: frozenset[str], spec: TensorSpec) -> Array:
    whole = contract.type not in FLOATS and contract.quantization == "none"
    if CAST in slips:
        # Floats for a picture are 0..1 unless the contract has floats of its own.
        image = contract.image
        assert image is not None
        if whole and image.range == (0.0, 255.0):
            image = replace(image, range=(0.0, 1.0))
        real = transforms.encode(
            pixels, replace(contract, image=image, type=TensorType.F32, quantization="none")
        )
        cut = np.clip(np.trunc(np.nan_to_num(real)), 0, 255)
        whole_bytes: Array = cut.astype(np.uint8)
        return whole_bytes
    array = transforms.encode(pixels, contract)
    quantization = contract.quantization if contract.quantization != "none" else spec.quantization
    if TWICE in slips and isinstance(quantization, Quantization):
        return quantize(array.astype(np.float32), quantization, contract.type)
    return array


def _labelled(array: Array, contract: InputContract, spec: TensorSpec) -> Array | None:
    """The numbers in the port's own type and dims; None where they do not fit."""
    if spec.dims is not None:
        fixed = 1
        for dim in spec.dims:
            fixed *= dim or 1
        dynamic = sum(dim is None for dim in spec.dims)
        if not dynamic and array.size != fixed:
            return None
        if len(spec.dims) != array.ndim:
            return None
        if any(want is not None and want != got for want, got in zip(spec.dims, array.shape, strict=True)):
            if dynamic > 1 or fixed == 0 or array.size % fixed:
                return None
            array = np.ascontiguousarray(array).reshape([dim or -1 for dim in spec.dims])
    if spec.any_type or spec.type is contract.type:
        return array
    dtype = NUMPY.get(spec.type, np.dtype(np.float32))
    if dtype.kind in "iu" and array.dtype.kind == "f":
        limits = np.iinfo(dtype)
        array = np.clip(np.nan_to_num(array), limits.min, limits.max)
    result: Array = array.astype(dtype)
    return result


def same_arrays(a: Array | None, b: Array | None) -> bool:
    """Whether two tensors that `send` made have the same numbers."""
    if a is None or b is None or a.shape != b.shape:
        return False
    one, other = a.astype(np.float64), b.astype(np.float64)
    return bool(np.sqrt(np.mean((one - other) ** 2)) <= 1e-3 * max(float(np.std(one)), 1e-9))
