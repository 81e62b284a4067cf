# SPDX-License-Identifier: Apache-2.0
"""What is looked at in a model's bytes before OpenVINO reads them.

Facts behind the code, each measured with 2026.4 (for ONNX see onnx_external.py): the TensorFlow frontend
takes a file that is not a protobuf for text, and complains on stderr; an input of a type that it does not
know is f32 to it. The ONNX frontend reads a TensorFlow graph as a model without ports.
"""

from __future__ import annotations

import re
from pathlib import Path

from wasinn.backends.common import not_a
from wasinn.content import Content, opened
from wasinn.errors import unsupported
from wasinn.protobuf import BYTES, VARINT, fields


def is_ir(head: bytes) -> bool:
    """Whether `head`, the first bytes of a file, is that of an IR's xml."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return start.startswith((b"<?xml", b"<net", b"<!--")) and re.search(rb"<net[\s>]", start) is not None


#: GraphDef of graph.proto: node, library, version, versions, debug_info.
_GRAPH_DEF = {1: BYTES, 2: BYTES, 3: VARINT, 4: BYTES, 5: BYTES}
_NODE, _VERSIONS = 1, 4
#: NodeDef of node_def.proto.
_NAME, _OP, _ATTRIBUTE = 1, 2, 5
#: The types of types.proto that the frontend knows (f32 to u64, and string, which it refuses itself), and
#: resource and variant, which are no port's.
_DTYPES = {1, 2, 3, 4, 5, 6, 7, 9, 10, 14, 17, 19, 20, 21, 22, 23}


def check_graph_def(source: Path | bytes) -> bool:
    """That content is a frozen TensorFlow graph; whether it ends as TensorFlow ends one, with versions.

    Raises WasiNNError: invalid_encoding, or unsupported_operation for an input whose type is not known.
    """
    try:
        with opened(source) as data:
            seen = _check_graph(data, 0, len(data))
    except ValueError as error:
        raise not_a("a frozen TensorFlow graph", str(error)) from error
    if _NODE not in seen:
        raise not_a("a frozen TensorFlow graph", "it has no nodes")
    return _VERSIONS in seen


def check_saved_model(folder: Path) -> None:
    """That every input of a SavedModel has a type that is known. Raises WasiNNError.

    SavedModel of saved_model.proto has meta graphs at 2, MetaGraphDef of meta_graph.proto the graph at 2.
    """
    try:
        with opened(folder / "saved_model.pb") as data:
            for first, last in _messages(data, 0, len(data), 2):
                for start, end in _messages(data, first, last, 2):
                    _check_graph(data, start, end)
    except ValueError as error:
        raise not_a("a SavedModel", str(error)) from error


def _messages(data: Content, start: int, end: int, field: int) -> list[tuple[int, int]]:
    """Where the messages at one field are."""
    return [found[2:] for found in fields(data, start, end) if found[:2] == (field, BYTES)]


def _check_graph(data: Content, start: int, end: int) -> set[int]:
    """The fields that a GraphDef has. Raises ValueError, and WasiNNError as check_graph_def does."""
    seen = set()
    for field, wire, first, last in fields(data, start, end):
        if _GRAPH_DEF.get(field) != wire:
            raise ValueError(f"it has a field {field} of wire type {wire}")
        seen.add(field)
        if field == _NODE:
            _check_node(data, first, last)
    return seen


def _check_node(data: Content, start: int, end: int) -> None:
    texts = {_NAME: "", _OP: ""}
    attributes = []
    for field, wire, first, last in fields(data, start, end):
        if wire != BYTES:
            raise ValueError("a node is not a NodeDef")
        if field in texts:
            texts[field] = data[first:last].decode()
        elif field == _ATTRIBUTE:
            attributes.append((first, last))
    if texts[_OP] != "Placeholder":
        return
    for first, last in attributes:
        entry = {field: (start, end) for field, _, start, end in fields(data, first, last)}
        if data[slice(*entry.get(1, (0, 0)))] == b"dtype":
            for field, _, number, _ in fields(data, *entry.get(2, (0, 0))):
                if field == 6 and number not in _DTYPES:
                    raise unsupported(
                        f"the input {texts[_NAME]!r} has TensorFlow's type number {number}, which "
                        "openvino would take for f32"
                    )
