# SPDX-License-Identifier: Apache-2.0
"""A contract held against a graph: every port found, every type and size possible."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from wasinn.contracts.contract import (
    IMAGE_LAYOUTS,
    MASK_LAYOUTS,
    BoxesContract,
    Contract,
    InputContract,
    Key,
    OutputContract,
)
from wasinn.contracts.keys import QUANTIZED
from wasinn.contracts.shown import table_name
from wasinn.errors import ConfigError
from wasinn.tensors import Quantization, SpecDims, TensorSpec, format_dims


@dataclass(frozen=True)
class Bound:
    """A contract's inputs and outputs by the graph's own indices. A port that the contract says nothing
    of is not there. "model" has become the port's quantization, or "none" where it has none."""

    contract: Contract
    inputs: Mapping[int, InputContract]
    outputs: Mapping[int, OutputContract]

    def input_index(self, key: Key) -> int | None:
        """The index of the input that is called `key` by the contract."""
        return next((index for index, each in self.inputs.items() if each.name == key), None)

    def output_index(self, key: Key) -> int | None:
        return next((index for index, each in self.outputs.items() if each.name == key), None)


def bind(contract: Contract, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Bound:
    """`contract` held against the graph with these ports.

    Raises ConfigError, naming the key and the remedy, for a port that is not there or is named twice, a
    type or dims that the graph does not take, a "model" quantization of a port that has none (inputs),
    and labels that are too few or too many for the output.
    """
    bound_inputs: dict[int, InputContract] = {}
    for each in contract.inputs.values():
        where = f"{contract.source}: {table_name(('input', each.name))}"
        index = find_port(inputs, each.port, each.name, where, "input")
        if index in bound_inputs:
            other = table_name(("input", bound_inputs[index].name))
            raise ConfigError(
                f"{where} and {other} are both the input {inputs[index].name!r}; give each its own port"
            )
        bound_inputs[index] = _bound_input(each, inputs[index], str(contract.source))
    bound_outputs: dict[int, OutputContract] = {}
    for out in contract.outputs.values():
        where = f"{contract.source}: {table_name(('output', out.name))}"
        index = find_port(outputs, out.port, out.name, where, "output")
        if index in bound_outputs:
            other = table_name(("output", bound_outputs[index].name))
            raise ConfigError(
                f"{where} and {other} are both the output {outputs[index].name!r}; give each its own port"
            )
        bound_outputs[index] = _bound_output(out, outputs, index, where)
    return Bound(contract, bound_inputs, bound_outputs)


def find_port(specs: Sequence[TensorSpec], key: Key | None, name: str, where: str, direction: str) -> int:
    """The index of a port by index, name or alias; where the contract left `port` out (None), the one
    called `name`, or the only one there is. Raises ConfigError with the list of ports."""
    if isinstance(key, int):
        if 0 <= key < len(specs):
            return key
    else:
        if key is None and len(specs) == 1:
            return 0
        key = name if key is None else key
        for index, spec in enumerate(specs):
            if key == spec.name or key in spec.aliases:
                return index
    known = ", ".join(f"{index} {spec.name!r} ({spec})" for index, spec in enumerate(specs[:16]))
    raise ConfigError(
        f'{where}: the graph has no {direction} {key!r}; it has: {known or "none"}; write port = "NAME" or '
        "its index"
    )


def _bound_input(each: InputContract, spec: TensorSpec, source: str) -> InputContract:
    where = f"{source}: {table_name(('input', each.name))}"
    if not spec.any_type and each.type is not spec.type:
        raise ConfigError(
            f"{where}: type is {each.type.label}, but the graph's input {spec.name!r} is {spec}; write "
            f'type = "{spec.type.label}" (a contract for guests that send something else is `guests`)'
        )
    dims = each.image.dims if each.image is not None else each.dims
    if dims is not None and not dims_fit(spec.dims, dims):
        key = "layout and size make" if each.image is not None else "dims are"
        raise ConfigError(
            f"{where}: {key} {format_dims(dims)}, but the graph's input {spec.name!r} is {spec}"
            + _layout_hint(each, spec.dims)
        )
    quantization = each.quantization
    if quantization == "model":
        if spec.quantization is None:
            raise ConfigError(
                f'{where}: quantization is "model", but the input {spec.name!r} has none in the model\'s '
                "file; write quantization = { scale = S, zero_point = Z }, or leave it out"
            )
        quantization = spec.quantization
    if isinstance(quantization, Quantization):
        _check_axis(quantization, dims if spec.dims is None else spec.dims, where)
    return replace(each, quantization=quantization)


def _check_axis(quantization: Quantization, dims: SpecDims | None, where: str) -> None:
    """That several scales have a dimension of as many. Raises ConfigError."""
    axis, count = quantization.axis, len(quantization.scales)
    if axis is None or dims is None:
        return
    if axis >= len(dims) or dims[axis] not in (None, count):
        raise ConfigError(
            f"{where}: quantization has {count} scales along axis {axis}, and the tensor is "
            f"{format_dims(dims)}; give one for each index of an axis that it has"
        )


def dims_fit(wanted: SpecDims | None, got: SpecDims) -> bool:
    """Whether dims can be those of a port; None is any."""
    return wanted is None or (
        len(wanted) == len(got)
        and all(want is None or dim is None or want == dim for want, dim in zip(wanted, got, strict=True))
    )


def _layout_hint(each: InputContract, wanted: SpecDims | None) -> str:
    """What would fit: the size and the layout, or dims, that the port has."""
    if wanted is None:
        return ""
    if each.image is None:
        return f"; write dims = {[-1 if dim is None else dim for dim in wanted]}"
    height, width = each.image.size
    own = each.image.channels
    for channels in (own, 4 - own):
        for layout in IMAGE_LAYOUTS:
            if len(layout) != len(wanted) or ("C" not in layout and channels != 1):
                continue
            found = dict(zip(layout, wanted, strict=True))
            if found.get("C") not in (channels, None) or found.get("N", 1) not in (1, None):
                continue
            size = [found["H"] or height, found["W"] or width]
            if min(size) == 1:
                continue
            colour = ""
            if channels != own:
                colour = ' and colour = "GRAY"' if channels == 1 else ' and colour = "RGB" or "BGR"'
            return f'; layout = "{layout}" and size = {size}{colour} would fit'
    return "; is it a picture? A tensor that is none has dims in the place of layout and size"


def _bound_output(
    each: OutputContract, specs: Sequence[TensorSpec], index: int, where: str
) -> OutputContract:
    spec = specs[index]
    if each.type is not None and not spec.any_type and each.type is not spec.type:
        raise ConfigError(
            f"{where}: type is {each.type.label}, but the graph's output {spec.name!r} is {spec}; write "
            f'type = "{spec.type.label}", or leave it out'
        )
    quantization = each.quantization
    if quantization == "model":
        quantization = spec.quantization or "none"
    elif isinstance(quantization, Quantization):
        if not spec.any_type and spec.type not in QUANTIZED:
            raise ConfigError(
                f"{where}: quantization has a scale, but the graph's output {spec.name!r} is {spec}, real "
                "numbers already; leave it out"
            )
        _check_axis(quantization, spec.dims, where)
    if each.boxes is not None:
        _check_boxes(each.boxes, specs, index, where)
    _check_mask(each, spec, where)
    count = class_count(each, spec.dims)
    if count is not None and each.classes not in (None, count):
        raise ConfigError(
            f"{where}: classes is {each.classes}, but the graph's output {spec.name!r} is {spec}, which "
            f"has {count}; write classes = {count}, or leave it out"
        )
    classes = each.classes or count
    _check_labels(each, classes, f"the output {spec.name!r} ({spec})", where)
    return replace(each, quantization=quantization, classes=classes)


def _check_boxes(boxes: BoxesContract, specs: Sequence[TensorSpec], index: int, where: str) -> None:
    used = {index: "port"}
    for key, port in (("scores", boxes.scores), ("class_port", boxes.classes), ("count", boxes.count)):
        if port is None:
            continue
        found = find_port(specs, port, "", f"{where}: {key}", "output")
        if found in used:
            raise ConfigError(
                f"{where}: {used[found]} and {key} are both output {specs[found].name!r}; give each its own"
            )
        used[found] = key
    spec = specs[index]
    if not spec.dims:
        return
    if boxes.form == "separate" and not {4, None} & set(spec.dims):
        raise ConfigError(
            f"{where}: boxes of form separate are [1, N, 4], but the graph's output {spec.name!r} is {spec}; "
            "is port another output, or form another?"
        )
    if boxes.form == "ssd" and spec.dims[-1] not in (7, None):
        raise ConfigError(
            f"{where}: boxes of form ssd are [1, 1, N, 7], but the graph's output {spec.name!r} is {spec}; "
            "is port another output, or form another?"
        )


def _check_mask(each: OutputContract, spec: TensorSpec, where: str) -> None:
    if each.kind != "mask" or spec.dims is None:
        return
    found = dict(zip(each.layout, spec.dims, strict=False))
    if len(spec.dims) != len(each.layout) or found.get("N", 1) not in (1, None):
        fitting = [layout for layout in MASK_LAYOUTS if len(layout) == len(spec.dims)]
        remedy = " or ".join(f'layout = "{layout}"' for layout in fitting)
        raise ConfigError(
            f"{where}: layout is {each.layout}, but the graph's output {spec.name!r} is {spec}; "
            + (
                f"write {remedy}"
                if remedy and found.get("N", 1) in (1, None)
                else "is it a mask of one picture?"
            )
        )


def _check_labels(each: OutputContract, classes: int | None, what: str, where: str) -> None:
    """That every class has its label. One class is yes or no: two labels may name them."""
    if each.labels is None or classes is None or classes == 1:
        return
    reach = len(each.labels) - each.label_offset
    came = f"{len(each.labels)} labels" + (
        f", from label_offset {each.label_offset} on," if each.label_offset else ""
    )
    if reach < classes:
        raise ConfigError(
            f"{where}: {came} are too few for the {classes} classes of {what}; "
            + (
                "write label_offset = -1 if class 0 is a background that the labels leave out"
                if reach == classes - 1 and each.label_offset == 0
                else "label_offset = 0 would fit"
                if len(each.labels) == classes
                else "is it another network's label file, or label_offset wrong?"
            )
        )
    if reach > classes:
        raise ConfigError(
            f"{where}: {came} are too many for the {classes} classes of {what}; write label_offset = "
            f"{len(each.labels) - classes} if those before the model's own come first in the list, or cut it"
        )


def class_count(each: OutputContract, dims: SpecDims | None) -> int | None:
    """How many classes an output of `dims` has by its kind; None where that is not fixed."""
    if not dims:
        return None
    if each.kind in ("logits", "probabilities"):
        rest = dims[1:] if len(dims) > 1 and dims[0] in (1, None) else dims[-1:]
        fixed = [dim for dim in rest if dim is not None]
        return math.prod(fixed) if len(fixed) == len(rest) else None
    if each.kind == "mask" and "C" in each.layout and len(dims) == len(each.layout):
        channels = dims[each.layout.index("C")]
        # A single channel tells class 1 from class 0.
        return 2 if channels == 1 else channels
    return None
