# SPDX-License-Identifier: Apache-2.0
"""ONNX models that say that some of their data is elsewhere.

A model that is given as bytes may name any file of the host, and runtimes read it: OpenVINO 2026.4 always,
ONNX Runtime up to 1.23 in part, whatever folder it is told. With the location `*/_ORT_MEM_ADDR_/*` it may
even name any address of the process, to OpenVINO also in a file.
"""

from __future__ import annotations

from pathlib import Path

from wasinn.backends.common import not_a
from wasinn.content import Content
from wasinn.errors import unsupported
from wasinn.protobuf import BYTES, fields, text

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


def external_locations(data: Content) -> set[str]:
    """The files, relative to the model's, that tensors of the model say they have their data in.

    StringStringEntryProto has key 1 and value 2. Raises ValueError for what is not protobuf.
    """
    found = set()
    messages = [("model", 0, len(data))]
    while messages:
        kind, first, last = messages.pop()
        for field, wire, start, end in fields(data, first, last):
            if kind == "tensor" and field == _EXTERNAL_DATA:
                entry = {number: text(data, a, b, 1 << 16) for number, _, a, b in fields(data, start, end)}
                if entry.get(1) == "location":
                    found.add(entry.get(2, ""))
            elif wire == BYTES and field in _ONNX[kind]:
                messages.append((_ONNX[kind][field], start, end))
    return found


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
