# SPDX-License-Identifier: Apache-2.0
"""What a model takes and gives, in words, from the metadata that the server tells of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

#: So many labels are shown; a model may have thousands.
LABELS = 6

_FITS = {
    "stretch": "stretched to it",
    "crop": "cut out of the middle",
    "letterbox": "shown whole, with bars",
}
_BOXES = {
    "separate": "boxes, scores and classes",
    "yolo": "rows of a box and its scores (YOLO)",
    "ssd": "rows of class, score and box (SSD)",
}


def tensor_words(port: Mapping[str, Any]) -> str:
    """`FP32 [1, 3, 224, 224]`, with `any` for a dynamic dimension."""
    shape = port.get("shape")
    if isinstance(shape, Sequence):
        dims = ", ".join("any" if dim == -1 else str(dim) for dim in shape)
        where = f"[{dims}]" if shape else "one number"
    else:
        where = "of any shape"
    return f"{port.get('datatype') or 'any type'} {where}"


def input_words(entry: Mapping[str, Any]) -> list[str]:
    """An input of the metadata's contract, in short sentences."""
    image = entry.get("image")
    said = []
    if isinstance(image, Mapping):
        height, width = image["size"]
        said.append(f"a picture of {width} x {height} pixels, {_FITS.get(image['fit'], image['fit'])}")
        colour = "gray" if image["colour"] == "GRAY" else f"colours in the order {image['colour']}"
        said.append(f"{colour}, laid out {image['layout']}")
        said.append(_levels(image))
        smooth = "" if image["antialias"] or image["resize"] == "nearest" else ", without antialiasing"
        said.append(f"resized {image['resize']}{smooth}")
    said += _quantized(entry)
    return said


def output_words(entry: Mapping[str, Any]) -> list[str]:
    """An output of the metadata's contract, in short sentences."""
    kind, labels = entry.get("kind"), entry.get("labels")
    said = []
    if kind == "logits":
        said.append("logits: softmax makes probabilities of them")
    elif kind == "probabilities":
        said.append("a probability for each class")
    elif kind == "mask":
        classes = f" of {entry['classes']} classes" if entry.get("classes") else ""
        said.append(f"a mask{classes}, laid out {entry.get('layout')}")
    elif kind == "boxes":
        boxes = entry.get("boxes") or {}
        form = _BOXES.get(str(boxes.get("form")), "boxes")
        unit = "parts of the picture" if boxes.get("relative") else "pixels of the input"
        said.append(f"{form}; coordinates {boxes.get('format')}, {unit}")
        said.append(f"scores of at least {number(boxes.get('threshold', 0))} count")
    if isinstance(labels, Sequence) and labels:
        offset = entry.get("label_offset") or 0
        listed = labels[max(0, offset) :]
        shown = "; ".join(each or "-" for each in listed[:LABELS])
        more = f" and {len(listed) - LABELS} more" if len(listed) > LABELS else ""
        said.append(f"labels{f' from class {-offset} on' if offset < 0 else ''}: {shown}{more}")
    return said + _quantized(entry)


def _levels(image: Mapping[str, Any]) -> str:
    low, high = image["range"]
    text = f"levels become {number(low)} to {number(high)}"
    if image.get("invert"):
        text = f"inverted; {text}"
    mean, std = list(image["mean"]), list(image["std"])
    if any(mean) or any(each != 1 for each in std):
        text += f", less a mean of {_list(mean)}, by a deviation of {_list(std)}"
    return text


def _quantized(entry: Mapping[str, Any]) -> list[str]:
    found = entry.get("quantization")
    if not isinstance(found, Mapping):
        return []
    scales, points = list(found.get("scale", ())), list(found.get("zero_point", ()))
    if len(scales) == 1:
        return [f"quantized: scale {number(scales[0])}, zero point {points[0]}"]
    return [f"quantized with {len(scales)} scales along dimension {found.get('axis')}"]


def _list(values: Sequence[float]) -> str:
    return number(values[0]) if len(set(values)) == 1 else ", ".join(number(each) for each in values)


def number(value: float) -> str:
    """At most four digits that count."""
    return str(int(value)) if math.isfinite(value) and value == int(value) else f"{value:.4g}"
