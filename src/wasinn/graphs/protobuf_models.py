# SPDX-License-Identifier: Apache-2.0
"""Telling protobufs apart: ONNX models, TensorFlow graphs and saved models.

Protobuf has no magic number. The three are told by the types of their fields, by those that they must
have (a ModelProto its graph, 7, which the others do not have; a GraphDef its nodes, 1, which is a number
in the others), and by what a node must have: an operator's name. Field numbers are
those of onnx.proto, and of TensorFlow's graph.proto, node_def.proto, saved_model.proto and
meta_graph.proto. Every check reads a few kilobytes, wherever in the content they are.
"""

from __future__ import annotations

import re
from itertools import islice

from wasinn.content import Content
from wasinn.protobuf import BYTES, VARINT, fields, text

#: How many fields of a message are looked at: all of any ONNX model's, not all of a graph's nodes.
_LOOK = 4096
#: How many nodes and outputs of a graph are looked into.
_SAMPLES = 4

#: `Conv`, `_FusedMatMul`, `com.example.Op`, `Addons>Op`.
_OPERATOR = re.compile(r"[A-Za-z0-9._][A-Za-z0-9_.:/>-]*")

#: The wire type of each field of ModelProto. Others are newer than this file, and may come.
_MODEL = dict.fromkeys((2, 3, 4, 6, 7, 8, 14, 20, 25, 26), BYTES) | {1: VARINT, 5: VARINT}
#: node, name, initializer, doc_string, input, output, value_info and the like.
_GRAPH = {1, 2, 5, 10, 11, 12, 13, 14, 15, 16}
_GRAPHDEF = {1: BYTES, 2: BYTES, 3: VARINT, 4: BYTES, 5: BYTES}
_SAVED_MODEL = {1: VARINT, 2: BYTES}


def onnx_size(data: Content) -> int | None:
    """How many bytes the ModelProto in `data` says it takes: more than there are if it is cut short.

    None where it is no ModelProto with a graph.
    """
    graph = None
    reach = 0
    try:
        for field, wire, start, end in islice(fields(data), _LOOK):
            if _MODEL.get(field, wire) != wire:
                return None
            if field == 7:
                graph = start, end
            if wire != VARINT:
                reach = end
        return reach if graph and _is_graph(data, *graph) else None
    except ValueError:
        return None


def _is_graph(data: Content, start: int, end: int) -> bool:
    """Whether a GraphProto is there: nodes that have operators, or at least outputs that have names."""
    nodes = outputs = 0
    for field, wire, first, last in islice(fields(data, start, end), _LOOK):
        if field not in _GRAPH or wire != BYTES:
            return False
        if last > len(data):
            break
        if field == 1:
            nodes += 1
            if nodes <= _SAMPLES and not _operator(data, first, last, field=4):
                return False
        if field == 12 and outputs < _SAMPLES:
            outputs += 1
            if all(number != 1 for number, *_ in islice(fields(data, first, last), 16)):
                return False
    return nodes + outputs > 0


def _operator(data: Content, start: int, end: int, field: int) -> bool:
    """Whether the message has an operator's name in `field` (NodeProto's op_type 4, NodeDef's op 2)."""
    for number, wire, first, last in islice(fields(data, start, end), _LOOK):
        if wire != BYTES:
            return False
        if number == field:
            return _OPERATOR.fullmatch(text(data, first, last)) is not None
    return False


def graphdef_size(data: Content) -> int | None:
    """The same for a GraphDef with nodes. One of more than a few thousand nodes is not followed to its
    end, so that a cut is not seen."""
    nodes = reach = 0
    try:
        for field, wire, start, end in islice(fields(data), _LOOK):
            if _GRAPHDEF.get(field) != wire:
                return None
            if wire != VARINT:
                reach = end
            if field == 1 and end <= len(data):
                nodes += 1
                if nodes <= _SAMPLES and not _operator(data, start, end, field=2):
                    return None
        return reach if nodes else None
    except ValueError:
        return None


def is_saved_model(data: Content) -> bool:
    """Whether it is a SavedModel: the file saved_model.pb, which is nothing without its directory."""
    found = False
    try:
        for field, wire, start, end in islice(fields(data), 16):
            if _SAVED_MODEL.get(field) != wire:
                return False
            if field == 2:
                # MetaGraphDef: meta_info_def 1, graph_def 2, and five more messages.
                inner = [(number, kind) for number, kind, *_ in islice(fields(data, start, end), 16)]
                found = found or any(number == 2 for number, _ in inner)
                if any(number > 7 or kind != BYTES for number, kind in inner):
                    return False
    except ValueError:
        return False
    return found
