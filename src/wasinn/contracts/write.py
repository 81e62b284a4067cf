# SPDX-License-Identifier: Apache-2.0
"""From a contract to TOML: what `parse.py` reads again as the same contract."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from wasinn.contracts.contract import (
    BoxesContract,
    Contract,
    ImageContract,
    InputContract,
    OutputContract,
)
from wasinn.tensors import Quantization

#: Why a line is as it is, by its path: ("input", "image", "layout"). Of a table: ("input", "image").
Notes = Mapping[tuple[str, ...], str]
Items = Iterator[tuple[str, Any]]

#: Where comments begin, if the line is not longer.
_COMMENT_AT = 40
_WIDTH = 100


def to_toml(
    contract: Contract, notes: Notes | None = None, label_files: Mapping[str, str] | None = None
) -> str:
    """A contract as TOML, with the `notes` as comments at the ends of their lines.

    `label_files` names, by output, the file that has the labels; without it they stand in the contract. Keys
    that are as they are without being written are left out, unless there is a note to them.
    """
    known = notes or {}
    files = label_files or {}
    parts = []
    for name, each in contract.inputs.items():
        parts.append(_table(("input", name), _input(each), known))
    for name, out in contract.outputs.items():
        parts.append(_table(("output", name), _output(out, files.get(name)), known))
    return "\n\n".join(parts) + "\n"


def _table(path: tuple[str, str], items: Items, notes: Notes) -> str:
    header = f"[{path[0]}.{_name(path[1])}]"
    lines = [*_comment(notes.get(path)), header]
    for key, value in items:
        shown = value if isinstance(value, _Default) else _value(value)
        note = notes.get((*path, key))
        if isinstance(shown, _Default):
            if note is None:
                continue
            shown = _value(shown.value)
        line = f"{key} = {shown}"
        if note is not None:
            line = f"{line:<{_COMMENT_AT}}  # {_printable(note)}"
        lines.append(line)
    return "\n".join(lines)


class _Default:
    """A value that a key has without being written."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _unless(default: Any, value: Any) -> Any:
    return _Default(value) if value == default else value


def _input(each: InputContract) -> Items:
    if each.port is not None:
        yield "port", each.port
    if each.image is None:
        yield "kind", _Default("tensor")
    yield "type", each.type.label
    if each.image is None and each.dims is not None:
        yield "dims", [-1 if dim is None else dim for dim in each.dims]
    yield "quantization", _unless("none", each.quantization)
    if each.image is not None:
        yield from _image(each.image)


def _image(image: ImageContract) -> Items:
    yield "layout", image.layout
    yield "size", list(image.size)
    yield "colour", image.colour
    yield "range", list(image.range)
    yield "mean", _unless([0.0] * len(image.mean), list(image.mean))
    yield "std", _unless([1.0] * len(image.std), list(image.std))
    yield "resize", _unless("bilinear", image.resize)
    yield "antialias", _unless(True, image.antialias)
    yield "fit", _unless("stretch", image.fit)
    if image.crop is not None:
        yield "crop", image.crop
    if image.fit == "letterbox":
        yield "fill", _unless([0, 0, 0], list(image.fill))
    yield "invert", _unless(False, image.invert)


def _output(out: OutputContract, label_file: str | None) -> Items:
    if out.port is not None:
        yield "port", out.port
    yield "kind", out.kind
    if out.type is not None:
        yield "type", out.type.label
    if out.kind == "mask":
        yield "layout", out.layout
    if out.boxes is not None:
        yield from _boxes(out.boxes)
    if out.classes is not None:
        yield "classes", out.classes
    if label_file is not None:
        yield "labels", label_file
    elif out.labels is not None:
        yield "labels", list(out.labels)
    yield "label_offset", _unless(0, out.label_offset)
    yield "quantization", _unless("model", out.quantization)


def _boxes(boxes: BoxesContract) -> Items:
    yield "form", boxes.form
    yield "format", boxes.format
    yield "relative", boxes.relative
    for key, port in (("scores", boxes.scores), ("class_port", boxes.classes), ("count", boxes.count)):
        if port is not None:
            yield key, port
    yield "objectness", _unless(False, boxes.objectness)
    yield "threshold", boxes.threshold
    yield "iou", boxes.iou


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float | int):
        return repr(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Quantization):
        return _quantization(value)
    items = [_value(each) for each in value]
    line = f"[{', '.join(items)}]"
    if len(line) <= _WIDTH:
        return line
    return "[\n" + "".join(f"    {item},\n" for item in items) + "]"


def _quantization(value: Quantization) -> str:
    if value.axis is None:
        return f"{{ scale = {_value(value.scales[0])}, zero_point = {value.zero_points[0]} }}"
    # An inline table stands on one line, however long.
    scales = ", ".join(_value(each) for each in value.scales)
    points = ", ".join(str(each) for each in value.zero_points)
    return f"{{ scale = [{scales}], zero_point = [{points}], axis = {value.axis} }}"


def _string(text: str) -> str:
    # JSON's escapes are TOML's; what JSON leaves as it is and TOML does not allow is DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _name(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _string(name)


def _comment(note: str | None) -> list[str]:
    return [] if note is None else [f"# {_printable(note)}"]


def _printable(note: str) -> str:
    """On one line, without what TOML forbids in a comment: notes quote what models say."""
    return "".join(letter if letter.isprintable() else " " for letter in note)
