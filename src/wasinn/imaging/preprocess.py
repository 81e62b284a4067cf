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
from wasinn.imaging.resize import resize
from wasinn.tensors import Tensor

#: A picture that is to be cut is resized whole first, as others do it, unless that takes more pixels.
_MOST_PIXELS = 1 << 24

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Placement:
    """Where a picture lies in the model's input: x_input = x_picture * scale_x + left, and so for y.

    In pixels, counted at their edges: 0 is the left edge of the first pixel, `width` the right edge of the
    last, and a pixel's centre lies at its index + 0.5. `picture` and `size` are (height, width).
    `left` and `top` are below 0 where the picture is cut.
    """

    picture: tuple[int, int]
    size: tuple[int, int]
    scale_x: float
    scale_y: float
    left: float
    top: float

    def to_input(self, x: Any, y: Any) -> tuple[Array, Array]:
        """Coordinates in the input, f64, of those in the picture: numbers or arrays."""
        return np.asarray(x) * self.scale_x + self.left, np.asarray(y) * self.scale_y + self.top

    def to_picture(self, x: Any, y: Any) -> tuple[Array, Array]:
        """Coordinates in the picture, f64, of those in the input; outside of it where the input has bars."""
        return (np.asarray(x) - self.left) / self.scale_x, (np.asarray(y) - self.top) / self.scale_y

    @property
    def covered(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of the part of the input that the picture fills, in whole pixels; the
        rest are bars."""
        height, width = self.size
        right, bottom = self.to_input(self.picture[1], self.picture[0])
        return (
            max(0, round(self.left)),
            max(0, round(self.top)),
            min(width, round(float(right))),
            min(height, round(float(bottom))),
        )

    @property
    def shown(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of the part of the picture that the input shows; the rest is cut off."""
        height, width = self.picture
        left, top = self.to_picture(0, 0)
        right, bottom = self.to_picture(self.size[1], self.size[0])
        return (
            max(0.0, float(left)),
            max(0.0, float(top)),
            min(float(width), float(right)),
            min(float(height), float(bottom)),
        )


@dataclass(frozen=True)
class Prepared:
    """A picture at the contract's size: u8 [height, width, 3] RGB, and where it lies in it."""

    pixels: Pixels
    placement: Placement


def prepare(picture: Picture, image: ImageContract) -> Prepared:
    """Decodes a picture and brings it to the contract's size, as `fit` and `resize` say.

    - "stretch": both sides to `size`, whatever shape that gives.
    - "crop": resized, then the middle cut out. The shorter side gets `crop` pixels and the longer
      floor(longer * crop / shorter), as torchvision's Resize(crop); without `crop` the scale is that at which
      the picture just covers `size`, rounded down alike. The cut starts at half of what is left over, halves
      rounded to the even number, as torchvision's CenterCrop.
    - "letterbox": the scale at which the picture just fits, its sides rounded to the nearest (halves to the
      even number) but at least 1; of bars of an odd number of pixels the right or lower one has more. As
      Ultralytics' LetterBox.

    Raises ConfigError as `read_picture` does, and where a `crop` is too small to cut `size` out of it.
    """
    pixels = read_picture(picture)
    if image.fit == "crop":
        return _crop(pixels, image)
    if image.fit == "letterbox":
        return _letterbox(pixels, image)
    resized = resize(pixels, image.size, image.resize, image.antialias)
    h, w = pixels.shape[:2]
    height, width = image.size
    return Prepared(resized, Placement((h, w), image.size, width / w, height / h, 0.0, 0.0))


def _crop(pixels: Pixels, image: ImageContract) -> Prepared:
    h, w = pixels.shape[:2]
    height, width = image.size
    if image.crop is not None:
        wide = w > h
        longer = max(w, h) * image.crop // min(w, h)
        whole_h, whole_w = (image.crop, longer) if wide else (longer, image.crop)
        if whole_h < height or whole_w < width:
            raise ConfigError(
                f"a picture of {w}x{h} pixels with crop = {image.crop} becomes {whole_w}x{whole_h}, too "
                f"small to cut {width}x{height} out of it: crop must be {max(height, width)} or more, or be "
                "left out"
            )
    elif height * w >= width * h:  # the height needs the larger scale
        whole_h, whole_w = height, w * height // h
    else:
        whole_h, whole_w = h * width // w, width
    top, left = round((whole_h - height) / 2), round((whole_w - width) / 2)
    scale_x, scale_y = whole_w / w, whole_h / h
    if whole_h * whole_w <= _MOST_PIXELS:
        whole = resize(pixels, (whole_h, whole_w), image.resize, image.antialias)
        cut = whole[top : top + height, left : left + width]
    else:
        # A picture of 10000x1 pixels would become one of 2 560 000x256. Resizing only what is kept differs
        # from that at the cut's edges, where a filter cannot look beyond, and nowhere else.
        box = (left / scale_x, top / scale_y, (left + width) / scale_x, (top + height) / scale_y)
        box = (box[0], box[1], min(box[2], float(w)), min(box[3], float(h)))
        cut = resize(pixels, image.size, image.resize, image.antialias, box)
    return Prepared(
        np.ascontiguousarray(cut), Placement((h, w), image.size, scale_x, scale_y, float(-left), float(-top))
    )


def _letterbox(pixels: Pixels, image: ImageContract) -> Prepared:
    h, w = pixels.shape[:2]
    height, width = image.size
    scale = min(height / h, width / w)
    inner_h, inner_w = max(1, round(h * scale)), max(1, round(w * scale))
    top, left = (height - inner_h) // 2, (width - inner_w) // 2
    result = np.empty((height, width, 3), np.uint8)
    result[:] = np.array(image.fill, np.uint8)
    result[top : top + inner_h, left : left + inner_w] = resize(
        pixels, (inner_h, inner_w), image.resize, image.antialias
    )
    return Prepared(result, Placement((h, w), image.size, inner_w / w, inner_h / h, float(left), float(top)))


def preprocess(picture: Picture, contract: Contract | InputContract, name: str | None = None) -> Tensor:
    """The tensor that a contract makes of a picture; `name` is the input's, and is needed where a contract
    has several pictures as inputs.

    Raises ConfigError as `prepare` does, and for an input that does not exist or is no picture.
    """
    found = _image_input(contract, name)
    assert found.image is not None
    prepared = prepare(picture, found.image)
    array: Array = transforms.encode(prepared.pixels, found)
    return Tensor.of(array, found.type)


def _image_input(contract: Contract | InputContract, name: str | None) -> InputContract:
    if isinstance(contract, InputContract):
        if contract.image is None:
            raise ConfigError(f"input {contract.name!r} is no picture in its contract: it needs a `layout`")
        return contract
    pictures = {key: each for key, each in contract.inputs.items() if each.image is not None}
    known = ", ".join(map(repr, pictures))
    if not pictures:
        raise ConfigError(f"{contract.source}: no input is a picture: one needs a `layout`")
    if name is None:
        if len(pictures) > 1:
            raise ConfigError(f"{contract.source}: {len(pictures)} inputs are pictures ({known}): name one")
        return next(iter(pictures.values()))
    if name in pictures:
        return pictures[name]
    reason = "is no picture" if name in contract.inputs else "does not exist"
    raise ConfigError(f"{contract.source}: input {name!r} {reason}; pictures are {known}")
