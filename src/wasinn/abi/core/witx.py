# SPDX-License-Identifier: Apache-2.0
"""The witx dialect: module `wasi_ephemeral_nn`, in both of its numberings.

A tensor is 20 bytes {dims pointer, dims length, type u8 and three bytes of garbage, data pointer,
data length}; a builder is {pointer, length}. Before October 2023 the type 2 was u8 and 3 was i32
(now f64 and u8). The two are told apart by arithmetic: the dims times the size must be the data's
length, and only one reading fits.
"""

from __future__ import annotations

from collections.abc import Mapping

from wasinn.abi.core.memory import PAIR, TENSOR, GuestMemory
from wasinn.abi.core.state import Function, InstanceState, shown
from wasinn.errors import WasiNNError, invalid_argument
from wasinn.spec import (
    WITX_TYPES,
    WITX_TYPES_BEFORE_2023,
    Encoding,
    ErrorCode,
    Target,
    TensorType,
)
from wasinn.tensors import Tensor, TensorSpec, check_size, element_count, format_dims

MODULE = "wasi_ephemeral_nn"

#: More builders than any encoding has; a guest's count beyond it is a mistake.
MAX_BUILDERS = 64


def load(
    state: InstanceState, memory: GuestMemory, builders: int, count: int, encoding: int, target: int, out: int
) -> None:
    memory.check_u32(out, "the place for the graph handle")
    try:
        found = Encoding(encoding)
    except ValueError:
        raise bad_encoding(encoding, {each.value: each for each in Encoding}) from None
    contents = read_builders(memory, builders, count)
    handle = state.host.load(contents, found, read_target(target))
    memory.write_u32(out, handle)
    if state.trace:
        sizes = "+".join(str(len(each)) for each in contents)
        state.detail = f"{found.label} {sizes} bytes, graph {handle}"


def load_by_name(state: InstanceState, memory: GuestMemory, name: int, length: int, out: int) -> None:
    memory.check_u32(out, "the place for the graph handle")
    text = memory.text(name, length, "the graph's name")
    state.detail = shown(text)
    handle = state.host.load_by_name(text)
    memory.write_u32(out, handle)
    if state.trace:
        state.detail = f"{text!r}, graph {handle}"


def init_execution_context(state: InstanceState, memory: GuestMemory, graph: int, out: int) -> None:
    memory.check_u32(out, "the place for the context handle")
    handle = state.host.init_execution_context(graph)
    memory.write_u32(out, handle)
    if state.trace:
        state.detail = f"context {handle}"


def set_input(state: InstanceState, memory: GuestMemory, context: int, index: int, tensor: int) -> None:
    dims_pointer, rank, type_word, data, length = memory.unpack(TENSOR, tensor, "the tensor")
    host = state.host
    _, spec = host.input_spec(context, index)
    code = type_word & 0xFF
    dims = memory.dims(dims_pointer, rank)
    tensor_type = read_type(code, dims, length, spec)
    value = Tensor(dims, tensor_type, memory.view(data, length, "the tensor's data"))
    try:
        host.give_input(host.context(context), index, spec, value)
    except WasiNNError as error:
        new = WITX_TYPES[code]
        if tensor_type is new:
            raise
        # The author may never have heard of the older numbers: say how this type came about.
        raise WasiNNError(
            error.code,
            f"{error.reason}; type {code} is {new.label}, which would be "
            f"{element_count(dims) * new.size} bytes: the {length} were read as {tensor_type.label}, "
            f"which {code} was before October 2023",
        ) from None
    if state.hot_path is not None:
        state.hot_path.note_type(context, index, code)
    if state.noted is not None:
        state.noted.inputs[index] = dims, tensor_type, length
    if state.trace:
        state.detail = str(value)


def compute(state: InstanceState, memory: GuestMemory, context: int) -> None:
    state.host.compute(context)
    if state.hot_path is not None:
        state.hot_path.consider(context)
    if state.noted is not None:
        state.noted.computed(state.host.context(context))


def get_output(
    state: InstanceState, memory: GuestMemory, context: int, index: int, buffer: int, size: int, written: int
) -> None:
    memory.check_u32(written, "the place for the number of bytes written")
    target = memory.view(buffer, size, "the output buffer")
    write_output(state, memory, index, state.host.output(context, index), target, written)


def write_output(
    state: InstanceState, memory: GuestMemory, index: int, tensor: Tensor, target: memoryview, written: int
) -> None:
    """Writes an output to `target`, and its size to `written`; where it is too large only that."""
    length, size = len(tensor.data), len(target)
    if length > size:
        memory.write_u32(written, length)
        raise WasiNNError(
            ErrorCode.TOO_LARGE,
            f"output {index} is {tensor}, and the buffer has {size} bytes; the needed size was written back",
        )
    target[:length] = tensor.data
    memory.write_u32(written, length)
    state.stats.bytes_out += length
    if state.trace:
        state.detail = str(tensor)


def read_builders(memory: GuestMemory, builders: int, count: int) -> list[memoryview]:
    """Views of the model's bytes in guest memory. Zero builders may have a dangling pointer."""
    if count == 0:
        return []
    if count > MAX_BUILDERS:
        raise invalid_argument(f"{count} builders; no encoding has more than {MAX_BUILDERS}")
    memory.view(builders, count * PAIR.size, "the list of builders")
    contents = []
    for number in range(count):
        pointer, length = memory.unpack(PAIR, builders + number * PAIR.size, "a builder")
        contents.append(memory.view(pointer, length, f"builder {number}"))
    return contents


def read_target(target: int) -> Target:
    if target > Target.TPU:
        raise invalid_argument(f"{target} is no execution target; 0 is cpu, 1 gpu, 2 tpu")
    return Target(target)


def bad_encoding(encoding: int, numbers: Mapping[int, Encoding]) -> WasiNNError:
    known = ", ".join(f"{number} {each.label}" for number, each in numbers.items())
    return WasiNNError(ErrorCode.INVALID_ENCODING, f"{encoding} is no graph encoding; known: {known}")


def read_type(code: int, dims: tuple[int, ...], length: int, spec: TensorSpec) -> TensorType:
    """The tensor type that `code` means, by whichever numbering makes `dims` fit `length` bytes."""
    new, old = WITX_TYPES.get(code), WITX_TYPES_BEFORE_2023.get(code)
    if new is None:
        known = ", ".join(f"{number} {each.label}" for number, each in WITX_TYPES.items())
        raise invalid_argument(f"{code} is no tensor type; known: {known}")
    if old is None or old is new:
        if not spec.any_size:
            check_size(dims, new, length)
        return new
    if spec.any_size:
        return old if old is spec.type.wire else new
    count = element_count(dims)
    fitting = [each for each in (new, old) if count * each.size == length]
    if not fitting:
        raise invalid_argument(
            f"dims {format_dims(dims)} of type {code} are {count * new.size} bytes of {new.label}, or "
            f"{count * old.size} of {old.label} as numbered before October 2023; the data has {length}"
        )
    if len(fitting) == 2 and old is spec.type.wire:
        return old  # no elements: both fit, and the port says which was meant
    return fitting[0]


FUNCTIONS = (
    Function(MODULE, "load", "builders count encoding target out", load),
    Function(MODULE, "load_by_name", "name length out", load_by_name),
    Function(MODULE, "init_execution_context", "graph out", init_execution_context),
    Function(MODULE, "set_input", "context index tensor", set_input),
    Function(MODULE, "compute", "context", compute),
    Function(MODULE, "get_output", "context index buffer size written", get_output),
)
