# SPDX-License-Identifier: Apache-2.0
"""The functions of `wasi:nn/errors` and `wasi:nn/tensor`, for every snapshot at once.

Bulk data comes in two ways. From a component that was rewritten, through the private functions of
`bulk.py`, as text. From any other as `list<u8>`, one value of 32 bytes for each byte: slow, and the
runtime refuses more than 2.79 MB of it (`hosting.explain_trap`). No memory is shared with a guest.
"""

from __future__ import annotations

import struct

import numpy as np

from wasinn.abi.component import bulk, capi, small_pieces, values
from wasinn.abi.component.buffers import ProtocolError, new_buffer
from wasinn.abi.component.calls import ERROR, TENSOR, Call, Function
from wasinn.abi.component.resources import HeldTensor
from wasinn.abi.component.snapshots import TENSOR_TYPES, error_case, type_name
from wasinn.errors import WasiNNError
from wasinn.spec import ErrorCode

#: Bytes of a tensor that are given as `list<u8>`: at 32 bytes for each, a gibibyte of values.
MAX_LISTED = 32 << 20

# -- errors ------------------------------------------------------------------------------------------


def new_error(call: Call) -> None:
    rep = call.state.add_error(values.read_text(call.argument(0)), values.read_text(call.argument(1)))
    call.own(call.result, rep, ERROR)


def error_code(call: Call) -> None:
    error = call.take(0)
    call.given = ("error", error)
    code, _ = call.state.errors[error]
    case = error_case(code) if isinstance(code, ErrorCode) else code
    values.write_text(call.result, case, capi.ENUM)


def error_data(call: Call) -> None:
    error = call.take(0)
    call.given = ("error", error)
    _, reason = call.state.errors[error]
    values.write_text(call.result, reason)


# -- tensors -----------------------------------------------------------------------------------------


def new_tensor(call: Call) -> None:
    address = call.argument(2)
    size, _ = values.items(address)
    call.given = ("bytes", size)
    call.state.check_room(size)
    _add_tensor(call, values.read_u8_list(address).data)


def _add_tensor(call: Call, data: memoryview) -> None:
    """The tensor of `data` and of the call's first two arguments: its handle is the result."""
    arguments = call.arguments
    kind = TENSOR_TYPES[values.read_text(arguments + capi.VALUE_SIZE)]
    tensor = HeldTensor(values.read_u32_list(arguments), kind, data)
    call.given = ("", tensor)
    rep = call.state.add_tensor(tensor)
    call.made = ("tensor", rep)
    values.write_owned(call.context, call.result, rep, TENSOR)


def tensor_dimensions(call: Call) -> None:
    values.write_u32_list(call.result, _tensor(call).dims)


def tensor_type(call: Call) -> None:
    values.write_text(call.result, type_name(_tensor(call).type), capi.ENUM)


def tensor_data(call: Call) -> None:
    tensor = _tensor(call)
    if len(tensor.data) > MAX_LISTED:
        raise WasiNNError(
            ErrorCode.TOO_LARGE,
            f"a tensor of {len(tensor.data)} bytes for a component that was not rewritten, which is given at "
            f"most {MAX_LISTED}; the host's log says why it was not",
        )
    values.write_u8_list(call.result, tensor.data)


def _tensor(call: Call) -> HeldTensor:
    """The tensor whose handle is the first argument."""
    state = call.state
    rep = values.take_resource(call.context, call.arguments, state.slot)
    call.given = ("tensor", rep)
    return state.tensors[rep]


def begin_tensor(call: Call) -> None:
    state = call.state
    size = call.u32(0)
    if state.tensor_buffers.count:
        state.tensor_buffers.begin(0)  # says what is wrong, if that was not full
        raise ProtocolError("two buffers for one tensor")
    call.given = ("size", size)
    # A tensor has no error: what is too much ends the guest here and not after all of it was sent.
    state.check_room(size)
    state.tensor_buffers.begin(size)


def push_tensor(call: Call) -> None:
    call.state.tensor_buffers.push(call.text(0), call.text(1))


#: The sizes and the addresses of the last two of four arguments, which are strings.
_piece_at = struct.Struct("<64x8xQQ8x8xQQ").unpack_from


def bulk_tensor(call: Call) -> None:
    state = call.state
    buffers = state.tensor_buffers
    size, start, high_size, high_start = _piece_at(capi.ADDRESS_SPACE, call.arguments)
    if buffers.count or high_size != bulk.high_size(size):
        return _last_piece(call)
    # The common case: all in one piece.
    call.given = ("bytes", size)
    if size <= small_pieces.MOST:
        low_bits, high_bits = values.few_bytes(start, size), values.few_bytes(high_start, high_size)
        data = small_pieces.decode(low_bits, high_bits)
    else:
        state.check_room(size)
        data, place = new_buffer(size)
        bulk.decode_into(call.text(2), call.text(3), place)
    return _add_tensor(call, memoryview(data))


def _last_piece(call: Call) -> None:
    """The tensor of what was pushed, and of this piece."""
    buffers, low, high = call.state.tensor_buffers, call.text(2), call.text(3)
    buffers.push(low, high)
    data = buffers.take()
    if data is None:
        raise WasiNNError(ErrorCode.TOO_LARGE, f"a tensor of {len(low)} bytes")
    _add_tensor(call, memoryview(data[0]))


def bulk_data(call: Call) -> None:
    tensor = _tensor(call)
    start = call.u32(1)
    piece = tensor.data[start : start + bulk.PIECE]
    if len(piece) <= small_pieces.MOST:
        values.write_ascii(call.result, small_pieces.encode(piece))
        return
    text = values.start_ascii(call.result, bulk.text_size(len(piece)))
    bulk.encode_into(np.frombuffer(piece, np.uint8), text)
    values.finish_ascii(call.result)


def bulk_size(call: Call) -> None:
    # What is more finds no room in a guest, and the adapter says so.
    values.write_number(call.result, capi.U32, min(len(_tensor(call).data), 0xFFFF_FFFF))


ERRORS = (
    Function("[constructor]error", new_error),
    Function("[method]error.code", error_code),
    Function("[method]error.data", error_data),
)
TENSORS = (
    Function("[constructor]tensor", new_tensor),
    Function("[method]tensor.dimensions", tensor_dimensions),
    Function("[method]tensor.ty", tensor_type),
    Function("[method]tensor.data", tensor_data),
    Function("wasinn-begin", begin_tensor, known="[constructor]tensor"),
    Function("wasinn-push", push_tensor),
    Function("wasinn-tensor", bulk_tensor, known="[constructor]tensor"),
    Function("wasinn-data", bulk_data, known="[method]tensor.data"),
    Function("wasinn-size", bulk_size, known="[method]tensor.data"),
)
