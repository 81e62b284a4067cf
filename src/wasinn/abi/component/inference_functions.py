# SPDX-License-Identifier: Apache-2.0
"""The functions of `wasi:nn/inference`, for every snapshot at once."""

from __future__ import annotations

import numpy as np

from wasinn.abi.component import capi, values
from wasinn.abi.component.calls import TENSOR, Call, Function
from wasinn.abi.component.resources import HeldTensor
from wasinn.abi.core.state import shown
from wasinn.errors import WasiNNError, invalid_argument
from wasinn.tensors import Tensor


def set_input(call: Call) -> None:
    state, context = call.state, call.take(0)
    tensor = state.take_tensor(call.take(2))
    name = values.read_text(call.argument(1))
    call.given = ("context", context, "name", name, "tensor", tensor)
    handle = state.contexts[context][0]
    host = state.host
    index, spec = host.input_spec(handle, name)
    host.give_input(host.context(handle), index, spec, tensor.for_port(spec))
    values.write_result(call.result, True)


def compute(call: Call) -> None:
    """Of the older snapshots, without arguments but the context; else `compute_named`."""
    if call.count > 1:
        return compute_named(call)
    context = call.take(0)
    call.given = ("context", context)
    call.state.host.compute(call.state.contexts[context][0])
    values.write_result(call.result, True)
    return None


def get_output(call: Call) -> None:
    state, context = call.state, call.take(0)
    name = values.read_text(call.argument(1))
    call.given = ("context", context, "name", name)
    found = state.host.output(state.contexts[context][0], name)
    state.check_room(len(found.data))
    tensor = _held(call, found)
    rep = state.add_tensor(tensor)
    call.made = ("", tensor)
    call.succeed(rep, TENSOR)


def compute_named(call: Call) -> None:
    """Takes every input of the graph, by name, and gives every output: nothing stays from the call
    before, and an input that is missing or that comes twice is invalid_argument."""
    state, host = call.state, call.state.host
    context = call.take(0)
    count, first = values.items(call.argument(1))
    inputs: list[tuple[str, HeldTensor]] = []
    for number in range(count):
        _, pair = values.items(first + number * capi.VALUE_SIZE)
        inputs.append((values.read_text(pair), state.take_tensor(call.take_at(pair + capi.VALUE_SIZE))))
    call.given = ("context", context, "inputs", _Listed(inputs))
    handle = state.contexts[context][0]
    found, given = host.context(handle), set()
    for name, tensor in inputs:
        index, spec = host.input_spec(handle, name)
        if index in given:
            raise invalid_argument(f"input {name!r} (number {index}) is given twice")
        host.give_input(found, index, spec, tensor.for_port(spec))
        given.add(index)
    specs = found.graph.graph.inputs
    if len(given) < len(specs):
        missing = ", ".join(
            f"{index} ({spec.name!r}, {spec})" for index, spec in enumerate(specs) if index not in given
        )
        raise invalid_argument(f"the graph has {len(specs)} inputs, and these were not given: {missing}")
    host.compute(handle)
    names = [spec.name for spec in found.graph.graph.outputs]
    tensors = [host.output(handle, index) for index in range(len(names))]
    state.check_room(sum(len(tensor.data) for tensor in tensors))
    outputs = [_held(call, tensor) for tensor in tensors]
    call.made = ("outputs", _Listed(list(zip(names, outputs, strict=True))))
    reps = _add_outputs(call, outputs)

    def write_pair(number: int, address: int) -> None:
        def write_part(part: int, place: int) -> None:
            if part == 0:
                values.write_text(place, names[number])
            else:
                call.own(place, reps[number], TENSOR)

        values.write_list(address, 2, write_part, capi.TUPLE)

    values.write_result(call.result, True, lambda place: values.write_list(place, len(names), write_pair))


def _add_outputs(call: Call, outputs: list[HeldTensor]) -> list[int]:
    """Their numbers; none is kept unless all may be. Raises WasiNNError (too_large)."""
    reps: list[int] = []
    try:
        for tensor in outputs:
            reps.append(call.state.add_tensor(tensor))
    except WasiNNError:
        for rep in reps:
            call.state.drop_tensor(rep)
        raise
    return reps


def _held(call: Call, tensor: Tensor) -> HeldTensor:
    """A copy of an output, which a later compute would change."""
    call.state.stats.bytes_out += len(tensor.data)
    return HeldTensor(
        np.array(tensor.dims, np.uint32), tensor.type, np.frombuffer(tensor.data, np.uint8).copy()
    )


class _Listed:
    """Named tensors for the log, the first of them: a guest may give thousands to one call."""

    def __init__(self, pairs: list[tuple[str, HeldTensor]]) -> None:
        self._pairs = pairs

    def __str__(self) -> str:
        texts = [f"{shown(name)} {tensor}" for name, tensor in self._pairs[:8]]
        return ", ".join(texts + ["..."] * (len(self._pairs) > 8)) or "none"


INFERENCE = (
    Function("[method]graph-execution-context.set-input", set_input, True, "set_input"),
    Function("[method]graph-execution-context.compute", compute, True, "compute"),
    Function("[method]graph-execution-context.get-output", get_output, True, "get_output"),
)
