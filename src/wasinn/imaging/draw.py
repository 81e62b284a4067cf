# SPDX-License-Identifier: Apache-2.0
"""Answers drawn over the picture: masks with a legend, boxes with tags, scores as bars. Needs Pillow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wasinn.errors import ConfigError
from wasinn.imaging.boxes import Box
from wasinn.imaging.lettering import (
    BAR,
    FAINT,
    INK,
    PAPER,
    TRACK,
    Colour,
    Labels,
    canvas,
    font_of,
    font_size,
    ink_on,
    length_of,
    name_of,
    number_of,
    percent,
    pillow,
    shortened,
    write,
)
from wasinn.imaging.masks import class_counts, palette, place_classes, resize_classes
from wasinn.imaging.preprocess import Placement
from wasinn.imaging.scores import Scored

Array = np.ndarray[Any, Any]

#: The legend has at most so many lines; what does not fit is "and N more".
LEGEND_LINES = 6
#: A picture smaller than this on its longer side is enlarged, or its text could not be read.
LEAST_SIDE = 360
#: Formats that keep a palette or 16 bits without loss.
EXACT_SUFFIXES = (".png", ".tif", ".tiff")


def draw_mask(
    pixels: Any,
    classes: Array,
    labels: Labels = None,
    opacity: float = 0.5,
    placement: Placement | None = None,
) -> Array:
    """The picture (u8 [height, width, 3] RGB) with each class in its colour over it and a legend beneath:
    u8 [height + legend, width, 3].

    `classes` [h, w] of another size is brought to the picture's: by `placement`, or stretched. The legend
    has the classes that occur with their share of the mask, the largest first. A small picture is enlarged
    by a whole factor.
    """
    picture = _rgb(pixels)
    share = class_counts(classes)
    if placement is not None:
        classes = place_classes(classes, placement)
        share = class_counts(classes)
    elif classes.shape != picture.shape[:2]:
        classes = resize_classes(classes, (picture.shape[0], picture.shape[1]))
    factor = _factor(picture)
    picture, classes = _enlarged(picture, factor), _enlarged(classes, factor)
    colours = palette(max(len(share), 1))
    line = max(1, round(font_size(picture) / 16))
    strength = np.where(_borders(classes, line), min(1.0, opacity + 0.4), opacity)[..., None]
    mixed = picture * (1.0 - strength) + colours[classes] * strength
    return _under(np.rint(mixed).astype(np.uint8), _legend(picture, share, colours, labels))


def draw_boxes(pixels: Any, boxes: Sequence[Box]) -> Array:
    """The picture (u8 [height, width, 3] RGB) with the boxes and a tag on each (label and score), at the same
    size; a small picture is enlarged by a whole factor.

    Tags stay inside the picture and stand where they hide no other tag, as long as there is such a place.
    """
    picture = _rgb(pixels)
    factor = _factor(picture)
    picture = _enlarged(picture, factor)
    height, width = picture.shape[:2]
    image, draw = canvas(picture)
    size = font_size(picture)
    line = max(2, round(size / 9))
    colours = palette(max((box.index for box in boxes), default=0) + 2)
    # The best box last, so that it lies above the others.
    for box in reversed(boxes):
        edges = [round(each * factor) for each in (box.left, box.top, box.right, box.bottom)]
        left, top, right, bottom = (
            edges[0],
            edges[1],
            max(edges[2] - 1, edges[0]),
            max(edges[3] - 1, edges[1]),
        )
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=INK, width=line + 2)
        draw.rectangle((left, top, right, bottom), outline=_colour(colours, box.index + 1), width=line)
    font = font_of(size)
    pad = max(2, size // 5)
    placed: list[tuple[float, float, float, float]] = []
    for box in boxes:
        text = shortened(draw, f"{box.name} {number_of(box.score, share=True)}", font, width - 2 * pad)
        wide, high = length_of(draw, text, font) + 2 * pad, round(size * 1.15) + pad
        at = _tag_place(
            [each * factor for each in (box.left, box.top, box.right, box.bottom)],
            (wide, high),
            (height, width),
            placed,
        )
        placed.append(at)
        colour = _colour(colours, box.index + 1)
        draw.rectangle((at[0], at[1], at[2] - 1, at[3] - 1), fill=colour, outline=INK)
        write(draw, (at[0] + pad, (at[1] + at[3]) / 2), text, font, ink_on(colour))
    return np.asarray(image)


def draw_scores(pixels: Any, scores: Sequence[Scored]) -> Array:
    """The picture (u8 [height, width, 3] RGB) with a line for each class beneath: its label, a bar and the
    score, as a percentage where all scores are 0 to 1. A small picture is enlarged by a whole factor."""
    picture = _rgb(pixels)
    picture = _enlarged(picture, _factor(picture))
    size = font_size(picture)
    font, pad = font_of(size), round(size * 0.8)
    width = max(picture.shape[1], 22 * size)
    line = round(size * 1.75)
    image, draw = canvas(np.full((line * len(scores) + 2 * pad, width, 3), PAPER, np.uint8))
    finite = [each.score for each in scores if math.isfinite(each.score)]
    share = all(0.0 <= score <= 1.0 for score in finite)
    longest = 1.0 if share else max((abs(score) for score in finite), default=1.0) or 1.0
    numbers = [number_of(each.score, share) for each in scores]
    number_width = max((length_of(draw, number, font) for number in numbers), default=0.0)
    names = [shortened(draw, each.name, font, width * 0.45) for each in scores]
    start = pad + max((length_of(draw, name, font) for name in names), default=0.0) + size
    end = width - pad - number_width - size
    for index, (each, name, number) in enumerate(zip(scores, names, numbers, strict=True)):
        middle = pad + line * index + line / 2
        write(draw, (pad, middle), name, font, INK)
        write(draw, (width - pad, middle), number, font, INK if index == 0 else FAINT, right=True)
        bar = (start, middle - size * 0.4, end, middle + size * 0.4)
        draw.rounded_rectangle(bar, radius=size * 0.2, fill=TRACK)
        length = (end - start) * abs(each.score) / longest if math.isfinite(each.score) else 0.0
        if length >= 1:
            colour = BAR if each.score > 0 else (213, 94, 0)
            draw.rounded_rectangle((start, bar[1], start + length, bar[3]), radius=size * 0.2, fill=colour)
    return _under(picture, np.asarray(image))


def mask_picture(classes: Array) -> Any:
    """A class map as a Pillow image whose pixel values are the classes: with a palette (mode "P") up to class
    255, else 16-bit gray. Raises ConfigError above 65535."""
    image_module = pillow()[0]
    largest = int(classes.max(initial=0))
    if largest > np.iinfo(np.uint16).max or classes.min(initial=0) < 0:
        raise ConfigError(f"a mask with class {largest} fits no picture; write it as .npy")
    if largest > np.iinfo(np.uint8).max:
        return image_module.fromarray(np.ascontiguousarray(classes, np.uint16))
    image = image_module.fromarray(np.ascontiguousarray(classes, np.uint8))
    # On an image of mode "L" this makes a "P" of the same values.
    image.putpalette(palette(256).tobytes(), "RGB")
    return image


def save(picture: Any, path: str | Path) -> None:
    """Writes u8 pixels or a Pillow image, in the format of the path's suffix.

    Raises ConfigError for a suffix that Pillow does not write, for a mask (`mask_picture`) in a format that
    would change its classes, and where the file cannot be written.
    """
    image_module = pillow()[0]
    path = Path(path)
    known = image_module.registered_extensions()
    suffix = path.suffix.lower()
    if known.get(suffix) not in image_module.SAVE:
        raise ConfigError(
            f"{path}: no picture is written with the suffix {suffix!r}; use .png, .jpg or .webp"
        )
    image = picture if isinstance(picture, image_module.Image) else image_module.fromarray(_rgb(picture))
    if image.mode not in ("L", "RGB") and suffix not in EXACT_SUFFIXES:
        raise ConfigError(f"{path}: {suffix} does not keep the classes of a mask as they are; use .png")
    options = {"quality": 92, "subsampling": 0} if known[suffix] == "JPEG" else {}
    try:
        image.save(path, **options)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from error


def _rgb(pixels: Any) -> Array:
    array = np.asarray(pixels)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ConfigError(
            f"a picture is u8 [height, width, 3] RGB, and this is {array.dtype} {list(array.shape)}"
        )
    return array


def _factor(picture: Array) -> int:
    return max(1, math.ceil(LEAST_SIDE / int(max(picture.shape[:2]))))


def _enlarged(array: Array, factor: int) -> Array:
    return array if factor == 1 else array.repeat(factor, axis=0).repeat(factor, axis=1)


def _under(picture: Array, panel: Array) -> Array:
    """The panel beneath the picture; the narrower one is filled up with paper to the right."""
    width = max(picture.shape[1], panel.shape[1])
    rows = []
    for each in (picture, panel):
        rows.append(np.pad(each, ((0, 0), (0, width - each.shape[1]), (0, 0)), constant_values=PAPER[0]))
    return np.concatenate(rows)


def _borders(classes: Array, line: int) -> Array:
    """Where another class is within `line` pixels to the right or beneath."""
    result = np.zeros(classes.shape, bool)
    for step in range(1, line + 1):
        result[:-step] |= classes[:-step] != classes[step:]
        result[:, :-step] |= classes[:, :-step] != classes[:, step:]
    return result


def _legend(picture: Array, counts: list[int], colours: Array, labels: Labels) -> Array:
    """Swatch, label and share of the classes that occur, in columns, the largest share first."""
    size = font_size(picture)
    font, pad, gap = font_of(size), round(size * 0.8), round(size * 1.8)
    width = max(picture.shape[1], 18 * size)
    _, measure = canvas(np.zeros((1, 1, 3), np.uint8))
    total = max(1, sum(counts))
    found = sorted((index for index, count in enumerate(counts) if count), key=lambda index: -counts[index])
    entries = [
        (_colour(colours, index), name_of(labels, index), percent(counts[index] / total)) for index in found
    ]
    swatch = round(size * 1.1)

    def wide(entry: tuple[Colour | None, str, str]) -> float:
        return swatch + size * 1.1 + length_of(measure, entry[1] + entry[2], font)

    widths = [wide(each) for each in entries]
    if len(entries) > LEGEND_LINES:
        widths.append(wide((None, f"and {len(entries)} more", "99.9 %")))
    column = min(max(widths, default=1.0), width - 2 * pad)
    columns = max(1, int((width - 2 * pad + gap) // (column + gap)))
    shown: list[tuple[Colour | None, str, str]] = list(entries)
    if len(shown) > columns * LEGEND_LINES:
        shown = shown[: columns * LEGEND_LINES - 1]
        rest = found[len(shown) :]
        shown.append((None, f"and {len(rest)} more", percent(sum(counts[index] for index in rest) / total)))
    lines = math.ceil(len(shown) / columns)
    line = round(size * 1.7)
    image, draw = canvas(np.full((lines * line + 2 * pad, width, 3), PAPER, np.uint8))
    for place, (colour, name, share) in enumerate(shown):
        left, middle = pad + (place % columns) * (column + gap), pad + (place // columns + 0.5) * line
        if colour is not None:
            box = (left, middle - swatch / 2, left + swatch, middle + swatch / 2)
            draw.rounded_rectangle(box, radius=swatch / 5, fill=colour, outline=INK)
        left += swatch + size * 0.5
        if colour is not None:
            name = shortened(draw, name, font, column - swatch - size * 1.1 - length_of(draw, share, font))
        write(draw, (left, middle), name, font, INK)
        write(draw, (left + length_of(draw, name, font) + size * 0.5, middle), share, font, FAINT)
    return np.asarray(image)


def _colour(colours: Array, index: int) -> Colour:
    red, green, blue = (int(each) for each in colours[index])
    return red, green, blue


def _tag_place(
    box: Sequence[float],
    tag: tuple[float, float],
    picture: tuple[int, int],
    placed: Sequence[tuple[float, float, float, float]],
) -> tuple[float, float, float, float]:
    """Where a tag of (width, height) goes on a picture of (height, width): the first place at the box, inside
    the picture, at which it hides no other; if there is none, the one at which it hides least."""
    wide, high = tag
    left, top, right, bottom = box
    best: tuple[float, tuple[float, float, float, float]] | None = None
    for x in (left, right - wide, (left + right - wide) / 2):
        for y in (top - high, top, bottom, bottom - high, (top + bottom - high) / 2):
            at_x = round(min(max(x, 0), max(picture[1] - wide, 0)))
            at_y = round(min(max(y, 0), max(picture[0] - high, 0)))
            at = (at_x, at_y, at_x + wide, at_y + high)
            hidden = sum(
                max(0.0, min(at[2], other[2]) - max(at[0], other[0]))
                * max(0.0, min(at[3], other[3]) - max(at[1], other[1]))
                for other in placed
            )
            if hidden == 0:
                return at
            if best is None or hidden < best[0]:
                best = (hidden, at)
    assert best is not None
    return best[1]
