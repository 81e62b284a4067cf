# SPDX-License-Identifier: Apache-2.0
"""A contract held against a graph: every port found, every type and size possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from wasinn.contracts.contract import Contract, InputContract, Key, OutputContract
from wasinn.errors import ConfigError
from wasinn.tensors import SpecDims, TensorSpec, format_dims


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
        index = find_port(inputs, each.port, each.name, f"{contract.source}: [input.{each.name}]", "input")
        if index in bound_inputs:
            raise ConfigError(
                f"{contract.source}: [input.{each.name}] and [input.{bound_inputs[index].name}] are both "
                f"port {inputs[index].name!r}; give each its own"
            )
        bound_inputs[index] = _bound_input(each, inputs[index], str(contract.source))
    bound_outputs: dict[int, OutputContract] = {}
    for out in contract.outputs.values():
        where = f"{contract.source}: [output.{out.name}]"
        index = find_port(outputs, out.port, out.name, where, "output")
        if index in bound_outputs:
            raise ConfigError(
                f"{where} and [output.{bound_outputs[index].name}] are both port "
                f"{outputs[index].name!r}; give each its own"
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
    where = f"{source}: [input.{each.name}]"
    if not spec.any_type and each.type is not spec.type and each.type is not spec.type.wire:
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
    return replace(each, type=spec.type if not spec.any_type else each.type, quantization=quantization)


def dims_fit(wanted: SpecDims | None, got: SpecDims) -> bool:
    """Whether dims can be those of a port; None is any."""
    return wanted is None or (
        len(wanted) == len(got)
        and all(want is None or dim is None or want == dim for want, dim in zip(wanted, got, strict=True))
    )


def _layout_hint(each: InputContract, wanted: SpecDims | None) -> str:
    """The layouts and the size with which the contract would fit."""
    if each.image is None or wanted is None:
        return ""
    from wasinn.contracts.contract import IMAGE_LAYOUTS

    for layout in IMAGE_LAYOUTS:
        if len(layout) != len(wanted):
            continue
        found = dict(zip(layout, wanted, strict=True))
        if found.get("C", each.image.channels) not in (each.image.channels, None):
            continue
        if found.get("N", 1) not in (1, None):
            continue
        height, width = found["H"] or each.image.size[0], found["W"] or each.image.size[1]
        return f'; layout = "{layout}" and size = [{height}, {width}] would fit'
    return ""


def _bound_output(
    each: OutputContract, specs: Sequence[TensorSpec], index: int, where: str
) -> OutputContract:
    spec = specs[index]
    quantization = each.quantization
    if quantization == "model":
        quantization = spec.quantization or "none"
    if each.boxes is not None:
        for key in ("scores", "classes", "count"):
            port = getattr(each.boxes, key)
            if port is not None:
                find_port(specs, port, each.name, f"{where}: {key}", "output")
    count = class_count(each, spec.dims)
    if count is not None:
        if each.classes is not None and each.classes != count:
            raise ConfigError(
                f"{where}: classes is {each.classes}, but the graph's output {spec.name!r} is {spec}, which "
                f"has {count}"
            )
        if each.labels is not None and len(each.labels) - each.label_offset < count:
            raise ConfigError(
                f"{where}: {len(each.labels)} labels, from label_offset {each.label_offset} on, are too few "
                f"for the {count} classes of the output {spec.name!r} ({spec}); is it another network's "
                "file, or label_offset wrong?"
            )
    return replace(each, quantization=quantization, classes=each.classes or count)


def class_count(each: OutputContract, dims: SpecDims | None) -> int | None:
    """How many classes an output of `dims` has by its kind; None where that is not fixed."""
    if not dims:
        return None
    if each.kind in ("logits", "probabilities"):
        count = 1
        for dim in dims:
            if dim is None:
                return None
            count *= dim
        return count if dims[0] == 1 or len(dims) == 1 else dims[-1]
    if each.kind == "mask" and "C" in each.layout and len(dims) == len(each.layout):
        return dims[each.layout.index("C")]
    return None
