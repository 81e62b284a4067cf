# SPDX-License-Identifier: Apache-2.0
"""The console's pictures, as data: URIs: what was given, what the model sees of it, and masks."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np

from wasinn.imaging.decode import pillow
from wasinn.imaging.masks import palette, place_classes, resize_classes
from wasinn.imaging.preprocess import Placement

Array = np.ndarray[Any, Any]

#: The longest side of a picture that is shown.
SIDE = 1024
#: Up to this side a picture is few pixels: shown exactly, and enlarged without smoothing.
TINY = 128
#: So many classes have a colour of their own; further ones begin again.
COLOURS = 4096


def shown(pixels: Array, side: int = SIDE) -> dict[str, Any]:
    """u8 [height, width, 3] RGB for an <img>, at most `side` pixels long: `url`, `width`, `height` of the
    original, and whether it is `tiny`."""
    height, width = pixels.shape[:2]
    image = pillow().fromarray(np.ascontiguousarray(pixels))
    if max(height, width) > side:
        image.thumbnail((side, side))
    tiny = max(height, width) <= TINY
    buffer = io.BytesIO()
    if tiny:
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=85)
    return {
        "url": _url(buffer, "png" if tiny else "jpeg"),
        "width": width,
        "height": height,
        "tiny": tiny,
    }


def mask(classes: Array, placement: Placement | None) -> dict[str, Any]:
    """A class map [height, width] as a picture of the classes' colours: `url`, and `colours` by class.

    With a `placement` it lies over the whole picture that was given (at most `SIDE` long); what the model did
    not see of it is transparent.
    """
    known = np.ones(classes.shape, bool)
    if placement is not None:
        small = _at_most(placement.picture)
        known = place_classes(np.ones(classes.shape, np.uint8), _scaled(placement, small)).astype(bool)
        classes = place_classes(classes, _scaled(placement, small))
    elif max(classes.shape) > SIDE:
        classes = resize_classes(classes, _at_most((classes.shape[0], classes.shape[1])))
        known = np.ones(classes.shape, bool)
    colours = palette(min(int(classes.max(initial=0)) + 1, COLOURS))
    pixels = np.dstack([colours[classes.astype(np.intp) % COLOURS], np.where(known, 255, 0).astype(np.uint8)])
    buffer = io.BytesIO()
    pillow().fromarray(pixels).save(buffer, "PNG")
    found = np.unique(classes[known])
    return {
        "url": _url(buffer, "png"),
        "width": classes.shape[1],
        "height": classes.shape[0],
        "tiny": max(classes.shape) <= TINY,
        "colours": {str(at): [int(each) for each in colours[int(at) % COLOURS]] for at in found},
    }


def _at_most(size: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _scaled(placement: Placement, picture: tuple[int, int]) -> Placement:
    """The same place in the input, of a smaller copy of the picture."""
    height, width = placement.picture
    return Placement(
        picture,
        placement.size,
        placement.scale_x * width / picture[1],
        placement.scale_y * height / picture[0],
        placement.left,
        placement.top,
    )


def _url(buffer: io.BytesIO, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
