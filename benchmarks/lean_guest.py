# SPDX-License-Identifier: Apache-2.0
"""A guest that does nothing but its five calls: what a request costs, and not what a guest's own code does.

It takes one tensor FP32 "x" of fixed dims in a message of docs/serving-guests.md, and answers FP32 "y". It
trusts the message, which a guest that is not for measuring never should.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

#: Where things lie: the graph's name, handles, dims, the tensor, the answer, and then the request.
_NAME, _HANDLES, _DIMS, _TENSOR, _ANSWER, _REQUEST = 16, 64, 128, 192, 256, 65536
_F32 = 1

_WAT = """(module
  (import "wasi_ephemeral_nn" "load_by_name" (func $load (param i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "init_execution_context" (func $open (param i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "set_input" (func $set (param i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "compute" (func $compute (param i32) (result i32)))
  (import "wasi_ephemeral_nn" "get_output" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") {pages})
  {data}
  (func (export "wasinn_alloc") (param i32) (result i32) (i32.const {request}))
  (func (export "wasinn_handle") (param i32 i32) (result i64) (local $context i32) (local $code i32)
    (local.set $code (call $load (i32.const {name}) (i32.const {name_size}) (i32.const {handles})))
    (local.set $code (i32.or (local.get $code)
      (call $open (i32.load (i32.const {handles})) (i32.const {handles4}))))
    (local.set $context (i32.load (i32.const {handles4})))
    (local.set $code (i32.or (local.get $code)
      (call $set (local.get $context) (i32.const 0) (i32.const {tensor}))))
    (local.set $code (i32.or (local.get $code) (call $compute (local.get $context))))
    (local.set $code (i32.or (local.get $code)
      (call $get (local.get $context) (i32.const 0)
        (i32.const {output}) (i32.const {size}) (i32.const {handles8}))))
    (if (result i64) (local.get $code) (then (i64.const 0)) (else (i64.const {answer}))))
)"""


def lean_guest(graph: str, input_dims: Sequence[int], output_dims: Sequence[int]) -> bytes:
    """The guest's text, for a graph of one input and one output of these dims."""
    count, answer_bytes = 1, 4
    for dim in input_dims:
        count *= dim
    for dim in output_dims:
        answer_bytes *= dim
    head = _head("x", input_dims, 4 * count)
    answer = _head("y", output_dims, answer_bytes)
    data = {
        _NAME: graph.encode(),
        _DIMS: struct.pack(f"<{len(input_dims)}I", *input_dims),
        _TENSOR: struct.pack("<5I", _DIMS, len(input_dims), _F32, _REQUEST + len(head), 4 * count),
        _ANSWER: answer,
    }
    segments = "\n  ".join(f'(data (i32.const {at}) "{_escaped(each)}")' for at, each in data.items())
    padded = (len(answer) + answer_bytes + 7) // 8 * 8
    text = _WAT.format(
        pages=1 + (len(head) + 4 * count + 65535) // 65536,
        data=segments,
        request=_REQUEST,
        name=_NAME,
        name_size=len(graph),
        handles=_HANDLES,
        handles4=_HANDLES + 4,
        handles8=_HANDLES + 8,
        tensor=_TENSOR,
        output=_ANSWER + len(answer),
        size=answer_bytes,
        answer=_ANSWER << 32 | padded,
    )
    return text.encode()


def _head(name: str, dims: Sequence[int], size: int) -> bytes:
    """A message of one tensor, up to its data."""
    words = name.encode() + b"FP32"
    head = struct.pack("<4sI", b"wnt1", 1) + struct.pack("<4IQ", len(name), 4, len(dims), 0, size)
    head += struct.pack(f"<{len(dims)}Q", *dims) + words
    return head + bytes(-len(head) % 8)


def _escaped(data: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in data)
