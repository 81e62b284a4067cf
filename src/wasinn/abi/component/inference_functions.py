# SPDX-License-Identifier: Apache-2.0
"""The functions of `wasi:nn/inference`, for every snapshot at once."""

from __future__ import annotations

from wasinn.abi.component import capi, values
from wasinn.abi.component.calls import TENSOR, Call, Function
from wasinn.abi.component.resources import ComponentState, HeldContext, HeldTensor
from wasinn.errors import invalid_argument
from wasinn.graphs.text import no_options
from wasinn.tensors import Tensor


def set_input(call: Call) -> None:
    state, context = call.state, call.take(0)
    tensor = state.take_tensor(call.take(2))
    name = values.read_text(call.argument(1))
    call.given = ("context", context, "name", name, "tensor", tensor)
    held = state.contexts[context]
    held.give(held.input_index(name), tensor)
    values.write_result(call.result, True)


def compute(call: Call) -> None:
    """Of the older snapshots, without arguments but the context; else `compute_named`."""
    if call.count > 1:
        return compute_named(call)
    context = call.take(0)
    call.given = ("context", context)
    call.state.host.compute(call.state.contexts[context].handle)
    values.write_result(call.result, True)
    return None


def get_output(call: Call) -> None:
    state, context = call.state, call.take(0)
    name = values.read_text(call.argument(1))
    call.given = ("context", context, "name", name)
    found = state.host.output(state.contexts[context].handle, name)
    state.check_room(len(found.data))
    tensor = _held(state, found)
    rep = state.add_tensor(tensor)
    call.made = ("", tensor)
    call.succeed(rep, TENSOR)


def compute_named(call: Call) -> None:
    """Takes every input of the graph, by name, and gives every output: nothing stays from the call
    before, and an input that is missing or that comes twice is invalid_argument."""
    state, store = call.state, call.context
    context = values.take_resource(store, call.arguments, state.slot)
    count, first = values.items(call.arguments + capi.VALUE_SIZE)
    inputs: list[tuple[str, HeldTensor]] = []
    for item in range(first, first + count * capi.VALUE_SIZE, capi.VALUE_SIZE):
        _, pair = values.items(item)
        rep = values.take_resource(store, pair + capi.VALUE_SIZE, state.slot)
        inputs.append((values.read_text(pair), state.take_tensor(rep)))
    call.given = ("context", context, "inputs", inputs)
    held = state.contexts[context]
    given = set()
    for name, tensor in inputs:
        index = held.input_index(name)
        if index in given:
            raise invalid_argument(f"input {name!r} (number {index}) is given twice")
        held.give(index, tensor)
        given.add(index)
    if len(given) < len(held.inputs):
        _leave_out(held, given)
    state.host.compute(held.handle)
    outputs = _outputs(call, held)
    if state.trace:
        call.made = ("outputs", list(zip((spec.name for spec in held.outputs), outputs, strict=True)))
    answer = held.answer
    if answer is None:
        answer = held.answer = values.NamedHandles([spec.name for spec in held.outputs])
    answer.write(store, call.result, [state.keep_tensor(each) for each in outputs], TENSOR)


def _outputs(call: Call, held: HeldContext) -> list[HeldTensor]:
    """Copies of all outputs of a compute. Raises WasiNNError (too_large) where there is no room for them."""
    state, output = call.state, held.context.execution.output
    outputs: list[HeldTensor] = []
    size = 0
    for index in range(len(held.outputs)):
        found = output(index)
        size += len(found.data) + 4 * len(found.dims)
        state.check_room(size, index + 1)
        outputs.append(_held(state, found))
    return outputs


def _leave_out(held: HeldContext, given: set[int]) -> None:
    """Takes back optional inputs of the call before. Raises WasiNNError (invalid_argument) where an input is
    missing that is not optional."""
    specs = held.inputs
    absent = [(index, spec) for index, spec in enumerate(specs) if index not in given]
    missing = ", ".join(f"{index} ({spec.name!r}, {spec})" for index, spec in absent if not spec.optional)
    if not missing:
        for index, spec in absent:
            if held.context.sizes[index]:
                held.host.give_input(held.context, index, spec, no_options())
        return
    raise invalid_argument(f"the graph has {len(specs)} inputs, and these were not given: {missing}")


def _held(state: ComponentState, tensor: Tensor) -> HeldTensor:
    """A copy of an output, which a later compute would change."""
    state.stats.bytes_out += len(tensor.data)
    return HeldTensor(tensor.dims, tensor.type, memoryview(tensor.data.tobytes()))


INFERENCE = (
    Function("[method]graph-execution-context.set-input", set_input, True, "set_input"),
    Function("[method]graph-execution-context.compute", compute, True, "compute"),
    Function("[method]graph-execution-context.get-output", get_output, True, "get_output"),
)
