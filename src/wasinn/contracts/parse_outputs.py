# SPDX-License-Identifier: Apache-2.0
"""The tables [output.NAME] of a contract."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wasinn.contracts.contract import (
    BOX_FORMATS,
    BOX_FORMS,
    MASK_LAYOUTS,
    OUTPUT_KINDS,
    BoxesContract,
    OutputContract,
)
from wasinn.contracts.keys import BOX_KEYS, BOX_PORTS, MAX_CLASSES, MAX_LABELS, OUTPUT_KEYS
from wasinn.contracts.label_files import read_labels
from wasinn.contracts.parse_inputs import parse_quantization
from wasinn.contracts.reading import Reader, Table
from wasinn.contracts.shown import shown
from wasinn.errors import ConfigError


def parse_output(reader: Reader, name: str, values: Mapping[str, Any], folder: Path) -> OutputContract:
    """One output; `folder` is where its label file is looked for. Raises ConfigError."""
    table = Table(reader, ("output", name), values, OUTPUT_KEYS)
    kind = table.word("kind", OUTPUT_KINDS, "raw")
    for key in BOX_KEYS:
        if key in table and kind != "boxes":
            raise table.error(
                key, f'{key} is of boxes, and kind is "{kind}"; write kind = "boxes", or leave it out'
            )
    if "layout" in table and kind != "mask":
        raise table.error("layout", f'layout is of masks, and kind is "{kind}"; leave it out')
    tensor_type = table.tensor_type()
    return OutputContract(
        name=name,
        port=table.port("port"),
        kind=kind,
        type=tensor_type,
        labels=_labels(table, folder),
        label_offset=table.integer("label_offset", -MAX_LABELS, MAX_LABELS) or 0,
        classes=table.integer("classes", 1, MAX_CLASSES),
        layout=table.word("layout", MASK_LAYOUTS, "NCHW"),
        boxes=_boxes(table) if kind == "boxes" else None,
        quantization=parse_quantization(table, "model", tensor_type),
    )


def _boxes(table: Table) -> BoxesContract:
    form = table.word("form", BOX_FORMS, "separate")
    if form == "separate" and "scores" not in table:
        raise table.error(
            "scores",
            "scores is missing: boxes whose form is separate need the port of their scores, as in "
            'scores = 2; other forms: "yolo", "ssd"',
        )
    for key in BOX_PORTS:
        if form != "separate" and key in table:
            raise table.error(key, f'{key} is another port, and form = "{form}" has all in one; leave it out')
    if form != "yolo" and "objectness" in table:
        raise table.error("objectness", f'objectness is of form = "yolo", and form is "{form}"; leave it out')
    return BoxesContract(
        form=form,
        format=table.word("format", BOX_FORMATS, "cxcywh" if form == "yolo" else "xyxy"),
        relative=table.flag("relative", form != "yolo"),
        scores=table.port("scores"),
        classes=table.port("class_port"),
        count=table.port("count"),
        objectness=table.flag("objectness", False),
        threshold=table.number("threshold", 0.5, 0.0, 1.0),
        iou=table.number("iou", 0.45, 0.0, 1.0),
    )


def _labels(table: Table, folder: Path) -> tuple[str, ...] | None:
    value = table.get("labels")
    if value is None:
        return None
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        if len(value) > MAX_LABELS:
            raise table.error("labels", f"labels has {len(value)} labels, and {MAX_LABELS} are the most")
        return tuple(value)
    if not isinstance(value, str) or not value:
        raise table.error(
            "labels", f"labels is a file with a label on each line, or a list of strings, not {shown(value)}"
        )
    try:
        return read_labels(folder / value)
    except ConfigError as error:
        raise table.error("labels", f"labels: {error}") from None
