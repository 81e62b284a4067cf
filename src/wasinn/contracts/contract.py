# SPDX-License-Identifier: Apache-2.0
"""What a model's inputs and outputs mean: the contract, as `contracts/parse.py` reads it from TOML.

A picture is 8-bit RGB to begin with. An image input's numbers are made from it in this order:

1. `fit` and `resize` bring it to `size`; `invert` turns each level p (0 to 255) into 255 - p.
2. `colour` orders the channels (gray is ITU-R 601 luma, as Pillow's mode L).
3. value = (low + p / 255 * (high - low) - mean) / std, with `range` = [low, high]; `mean` and `std` are of
   the tensor's own channel order.
4. With a `quantization`, value / scale + zero point, rounded (halves away from zero) and saturated; an
   integer type without one holds the value itself, rounded and saturated alike.
5. `layout` orders the dimensions; a leading N is a batch dimension.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wasinn.spec import TensorType
from wasinn.tensors import Quantization, SpecDims

Key = int | str

#: The layouts of an image tensor: N batch, C channels, H height, W width.
IMAGE_LAYOUTS = ("NCHW", "NHWC", "CHW", "HWC", "NHW", "HW")
COLOURS = ("RGB", "BGR", "GRAY")
RESIZES = ("bilinear", "bicubic", "nearest", "area")
#: How a picture of another shape is brought to `size`: stretched; cut out of the middle; or shown whole,
#: with bars of the colour `fill`.
FITS = ("stretch", "crop", "letterbox")
OUTPUT_KINDS = ("logits", "probabilities", "mask", "boxes", "raw")
#: How a mask lies in its tensor. With C: a score for each class; without: the class itself.
MASK_LAYOUTS = ("NCHW", "NHWC", "CHW", "HWC", "NHW", "HW")
#: Box formats by what the four numbers are: corners, or a corner or the centre and the size.
BOX_FORMATS = ("xyxy", "yxyx", "xywh", "cxcywh")
#: Where boxes, scores and classes stand; docs/contracts.md has the shapes.
BOX_FORMS = ("separate", "yolo", "ssd")


@dataclass(frozen=True)
class ImageContract:
    """A picture as a tensor. `size` is (height, width) in pixels.

    `crop`: with `fit` "crop", the length in pixels that the picture's shorter side gets before the middle
    is cut out; None for the scale at which the picture just covers `size`. `fill`: the letterbox's RGB
    colour, 0 to 255. `antialias` False samples at one place for each pixel of the result, as OpenCV and
    TensorFlow do, where True weighs every pixel that goes into it, as Pillow does. `mean` and `std` have
    one number for each channel.
    """

    layout: str
    size: tuple[int, int]
    colour: str = "RGB"
    range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    resize: str = "bilinear"
    antialias: bool = True
    fit: str = "stretch"
    crop: int | None = None
    fill: tuple[int, int, int] = (0, 0, 0)
    invert: bool = False

    def __post_init__(self) -> None:
        if self.channels == 1:  # the defaults are three numbers, as most pictures have
            if self.mean == (0.0, 0.0, 0.0):
                object.__setattr__(self, "mean", (0.0,))
            if self.std == (1.0, 1.0, 1.0):
                object.__setattr__(self, "std", (1.0,))

    @property
    def channels(self) -> int:
        return 1 if self.colour == "GRAY" else 3

    @property
    def dims(self) -> tuple[int, ...]:
        """The tensor's dims, with a batch of 1."""
        sizes = {"N": 1, "C": self.channels, "H": self.size[0], "W": self.size[1]}
        return tuple(sizes[letter] for letter in self.layout)


@dataclass(frozen=True)
class InputContract:
    """One input. `image` is None for a tensor that is no picture.

    `port` is the model's own name or index; None is the port called `name`, or the only one there is.

    `quantization`: "none", "model" (the scale and zero point that the model's file has), or one of its
    own; `dims` None are those of the model.
    """

    name: str
    port: Key | None = None
    type: TensorType = TensorType.F32
    image: ImageContract | None = None
    dims: SpecDims | None = None
    quantization: Quantization | Literal["none", "model"] = "none"


@dataclass(frozen=True)
class BoxesContract:
    """Where a detector's boxes stand, and in which numbers. Ports are of the model's outputs.

    `relative`: coordinates are 0 to 1 of the picture, not pixels of the input. Boxes with a score below
    `threshold` are left out, and of two of one class whose intersection over union is above `iou` the
    weaker one.
    """

    form: str = "separate"
    format: str = "xyxy"
    relative: bool = True
    scores: Key | None = None
    classes: Key | None = None
    count: Key | None = None
    objectness: bool = False
    threshold: float = 0.5
    iou: float = 0.45


@dataclass(frozen=True)
class OutputContract:
    """One output; `port` as for an input.

    Class i is called `labels[i + label_offset]`; an index outside has no label. `classes` is how many
    there are, None for as many as the model has. `layout` is of masks. `quantization` "model" makes real
    numbers of a quantized output, with the file's own scale.
    """

    name: str
    port: Key | None = None
    kind: str = "raw"
    type: TensorType | None = None
    labels: tuple[str, ...] | None = None
    label_offset: int = 0
    classes: int | None = None
    layout: str = "NCHW"
    boxes: BoxesContract | None = None
    quantization: Quantization | Literal["none", "model"] = "model"

    def label(self, index: int) -> str | None:
        """What class `index` of the output is called."""
        at = index + self.label_offset
        if self.labels is None or not 0 <= at < len(self.labels):
            return None
        return self.labels[at] or None  # a blank line is no name


@dataclass(frozen=True)
class Contract:
    """The inputs and outputs by name. `source` is the file, or what else an error is to name."""

    inputs: dict[str, InputContract] = field(default_factory=dict)
    outputs: dict[str, OutputContract] = field(default_factory=dict)
    source: Path | str = "contract"

    @property
    def image_input(self) -> InputContract | None:
        """The only input that is a picture; None where there is none or more than one."""
        found = [each for each in self.inputs.values() if each.image is not None]
        return found[0] if len(found) == 1 else None
