# SPDX-License-Identifier: Apache-2.0
"""The text of the adapter's core modules: its memory, and the functions that turn lists into text."""

from __future__ import annotations

from wasinn.abi.component.bulk import PIECE, PLANES

#: Below it: 8-15 the result of load, 16-23 the list that data returns, 24-31 the string that the host gave.
HEAP = 64

#: What is in the module of the memory.
MEMORY_BODY = f"""\
    (memory (export "memory") 1)
    ;; The first free byte. What lies between it and HEAP belongs to the call that is under way.
    (global $top (export "top") (mut i32) (i32.const {HEAP}))
    (func $adapter_out_of_memory unreachable)
    ;; The runtime's allocator for what it copies here. It only ever asks for new blocks, and may enlarge or
    ;; shrink one; there is no other use.
    (func (export "realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32)
      (result i32)
      (local $start i32) (local $end i64) (local $pages i32)
      (if (i32.le_u (local.get $size) (local.get $old_size)) (then
        (if (local.get $old_size) (then (return (local.get $old))))))
      (local.set $start (i32.and (i32.add (global.get $top) (i32.sub (local.get $align) (i32.const 1)))
                                 (i32.sub (i32.const 0) (local.get $align))))
      ;; In 64 bits: a list may end just below 4 GiB. A start that wrapped round is below top.
      (if (i32.lt_u (local.get $start) (global.get $top)) (then (call $adapter_out_of_memory)))
      (local.set $end (i64.add (i64.extend_i32_u (local.get $start)) (i64.extend_i32_u (local.get $size))))
      (if (i64.ge_u (local.get $end) (i64.const 0x1_0000_0000)) (then (call $adapter_out_of_memory)))
      (local.set $pages (i32.wrap_i64 (i64.shr_u (i64.add (local.get $end) (i64.const 65535))
                                                 (i64.const 16))))
      (if (i32.gt_u (local.get $pages) (memory.size)) (then
        (if (i32.eq (memory.grow (i32.sub (local.get $pages) (memory.size))) (i32.const -1)) (then
          (call $adapter_out_of_memory)))))
      (global.set $top (i32.wrap_i64 (local.get $end)))
      (memory.copy (local.get $start) (local.get $old) (local.get $old_size))
      (local.get $start))
"""

MEMORY = f"""\
  ;; The memory comes first: the host's functions are lowered with it, and the core functions import those.
  (core module $Memory
{MEMORY_BODY}  )
  (core instance $memory (instantiate $Memory))
  (alias core export $memory "memory" (core memory $memory))
  (alias core export $memory "realloc" (core func $realloc))"""

ROWS = f"""\
    ;; How many characters the high bits of a piece take.
    (func $rows (param $size i32) (result i32)
      (i32.div_u (i32.add (local.get $size) (i32.const {PLANES - 1})) (i32.const {PLANES})))
"""


def strip(memory: str = "") -> str:
    """The function that takes a piece apart, which is in another memory if one is named."""
    return f"""\
    ;; Takes the highest bits off the bytes of a piece, which become `low` (the same place will do), and
    ;; gathers them: bit k of high[j] is that of data[k * rows + j].
    (func $strip (param $data i32) (param $size i32) (param $low i32) (param $high i32)
      (local $rows i32) (local $count i32) (local $at i32) (local $plane i32) (local $vector v128)
      (local $byte i32)
      (local.set $rows (call $rows (local.get $size)))
      (memory.fill (local.get $high) (i32.const 0) (local.get $rows))
      (loop $planes
        (local.set $count (select (local.get $rows) (local.get $size)
                                  (i32.lt_u (local.get $rows) (local.get $size))))
        (local.set $at (local.get $high))
        (local.set $size (i32.sub (local.get $size) (local.get $count)))
        (block $vectors_end (loop $vectors
          (br_if $vectors_end (i32.lt_u (local.get $count) (i32.const 16)))
          (local.set $vector (v128.load {memory} (local.get $data)))
          ;; Only the highest bit of each byte is left, so a shift of 64 bits carries none into the next byte.
          (v128.store (local.get $at) (v128.or (v128.load (local.get $at))
            (i64x2.shr_u (v128.and (local.get $vector) (i8x16.splat (i32.const 0x80)))
                         (i32.sub (i32.const 7) (local.get $plane)))))
          (v128.store (local.get $low)
            (v128.and (local.get $vector) (i8x16.splat (i32.const 0x7f))))
          (local.set $data (i32.add (local.get $data) (i32.const 16)))
          (local.set $low (i32.add (local.get $low) (i32.const 16)))
          (local.set $at (i32.add (local.get $at) (i32.const 16)))
          (local.set $count (i32.sub (local.get $count) (i32.const 16)))
          (br $vectors)))
        (block $bytes_end (loop $bytes
          (br_if $bytes_end (i32.eqz (local.get $count)))
          (local.set $byte (i32.load8_u {memory} (local.get $data)))
          (i32.store8 (local.get $at) (i32.or (i32.load8_u (local.get $at))
            (i32.shr_u (i32.and (local.get $byte) (i32.const 0x80))
                       (i32.sub (i32.const 7) (local.get $plane)))))
          (i32.store8 (local.get $low) (i32.and (local.get $byte) (i32.const 0x7f)))
          (local.set $data (i32.add (local.get $data) (i32.const 1)))
          (local.set $low (i32.add (local.get $low) (i32.const 1)))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (local.set $count (i32.sub (local.get $count) (i32.const 1)))
          (br $bytes)))
        (local.set $plane (i32.add (local.get $plane) (i32.const 1)))
        (br_if $planes (local.get $size))))
"""


SEND = f"""\
{ROWS}
    ;; Room for the high bits of the pieces of a list.
    (func $room (param $size i32) (result i32)
      (call $realloc (i32.const 0) (i32.const 0) (i32.const 16)
        (call $rows (select (local.get $size) (i32.const {PIECE})
                            (i32.lt_u (local.get $size) (i32.const {PIECE}))))))

{strip()}"""


def stream(instance: str) -> str:
    """A function that sends full pieces of a list, and returns how many bytes that were."""
    return f"""\
    ;; Sends a list's full pieces while more than $keep bytes are left; returns how many bytes it sent.
    (func ${instance}-stream (param $data i32) (param $size i32) (param $high i32) (param $keep i32)
      (result i32)
      (local $start i32) (local $piece i32)
      (local.set $start (local.get $data))
      (call ${instance}-begin (local.get $size))
      (block $end (loop $pieces
        (br_if $end (i32.le_u (local.get $size) (local.get $keep)))
        (local.set $piece (select (local.get $size) (i32.const {PIECE})
                                  (i32.lt_u (local.get $size) (i32.const {PIECE}))))
        (call $strip (local.get $data) (local.get $piece) (local.get $data) (local.get $high))
        (call ${instance}-push (local.get $data) (local.get $piece)
                               (local.get $high) (call $rows (local.get $piece)))
        (local.set $data (i32.add (local.get $data) (local.get $piece)))
        (local.set $size (i32.sub (local.get $size) (local.get $piece)))
        (br $pieces)))
      (i32.sub (local.get $data) (local.get $start)))
"""


NEW = f"""\
    ;; [constructor]tensor. Its arguments are the adapter's own copies: they are changed in place.
    (func (export "new") (param $dims i32) (param $rank i32) (param $type i32)
      (param $data i32) (param $size i32) (result i32)
      (local $high i32) (local $sent i32)
      (local.set $high (call $room (local.get $size)))
      (if (i32.gt_u (local.get $size) (i32.const {PIECE})) (then
        (local.set $sent (call $tensor-stream (local.get $data) (local.get $size) (local.get $high)
                                              (i32.const {PIECE})))
        (local.set $data (i32.add (local.get $data) (local.get $sent)))
        (local.set $size (i32.sub (local.get $size) (local.get $sent)))))
      (call $strip (local.get $data) (local.get $size) (local.get $data) (local.get $high))
      (call $tensor (local.get $dims) (local.get $rank) (local.get $type) (local.get $data) (local.get $size)
                    (local.get $high) (call $rows (local.get $size)))
      (call $reset))
"""

LOAD = """\
    ;; load: the list has (start, size) for each builder.
    (func (export "load") (param $list i32) (param $count i32) (param $encoding i32) (param $target i32)
      (result i32)
      (local $size i32) (local $top i32)
      (local.set $top (global.get $top))
      (block $end (loop $builders
        (br_if $end (i32.eqz (local.get $count)))
        (local.set $size (i32.load offset=4 (local.get $list)))
        (drop (call $graph-stream (i32.load (local.get $list)) (local.get $size)
                                  (call $room (local.get $size)) (i32.const 0)))
        (global.set $top (local.get $top))
        (local.set $list (i32.add (local.get $list) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $builders)))
      (call $load (local.get $encoding) (local.get $target) (i32.const 8))
      (call $reset)
      (i32.const 8))
"""


def restore(memory: str = "") -> str:
    """The function that puts a piece together, into another memory if one is named."""
    return f"""\
    (func $host_broke_the_protocol unreachable)

    ;; Puts the highest bits back on the bytes of a piece, whose high bits follow it; the result may go to the
    ;; same place.
    (func $restore (param $low i32) (param $size i32) (param $data i32)
      (local $high i32) (local $rows i32) (local $count i32) (local $at i32) (local $plane i32)
      (local.set $high (i32.add (local.get $low) (local.get $size)))
      (local.set $rows (i32.div_u (i32.add (local.get $size) (i32.const {PLANES - 1})) (i32.const {PLANES})))
      (loop $planes
        (local.set $count (select (local.get $rows) (local.get $size)
                                  (i32.lt_u (local.get $rows) (local.get $size))))
        (local.set $at (local.get $high))
        (local.set $size (i32.sub (local.get $size) (local.get $count)))
        (block $vectors_end (loop $vectors
          (br_if $vectors_end (i32.lt_u (local.get $count) (i32.const 16)))
          ;; What a shift of 64 bits carries into the next byte is below its highest bit.
          (v128.store {memory} (local.get $data) (v128.or (v128.load (local.get $low))
            (v128.and (i64x2.shl (v128.load (local.get $at)) (i32.sub (i32.const 7) (local.get $plane)))
                      (i8x16.splat (i32.const 0x80)))))
          (local.set $data (i32.add (local.get $data) (i32.const 16)))
          (local.set $low (i32.add (local.get $low) (i32.const 16)))
          (local.set $at (i32.add (local.get $at) (i32.const 16)))
          (local.set $count (i32.sub (local.get $count) (i32.const 16)))
          (br $vectors)))
        (block $bytes_end (loop $bytes
          (br_if $bytes_end (i32.eqz (local.get $count)))
          (i32.store8 {memory} (local.get $data) (i32.or (i32.load8_u (local.get $low))
            (i32.and (i32.shl (i32.load8_u (local.get $at)) (i32.sub (i32.const 7) (local.get $plane)))
                     (i32.const 0x80))))
          (local.set $data (i32.add (local.get $data) (i32.const 1)))
          (local.set $low (i32.add (local.get $low) (i32.const 1)))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (local.set $count (i32.sub (local.get $count) (i32.const 1)))
          (br $bytes)))
        (local.set $plane (i32.add (local.get $plane) (i32.const 1)))
        (br_if $planes (local.get $size))))
"""


DATA = f"""\
{restore()}
    ;; [method]tensor.data. The runtime puts each piece where the one before it ends, over the high bits that
    ;; lie there and are used up: so the pieces make one list, and nothing is moved.
    (func (export "data") (param $self i32) (result i32)
      (local $start i32) (local $end i32) (local $characters i32) (local $piece i32)
      (local.set $start (global.get $top))
      (local.set $end (local.get $start))
      (loop $pieces
        (call $data (local.get $self) (i32.sub (local.get $end) (local.get $start)) (i32.const 24))
        (local.set $characters (i32.load (i32.const 28)))
        (local.set $piece (i32.div_u (i32.mul (local.get $characters) (i32.const {PLANES}))
                                     (i32.const {PLANES + 1})))
        (if (i32.or (i32.gt_u (local.get $characters) (i32.const {PIECE + PIECE // PLANES}))
                    (i32.and (i32.ne (i32.load (i32.const 24)) (local.get $end))
                             (i32.ne (local.get $piece) (i32.const 0)))) (then
          (call $host_broke_the_protocol)))
        (call $restore (local.get $end) (local.get $piece) (local.get $end))
        (local.set $end (i32.add (local.get $end) (local.get $piece)))
        (global.set $top (local.get $end))
        (br_if $pieces (i32.eq (local.get $piece) (i32.const {PIECE}))))
      (call $drop (local.get $self))
      (i32.store (i32.const 16) (local.get $start))
      (i32.store (i32.const 20) (i32.sub (local.get $end) (local.get $start)))
      (i32.const 16))
    ;; The list is free once the runtime has copied it to the guest.
    (func (export "data-over") (param i32) (call $reset))
"""
