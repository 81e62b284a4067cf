# SPDX-License-Identifier: Apache-2.0
"""Small guest components, as text: what a component builder makes, with the functions that have bulk data."""

from __future__ import annotations

from collections.abc import Sequence

import wasmtime

VERSION = "@0.2.0-rc-2024-10-28"
#: Where the guest's list starts.
DATA = 65536

_CORE = """
  (core module $Memory
    (memory (export "memory") 2)
    (global $top (export "top") (mut i32) (i32.const {data}))
    (func (export "realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32)
      (result i32)
      (local $start i32)
      ;; It refuses to shrink.
      (if (i32.lt_u (local.get $size) (local.get $old_size)) (then unreachable))
      (local.set $start (i32.and (i32.add (global.get $top) (i32.sub (local.get $align) (i32.const 1)))
                                 (i32.sub (i32.const 0) (local.get $align))))
      (global.set $top (i32.add (local.get $start) (local.get $size)))
      (block $enough (loop $grow
        (br_if $enough (i32.le_u (i32.div_u (i32.add (global.get $top) (i32.const 65535)) (i32.const 65536))
                                 (memory.size)))
        (if (i32.eq (memory.grow (i32.sub
              (i32.div_u (i32.add (global.get $top) (i32.const 65535)) (i32.const 65536)) (memory.size)))
            (i32.const -1)) (then unreachable))
        (br $grow)))
      (local.get $start)))
  (core instance $memory (instantiate $Memory))
  (alias core export $memory "memory" (core memory $mem))
  (alias core export $memory "realloc" (core func $realloc))
"""

_MAIN = """
  (core module $Main
    (import "memory" "memory" (memory 1))
    (import "memory" "top" (global $top (mut i32)))
    (import "memory" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
    (import "nn" "new" (func $new (param i32 i32 i32 i32 i32) (result i32)))
    (import "nn" "data" (func $data (param i32 i32)))
    (import "nn" "drop" (func $drop (param i32)))
    (import "nn" "load" (func $load (param i32 i32 i32 i32 i32)))
    ;; Fills [DATA, DATA + size) with a pattern: 65521 bytes of a generator, then again.
    (func (export "fill") (param $size i32) (param $seed i32) (local $i i32) (local $n i32)
      (global.set $top (i32.const {data}))
      (drop (call $realloc (i32.const 0) (i32.const 0) (i32.const 1) (local.get $size)))
      (local.set $n (select (local.get $size) (i32.const 65521)
                            (i32.lt_u (local.get $size) (i32.const 65521))))
      (block $end (loop $bytes
        (br_if $end (i32.eq (local.get $i) (local.get $n)))
        (local.set $seed (i32.add (i32.mul (local.get $seed) (i32.const 1664525)) (i32.const 1013904223)))
        (i32.store8 (i32.add (i32.const {data}) (local.get $i)) (i32.shr_u (local.get $seed) (i32.const 24)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $bytes)))
      (block $end (loop $copies
        (br_if $end (i32.eq (local.get $i) (local.get $size)))
        (local.set $n (i32.sub (local.get $size) (local.get $i)))
        (if (i32.gt_u (local.get $n) (local.get $i)) (then (local.set $n (local.get $i))))
        (memory.copy (i32.add (i32.const {data}) (local.get $i)) (i32.const {data}) (local.get $n))
        (local.set $i (i32.add (local.get $i) (local.get $n)))
        (br $copies))))
    ;; A tensor of the bytes [DATA + start, DATA + start + size), dims [size, 7], type 4 (U8).
    (func (export "new") (param $start i32) (param $size i32) (result i32)
      (i32.store (i32.const 16) (local.get $size))
      (i32.store (i32.const 20) (i32.const 7))
      (call $new (i32.const 16) (i32.const 2) (i32.const 4) (i32.add (i32.const {data}) (local.get $start))
                 (local.get $size)))
    (func (export "drop") (param $tensor i32) (call $drop (local.get $tensor)))
    ;; The size of the tensor's data. Traps unless its bytes are those from DATA + start on.
    (func (export "data") (param $tensor i32) (param $start i32) (result i32)
      (local $top i32) (local $at i32) (local $i i32) (local $size i32)
      (local.set $top (global.get $top))
      (call $data (local.get $tensor) (i32.const 32))
      (local.set $at (i32.load (i32.const 32)))
      (local.set $size (i32.load (i32.const 36)))
      (local.set $start (i32.add (local.get $start) (i32.const {data})))
      (block $end (loop $words
        (br_if $end (i32.lt_u (i32.sub (local.get $size) (local.get $i)) (i32.const 8)))
        (if (i64.ne (i64.load (i32.add (local.get $at) (local.get $i)))
                    (i64.load (i32.add (local.get $start) (local.get $i)))) (then unreachable))
        (local.set $i (i32.add (local.get $i) (i32.const 8)))
        (br $words)))
      (block $end (loop $bytes
        (br_if $end (i32.eq (local.get $size) (local.get $i)))
        (if (i32.ne (i32.load8_u (i32.add (local.get $at) (local.get $i)))
                    (i32.load8_u (i32.add (local.get $start) (local.get $i)))) (then unreachable))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $bytes)))
      (global.set $top (local.get $top))
      (local.get $size))
    ;; Loads builders of `first` bytes and of the rest, or `count` of them in all, where the others are empty:
    ;; 0 or 1 (an error), and the payload times two.
    (func (export "load") (param $first i32) (param $size i32) (param $count i32) (result i32)
      (i64.store (i32.const 1016) (i64.const 0))
      (memory.fill (i32.const 1024) (i32.const 0) (i32.const 4096))
      (i32.store (i32.const 1024) (i32.const {data}))
      (i32.store (i32.const 1028) (local.get $first))
      (i32.store (i32.const 1032) (i32.add (i32.const {data}) (local.get $first)))
      (i32.store (i32.const 1036) (i32.sub (local.get $size) (local.get $first)))
      (call $load (i32.const 1024) (local.get $count) (i32.const 1) (i32.const 2) (i32.const 1016))
      (i32.or (i32.load8_u (i32.const 1016)) (i32.shl (i32.load (i32.const 1020)) (i32.const 1)))))
  (core func $c-new (canon lower (func $tensor "[constructor]tensor") (memory $mem) (realloc $realloc)))
  (core func $c-data (canon lower (func $tensor "[method]tensor.data") (memory $mem) (realloc $realloc)))
  (core func $c-drop (canon resource.drop $tensor-type))
  (core func $c-load (canon lower (func $graph "load") (memory $mem) (realloc $realloc)))
  (core instance $main (instantiate $Main
    (with "memory" (instance $memory))
    (with "nn" (instance (export "new" (func $c-new)) (export "data" (func $c-data))
                         (export "drop" (func $c-drop)) (export "load" (func $c-load))))))
  (func (export "fill") (param "size" u32) (param "seed" u32) (canon lift (core func $main "fill")))
  (func (export "new") (param "start" u32) (param "size" u32) (result u32)
    (canon lift (core func $main "new")))
  (func (export "drop") (param "tensor" u32) (canon lift (core func $main "drop")))
  (func (export "data") (param "tensor" u32) (param "start" u32) (result u32)
    (canon lift (core func $main "data")))
  (func (export "load") (param "first" u32) (param "size" u32) (param "count" u32) (result u32)
    (canon lift (core func $main "load")))
"""


#: The functions with bulk data.
BULK = ("[constructor]tensor", "[method]tensor.data", "load")


def imports_wat(version: str = VERSION, *, enum_error: bool = False, bulk: Sequence[str] = BULK) -> str:
    """The imports, in the order and with the aliases that `wit-component` gives them, with these functions
    that have bulk data."""
    error = '(type $codes (enum "a" "b" "c")) (export "error" (type (eq $codes)))'
    resource = """(export "error" (type $error (sub resource)))
    (export "[method]error.data" (func (param "self" (borrow $error)) (result string)))"""
    of_error = "$e" if enum_error else "(own $e)"
    functions = {
        "[constructor]tensor": """(export "[constructor]tensor"
      (func (param "dimensions" $dims) (param "ty" $ty) (param "data" $data) (result (own $t))))""",
        "[method]tensor.data": """(export "[method]tensor.data"
      (func (param "self" (borrow $t)) (result $data)))""",
        "load": f"""(export "load"
      (func (param "builder" (list $builder)) (param "encoding" $encoding) (param "target" $target)
        (result (result (own $g) (error {of_error})))))""",
    }
    new, data, load = [functions[name] if name in bulk else "" for name in BULK]
    return f"""
  (import "wasi:nn/errors{version}" (instance $errors {error if enum_error else resource}))
  (alias export $errors "error" (type $error))
  (import "wasi:nn/tensor{version}" (instance $tensor
    (export "tensor" (type $t (sub resource)))
    (type $l32 (list u32)) (export "tensor-dimensions" (type $dims (eq $l32)))
    (type $types (enum "FP16" "FP32" "FP64" "BF16" "U8" "I32" "I64"))
    (export "tensor-type" (type $ty (eq $types)))
    (type $l8 (list u8)) (export "tensor-data" (type $data (eq $l8)))
    {new}
    (export "[method]tensor.dimensions" (func (param "self" (borrow $t)) (result $dims)))
    {data}))
  (alias export $tensor "tensor" (type $tensor-type))
  (import "wasi:nn/graph{version}" (instance $graph
    (export "graph" (type $g (sub resource)))
    (type $encodings (enum "openvino" "onnx" "autodetect"))
    (export "graph-encoding" (type $encoding (eq $encodings)))
    (type $targets (enum "cpu" "gpu" "tpu")) (export "execution-target" (type $target (eq $targets)))
    (alias outer 1 $error (type $outer)) (export "error" (type $e (eq $outer)))
    (type $l8 (list u8)) (export "graph-builder" (type $builder (eq $l8)))
    {load}
    (export "load-by-name" (func (param "name" string) (result (result (own $g) (error {of_error})))))))
"""


def guest_wat(version: str = VERSION, *, enum_error: bool = False, more: str = "") -> str:
    core = (_CORE + _MAIN).format(data=DATA)
    return f"(component {imports_wat(version, enum_error=enum_error)}\n{core}\n{more})"


def guest(version: str = VERSION, *, enum_error: bool = False, more: str = "") -> bytes:
    return bytes(wasmtime.wat2wasm(guest_wat(version, enum_error=enum_error, more=more)))


def pattern(size: int, seed: int) -> bytes:
    """What `fill` writes."""
    block = bytearray()
    for _ in range(min(size, 65521)):
        seed = (seed * 1664525 + 1013904223) & 0xFFFFFFFF
        block.append(seed >> 24)
    return (bytes(block) * (size // len(block) + 1))[:size] if block else b""
