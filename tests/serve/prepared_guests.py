# SPDX-License-Identifier: Apache-2.0
"""Guests that tell all that they see, for the tests that ask one with prepared stores and without."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from served_guests import data
from wasinn.abi.core import prepared
from wasinn.oip.messages import WireTensor
from wasinn.serve.guest_messages import encode

#: Where the request's bytes lie, and what is told: numbers that are noted, then whatever the calls write.
REQUEST, ANSWER, TOLD = 65536, 32768, 6144
MESSAGE, _ANSWER_SIZE = encode([WireTensor("told", "UINT8", (TOLD,), bytes(TOLD))])
NOTES = ANSWER + _ANSWER_SIZE - TOLD
ROOM = NOTES + 2048
_REQUEST_HEAD = encode([WireTensor("x", "UINT8", (8,), bytes(8))])[1] - 8
BYTES = REQUEST + _REQUEST_HEAD


def request(*content: int) -> WireTensor:
    return WireTensor("x", "UINT8", (len(content),), bytes(content))


def byte(index: int) -> str:
    """A byte of the request."""
    return f"(i32.load8_u (i32.const {BYTES + index}))"


def call(name: str, *arguments: int | str) -> str:
    """A call whose result is noted."""
    given = " ".join(each if isinstance(each, str) else f"(i32.const {each})" for each in arguments)
    return f"(call $note (call ${name} {given}))"


def tensor(
    at: int, dims: Sequence[int], code: int, pointer: int, length: int, rank: int | None = None
) -> str:
    """A segment with a tensor, its dims behind it."""
    content = struct.pack("<5I", at + 20, len(dims) if rank is None else rank, code, pointer, length)
    return data(at, content + struct.pack(f"<{len(dims)}I", *dims))


def telling(
    body: str, more: str = "", alloc: str = f"(i32.const {REQUEST})", left_out: Sequence[str] = ()
) -> bytes:
    """A guest that answers with all that its calls gave and wrote. `left_out`: what it does not import."""
    imports = [
        f'(import "{module}" "{name}" (func ${name} (param {"i32 " * arity}) (result i32)))'
        for (module, name), arity in prepared.FUNCTIONS.items()
        if name not in left_out
    ]
    head = b"".join(bytes(each) for each in MESSAGE[:-1])
    return f"""(module
      {" ".join(imports)}
      (import "wasinn" "last_error" (func $last_error (param i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
      (memory (export "memory") 4)
      (global $notes (mut i32) (i32.const {NOTES}))
      {data(ANSWER, head)} {more}
      (func $note (param i32)
        (i32.store (global.get $notes) (local.get 0))
        (if (i32.lt_u (global.get $notes) (i32.const {ROOM - 4}))
          (then (global.set $notes (i32.add (global.get $notes) (i32.const 4))))))
      (func (export "wasinn_alloc") (param i32) (result i32) {alloc})
      (func (export "wasinn_handle") (param i32 i32) (result i64)
        {body}
        (i64.const {ANSWER << 32 | _ANSWER_SIZE})))""".encode()
