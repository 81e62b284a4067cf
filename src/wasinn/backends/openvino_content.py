# SPDX-License-Identifier: Apache-2.0
"""What is looked at in a model's bytes before OpenVINO reads them.

Facts behind the code, each measured with 2026.4: an ONNX model that is given as bytes may name any file
of the host as its external data, and it is read; with the location `*/_ORT_MEM_ADDR_/*` it may even
name any address of the process. The TensorFlow frontend takes a file that is not a protobuf for text,
and complains on stderr; an input of a type that it does not know is f32 to it. The ONNX frontend reads a
TensorFlow graph as a model without ports.
"""

from __future__ import annotations

from pathlib import Path

from wasinn.content import Content, opened
from wasinn.errors import WasiNNError, unsupported
from wasinn.protobuf import BYTES, VARINT, fields
from wasinn.spec import ErrorCode

#: The location by which ONNX Runtime says that external data is an address.
_MEMORY = b"*/_ORT_MEM_ADDR_/*"
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
#: Messages of onnx.proto that lead to tensors: field numbers, and the message that each holds.
_ONNX = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
#: More than any model has; hostile bytes can have a field in every two.
_MAX_FIELDS = 5_000_000
#: Protobuf's largest field number. A runtime may drop the bits of a key that lie above.
_MAX_FIELD = (1 << 29) - 1


def is_ir(head: bytes) -> bool:
    """Whether `head`, the first bytes of a file, is that of an IR's xml."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return start.startswith((b"<?xml", b"<net", b"<!--")) and b"<net" in start


def not_a(what: str, reason: str) -> WasiNNError:
    return WasiNNError(ErrorCode.INVALID_ENCODING, f"this is not {what}: {reason}")


def check_onnx_bytes(data: bytes) -> None:
    """That a model has all its weights in itself. Raises WasiNNError (unsupported_operation)."""
    if b"location" not in data:  # the key that external data must have, and most models do not
        return
    try:
        external = _has_external_data(data)
    except ValueError as error:
        raise not_a("an ONNX model", str(error)) from error
    if external:
        raise unsupported(
            "the ONNX model has external data; a model given as bytes must hold all its weights "
            "(an operator can give it as a file)"
        )


def check_onnx_file(path: Path) -> None:
    """That no tensor of a model is an address of this process. Raises WasiNNError, and OSError."""
    end = b""
    with path.open("rb") as file:
        while part := file.read(1 << 24):
            if _MEMORY in end + part:
                raise unsupported("the ONNX model names memory of the process as its external data")
            end = part[-len(_MEMORY) :]


def _has_external_data(data: bytes) -> bool:
    """Whether any tensor says that its data is elsewhere; every place of onnx.proto is looked at."""
    left = _MAX_FIELDS
    messages = [("model", 0, len(data))]
    while messages:
        kind, first, last = messages.pop()
        for field, wire, start, end in fields(data, first, last):
            left -= 1
            if left < 0 or field > _MAX_FIELD:
                raise ValueError("a protobuf that no model has")
            if kind == "tensor" and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and start)):
                return True
            if wire == BYTES and field in _ONNX[kind]:
                messages.append((_ONNX[kind][field], start, end))
    return False


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
