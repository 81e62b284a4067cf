# SPDX-License-Identifier: Apache-2.0
"""The JSON schema of a contract, for editors and other tools: the keys of `keys.py`, with the rules between
them that a schema can say.

What is in no schema, the parser checks alone: that label files are there, that an integer type can hold
what `range` makes, and that all fits the model (`bound.py`). The parser also takes words in any case, and
`color` for `colour`.
"""

from __future__ import annotations

from typing import Any

from wasinn.contracts.contract import IMAGE_LAYOUTS
from wasinn.contracts.keys import (
    BOX_KEYS,
    BOX_PORTS,
    IMAGE_KEYS,
    IMAGE_TYPES,
    INPUT_KEYS,
    MAX_NAME,
    OUTPUT_KEYS,
    QUANTIZED,
)

Schema = dict[str, Any]

_WITHOUT_C = [layout for layout in IMAGE_LAYOUTS if "C" not in layout]


def contract_schema() -> Schema:
    """The schema, draft 2020-12, of a contract as JSON has it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A wasinn contract: what a model's inputs and outputs mean",
        "type": "object",
        "properties": {
            "input": _named(_input(), "the inputs by the name that guests and tools use"),
            "output": _named(_output(), "the outputs by the name that guests and tools use"),
        },
        "additionalProperties": False,
        "anyOf": [_filled("input"), _filled("output")],
    }


def _named(table: Schema, text: str) -> Schema:
    return {
        "description": text,
        "type": "object",
        "propertyNames": {"minLength": 1, "maxLength": MAX_NAME},
        "additionalProperties": table,
    }


def _filled(key: str) -> Schema:
    return {"required": [key], "properties": {key: {"minProperties": 1}}}


def _table(keys: dict[str, Schema], rules: list[Schema]) -> Schema:
    return {"type": "object", "properties": keys, "additionalProperties": False, "allOf": rules}


def _input() -> Schema:
    # A picture: by its kind, or by any key of pictures.
    picture = {"anyOf": [_is("kind", "image"), *(_has(key) for key in IMAGE_KEYS)]}
    gray = {"anyOf": [_is("colour", "GRAY"), {"not": _has("colour"), **_is("layout", *_WITHOUT_C)}]}
    return _table(
        INPUT_KEYS,
        [
            {
                "if": picture,
                "then": {
                    "required": ["layout", "size"],
                    "properties": {
                        "kind": {"const": "image"},
                        "type": {"enum": [each.label for each in IMAGE_TYPES]},
                        "dims": False,
                    },
                    "if": gray,
                    "then": {"properties": dict.fromkeys(("mean", "std"), _numbers(1))},
                    "else": {
                        "properties": {
                            **dict.fromkeys(("mean", "std"), _numbers(3)),
                            "layout": {"not": {"enum": _WITHOUT_C}},
                        }
                    },
                },
            },
            {"if": _has("crop"), "then": _is("fit", "crop")},
            {"if": _has("fill"), "then": _is("fit", "letterbox")},
            {
                "if": {**_has("quantization"), "properties": {"quantization": {"not": {"const": "none"}}}},
                "then": _is("type", *(each.label for each in QUANTIZED)),
            },
            _several_scales(),
        ],
    )


def _output() -> Schema:
    return _table(
        OUTPUT_KEYS,
        [
            {"if": {"anyOf": [_has(key) for key in BOX_KEYS]}, "then": _is("kind", "boxes")},
            {"if": _has("layout"), "then": _is("kind", "mask")},
            {
                "if": _is("kind", "boxes"),
                "then": {
                    "if": _is("form", "yolo", "ssd"),
                    "then": {"properties": dict.fromkeys(BOX_PORTS, False)},
                    "else": {"required": ["scores"]},
                },
            },
            {"if": _has("objectness"), "then": _is("form", "yolo")},
            {
                "if": {
                    "required": ["quantization", "type"],
                    "properties": {
                        "quantization": {"not": {"const": "none"}},
                        "type": {"not": {"enum": [each.label for each in QUANTIZED]}},
                    },
                },
                "then": False,
            },
            _several_scales(),
        ],
    )


def _several_scales() -> Schema:
    """Several scales or zero points need an axis; there are as many of one as of the other, which no schema
    can say."""
    several = {"type": "array", "minItems": 2}
    return {
        "if": {
            "required": ["quantization"],
            "properties": {
                "quantization": {
                    "type": "object",
                    "required": ["scale"],
                    "properties": {"scale": several},
                }
            },
        },
        "then": {"properties": {"quantization": {"required": ["axis"]}}},
    }


def _has(key: str) -> Schema:
    return {"required": [key]}


def _is(key: str, *values: str) -> Schema:
    """That a key is there, and is one of these words."""
    return {"required": [key], "properties": {key: {"enum": list(values)}}}


def _numbers(count: int) -> Schema:
    """One number, or a list of so many."""
    return {"anyOf": [{"type": "number"}, {"type": "array", "minItems": count, "maxItems": count}]}
