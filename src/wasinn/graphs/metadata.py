# SPDX-License-Identifier: Apache-2.0
"""What a graph takes and gives, as the model metadata of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wasinn.backends.base import Graph
from wasinn.tensors import TensorSpec

#: The datatypes of the Open Inference Protocol, version 2.
_OIP_TYPES = {
    "f16": "FP16",
    "f32": "FP32",
    "f64": "FP64",
    "bf16": "BF16",
    "u8": "UINT8",
    "u16": "UINT16",
    "u32": "UINT32",
    "u64": "UINT64",
    "i8": "INT8",
    "i16": "INT16",
    "i32": "INT32",
    "i64": "INT64",
    "bool": "BOOL",
}


def metadata(name: str, backend: str, graph: Graph, label: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The model metadata of the Open Inference Protocol, version 2, plus each tensor's quantization
    and other names, and what the model says of itself (`label`, see graphs/labels.py).

    A dynamic dimension is -1. A shape that the model does not fix at all is null.
    """
    result: dict[str, Any] = {
        "name": name,
        "platform": backend,
        "inputs": [_port_metadata(spec) for spec in graph.inputs],
        "outputs": [_port_metadata(spec) for spec in graph.outputs],
    }
    if label:
        result["label"] = dict(label)
    return result


def _port_metadata(spec: TensorSpec) -> dict[str, Any]:
    shape = None if spec.dims is None else [-1 if dim is None else dim for dim in spec.dims]
    datatype = None if spec.any_type else _OIP_TYPES.get(spec.type.label, spec.type.label.upper())
    result: dict[str, Any] = {"name": spec.name, "datatype": datatype, "shape": shape}
    if spec.quantization is not None:
        result["quantization"] = spec.quantization.as_dict()
    if spec.aliases:
        result["aliases"] = list(spec.aliases)
    return result
