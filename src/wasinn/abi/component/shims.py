# SPDX-License-Identifier: Apache-2.0
"""The shims: small core modules that stand in a guest component where its bulk functions were lowered.

A shim has the core type of the lowered function and sees two memories: the guest's, from which it takes a
list and to which it writes one, and its own, in which it makes text of it for the host (`bulk` has the coding
and the calls). So the bytes of a list are touched once on this side, by vector instructions.

**Its memory.** One for all the shims of an instance of the guest, from one page up. What a call needs lies
from HEAP up, and is free again with the next one: a piece (896 KiB), its high bits, and the dimensions. So
it grows to 1 MiB or so, whatever the list, and is freed with the guest's instance. The embedder's limit on
memories holds for it as for the guest's own. Where it cannot grow, the call traps in a function named
`adapter_out_of_memory`.

**What traps besides**: what the runtime's own lowering traps for, in functions whose names say it. A list
that does not lie in the guest's memory: `list-content-out-of-bounds`. A pointer that is no multiple of its
type's size: `pointer-not-aligned`. A guest's realloc that gives no room in its memory:
`realloc-out-of-bounds`. The guest's realloc is called as the canonical ABI calls it, but for one thing: it
could call its imports, if it wanted. What it then does to the shims' memory harms its own data only.
"""

from __future__ import annotations

from functools import lru_cache

import wasmtime

from wasinn.abi.component.adapter_core import HEAP, MEMORY_BODY, ROWS, restore, strip
from wasinn.abi.component.bulk import PIECE, PLANES

#: What a shim imports of the host, by the shim: the name, and the core type.
HOST: dict[str, list[tuple[str, str]]] = {
    "new": [
        ("wasinn-begin", "(param i32)"),
        ("wasinn-push", "(param i32 i32 i32 i32)"),
        ("wasinn-tensor", "(param i32 i32 i32 i32 i32 i32 i32) (result i32)"),
    ],
    "data": [("wasinn-data", "(param i32 i32 i32)"), ("wasinn-size", "(param i32) (result i32)")],
    "load": [
        ("wasinn-begin", "(param i32)"),
        ("wasinn-push", "(param i32 i32 i32 i32)"),
        ("wasinn-load", "(param i32 i32 i32)"),
    ],
}

_CHECKS = """\
    (func $list-content-out-of-bounds unreachable)
    (func $pointer-not-aligned unreachable)
    (func $check-range (param $at i32) (param $size i64) (result i32)
      (i64.le_u (i64.add (i64.extend_i32_u (local.get $at)) (local.get $size))
                (i64.shl (i64.extend_i32_u (memory.size $guest)) (i64.const 16))))
    (func $check-list (param $at i32) (param $size i64)
      (if (i32.eqz (call $check-range (local.get $at) (local.get $size))) (then
        (call $list-content-out-of-bounds))))
    (func $check-words (param $at i32) (param $size i64)
      (if (i32.and (local.get $at) (i32.const 3)) (then (call $pointer-not-aligned)))
      (call $check-list (local.get $at) (local.get $size)))
    (func $least (param $a i32) (param $b i32) (result i32)
      (select (local.get $a) (local.get $b) (i32.lt_u (local.get $a) (local.get $b))))
    (func $take (param $align i32) (param $size i32) (result i32)
      (call $realloc (i32.const 0) (i32.const 0) (local.get $align) (local.get $size)))
    (func $reset (global.set $top (i32.const {HEAP})))
""".replace("{HEAP}", str(HEAP))

_SEND = f"""\
{ROWS}
{strip("$guest")}
    ;; Sends a list's pieces while more than $keep bytes are left; returns how many bytes it sent.
    (func $stream (param $data i32) (param $size i32) (param $low i32) (param $high i32) (param $keep i32)
      (result i32)
      (local $start i32) (local $piece i32)
      (local.set $start (local.get $data))
      (call $wasinn-begin (local.get $size))
      (block $end (loop $pieces
        (br_if $end (i32.le_u (local.get $size) (local.get $keep)))
        (local.set $piece (call $least (local.get $size) (i32.const {PIECE})))
        (call $strip (local.get $data) (local.get $piece) (local.get $low) (local.get $high))
        (call $wasinn-push (local.get $low) (local.get $piece)
                           (local.get $high) (call $rows (local.get $piece)))
        (local.set $data (i32.add (local.get $data) (local.get $piece)))
        (local.set $size (i32.sub (local.get $size) (local.get $piece)))
        (br $pieces)))
      (i32.sub (local.get $data) (local.get $start)))
"""

_NEW = f"""\
    ;; [constructor]tensor
    (func (export "new") (param $dims i32) (param $rank i32) (param $type i32)
      (param $data i32) (param $size i32) (result i32)
      (local $low i32) (local $high i32) (local $own i32) (local $sent i32) (local $piece i32)
      (call $check-words (local.get $dims) (i64.shl (i64.extend_i32_u (local.get $rank)) (i64.const 2)))
      (call $check-list (local.get $data) (i64.extend_i32_u (local.get $size)))
      (call $reset)
      (local.set $piece (call $least (local.get $size) (i32.const {PIECE})))
      (local.set $low (call $take (i32.const 16) (local.get $piece)))
      (local.set $high (call $take (i32.const 16) (call $rows (local.get $piece))))
      (local.set $own (call $take (i32.const 4) (i32.shl (local.get $rank) (i32.const 2))))
      (memory.copy 0 $guest (local.get $own) (local.get $dims) (i32.shl (local.get $rank) (i32.const 2)))
      (if (i32.gt_u (local.get $size) (i32.const {PIECE})) (then
        (local.set $sent (call $stream (local.get $data) (local.get $size) (local.get $low) (local.get $high)
                                       (i32.const {PIECE})))
        (local.set $data (i32.add (local.get $data) (local.get $sent)))
        (local.set $size (i32.sub (local.get $size) (local.get $sent)))))
      (call $strip (local.get $data) (local.get $size) (local.get $low) (local.get $high))
      (call $wasinn-tensor (local.get $own) (local.get $rank) (local.get $type)
                           (local.get $low) (local.get $size)
                           (local.get $high) (call $rows (local.get $size))))
"""

_LOAD = f"""\
    ;; load: the list has (start, size) for each builder. The host's answer goes to the guest at once.
    (func (export "load") (param $list i32) (param $count i32) (param $encoding i32) (param $target i32)
      (param $result i32)
      (local $at i32) (local $size i32) (local $piece i32) (local $low i32) (local $high i32)
      (call $check-words (local.get $list) (i64.shl (i64.extend_i32_u (local.get $count)) (i64.const 3)))
      (block $end (loop $builders
        (br_if $end (i32.eqz (local.get $count)))
        (local.set $at (i32.load $guest (local.get $list)))
        (local.set $size (i32.load $guest offset=4 (local.get $list)))
        (call $check-list (local.get $at) (i64.extend_i32_u (local.get $size)))
        (call $reset)
        (local.set $piece (call $least (local.get $size) (i32.const {PIECE})))
        (local.set $low (call $take (i32.const 16) (local.get $piece)))
        (local.set $high (call $take (i32.const 16) (call $rows (local.get $piece))))
        (drop (call $stream (local.get $at) (local.get $size) (local.get $low) (local.get $high)
                            (i32.const 0)))
        (local.set $list (i32.add (local.get $list) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $builders)))
      (call $wasinn-load (local.get $encoding) (local.get $target) (local.get $result)))
"""

_DATA = f"""\
{restore("$guest")}
    (func $realloc-out-of-bounds unreachable)

    ;; A piece from the host, as (start, size) at 24: how many bytes it has.
    (func $ask (param $self i32) (param $start i32) (result i32)
      (local $characters i32)
      (call $reset)
      (call $wasinn-data (local.get $self) (local.get $start) (i32.const 24))
      (local.set $characters (i32.load (i32.const 28)))
      (if (i32.gt_u (local.get $characters) (i32.const {PIECE + PIECE // PLANES})) (then
        (call $host_broke_the_protocol)))
      (i32.div_u (i32.mul (local.get $characters) (i32.const {PLANES})) (i32.const {PLANES + 1})))

    ;; [method]tensor.data
    (func (export "data") (param $self i32) (param $result i32)
      (local $piece i32) (local $size i32) (local $at i32) (local $done i32)
      (local.set $piece (call $ask (local.get $self) (i32.const 0)))
      (local.set $size (local.get $piece))
      (if (i32.eq (local.get $piece) (i32.const {PIECE})) (then
        (local.set $size (call $wasinn-size (local.get $self)))))
      (local.set $at (call $guest-realloc (i32.const 0) (i32.const 0) (i32.const 1) (local.get $size)))
      (if (i32.eqz (call $check-range (local.get $at) (i64.extend_i32_u (local.get $size)))) (then
        (call $realloc-out-of-bounds)))
      (block $end (loop $pieces
        (if (i32.gt_u (local.get $piece) (i32.sub (local.get $size) (local.get $done))) (then
          (call $host_broke_the_protocol)))
        (call $restore (i32.load (i32.const 24)) (local.get $piece)
                       (i32.add (local.get $at) (local.get $done)))
        (local.set $done (i32.add (local.get $done) (local.get $piece)))
        (br_if $end (i32.eq (local.get $done) (local.get $size)))
        (local.set $piece (call $ask (local.get $self) (local.get $done)))
        (if (i32.eqz (local.get $piece)) (then (call $host_broke_the_protocol)))
        (br $pieces)))
      (call $check-words (local.get $result) (i64.const 8))
      (i32.store $guest (local.get $result) (local.get $at))
      (i32.store $guest offset=4 (local.get $result) (local.get $size)))
"""

_BODIES = {"new": _SEND + _NEW, "load": _SEND + _LOAD, "data": _DATA}


@lru_cache(maxsize=1)
def memory_module() -> bytes:
    """The module with the shims' memory: exports `memory`, `top` and `realloc`."""
    return bytes(wasmtime.wat2wasm(f"(module\n{MEMORY_BODY})"))


@lru_cache(maxsize=len(_BODIES))
def shim(function: str) -> bytes:
    """The module of a shim: `new`, `data` or `load`. It exports the function under that name, and imports
    `own` (the memory module's exports), `guest` (`memory`, and for `data` also `realloc`) and `host`."""
    return bytes(wasmtime.wat2wasm(shim_wat(function)))


def shim_wat(function: str) -> str:
    """The text of a shim."""
    realloc = "(func {} (param i32 i32 i32 i32) (result i32))"
    imports = [
        '(import "own" "memory" (memory 1))',
        '(import "guest" "memory" (memory $guest 0))',
        '(import "own" "top" (global $top (mut i32)))',
        f'(import "own" "realloc" {realloc.format("$realloc")})',
    ]
    if function == "data":
        imports.append(f'(import "guest" "realloc" {realloc.format("$guest-realloc")})')
    imports += [f'(import "host" "{name}" (func ${name} {kind}))' for name, kind in HOST[function]]
    return "\n".join(
        ["(module $Shim", *(f"    {each}" for each in imports), _CHECKS + _BODIES[function] + ")"]
    )
