# SPDX-License-Identifier: Apache-2.0
"""The one path from a picture to a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wasinn.contracts import transforms
from wasinn.contracts.contract import Contract, ImageContract, InputContract
from wasinn.errors import ConfigError
from wasinn.imaging.decode import Picture, Pixels, read_picture
from wasinn.tensors import Tensor


@dataclass(frozen=True)
class Placement:
    """Where a picture lies in the model's input: x_input = x_picture * scale_x + left, and so for y, in
    pixels. `picture` and `size` are (height, width)."""

    picture: tuple[int, int]
    size: tuple[int, int]
    scale_x: float
    scale_y: float
    left: float
    top: float


@dataclass(frozen=True)
class Prepared:
    """A picture at the contract's size: u8 [height, width, 3] RGB, and where it lies in it."""

    pixels: Pixels
    placement: Placement


def prepare(picture: Picture, image: ImageContract) -> Prepared:
    """Decodes a picture and brings it to the contract's size."""
    from PIL import Image

    pixels = read_picture(picture)
    height, width = image.size
    resized = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
    h, w = pixels.shape[:2]
    return Prepared(resized, Placement((h, w), image.size, width / w, height / h, 0.0, 0.0))


def preprocess(picture: Picture, contract: Contract | InputContract) -> Tensor:
    """The tensor that a contract makes of a picture."""
    found = contract.image_input if isinstance(contract, Contract) else contract
    if found is None or found.image is None:
        raise ConfigError("the contract has no image input, or several: name one")
    prepared = prepare(picture, found.image)
    array: np.ndarray[Any, Any] = transforms.encode(prepared.pixels, found)
    return Tensor.of(array, found.type)
