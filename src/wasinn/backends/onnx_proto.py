# SPDX-License-Identifier: Apache-2.0
"""As much of the protobuf wire format as it takes to tell an ONNX model and to read its label.

Field numbers are those of onnx.proto: ModelProto has ir_version 1, producer_name 2,
producer_version 3, graph 7, opset_import 8, functions 25; OperatorSetIdProto has domain 1, version 2.
Payloads are skipped, not read, so that the head of a file is enough.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wasinn.leb128 import read_unsigned

Buffer = bytes | mmap.mmap

#: More than any model has, and read in a second: hostile bytes can have a field in every two.
_MAX_FIELDS = 500_000
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

#: The wire type of every field of ModelProto.
_MODEL_FIELDS = {
    1: _VARINT,
    2: _BYTES,
    3: _BYTES,
    4: _BYTES,
    5: _VARINT,
    6: _BYTES,
    7: _BYTES,
    8: _BYTES,
    14: _BYTES,
    20: _BYTES,
    25: _BYTES,
    26: _BYTES,
}
_GRAPH = 7
#: node, name, initializer, doc_string, input, output, value_info, quantization, metadata, sparse.
_GRAPH_FIELDS = {1, 2, 5, 10, 11, 12, 13, 14, 15, 16}


def fields(data: Buffer, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int, int]]:
    """(field, wire type, start, end) of each field; `end` may lie beyond `data` for the last one.

    For a varint the last two are its value, twice. Raises ValueError for what is not protobuf.
    """
    limit = len(data) if end is None else end
    position = start
    left = _MAX_FIELDS
    while position < min(limit, len(data)):
        left -= 1
        if left < 0:
            raise ValueError(f"a message of more than {_MAX_FIELDS} fields")
        key, position = read_unsigned(data, position)
        field, wire = key >> 3, key & 7
        if field == 0:
            raise ValueError("field number 0")
        if wire == _VARINT:
            value, position = read_unsigned(data, position)
            yield field, wire, value, value
            continue
        if wire == _BYTES:
            length, position = read_unsigned(data, position)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if end is not None and position + length > limit:
            raise ValueError("a field that is longer than its message")
        yield field, wire, position, position + length
        position += length


def looks_like_model(head: bytes) -> bool:
    """Whether `head`, the first bytes of a file, reads as a ModelProto with a graph."""
    try:
        graph: tuple[int, int] | None = None
        for field, wire, start, end in fields(head):
            if _MODEL_FIELDS.get(field) != wire:
                return False
            if field == _GRAPH:
                graph = (start, end)
                if end > len(head):
                    break
        return graph is not None and _looks_like_graph(head, *graph)
    except ValueError:
        return False


def _looks_like_graph(head: bytes, start: int, end: int) -> bool:
    seen = set()
    try:
        for field, wire, _start, _end in fields(head[:end], start):
            if field not in _GRAPH_FIELDS or wire != _BYTES:
                return False
            seen.add(field)
    except ValueError:
        # A field that is cut by the end of the head; what came before it must do.
        if end <= len(head):
            return False
    return bool(seen & {1, 12})


@contextlib.contextmanager
def opened(source: Path | bytes) -> Iterator[Buffer]:
    """A model's content to read from, mapped where it is a file. Raises OSError, ValueError if empty."""
    if isinstance(source, bytes):
        yield source
        return
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def label(source: Path | bytes) -> dict[str, Any]:
    """The producer, its version, the IR version and the operator sets, as far as the model says."""
    result: dict[str, Any] = {}
    opsets: dict[str, int] = {}
    with opened(source) as data:
        for field, _wire, start, end in fields(data):
            if field == 1:
                result["ir_version"] = start
            elif field in (2, 3):
                text = _text(data, start, end)
                if text:
                    result["producer" if field == 2 else "producer_version"] = text
            elif field == 8:
                domain, version = "", 0
                for inner, _inner_wire, first, last in fields(data, start, end):
                    if inner == 1:
                        domain = _text(data, first, last)
                    elif inner == 2:
                        version = first
                opsets[domain or "ai.onnx"] = version
    if opsets:
        result["opsets"] = opsets
    return result


def ports_without_shape(source: Path | bytes) -> set[str]:
    """The names of the graph's inputs and outputs whose type has no shape: not even the rank is fixed.

    GraphProto has input 11 and output 12, ValueInfoProto name 1 and type 2, TypeProto tensor_type 1,
    its Tensor shape 2.
    """
    found = set()
    with opened(source) as data:
        for field, _wire, start, end in fields(data):
            if field != _GRAPH:
                continue
            for inner, _inner_wire, first, last in fields(data, start, end):
                if inner in (11, 12):
                    port = {number: (a, b) for number, _, a, b in fields(data, first, last)}
                    kind = {number: (a, b) for number, _, a, b in fields(data, *port.get(2, (0, 0)))}
                    tensor = {number for number, *_ in fields(data, *kind.get(1, (0, 0)))}
                    if 2 not in tensor:
                        found.add(_text(data, *port.get(1, (0, 0))))
    return found


def _text(data: Buffer, start: int, end: int) -> str:
    return bytes(data[start:end]).decode("utf-8", "replace")
