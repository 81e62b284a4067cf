# SPDX-License-Identifier: Apache-2.0
"""The keys of a contract, what each may be, and what it means: the parser knows them from here, and the JSON
schema is made of them (`schema.py`).

A value is described in JSON Schema's own words (draft 2020-12).
"""

from __future__ import annotations

from typing import Any

from wasinn.contracts.contract import (
    BOX_FORMATS,
    BOX_FORMS,
    COLOURS,
    FITS,
    IMAGE_LAYOUTS,
    MASK_LAYOUTS,
    OUTPUT_KINDS,
    RESIZES,
)
from wasinn.spec import TensorType
from wasinn.tensors import FLOATS, MAX_RANK

#: A side of a picture, in pixels; more is a typing error, and gigabytes of memory.
MAX_SIDE = 16384
MAX_LABELS = 1 << 20
MAX_CLASSES = 1 << 24
#: A dimension, and a port's index, that fit 32 bits.
MAX_DIM = MAX_INDEX = (1 << 31) - 1
#: A name is printed in every error and table.
MAX_NAME = 200
#: What f32 arithmetic can still divide by and multiply with.
LARGEST, SMALLEST = 1e30, 1e-30

INPUT_KINDS = ("image", "tensor")
#: The integers that a quantization can be of.
QUANTIZED = (TensorType.U8, TensorType.I8, TensorType.U16, TensorType.I16, TensorType.I32)
#: What the numbers of a picture can be.
IMAGE_TYPES = (*FLOATS, *QUANTIZED, TensorType.I64)

Schema = dict[str, Any]

_NUMBER: Schema = {"type": "number", "minimum": -LARGEST, "maximum": LARGEST}
_POSITIVE: Schema = {"type": "number", "minimum": SMALLEST, "maximum": LARGEST}
_LEVEL: Schema = {"type": "integer", "minimum": 0, "maximum": 255}
_SIDE: Schema = {"type": "integer", "minimum": 1, "maximum": MAX_SIDE}
_ZERO_POINT: Schema = {"type": "integer", "minimum": -(1 << 31), "maximum": (1 << 31) - 1}
_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_FLAG: Schema = {"type": "boolean"}
_PORT: Schema = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "integer", "minimum": 0, "maximum": MAX_INDEX},
    ]
}


def _one_or_list(item: Schema, least: int, most: int) -> Schema:
    return {"anyOf": [item, {"type": "array", "items": item, "minItems": least, "maxItems": most}]}


def _said(schema: Schema, text: str) -> Schema:
    return {**schema, "description": text}


_QUANTIZATION: Schema = {
    "anyOf": [
        {"enum": ["none", "model"]},
        {
            "type": "object",
            "properties": {
                "scale": _one_or_list(_POSITIVE, 1, MAX_CLASSES),
                "zero_point": _one_or_list(_ZERO_POINT, 1, MAX_CLASSES),
                "axis": {"type": "integer", "minimum": 0, "maximum": MAX_RANK - 1},
            },
            "required": ["scale"],
            "additionalProperties": False,
        },
    ]
}
_TYPES: Schema = {"enum": [each.label for each in TensorType]}

IMAGE_KEYS: dict[str, Schema] = {
    "layout": _said(
        {"enum": list(IMAGE_LAYOUTS)}, "the order of the dimensions: N batch, C channels, H height, W width"
    ),
    "size": _said(
        {"type": "array", "items": _SIDE, "minItems": 2, "maxItems": 2}, "[height, width] in pixels"
    ),
    "colour": _said({"enum": list(COLOURS)}, "the order of the channels; GRAY is one channel"),
    "range": _said(
        {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2},
        "what the levels 0 and 255 of a picture become, before mean and std",
    ),
    "mean": _said(
        _one_or_list(_NUMBER, 1, 3),
        "subtracted after range; one number for each channel in the tensor's order, or one for all",
    ),
    "std": _said(
        _one_or_list(_POSITIVE, 1, 3),
        "divided by after mean; one number for each channel in the tensor's order, or one for all",
    ),
    "resize": _said({"enum": list(RESIZES)}, "the filter with which a picture is brought to size"),
    "antialias": _said(
        _FLAG, "whether all pixels count where a picture shrinks, as in Pillow; false is as OpenCV does it"
    ),
    "fit": _said({"enum": list(FITS)}, "how a picture of another shape is brought to size"),
    "crop": _said(_SIDE, 'with fit = "crop": the shorter side in pixels, before the middle is cut out'),
    "fill": _said(
        {"anyOf": [_LEVEL, {"type": "array", "items": _LEVEL, "minItems": 3, "maxItems": 3}]},
        'with fit = "letterbox": the colour of the bars, a level or [red, green, blue], 0 to 255',
    ),
    "invert": _said(_FLAG, "whether each level p of the picture becomes 255 - p"),
}
INPUT_KEYS: dict[str, Schema] = {
    "port": _said(_PORT, "the model's own name or index of the input"),
    "kind": _said({"enum": list(INPUT_KINDS)}, "image, or a tensor that is no picture"),
    "type": _said(_TYPES, "the element type of the tensor"),
    "dims": _said(
        {
            "type": "array",
            "items": {"type": "integer", "minimum": -1, "maximum": MAX_DIM},
            "maxItems": MAX_RANK,
        },
        "the dimensions of a tensor that is no picture; -1 is any",
    ),
    "quantization": _said(_QUANTIZATION, "what integers stand for: real = scale * (integer - zero_point)"),
    **IMAGE_KEYS,
}
BOX_KEYS: dict[str, Schema] = {
    "form": _said({"enum": list(BOX_FORMS)}, "where boxes, scores and classes stand"),
    "format": _said({"enum": list(BOX_FORMATS)}, "what the four numbers of a box are"),
    "relative": _said(_FLAG, "whether coordinates are 0 to 1 of the input, not pixels of it"),
    "scores": _said(_PORT, "the output with the scores"),
    "class_port": _said(_PORT, "the output with the classes"),
    "count": _said(_PORT, "the output with the number of boxes"),
    "objectness": _said(_FLAG, "whether each box has an objectness before its scores"),
    "threshold": _said(_SHARE, "boxes with a lower score are left out"),
    "iou": _said(
        _SHARE, "of two boxes of a class whose intersection over union is above it, the weaker is left out"
    ),
}
OUTPUT_KEYS: dict[str, Schema] = {
    "port": _said(_PORT, "the model's own name or index of the output"),
    "kind": _said({"enum": list(OUTPUT_KINDS)}, "what the numbers are"),
    "type": _said(_TYPES, "the element type of the tensor"),
    "labels": _said(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_LABELS},
            ]
        },
        "a file with a label on each line, relative to the contract, or the labels themselves",
    ),
    "label_offset": _said(
        {"type": "integer", "minimum": -MAX_LABELS, "maximum": MAX_LABELS},
        "class i is called labels[i + label_offset]",
    ),
    "classes": _said({"type": "integer", "minimum": 1, "maximum": MAX_CLASSES}, "how many classes there are"),
    "layout": _said({"enum": list(MASK_LAYOUTS)}, "of a mask: with C a score for each class, else the class"),
    "quantization": _said(_QUANTIZATION, "what integers stand for: real = scale * (integer - zero_point)"),
    **BOX_KEYS,
}
#: The keys that are other outputs, and stand in `form = "separate"` alone.
BOX_PORTS = ("scores", "class_port", "count")
