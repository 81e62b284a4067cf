# SPDX-License-Identifier: Apache-2.0
"""A model's answer as the page draws it: classes, masks and boxes by the contract, text, or numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from wasinn.errors import ConfigError
from wasinn.imaging.masks import palette
from wasinn.imaging.preprocess import Placement
from wasinn.imaging.scores import order
from wasinn.oip.datatypes import TYPE_OF, unpack_bytes
from wasinn.oip.messages import InferResponse, WireTensor
from wasinn.runtime.decoded import Decoded, decode_outputs
from wasinn.runtime.numbers import numbers
from wasinn.runtime.ports import LoadedPorts
from wasinn.runtime.statistics import for_json, statistics
from wasinn.serve.console import pictures
from wasinn.spec import TensorType
from wasinn.tensors import Tensor

Array = np.ndarray[Any, Any]

#: So many numbers and characters of an output are shown, and so many classes of a mask and boxes.
VALUES, CHARACTERS, CLASSES, BOXES = 64, 100_000, 40, 200


def of_graph(
    response: InferResponse, ports: LoadedPorts, placement: Placement | None, top: int
) -> list[dict[str, Any]]:
    """The outputs of a graph, those that the contract names or else all. An output that is not what the
    contract says is shown as numbers, with `problem`."""
    by_name = {each.name: each for each in response.outputs}
    try:
        arrays = [_array_of(by_name[spec.name], spec.type, spec.any_type) for spec in ports.outputs]
        found = decode_outputs(ports, arrays, placement, top)
    except KeyError:  # not all outputs came: nothing can be said of them together
        return of_guest(response, top)
    except ConfigError as error:
        return [each | {"problem": str(error)} for each in of_guest(response, top)]
    return [_decoded(each, placement, by_name[each.spec.name]) for each in found]


def of_language_model(response: InferResponse) -> list[dict[str, Any]]:
    """The text, and what the model says of it."""
    result = []
    for each in response.outputs:
        text = b"".join(unpack_bytes(each.data)).decode("utf-8", "replace")
        if each.name == "metadata":
            try:
                facts = json.loads(text)
            except ValueError:
                facts = None
            if isinstance(facts, dict):
                result.append(_head(each) | {"form": "facts", "facts": facts})
        else:
            result.append(_head(each) | {"form": "text", "texts": [text[:CHARACTERS]], "count": 1})
    return result


def of_guest(response: InferResponse, top: int) -> list[dict[str, Any]]:
    """The outputs of a guest, by what they look like: texts, numbers, or a list of scores beside as many
    labels, and the class of each in "classes"."""
    labels = {each.name: _texts(each) for each in response.outputs if each.datatype == "BYTES"}
    arrays = {each.name: _array(each) for each in response.outputs if each.datatype != "BYTES"}
    result = []
    used: set[str] = set()
    for each in sorted(response.outputs, key=lambda each: each.name == "classes"):
        if each.datatype == "BYTES" or each.name in used:
            continue
        values = arrays[each.name]
        beside = next(
            (name for name, texts in labels.items() if _are_scores(values, texts) and name not in used), None
        )
        if beside is None:
            result.append(_numbers(each, values, top))
        else:
            used.add(beside)
            classes = arrays.get("classes")
            if classes is None or classes.dtype.kind not in "iu" or classes.shape != values.shape:
                classes = np.arange(values.size)
            else:
                used.add("classes")
            result.append(_scores(each, values.reshape(-1), classes.reshape(-1), labels[beside], top))
    for each in response.outputs:
        if each.datatype == "BYTES" and each.name not in used:
            texts = labels[each.name]
            cut = [text[:CHARACTERS] for text in texts[:VALUES]]
            result.append(_head(each) | {"form": "text", "texts": cut, "count": len(texts)})
    return result


def _are_scores(values: Array, texts: list[str]) -> bool:
    return values.dtype.kind == "f" and values.size == len(texts) == max(values.shape, default=0) > 0


def _scores(each: WireTensor, values: Array, classes: Array, labels: list[str], top: int) -> dict[str, Any]:
    best = [
        {"index": int(classes[at]), "label": labels[at][:200], "score": for_json(float(values[at]))}
        for at in order(values)[:top]
    ]
    return _head(each) | {"form": "classes", "top": best}


def _decoded(each: Decoded, placement: Placement | None, wire: WireTensor) -> dict[str, Any]:
    result = _head(wire) | {"name": each.name, "meaning": each.contract.kind, "form": each.kind}
    if each.kind == "classes":
        return result | {"top": each.as_dict()["top"]}
    if each.kind == "boxes":
        boxes = each.as_dict()["boxes"]
        colours = palette(max((box["index"] for box in boxes), default=0) + 2)
        for box in boxes:
            box["colour"] = [int(level) for level in colours[max(0, box["index"] + 1)]]
        return result | {"boxes": boxes[:BOXES], "count": len(boxes)}
    if each.kind == "mask" and each.classes is not None:
        listed = [entry for entry in each.as_dict()["classes"] if entry["pixels"]]
        listed.sort(key=lambda entry: -entry["pixels"])
        drawn = pictures.mask(each.classes, placement)
        return result | {"mask": drawn, "classes": listed[:CLASSES], "count": len(listed)}
    return result | _facts(each.real, [(at, value) for at, value in each.largest])


def _numbers(each: WireTensor, values: Array, top: int) -> dict[str, Any]:
    largest = []
    if values.ndim and 1 < values.size == values.shape[-1]:
        flat = values.reshape(-1)
        largest = [(int(at), float(flat[at])) for at in order(flat)[:top]]
    return _head(each) | _facts(values, largest)


def _facts(values: Array, largest: Sequence[tuple[int, float]]) -> dict[str, Any]:
    flat = values.reshape(-1)[:VALUES]
    return {
        "form": "numbers",
        "values": [_number(each) for each in flat],
        "count": int(values.size),
        "largest": [{"index": at, "value": for_json(value)} for at, value in largest],
        "statistics": statistics(values).as_dict() if values.size else None,
    }


def _number(value: Any) -> float | int | str:
    """JSON has no NaN, and a browser no integers of 64 bits: those are text."""
    if isinstance(value, np.bool_):
        return int(value)
    if isinstance(value, np.integer):
        return int(value) if abs(int(value)) < 1 << 53 else str(value)
    real = float(value)
    return real if math.isfinite(real) else str(real)


def _head(each: WireTensor) -> dict[str, Any]:
    return {"name": each.name, "port": each.name, "datatype": each.datatype, "shape": list(each.shape)}


def _array_of(each: WireTensor, kind: TensorType, any_type: bool) -> Array:
    """In the model's own type, which the protocol may have no word for."""
    if any_type or math.prod(each.shape) * kind.size != len(each.data):
        return _array(each)
    return Tensor(tuple(each.shape), kind, memoryview(each.data).cast("B")).numpy()


def _array(each: WireTensor) -> Array:
    """Real numbers. Raises ConfigError for a datatype that has none."""
    kind = TYPE_OF.get(each.datatype)
    if kind is None:
        raise ConfigError(f"output {each.name!r}: {each.datatype} is no datatype of numbers")
    return numbers(Tensor(tuple(each.shape), kind, memoryview(each.data).cast("B")).numpy(), kind)


def _texts(each: WireTensor) -> list[str]:
    """The elements of a BYTES tensor, as text where they are, else as what they are."""
    result = []
    for element in unpack_bytes(each.data):
        try:
            result.append(element.decode("utf-8"))
        except UnicodeDecodeError:
            more = " ..." if len(element) > 32 else ""
            result.append(f"({len(element)} bytes that are no text: {element[:32].hex(' ')}{more})")
    return result
