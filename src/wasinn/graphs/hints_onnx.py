# SPDX-License-Identifier: Apache-2.0
"""What an ONNX model says: the metadata of pictures (docs/MetadataProps.md and docs/TypeDenotation.md of
ONNX, as WinML's models have them), and the operators at its ends.

ModelProto has graph 7 and metadata_props 14 (key 1, value 2); GraphProto node 1, initializer 5, input 11 and
output 12 (name 1); NodeProto input 1, output 2, op_type 4.
"""

from __future__ import annotations

from itertools import islice

from wasinn.content import Content
from wasinn.graphs.hint import MOST, Hint, Hints
from wasinn.graphs.operators import Operators
from wasinn.protobuf import BYTES, fields, text

_MAX_NODES = 50_000
_COLOURS = {"rgb8": "RGB", "bgr8": "BGR", "gray8": "GRAY", "rgba8": "RGB", "bgra8": "BGR"}
_RANGES = {
    "nominalrange_0_255": (0.0, 255.0),
    "normalized_0_1": (0.0, 1.0),
    "normalized_1_1": (-1.0, 1.0),
}


def read(data: Content, hints: Hints) -> None:
    """Raises ValueError where the file breaks off, with the hints found before."""
    metadata: dict[str, str] = {}
    graph = None
    for field, wire, start, end in islice(fields(data), 4096):
        if field == 14 and wire == BYTES:
            pair = {
                number: text(data, *at) for number, kind, *at in fields(data, start, end) if kind == BYTES
            }
            metadata[pair.get(1, "").lower()] = pair.get(2, "")
        elif field == 7 and wire == BYTES:
            graph = start, end
    if graph is None:
        return
    found = Operators()
    inputs: list[str] = []
    outputs: list[str] = []
    constants: set[str] = set()
    for field, wire, start, end in islice(fields(data, *graph), 4 * _MAX_NODES):
        if wire != BYTES:
            continue
        if field == 1:
            found.add(*_node(data, start, end))
        elif field in (5, 11, 12):
            number = 8 if field == 5 else 1  # TensorProto has its name in 8
            name = next((text(data, *at) for each, _, *at in fields(data, start, end) if each == number), "")
            if field == 5:
                constants.add(name)
            else:
                (inputs if field == 11 else outputs).append(name)
    real = [name for name in inputs if name not in constants][:MOST]
    for name in outputs[:MOST]:
        hints.output(name).operator = found.maker(name)
    for name in real:
        hints.input(name).raw = found.normalizes(name)
    if len(real) == 1:
        _image(metadata, hints, real[0])


def _node(data: Content, start: int, end: int) -> tuple[str, list[str], list[str]]:
    operator = ""
    inputs: list[str] = []
    outputs: list[str] = []
    for number, wire, *at in islice(fields(data, start, end), 4096):
        if wire == BYTES and number == 4:
            operator = text(data, *at)
        elif wire == BYTES and number in (1, 2):
            (inputs if number == 1 else outputs).append(text(data, *at))
    return operator, inputs, outputs


def _image(metadata: dict[str, str], hints: Hints, name: str) -> None:
    colour = _COLOURS.get(metadata.get("image.bitmappixelformat", "").lower())
    if colour is not None:
        hints.input(name).is_image = True
        hints.input(name).colour = Hint(colour, "ONNX metadata: Image.BitmapPixelFormat")
    limits = _RANGES.get(metadata.get("image.nominalpixelrange", "").lower())
    if limits is not None:
        hints.input(name).is_image = True
        hints.input(name).range = Hint(limits, "ONNX metadata: Image.NominalPixelRange")
