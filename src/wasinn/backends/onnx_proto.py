# SPDX-License-Identifier: Apache-2.0
"""What the runtimes' Python bindings do not tell of an ONNX model, read from the model itself."""

from __future__ import annotations

from pathlib import Path

from wasinn.content import opened
from wasinn.protobuf import fields


def output_names(source: Path | bytes) -> list[str]:
    """The names of the graph's outputs, in order. Field numbers and errors as in `ports_without_shape`."""
    names = []
    with opened(source) as data:
        for field, _wire, start, end in fields(data):
            if field != 7:
                continue
            for inner, _inner_wire, first, last in fields(data, start, end):
                if inner == 12:
                    port = {number: (a, b) for number, _, a, b in fields(data, first, last)}
                    begin, stop = port.get(1, (0, 0))
                    names.append(data[begin:stop].decode("utf-8", "replace"))
    return names


def ports_without_shape(source: Path | bytes) -> set[str]:
    """The names of the graph's inputs and outputs whose type has no shape: not even the rank is fixed.

    Field numbers of onnx.proto: ModelProto has graph 7, GraphProto input 11 and output 12,
    ValueInfoProto name 1 and type 2, TypeProto tensor_type 1, its Tensor shape 2. Raises OSError, and
    ValueError for what is not protobuf.
    """
    found = set()
    with opened(source) as data:
        for field, _wire, start, end in fields(data):
            if field != 7:
                continue
            for inner, _inner_wire, first, last in fields(data, start, end):
                if inner in (11, 12):
                    port = {number: (a, b) for number, _, a, b in fields(data, first, last)}
                    kind = {number: (a, b) for number, _, a, b in fields(data, *port.get(2, (0, 0)))}
                    tensor = {number for number, *_ in fields(data, *kind.get(1, (0, 0)))}
                    if 2 not in tensor:
                        start_of_name, end_of_name = port.get(1, (0, 0))
                        found.add(data[start_of_name:end_of_name].decode("utf-8", "replace"))
    return found
