# SPDX-License-Identifier: Apache-2.0
"""The report's pictures, as data: URIs: thumbnails, masks laid over them, and where masks differ."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from wasinn.agreement.examples import OUTSIDE, Example, View
from wasinn.agreement.report_charts import escaped
from wasinn.imaging.boxes import Box
from wasinn.imaging.decode import pillow
from wasinn.imaging.draw import draw_boxes
from wasinn.imaging.masks import palette

Array = np.ndarray[Any, Any]

#: What a pixel is painted with where two masks differ; no class of the palette has it.
DIFFERENT = (230, 0, 126)
#: Pictures up to this side are few pixels: kept exactly, and enlarged without smoothing.
TINY = 128


def image(pixels: Array, alt: str) -> str:
    """An <img> of u8 [height, width, 3] RGB."""
    height, width = pixels.shape[:2]
    tiny = max(height, width) <= TINY
    buffer = io.BytesIO()
    picture = pillow().fromarray(np.ascontiguousarray(pixels))
    if tiny:
        picture.save(buffer, "PNG", optimize=True)
    else:
        picture.save(buffer, "JPEG", quality=85, subsampling=0)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    kind = "png" if tiny else "jpeg"
    style = ' class="tiny"' if tiny else ""
    return (
        f'<img{style} src="data:image/{kind};base64,{data}" width="{width}" height="{height}" '
        f'alt="{escaped(alt)}">'
    )


def overlay(picture: Array | None, classes: Array) -> Array:
    """The classes in their colours over the picture; alone where there is none."""
    count = int(classes.max(initial=0)) + 1
    colours = palette(count)[np.maximum(classes, 0)]
    if picture is None or picture.shape[:2] != classes.shape:
        return np.where((classes == OUTSIDE)[..., None], np.uint8(128), colours).astype(np.uint8)
    mixed = picture.astype(np.float32) * 0.5 + colours.astype(np.float32) * 0.5
    outside = picture.astype(np.float32) * 0.35 + 90
    return np.where((classes == OUTSIDE)[..., None], outside, mixed).astype(np.uint8)


def difference_map(picture: Array | None, differs: Array) -> Array:
    """The picture in faint gray, and one strong colour where the masks differ."""
    if picture is not None and picture.shape[:2] == differs.shape:
        gray = picture.astype(np.float32).mean(axis=2, keepdims=True) * 0.4 + 140
        base = np.repeat(gray, 3, axis=2).astype(np.uint8)
    else:
        base = np.full((*differs.shape, 3), 215, np.uint8)
    result: Array = np.where(differs[..., None], np.array(DIFFERENT, np.uint8), base)
    return result


def legend(shares: Sequence[tuple[int, str, float]]) -> str:
    """The classes of a mask with their colours and shares."""
    colours = palette(max((index for index, _, _ in shares), default=0) + 1)
    items = []
    for index, label, share in shares[:16]:
        red, green, blue = (int(each) for each in colours[index])
        items.append(
            f'<li><span class="swatch" style="background:rgb({red},{green},{blue})"></span>{escaped(label)} '
            f'<span class="number soft">{share:.2%}</span></li>'
        )
    more = f'<li class="soft">and {len(shares) - 16} others</li>' if len(shares) > 16 else ""
    return f'<ul class="legend">{"".join(items)}{more}</ul>'


def with_boxes(example: Example, view: View) -> Array | None:
    """The example's picture with the boxes of a view."""
    if example.picture is None or example.size is None:
        return None
    factor = example.picture.shape[1] / example.size[1]
    return draw_boxes(example.picture, [_scaled(box, factor) for box in view.boxes])


def _scaled(box: Box, factor: float) -> Box:
    return replace(
        box,
        left=box.left * factor,
        top=box.top * factor,
        right=box.right * factor,
        bottom=box.bottom * factor,
    )
