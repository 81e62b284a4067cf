# SPDX-License-Identifier: Apache-2.0
"""WAMR's legacy dialect: module `wasi_nn`.

Source: `wasi_nn.h` and `wasi_nn_types.h` of WAMR. Builders come as a pointer to {pointer, count}; a
tensor is 12 bytes {pointer to {dims pointer, dims length}, type u8 and three bytes, data pointer}
without a length; `get_output` takes and gives its size in elements of the output's type; ggml is 5
and autodetect 6.

A tensor of one byte for a language model is text that ends with a NUL, as `wasi_nn_llamacpp.c` reads it.

In this dialect alone the host quantizes unasked, because its guests rely on it: a float tensor for an
input that the model quantizes becomes integers, and what such an output gives becomes floats. Source:
`wasi_nn_tensorflowlite.cpp`, set_input and get_output.
"""

from __future__ import annotations

from dataclasses import replace

from wasinn.abi.core.memory import MAX_TEXT, PAIR, TRIPLE, U32, GuestMemory
from wasinn.abi.core.state import Function, InstanceState
from wasinn.abi.core.wasmedge import load_by_name_with_config
from wasinn.abi.core.witx import (
    bad_encoding,
    compute,
    init_execution_context,
    load_by_name,
    read_builders,
    read_target,
)
from wasinn.contracts.quantization import dequantize, is_quantized, quantize_truncating
from wasinn.errors import WasiNNError, invalid_argument
from wasinn.spec import WAMR_ENCODINGS, WITX_TYPES_BEFORE_2023, ErrorCode, TensorType
from wasinn.tensors import Tensor, TensorSpec, element_count, fit

MODULE = "wasi_nn"


def load(
    state: InstanceState, memory: GuestMemory, builders: int, encoding: int, target: int, out: int
) -> None:
    memory.check_u32(out, "the place for the graph handle")
    found = WAMR_ENCODINGS.get(encoding)
    if found is None:
        raise bad_encoding(encoding, WAMR_ENCODINGS)
    pointer, count = memory.unpack(PAIR, builders, "the builder array")
    contents = read_builders(memory, pointer, count)
    handle = state.host.load(contents, found, read_target(target))
    memory.write_u32(out, handle)
    if state.trace:
        sizes = "+".join(str(len(each)) for each in contents)
        state.detail = f"{found.label} {sizes} bytes, graph {handle}"


def set_input(state: InstanceState, memory: GuestMemory, context: int, index: int, tensor: int) -> None:
    dims_struct, type_word, data = memory.unpack(TRIPLE, tensor, "the tensor")
    _, spec = state.host.input_spec(context, index)
    dims_pointer, rank = memory.unpack(PAIR, dims_struct, "the tensor's dims")
    dims = memory.dims(dims_pointer, rank)
    code = type_word & 0xFF
    tensor_type = WITX_TYPES_BEFORE_2023.get(code)
    if tensor_type is None:
        known = ", ".join(f"{number} {each.label}" for number, each in WITX_TYPES_BEFORE_2023.items())
        raise invalid_argument(f"{code} is no tensor type of WAMR's wasi_nn; known: {known}")
    length = element_count(dims) * tensor_type.size
    if _is_text(spec) and length == 1:
        length = _text_length(memory, data)
    value = Tensor(dims, tensor_type, memory.view(data, length, "the tensor's data"))
    state.host.set_input(context, index, _quantized(spec, value))
    if state.trace:
        state.detail = str(value)


def _is_text(spec: TensorSpec) -> bool:
    """Whether a port takes bytes of any number: a language model's prompt or its options."""
    return spec.any_size and spec.dims is None and spec.type is TensorType.U8


def _text_length(memory: GuestMemory, data: int) -> int:
    """How many bytes come before the NUL. Raises WasiNNError (invalid_argument)."""
    at, end = data, min(data + MAX_TEXT, memory.size)
    while at < end:
        size = min(4096, end - at)
        found = bytes(memory.view(at, size, "the text")).find(0)
        if found >= 0:
            return at + found - data
        at += size
    raise invalid_argument(f"the text at 0x{data:x} has no NUL at its end; dims [1] stand for such a text")


def _quantized(spec: TensorSpec, tensor: Tensor) -> Tensor:
    """A float tensor as the integers that a quantized input takes; any other as it is."""
    if spec.quantization is None or tensor.type is not TensorType.F32 or not is_quantized(spec):
        return tensor
    if not spec.any_size:
        tensor = fit(replace(spec, type=TensorType.F32), tensor)
    elif spec.quantization.axis is not None and len(tensor.dims) != len(spec.dims or ()):
        raise invalid_argument(f"wanted {spec}, whose channels have scales of their own, got {tensor}")
    return Tensor.of(quantize_truncating(tensor.numpy(), spec.quantization, spec.type), spec.type)


def _dequantized(spec: TensorSpec, tensor: Tensor) -> Tensor:
    if spec.quantization is None or not is_quantized(spec):
        return tensor
    return Tensor.of(dequantize(tensor.numpy(), spec.quantization))


def get_output(
    state: InstanceState, memory: GuestMemory, context: int, index: int, buffer: int, size: int
) -> None:
    memory.check_u32(size, "the place for the output's size")
    (capacity,) = memory.unpack(U32, size, "the output's size")
    tensor = state.host.output(context, index)
    tensor = _dequantized(state.host.output_spec(context, index), tensor)
    count = len(tensor.data) // tensor.type.size
    if count > capacity:
        memory.write_u32(size, count)
        raise WasiNNError(
            ErrorCode.TOO_LARGE,
            f"output {index} is {tensor}, and the buffer has {capacity} elements; "
            "the needed number was written back",
        )
    memory.view(buffer, capacity * tensor.type.size, "the output buffer")
    memory.view(buffer, len(tensor.data), "the output buffer")[:] = tensor.data
    memory.write_u32(size, count)
    state.stats.bytes_out += len(tensor.data)
    if state.trace:
        state.detail = str(tensor)


FUNCTIONS = (
    Function(MODULE, "load", "builders encoding target out", load),
    Function(MODULE, "load_by_name", "name length out", load_by_name),
    Function(
        MODULE,
        "load_by_name_with_config",
        "name length config config_length out",
        load_by_name_with_config,
    ),
    Function(MODULE, "init_execution_context", "graph out", init_execution_context),
    Function(MODULE, "set_input", "context index tensor", set_input),
    Function(MODULE, "compute", "context", compute),
    Function(MODULE, "get_output", "context index buffer size", get_output),
)
