# SPDX-License-Identifier: Apache-2.0
"""Lettering of drawings: colours, fonts, lines of text, how classes and numbers are put. Needs Pillow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from wasinn.contracts.contract import OutputContract
from wasinn.errors import ConfigError

Array = np.ndarray[Any, Any]
Colour = tuple[int, int, int]
Labels = Sequence[str] | OutputContract | None

INK: Colour = (28, 30, 34)
FAINT: Colour = (96, 100, 108)
PAPER: Colour = (255, 255, 255)
TRACK: Colour = (232, 234, 238)
BAR: Colour = (0, 114, 178)


def pillow() -> tuple[Any, Any, Any]:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise ConfigError('drawing needs Pillow: pip install "wasinn[imaging]"') from error
    return Image, ImageDraw, ImageFont


def canvas(pixels: Array) -> tuple[Any, Any]:
    image_module, draw_module, _ = pillow()
    image = image_module.fromarray(np.ascontiguousarray(pixels))
    return image, draw_module.Draw(image)


def font_of(size: int) -> Any:
    font_module = pillow()[2]
    try:
        return font_module.load_default(size)
    except (TypeError, ImportError, OSError):
        # Before Pillow 10.1, or built without FreeType: one small bitmap font.
        return font_module.load_default()


def write(
    draw: Any, place: tuple[float, float], text: str, font: Any, fill: Colour, right: bool = False
) -> None:
    """One line of text at its left (or right) end and its vertical middle."""
    text = _line(text, font)
    if hasattr(font, "getmetrics"):
        draw.text(place, text, fill=fill, font=font, anchor="rm" if right else "lm")
    else:  # The bitmap font knows no anchors.
        left = place[0] - (length_of(draw, text, font) if right else 0)
        draw.text((left, place[1] - font.getbbox(text)[3] / 2), text, fill=fill, font=font)


def _line(text: str, font: Any) -> str:
    text = " ".join(text.split())
    return text if hasattr(font, "getmetrics") else text.encode("latin-1", "replace").decode("latin-1")


def length_of(draw: Any, text: str, font: Any) -> float:
    return float(draw.textlength(_line(text, font), font=font))


def shortened(draw: Any, text: str, font: Any, width: float) -> str:
    """The text, shortened from its end where it is wider than `width`."""
    text = _line(text, font)
    if length_of(draw, text, font) <= width:
        return text
    short = len(text)
    while short > 1 and length_of(draw, text[:short].rstrip() + "...", font) > width:
        short -= 1
    return text[:short].rstrip() + "..."


def font_size(picture: Array) -> int:
    """In pixels: of one proportion to the picture, however large it is shown."""
    height, width = picture.shape[:2]
    return max(13, round(float(np.sqrt(height * width)) / 46))


def name_of(labels: Labels, index: int) -> str:
    if isinstance(labels, OutputContract):
        label = labels.label(index)
    else:
        label = labels[index] if labels is not None and index < len(labels) else None
    return label or f"class {index}"


def percent(share: float) -> str:
    return "< 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"


def number_of(score: float, share: bool) -> str:
    if share and math.isfinite(score) and 0.0 <= score <= 1.0:
        return percent(score)
    return f"{score:.4g}"


def ink_on(colour: Colour) -> Colour:
    """Black or white, whichever has the larger contrast to the colour (WCAG 2.1's relative luminance)."""
    linear = [
        each / 255 / 12.92 if each / 255 <= 0.04045 else ((each / 255 + 0.055) / 1.055) ** 2.4
        for each in colour
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return PAPER if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else (0, 0, 0)
