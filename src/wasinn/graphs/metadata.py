# SPDX-License-Identifier: Apache-2.0
"""What a graph takes and gives, as the model metadata of the Open Inference Protocol.

Where a contract holds for the graph, it stands there as well, resolved: so that a guest can make the tensors
that the model was made for, and name what comes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wasinn.backends.base import Graph
from wasinn.contracts.bound import Bound, find_port
from wasinn.contracts.contract import BoxesContract, ImageContract, InputContract, OutputContract
from wasinn.contracts.keys import QUANTIZED
from wasinn.oip.datatypes import DATATYPE_OF
from wasinn.spec import TensorType
from wasinn.tensors import Quantization, SpecDims, TensorSpec


def metadata(
    name: str,
    backend: str,
    graph: Graph,
    label: Mapping[str, Any] | None = None,
    bound: Bound | None = None,
) -> dict[str, Any]:
    """The model metadata of the Open Inference Protocol, version 2, plus each tensor's quantization
    and other names, what the model says of itself (`label`, see graphs/labels.py), and the contract that
    holds for the callers of `graph` (`bound`).

    A dynamic dimension is -1. A shape that the model does not fix at all is null. An input that need not be
    set is "optional".
    """
    result: dict[str, Any] = {
        "name": name,
        "platform": backend,
        "inputs": [_port_metadata(spec) for spec in graph.inputs],
        "outputs": [_port_metadata(spec) for spec in graph.outputs],
    }
    if label:
        result["label"] = dict(label)
    if bound is not None:
        result["contract"] = {
            "inputs": [
                _input(index, each, graph.inputs[index]) for index, each in sorted(bound.inputs.items())
            ],
            "outputs": [_output(index, each, graph.outputs) for index, each in sorted(bound.outputs.items())],
        }
    return result


def _port_metadata(spec: TensorSpec) -> dict[str, Any]:
    shape = _shape(spec.dims)
    datatype = None if spec.any_type else DATATYPE_OF.get(spec.type, spec.type.label.upper())
    result: dict[str, Any] = {"name": spec.name, "datatype": datatype, "shape": shape}
    if spec.quantization is not None:
        result["quantization"] = spec.quantization.as_dict()
    if spec.optional:
        result["optional"] = True
    if spec.aliases:
        result["aliases"] = list(spec.aliases)
    return result


def _shape(dims: SpecDims | None) -> list[int] | None:
    return None if dims is None else [-1 if dim is None else dim for dim in dims]


def _input(index: int, each: InputContract, spec: TensorSpec) -> dict[str, Any]:
    kind = each.type if spec.any_type else spec.type
    result = _named(index, each, spec)
    result["type"] = kind.label
    # Where the host makes integers of a guest's real numbers (quantization = "affine"), the guest does not.
    if kind is each.type:
        result |= _quantization(each.quantization)
    result["dims"] = _shape(_dims(each, spec))
    if each.image is not None:
        result["image"] = _image(each.image)
    return result


def _named(index: int, each: InputContract | OutputContract, spec: TensorSpec) -> dict[str, Any]:
    return {"name": each.name, "port": spec.name, "index": index}


def _dims(each: InputContract, spec: TensorSpec) -> SpecDims | None:
    """The dims that an input takes: the contract's, with a batch as open as the model's, where it tells."""
    if each.image is None:
        own, port = each.dims, spec.dims
        if own is None or port is None or len(own) != len(port):
            return own if port is None else port
        return tuple(dim if dim is not None else mine for dim, mine in zip(port, own, strict=True))
    layout, dims = each.image.layout, each.image.dims
    if spec.dims is None or not layout.startswith("N") or len(spec.dims) != len(dims):
        return dims
    return (spec.dims[0], *dims[1:])


def _image(image: ImageContract) -> dict[str, Any]:
    return {
        "layout": image.layout,
        "size": list(image.size),
        "colour": image.colour,
        "range": list(image.range),
        "mean": list(image.mean),
        "std": list(image.std),
        "resize": image.resize,
        "antialias": image.antialias,
        "fit": image.fit,
        "crop": image.crop,
        "fill": list(image.fill),
        "invert": image.invert,
    }


def _output(index: int, each: OutputContract, specs: Sequence[TensorSpec]) -> dict[str, Any]:
    spec = specs[index]
    kind: TensorType | None = each.type if spec.any_type else spec.type
    result = _named(index, each, spec)
    result |= {"kind": each.kind, "layout": each.layout, "type": None if kind is None else kind.label}
    if kind is None or kind in QUANTIZED:
        result |= _quantization(each.quantization)
    result["labels"] = None if each.labels is None else list(each.labels)
    result |= {"label_offset": each.label_offset, "classes": each.classes}
    if each.boxes is not None:
        result["boxes"] = _boxes(each.boxes, specs)
    return result


def _boxes(boxes: BoxesContract, specs: Sequence[TensorSpec]) -> dict[str, Any]:
    """The keys of docs/contracts.md; further outputs by their index."""
    result: dict[str, Any] = {"form": boxes.form, "format": boxes.format, "relative": boxes.relative}
    for key, port in (("scores", boxes.scores), ("class_port", boxes.classes), ("count", boxes.count)):
        if port is not None:
            result[key] = find_port(specs, port, "", key, "output")
    return result | {"objectness": boxes.objectness, "threshold": boxes.threshold, "iou": boxes.iou}


def _quantization(found: Quantization | str) -> dict[str, Any]:
    return {"quantization": found.as_dict()} if isinstance(found, Quantization) else {}
