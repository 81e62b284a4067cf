# SPDX-License-Identifier: Apache-2.0
"""What the outputs of a model are likely to be."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence

import numpy as np

from wasinn.contracts.contract import ImageContract, OutputContract
from wasinn.contracts.keys import LARGEST, MAX_NAME, QUANTIZED, SMALLEST
from wasinn.graphs.hint import OutputHints
from wasinn.spec import TensorType
from wasinn.tensors import MAX_RANK, Quantization, TensorSpec

#: Why a key is as it is, by its path.
Notes = dict[tuple[str, ...], str]

#: The operators that make probabilities, in lower case.
_PROBABILITIES = ("softmax", "sigmoid", "hardsigmoid")
#: A mask of more classes is no mask.
_MOST_CLASSES = 1024
#: More scales than this are no page of text.
_MOST_SCALES = 64


def unused_name(taken: Container[str], wanted: str, index: int) -> str:
    """A name in the contract: `wanted`, where it can be one and is not taken."""
    wanted = wanted[: MAX_NAME - 8] if wanted.isprintable() and wanted.strip() else "port"
    found = wanted if wanted not in taken else f"{wanted}_{index}"
    while found in taken:  # a port may be called so
        index += 1
        found = f"{wanted}_{index}"
    return found


def port_of(index: int, specs: Sequence[TensorSpec]) -> int | str:
    """How a port is called: by its own name, or by its index where that does not tell it."""
    name = specs[index].name
    names = [each for spec in specs for each in (spec.name, *spec.aliases)]
    return name if name and names.count(name) == 1 else index


def suggest_output(
    index: int,
    specs: Sequence[TensorSpec],
    hints: OutputHints,
    notes: Notes,
    image: ImageContract | None,
    taken: Container[str],
) -> OutputContract:
    """The contract of an output; `image` is the only picture that the model takes."""
    spec = specs[index]
    kind, layout, why = _kind(spec, hints, image)
    name = unused_name(taken, {"raw": spec.name, "mask": "mask"}.get(kind, "classes"), index)
    path = ("output", name)
    notes[*path, "layout" if kind == "mask" else "kind"] = why
    labels = None
    if hints.labels is not None and kind != "raw":
        count = _classes(spec, kind, layout)
        if count in (None, 1, len(hints.labels.value)):
            labels = hints.labels.value
            notes[*path, "labels"] = hints.labels.why
        else:
            notes[path] = f"{hints.labels.why} has {len(hints.labels.value)} labels, and not {count}"
    # Written out although the file has them: as the guests' contract of another artifact this one has no
    # other place to take them from.
    quantization = _writable(spec)
    if quantization is not None:
        notes[*path, "quantization"] = "the file's own; guests of this contract on another artifact need it"
    return OutputContract(
        name,
        port_of(index, specs),
        kind,
        type=None if quantization is None else spec.type,
        labels=labels,
        layout=layout or "NCHW",
        quantization=quantization or "model",
    )


def _writable(spec: TensorSpec) -> Quantization | None:
    """The quantization of an output of whole numbers, if a contract can say it: files hold anything."""
    found = spec.quantization
    if found is None or spec.any_type or spec.type not in QUANTIZED or len(found.scales) > _MOST_SCALES:
        return None
    limits = np.iinfo(f"{'u' if spec.type.label[0] == 'u' else ''}int{8 * spec.type.size}")
    sound = all(SMALLEST <= scale <= LARGEST for scale in found.scales) and all(
        limits.min <= point <= limits.max for point in found.zero_points
    )
    return found if sound and (found.axis is None or 0 <= found.axis < MAX_RANK) else None


def _kind(spec: TensorSpec, hints: OutputHints, image: ImageContract | None) -> tuple[str, str | None, str]:
    """The kind, a mask's layout, and why."""
    dims = spec.dims
    if dims is None:
        return "raw", None, "guessed: the model does not tell its dims"
    mask = _mask(spec, image)
    if mask is not None:
        return "mask", mask, "guessed: as high and wide as the picture"
    scores = [dim for dim in dims if dim != 1]
    if len(dims) < 2 or dims[0] not in (1, None) or len(scores) != 1 + (dims[0] is None):
        return "raw", None, "guessed: of no known form"
    if hints.operator is not None and hints.operator.lower() in _PROBABILITIES:
        return "probabilities", None, f"the last operator is {hints.operator}"
    quantization = spec.quantization
    if quantization is not None and spec.type in QUANTIZED and _unit(quantization, spec.type):
        return "probabilities", None, f"guessed from the quantization ({quantization}): 0 to 1"
    if spec.type in (TensorType.I32, TensorType.I64, TensorType.BOOL):
        return "raw", None, "guessed: whole numbers are no scores"
    last = f"the last operator is {hints.operator}" if hints.operator else "nothing says probabilities"
    return "logits", None, f"guessed: {last}"


def _mask(spec: TensorSpec, image: ImageContract | None) -> str | None:
    """The layout of an output that is as high and wide as the picture."""
    if image is None or spec.dims is None or None in image.size:
        return None
    for layout in ("NCHW", "NHWC", "NHW", "CHW", "HWC", "HW"):
        if len(layout) != len(spec.dims):
            continue
        found = dict(zip(layout, spec.dims, strict=True))
        channels = found.get("C", 1)
        if (
            (found["H"], found["W"]) == image.size
            and found.get("N", 1) in (1, None)
            and (channels is None or 1 <= channels <= _MOST_CLASSES)
        ):
            return layout
    return None


def _unit(quantization: Quantization, tensor_type: TensorType) -> bool:
    """Whether the 256 values of an 8-bit output stand for 0 to 1."""
    least = {TensorType.U8: 0, TensorType.I8: -128}.get(tensor_type)
    return quantization.zero_points[0] == least and math.isclose(
        quantization.scales[0], 1 / 256, rel_tol=0.01
    )


def _classes(spec: TensorSpec, kind: str, layout: str | None) -> int | None:
    dims = spec.dims or ()
    if kind == "mask":
        return dims[layout.index("C")] if layout and "C" in layout else None
    return math.prod(dim for dim in dims if dim is not None)
